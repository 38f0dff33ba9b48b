//! The proof of the demo: the counts of Klaroen against the SMSC's own memory of every ring.

use std::collections::HashMap;

use klaroen_simulator::Smsc;

use super::progress::Standing;

/// One thing that has to hold, and whether it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// The condition that has to hold.
    pub what: &'static str,
    /// The count, if the condition does not hold.
    pub fault: Option<String>,
}

/// How often each of these phones rang with this text.
pub fn rings(smsc: &Smsc, text: &str) -> HashMap<String, u32> {
    let count = |number: &String| smsc.rings_of(number).iter().filter(|ring| &*ring.text == text).count();
    let numbers = smsc.ring_counts().into_keys();
    numbers
        .map(|number| (u32::try_from(count(&number)).unwrap_or(u32::MAX), number))
        .filter(|(n, _)| *n > 0)
        .map(|(n, number)| (number, n))
        .collect()
}

/// The evidence that the checks look at. Numbers are digits without a plus sign.
pub struct Evidence<'a> {
    /// The people who live in the neighbourhood.
    pub alerted: &'a [String],
    /// Rings with the start text.
    pub started: &'a HashMap<String, u32>,
    /// Rings with the end text.
    pub ended: &'a HashMap<String, u32>,
    /// The people who sent STOP.
    pub opted_out: &'a [String],
    /// The start message as Klaroen counts it.
    pub start: Standing,
    /// The end message as Klaroen counts it.
    pub end: Standing,
}

/// All checks, in the order in which they are told.
pub fn all(evidence: &Evidence<'_>) -> Vec<Check> {
    let Evidence { alerted, started, ended, opted_out, start, end } = *evidence;
    let alerted_count = alerted.len() as u64;
    let strangers = started.keys().filter(|number| !alerted.contains(number)).count();
    let twice = started.values().chain(ended.values()).filter(|times| **times > 1).count();
    let started_count = started.len() as u64;
    let without_start = ended.keys().filter(|number| !started.contains_key(*number)).count();
    let after_stop = ended.keys().filter(|number| opted_out.contains(number)).count();
    vec![
        check(
            "everybody in the neighbourhood was asked, nobody else",
            start.recipients == alerted_count && strangers == 0,
            || {
                format!(
                    "{alerted_count} live there, {} were asked, {strangers} of elsewhere rang",
                    start.recipients
                )
            },
        ),
        check("no phone rang twice for one message", twice == 0, || format!("{twice} did")),
        check(
            "every delivery is accounted for",
            start.sum == start.recipients && end.sum == end.recipients,
            || format!("{} of {} and {} of {}", start.sum, start.recipients, end.sum, end.recipients),
        ),
        check(
            "what counts as delivered rang, what counts as undelivered did not",
            rang_as_counted(start, started_count),
            || {
                format!(
                    "{} delivered, {} without a receipt, {started_count} phones rang",
                    start.delivered, start.waiting
                )
            },
        ),
        check("nothing is in doubt", start.unknown + end.unknown == 0, || {
            format!("{} are", start.unknown + end.unknown)
        }),
        check(
            "the end went only to those who had the start",
            without_start == 0 && end.recipients + start.undelivered == start.recipients,
            || {
                format!(
                    "{without_start} rang without a start; {} ends for {} starts",
                    end.recipients, start.recipients
                )
            },
        ),
        check(
            "nobody heard anything after their STOP",
            after_stop == 0 && end.suppressed == opted_out.len() as u64,
            || format!("{after_stop} did; {} suppressed for {} STOPs", end.suppressed, opted_out.len()),
        ),
    ]
}

/// A message without a receipt may have rung or not: the SMSC of the demo loses receipts of messages that rang.
fn rang_as_counted(start: Standing, phones: u64) -> bool {
    start.delivered <= phones && phones <= start.delivered + start.waiting
}

fn check(what: &'static str, holds: bool, fault: impl FnOnce() -> String) -> Check {
    Check { what, fault: (!holds).then(fault) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evidence(
        change: impl FnOnce(&mut [HashMap<String, u32>; 2], &mut [Standing; 2]),
    ) -> Vec<&'static str> {
        let alerted: Vec<String> = (0..10).map(|n| format!("3161100000{n}")).collect();
        let rang = |from: usize| alerted[from..].iter().map(|n| (n.clone(), 1)).collect::<HashMap<_, _>>();
        // Number 0 did not get the start; number 1 sent STOP.
        let mut rings = [rang(1), rang(2)];
        let start = Standing {
            recipients: 10,
            submitted: 10,
            delivered: 9,
            undelivered: 1,
            sum: 10,
            ..Standing::default()
        };
        let end = Standing {
            recipients: 9,
            submitted: 8,
            delivered: 8,
            suppressed: 1,
            sum: 9,
            ..Standing::default()
        };
        let mut standings = [start, end];
        change(&mut rings, &mut standings);
        let [started, ended] = &rings;
        let opted_out = [alerted[1].clone()];
        let checks = all(&Evidence {
            alerted: &alerted,
            started,
            ended,
            opted_out: &opted_out,
            start: standings[0],
            end: standings[1],
        });
        checks.into_iter().filter(|check| check.fault.is_some()).map(|check| check.what).collect()
    }

    #[test]
    fn a_clean_run_passes() {
        assert_eq!(evidence(|_, _| {}), Vec::<&str>::new());
    }

    #[test]
    fn each_lie_is_seen() {
        let number = |n: u8| format!("3161100000{n}");
        assert_eq!(
            evidence(|rings, _| {
                rings[0].insert("31699999999".into(), 1);
            })
            .len(),
            2
        );
        assert_eq!(
            evidence(|rings, _| {
                rings[0].insert(number(3), 2);
            }),
            ["no phone rang twice for one message"]
        );
        assert_eq!(evidence(|_, s| s[0].sum = 9), ["every delivery is accounted for"]);
        assert_eq!(
            evidence(|rings, _| {
                rings[0].remove(&number(1));
            })
            .len(),
            1
        );
        assert_eq!(evidence(|_, s| s[1].unknown = 1), ["nothing is in doubt"]);
        assert_eq!(
            evidence(|rings, _| {
                rings[1].insert(number(0), 1);
            })
            .len(),
            1
        );
        assert_eq!(
            evidence(|rings, _| {
                rings[1].insert(number(1), 1);
            }),
            ["nobody heard anything after their STOP"]
        );
    }
}
