//! Joins the parts of long inbound SMS: in any order, bounded, and never losing what did arrive.
//!
//! The `deliver_sm` of every part is answered when the whole is stored, so that a crash loses nothing. But an SMSC that sends
//! one at a time and waits for its answer would wait for ever: after [`HOLD`] a part is answered although the others are
//! missing, and from then on it is in our memory only.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::deliver_sm::{Part, Sms};
use crate::smpp::codec::coding::{self, Coding};
use crate::smpp::config::Alphabet;

/// How long the answer to a part is held back. Parts that are sent together arrive within milliseconds, and those that are typed
/// on a handset some three seconds apart; an SMSC gives up on an answer after ten seconds or more.
pub(in crate::smpp) const HOLD: Duration = Duration::from_secs(5);

/// After this the parts that came are delivered as they are.
pub(in crate::smpp) const PATIENCE: Duration = Duration::from_mins(5);

/// Long SMS that may be incomplete at a time; the oldest gives way.
const OPEN_MAX: usize = 1_000;

/// Mark for parts that are missing.
const GAP: &str = "[…]";

/// `(from, to, reference, total)`: the reference alone is reused by every handset.
type Key = (String, String, u16, u8);

/// An SMS that was joined, and the `deliver_sm` that wait for an answer.
#[derive(Debug)]
pub(in crate::smpp) struct Joined {
    /// The joined SMS.
    pub sms: Sms,
    /// Sequence numbers that are still to be answered.
    pub unanswered: Vec<u32>,
    /// Some were answered before: the provider will not send those again, so it has to be stored whatever it takes.
    pub ours_alone: bool,
}

struct Open {
    first_seen: Instant,
    parts: HashMap<u8, Part>,
    unanswered: Vec<(Instant, u32)>,
    answered_some: bool,
}

/// The long SMS that are incomplete.
pub(in crate::smpp) struct Joiner {
    alphabet: Alphabet,
    open: HashMap<Key, Open>,
}

impl Joiner {
    pub(in crate::smpp) fn new(alphabet: Alphabet) -> Self {
        Self { alphabet, open: HashMap::new() }
    }

    /// Takes a part; returns the whole if this was the last one, and a partial one that had to give way.
    pub(in crate::smpp) fn add(&mut self, part: Part, sequence_number: u32, now: Instant) -> Vec<Joined> {
        let mut done = Vec::new();
        let key = (part.from.clone(), part.to.clone(), part.reference, part.total);
        if !self.open.contains_key(&key) && self.open.len() >= OPEN_MAX {
            let oldest = self.open.iter().min_by_key(|(_, open)| open.first_seen).map(|(key, _)| key.clone());
            done.extend(oldest.and_then(|key| self.close(&key)));
        }
        let total = usize::from(part.total);
        let open = self.open.entry(key.clone()).or_insert_with(|| Open {
            first_seen: now,
            parts: HashMap::new(),
            unanswered: Vec::new(),
            answered_some: false,
        });
        open.unanswered.push((now, sequence_number));
        open.parts.insert(part.number, part);
        if open.parts.len() == total {
            done.extend(self.close(&key));
        }
        done
    }

    /// When [`Joiner::release`] or [`Joiner::expire`] next has something to do.
    pub(in crate::smpp) fn next_deadline(&self) -> Option<Instant> {
        self.open
            .values()
            .flat_map(|open| {
                let held = open.unanswered.iter().map(|(since, _)| *since + HOLD);
                held.chain([open.first_seen + PATIENCE])
            })
            .min()
    }

    /// The `deliver_sm` that are to be answered now, although their SMS is incomplete.
    pub(in crate::smpp) fn release(&mut self, now: Instant) -> Vec<u32> {
        let mut released = Vec::new();
        for open in self.open.values_mut() {
            let before = released.len();
            released.extend(
                open.unanswered.extract_if(.., |(since, _)| *since + HOLD <= now).map(|(_, seq)| seq),
            );
            open.answered_some |= released.len() > before;
        }
        released
    }

