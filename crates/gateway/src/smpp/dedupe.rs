//! A key for an inbound SMS, made from its content: SMPP gives none, and a `deliver_sm` whose answer was lost comes again.
//!
//! The key is the same for equal texts of one sender within [`SAME`], as long as no other text came between: a repetition is
//! known as one, while STOP, START, STOP are three messages. Across a restart or another bind a repetition gets a new
//! key and is stored twice: harmless, where taking a second STOP for the first would not be.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use klaroen_domain::time::Timestamp;
use sha2::{Digest, Sha256};

use super::inbound::Sms;

/// Longer than the time in which an SMSC repeats a `deliver_sm`.
const SAME: Duration = Duration::from_mins(10);

/// Senders that are remembered; the one that came first is forgotten first.
const SENDERS_MAX: usize = 10_000;

type Hash = [u8; 32];

/// The latest text of each sender, hashed.
#[derive(Default)]
pub(super) struct Repetitions {
    latest: HashMap<Hash, (Hash, Timestamp)>,
    order: VecDeque<Hash>,
}

impl Repetitions {
    /// The key of `sms`, which came in at `now`.
    pub(super) fn key(&mut self, sms: &Sms, now: Timestamp) -> String {
        let sender = hash(&[&sms.from, &sms.to]);
        let content = hash(&[&sms.from, &sms.to, &sms.text]);
        let since = match self.latest.get(&sender) {
            Some((text, since)) if *text == content && now.since(*since) < SAME => *since,
            _ => {
                self.remember(sender, content, now);
                now
            }
        };
        let digest = hash_of(&[&content, &since.as_millis().to_be_bytes()]);
        // Half of it: 128 bits do not collide.
        let (half, _) = digest.split_first_chunk::<16>().unwrap_or((&[0; 16], &[]));
        format!("{:032x}", u128::from_be_bytes(*half))
    }

    fn remember(&mut self, sender: Hash, content: Hash, now: Timestamp) {
        if self.latest.insert(sender, (content, now)).is_none() {
            self.order.push_back(sender);
            if self.order.len() > SENDERS_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.latest.remove(&oldest);
            }
        }
    }
}

fn hash(texts: &[&str]) -> Hash {
    let bytes: Vec<&[u8]> = texts.iter().map(|text| text.as_bytes()).collect();
    hash_of(&bytes)
}

/// With lengths, so that two different lists never run together alike.
fn hash_of(parts: &[&[u8]]) -> Hash {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sms(text: &str) -> Sms {
        Sms { from: "31612345678".into(), to: "1000".into(), text: text.into() }
    }

    #[test]
    fn a_repetition_has_the_same_key() {
        let mut repetitions = Repetitions::default();
        let start = Timestamp::from_millis(1_700_000_000_000);
        let first = repetitions.key(&sms("STOP"), start);
        assert_eq!(repetitions.key(&sms("STOP"), start.plus(Duration::from_mins(1))), first);
        assert_ne!(repetitions.key(&sms("STOP"), start.plus(SAME)), first, "another day");
        assert!(!first.contains("316") && first.len() == 32);
    }

    #[test]
    fn another_text_between_makes_it_a_new_message() {
        let mut repetitions = Repetitions::default();
        let at = |s| Timestamp::from_millis(1_700_000_000_000).plus(Duration::from_secs(s));
        let keys: std::collections::HashSet<_> = [("STOP", 0), ("START", 5), ("STOP", 9)]
            .into_iter()
            .map(|(text, s)| repetitions.key(&sms(text), at(s)))
            .collect();
        assert_eq!(keys.len(), 3);
    }

    #[test]
    fn memory_is_bounded() {
        let mut repetitions = Repetitions::default();
        for n in 0..SENDERS_MAX + 10 {
            repetitions.key(
                &Sms { from: n.to_string(), to: String::new(), text: String::new() },
                Timestamp::from_millis(0),
            );
        }
        assert_eq!((repetitions.latest.len(), repetitions.order.len()), (SENDERS_MAX, SENDERS_MAX));
    }
}
