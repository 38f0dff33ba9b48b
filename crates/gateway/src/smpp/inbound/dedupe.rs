//! A key for an inbound SMS, made from its content: SMPP gives none, and a `deliver_sm` whose answer was lost comes again.
//!
//! The key is the same for equal texts of one sender within [`SAME`], as long as no other text came between and the provider
//! has a reason to send it again: it was told so, got no answer, or the answer crossed with the repetition ([`CROSSED`]). So a
//! repetition is known as one, while STOP, START, STOP are three messages, and so are two STOPs with a new registration on a
//! web page between them. Across a restart or another bind a repetition gets a new key and is stored twice: harmless,
//! where taking a second STOP for the first would not be.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use klaroen_domain::time::Timestamp;
use sha2::{Digest, Sha256};

use super::deliver_sm::Sms;
use crate::smpp::connection::acknowledged::Acknowledged;

/// Longer than the time in which an SMSC repeats a `deliver_sm`.
const SAME: Duration = Duration::from_mins(10);

/// How long after an SMS that we took a repetition may still come, because the answer was too late or got lost.
const CROSSED: Duration = Duration::from_mins(1);

/// Senders that are remembered; the one that came first is forgotten first.
const SENDERS_MAX: usize = 10_000;

type Hash = [u8; 32];

/// The latest text of a sender.
struct Latest {
    content: Hash,
    /// When it came first: part of its key.
    since: Timestamp,
    /// When it came last.
    came: Timestamp,
    acknowledged: Acknowledged,
}

impl Latest {
    /// Whether the same text at `now` may be this one again.
    fn may_come_again(&self, now: Timestamp) -> bool {
        now.since(self.since) < SAME && (!self.acknowledged.get() || now.since(self.came) < CROSSED)
    }
}

/// The latest text of each sender, hashed.
#[derive(Default)]
pub(in crate::smpp) struct Repetitions {
    latest: HashMap<Hash, Latest>,
    order: VecDeque<Hash>,
}

impl Repetitions {
    /// The key of `sms`, which came in at `now`, and where to note that it was acknowledged.
    pub(in crate::smpp) fn key(&mut self, sms: &Sms, now: Timestamp) -> (String, Acknowledged) {
        let sender = hash(&[&sms.from, &sms.to]);
        let content = hash(&[&sms.from, &sms.to, &sms.text]);
        let (since, acknowledged) = match self.latest.get_mut(&sender) {
            Some(latest) if latest.content == content && latest.may_come_again(now) => {
                latest.came = now;
                (latest.since, latest.acknowledged.clone())
            }
            _ => (now, self.remember(sender, content, now)),
        };
        let digest = hash_of(&[&content, &since.as_millis().to_be_bytes()]);
        // Half of it: 128 bits do not collide.
        let (half, _) = digest.split_first_chunk::<16>().unwrap_or((&[0; 16], &[]));
        (format!("{:032x}", u128::from_be_bytes(*half)), acknowledged)
    }

    fn remember(&mut self, sender: Hash, content: Hash, now: Timestamp) -> Acknowledged {
        let acknowledged = Acknowledged::default();
        let latest = Latest { content, since: now, came: now, acknowledged: acknowledged.clone() };
        if self.latest.insert(sender, latest).is_none() {
            self.order.push_back(sender);
            if self.order.len() > SENDERS_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.latest.remove(&oldest);
            }
        }
        acknowledged
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
        let mut key = |s| repetitions.key(&sms("STOP"), start.plus(Duration::from_secs(s)));
        let (first, acknowledged) = key(0);
        assert_eq!(key(500).0, first, "not answered, or to come again");
        acknowledged.set();
        assert_eq!(key(559).0, first, "the answer crossed with it");
        assert_ne!(key(600).0, first, "another day");
        assert!(!first.contains("316") && first.len() == 32);
    }

    #[test]
    fn what_was_taken_a_while_ago_and_comes_again_is_another_message() {
        let mut repetitions = Repetitions::default();
        let start = Timestamp::from_millis(1_700_000_000_000);
        let mut key = |s| repetitions.key(&sms("STOP"), start.plus(Duration::from_secs(s)));
        let (first, acknowledged) = key(0);
        acknowledged.set();
        let (second, _) = key(300);
        assert_ne!(second, first);
        assert_eq!(key(400).0, second, "that one was not taken yet");
    }

    #[test]
    fn another_text_between_makes_it_a_new_message() {
        let mut repetitions = Repetitions::default();
        let at = |s| Timestamp::from_millis(1_700_000_000_000).plus(Duration::from_secs(s));
        let keys: std::collections::HashSet<_> = [("STOP", 0), ("START", 5), ("STOP", 9)]
            .into_iter()
            .map(|(text, s)| repetitions.key(&sms(text), at(s)).0)
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