    /// The SMS whose missing parts are not waited for any longer.
    pub(in crate::smpp) fn expire(&mut self, now: Instant) -> Vec<Joined> {
        let expired: Vec<Key> = self
            .open
            .iter()
            .filter(|(_, open)| open.first_seen + PATIENCE <= now)
            .map(|(key, _)| key.clone())
            .collect();
        expired.iter().filter_map(|key| self.close(key)).collect()
    }

    /// All that is open, as it is: the connection is gone and with it the answers that were owed. The provider sends unanswered
    /// parts again on the next connection; what was answered would be lost, so only such are given.
    pub(in crate::smpp) fn drain(&mut self) -> Vec<Joined> {
        let keys: Vec<Key> =
            self.open.iter().filter(|(_, open)| open.answered_some).map(|(key, _)| key.clone()).collect();
        let partial = keys.iter().filter_map(|key| self.close(key)).collect();
        self.open.clear();
        partial
    }

    fn close(&mut self, key: &Key) -> Option<Joined> {
        let open = self.open.remove(key)?;
        let (from, to, _, total) = key;
        let text = join(&open.parts, *total, self.alphabet);
        Some(Joined {
            sms: Sms { from: from.clone(), to: to.clone(), text },
            unanswered: open.unanswered.into_iter().map(|(_, seq)| seq).collect(),
            ours_alone: open.answered_some,
        })
    }
}

