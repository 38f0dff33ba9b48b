//! The conditions that have to hold at the end.

use std::collections::HashMap;
use std::time::Duration;

use super::reports::Report;
use super::stage::{BINDS, CLAIM, Cluster, FEW, RATE, WINDOW};
use crate::client::{Client, count};
use crate::program::PATIENCE;

/// Answers that wait for their commit where a bind is cut off, on a machine that is held up: those of a second. They are kept,
/// and settle what was in doubt meanwhile.
const WAITING: u64 = RATE / BINDS as u64;

/// Waits until nothing of an alert is under way, as long as it goes on: a busy machine takes its time.
async fn quiet(client: &Client, alert: &str) {
    let mut fewest = u64::MAX;
    let mut deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let view = client.alert(alert).await;
        // A delivery that was handed over still needs its receipt, and one in doubt its receipt or the end of the wait for it.
        let doubts = view["messages"][0]["doubts"]["open"].as_u64().unwrap();
        let left = 2 * count(&view, 0, &["queued", "sending"]) + count(&view, 0, &["sent"]) + doubts;
        if left == 0 {
            return;
        }
        if left < fewest {
            (fewest, deadline) = (left, tokio::time::Instant::now() + PATIENCE);
        }
        assert!(tokio::time::Instant::now() < deadline, "it does not get quiet: {view:#}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// How often each phone rang with each text.
fn rings(cluster: &Cluster) -> HashMap<(String, String), u32> {
    let mut rings = HashMap::new();
    for number in cluster.smsc.ring_counts().into_keys() {
        for ring in cluster.smsc.rings_of(&number) {
            *rings.entry((number.clone(), ring.text.to_string())).or_default() += 1;
        }
    }
    rings
}

/// The deliveries that stay in doubt in the end: the phone, and how often it rang.
type Doubts = Vec<(String, u32)>;

/// Every recipient of an alert rang once, or is shown to be in doubt. Returns who is in doubt, and how many ever were.
async fn check_alert(
    client: &Client,
    numbers: &HashMap<String, String>,
    rings: &HashMap<(String, String), u32>,
    report: &Report,
    people: usize,
) -> (Doubts, u64) {
    let deliveries = client.deliveries(&report.alert).await;
    assert_eq!(deliveries.len(), people, "{}: nobody is lost", report.reference);
    let text = format!("Let op ({}): man, rode jas.", report.reference);
    let mut doubts = Vec::new();
    for delivery in deliveries {
        let number = numbers[&delivery.participant].clone();
        let rang = rings.get(&(number.clone(), text.clone())).copied().unwrap_or(0);
        match delivery.state.as_str() {
            "delivered" => assert_eq!(rang, 1, "{delivery:?}"),
            // The message centre says so of what it took and did not bring.
            "undelivered" => assert!(rang <= 1, "{delivery:?}"),
            "unknown" => doubts.push((number, rang)),
            _ => panic!("{}: {delivery:?} rang {rang} times", report.reference),
        }
    }
    let view = client.alert(&report.alert).await;
    (doubts, view["messages"][0]["doubts"]["total"].as_u64().unwrap())
}

/// Every ring has its receipt, which settles the doubt about it, whatever process it comes to: what is left did not ring. Only
/// where several messages to one phone are in doubt, a receipt without the provider's id could be about any of them.
fn did_not_ring(doubts: &Doubts) {
    let mut of_phone: HashMap<&str, Vec<u32>> = HashMap::new();
    for (number, rang) in doubts {
        of_phone.entry(number).or_default().push(*rang);
    }
    for rang in of_phone.into_values() {
        let alone = rang.len() == 1;
        assert!(
            rang.iter().all(|rang| if alone { *rang == 0 } else { *rang <= 1 }),
            "in doubt, and rang: {rang:?}"
        );
    }
}

/// The most that stays in doubt if `cut` binds were cut off: of each what it had in flight and what it had leased to send next.
const fn doubts_most(cut: usize) -> usize {
    cut * (WINDOW + CLAIM)
}

/// Waits for quiet and checks everything, after `cut` binds were cut off.
#[expect(clippy::print_stderr, reason = "how many there were tells more than that they were few enough")]
pub async fn check(cluster: &mut Cluster, large: &[(Report, usize)], small: &[Report], cut: usize) {
    cluster.all_run();
    let client = cluster.client();
    for (report, _) in large {
        quiet(&client, &report.alert).await;
    }
    for report in small {
        quiet(&client, &report.alert).await;
    }
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while cluster.smsc.stats().pending > 0 {
        assert!(tokio::time::Instant::now() < deadline, "receipts are not taken");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(client.broken_sums().await, 0);
    let (numbers, rings) = (client.numbers().await, rings(cluster));
    let (mut doubts, mut ever) = (Vec::new(), 0);
    for (report, people) in large {
        let (left, total) = check_alert(&client, &numbers, &rings, report, *people).await;
        doubts.extend(left);
        ever += total;
    }
    assert!(!small.is_empty());
    let taken: Vec<(String, String)> = client.all_incidents().await;
    for report in small {
        let same = taken.iter().filter(|(_, reference)| *reference == report.reference);
        assert_eq!(
            same.map(|(id, _)| id).collect::<Vec<_>>(),
            [&report.incident],
            "one incident for one key"
        );
        let (left, total) = check_alert(&client, &numbers, &rings, report, FEW).await;
        doubts.extend(left);
        ever += total;
    }
    did_not_ring(&doubts);
    assert_eq!(taken.len(), large.len() + small.len(), "nothing that was not reported");
    let peak = cluster.smsc.stats().peak_submits_per_second;
    let late = cluster.lateness.allows(RATE);
    assert!(peak <= RATE + late, "{peak} in one second, and {RATE} are allowed: {late} may be late");
    let (left, most) = (doubts.len(), doubts_most(cut));
    eprintln!(
        "{ever} were in doubt for a while, {left} still are; {cut} binds that are cut off leave {most} at most"
    );
    assert!(left <= most, "{left} are in doubt after {cut} binds were cut off");
    let for_a_while = most as u64 + cut as u64 * WAITING;
    assert!(
        ever <= for_a_while,
        "{ever} were in doubt after {cut} binds were cut off: {for_a_while} at most"
    );
}