/// Runs of parts with one coding are joined before they are decoded; gaps are marked.
fn join(parts: &HashMap<u8, Part>, total: u8, alphabet: Alphabet) -> String {
    let mut text = String::new();
    let mut run: Option<(Coding, Vec<u8>)> = None;
    let mut in_gap = false;
    let flush = |run: &mut Option<(Coding, Vec<u8>)>, text: &mut String| {
        if let Some((coding, octets)) = run.take() {
            text.push_str(&coding::decode(&octets, coding, alphabet));
        }
    };
    for number in 1..=total {
        match (parts.get(&number), &mut run) {
            (Some(part), Some((coding, octets))) if *coding == part.coding => {
                octets.extend_from_slice(&part.octets);
            }
            (Some(part), _) => {
                flush(&mut run, &mut text);
                run = Some((part.coding, part.octets.clone()));
            }
            (None, _) => {
                flush(&mut run, &mut text);
                if !in_gap {
                    text.push_str(GAP);
                }
            }
        }
        in_gap = !parts.contains_key(&number);
    }
    flush(&mut run, &mut text);
    text
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn part(reference: u16, total: u8, number: u8, octets: &[u8]) -> Part {
        Part {
            from: "31612345678".into(),
            to: "1000".into(),
            reference,
            total,
            number,
            octets: octets.to_vec(),
            coding: Coding { data_coding: 1, ..Coding::default() },
        }
    }

    #[rstest]
    #[case([1, 2, 3])]
    #[case([3, 2, 1])]
    #[case([2, 3, 1])]
    fn any_order_gives_the_whole_with_all_answers_owed(#[case] order: [u8; 3]) {
        let mut joiner = Joiner::new(Alphabet::Gsm7);
        let now = Instant::now();
        let mut done = Vec::new();
        for number in order {
            assert!(done.is_empty());
            done = joiner.add(part(9, 3, number, &[b'a' + number]), u32::from(number), now);
        }
        let [whole] = done.as_slice() else { panic!("not one") };
        assert_eq!(whole.sms.text, "bcd");
        assert_eq!(whole.unanswered, order.map(u32::from));
        assert!(!whole.ours_alone);
        assert_eq!(joiner.next_deadline(), None);
    }

    #[test]
    fn a_part_that_comes_again_is_answered_too() {
        let mut joiner = Joiner::new(Alphabet::Gsm7);
        let now = Instant::now();
        assert!(joiner.add(part(9, 2, 1, b"a"), 1, now).is_empty());
        assert!(joiner.add(part(9, 2, 1, b"a"), 2, now).is_empty());
        let done = joiner.add(part(9, 2, 2, b"b"), 3, now);
        assert_eq!((done[0].sms.text.as_str(), done[0].unanswered.as_slice()), ("ab", &[1, 2, 3][..]));
    }

    #[test]
    fn a_character_cut_between_parts_is_whole_again() {
        let mut joiner = Joiner::new(Alphabet::Gsm7);
        let half = |number, octets| Part {
            coding: Coding { data_coding: 8, ..Coding::default() },
            ..part(9, 2, number, octets)
        };
        assert!(joiner.add(half(2, &[0xDE, 0x00]), 1, Instant::now()).is_empty());
        assert_eq!(joiner.add(half(1, &[0xD8, 0x3D]), 2, Instant::now())[0].sms.text, "😀");
    }

    #[test]
    fn each_part_is_read_with_the_tables_of_its_own_header() {
        use klaroen_domain::text::national::{Language, Tables};

        let mut joiner = Joiner::new(Alphabet::Gsm7);
        let in_language = |number, locking, octets| Part {
            coding: Coding { data_coding: 0, tables: Tables { locking, ..Tables::default() } },
            ..part(9, 3, number, octets)
        };
        let now = Instant::now();
        assert!(joiner.add(in_language(1, Language::Turkish, &[0x1D]), 1, now).is_empty());
        assert!(joiner.add(in_language(3, Language::Default, &[0x1D]), 3, now).is_empty());
        assert_eq!(joiner.add(in_language(2, Language::Portuguese, &[0x1D]), 2, now)[0].sms.text, "şâæ");
    }

    #[test]
    fn different_totals_and_references_are_different_messages() {
        let mut joiner = Joiner::new(Alphabet::Gsm7);
        let now = Instant::now();
        assert!(joiner.add(part(9, 2, 1, b"a"), 1, now).is_empty());
        assert!(joiner.add(part(8, 2, 2, b"b"), 2, now).is_empty());
        assert!(joiner.add(part(9, 3, 2, b"b"), 3, now).is_empty());
    }

    #[test]
    fn held_answers_are_released_and_the_rest_is_delivered_in_the_end() {
        let mut joiner = Joiner::new(Alphabet::Gsm7);
        let start = Instant::now();
        assert!(joiner.add(part(9, 4, 2, b"b"), 1, start).is_empty());
        assert_eq!(joiner.next_deadline(), Some(start + HOLD));
        assert!(joiner.release(start + HOLD - Duration::from_millis(1)).is_empty());
        assert_eq!(joiner.release(start + HOLD), [1]);
        assert!(joiner.release(start + HOLD).is_empty(), "once only");
        assert_eq!(joiner.next_deadline(), Some(start + PATIENCE));
        assert!(joiner.expire(start + PATIENCE - Duration::from_millis(1)).is_empty());
        let partial = joiner.expire(start + PATIENCE);
        assert_eq!(partial[0].sms.text, "[…]b[…]");
        assert!(partial[0].ours_alone && partial[0].unanswered.is_empty());
    }

    #[test]
    fn the_oldest_gives_way_when_too_many_are_open() {
        let mut joiner = Joiner::new(Alphabet::Gsm7);
        let start = Instant::now();
        for reference in 0..u16::try_from(OPEN_MAX).unwrap() {
            let at = start + Duration::from_millis(u64::from(reference));
            assert!(joiner.add(part(reference, 2, 1, b"a"), u32::from(reference), at).is_empty());
        }
        let evicted = joiner.add(part(60_000, 2, 1, b"z"), 7, start + Duration::from_secs(9));
        assert_eq!((evicted.len(), evicted[0].unanswered.as_slice()), (1, &[0][..]));
        assert_eq!(joiner.open.len(), OPEN_MAX);
    }

    #[test]
    fn a_lost_link_leaves_what_the_provider_sends_again() {
        let mut joiner = Joiner::new(Alphabet::Gsm7);
        let start = Instant::now();
        assert!(joiner.add(part(1, 2, 1, b"a"), 1, start).is_empty());
        assert_eq!(joiner.release(start + HOLD), [1]);
        assert!(joiner.add(part(2, 2, 1, b"b"), 2, start + HOLD).is_empty());
        let drained = joiner.drain();
        assert_eq!((drained.len(), drained[0].sms.text.as_str()), (1, "a[…]"));
        assert_eq!(joiner.next_deadline(), None);
    }
}
