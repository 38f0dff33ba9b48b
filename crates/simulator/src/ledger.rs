//! The oracle: how often each handset rang, with what, and when.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::text::{Alphabet, Part};

/// Long messages whose parts are not all there yet; beyond it a part of a new one is lost, and counted.
const OPEN_MAX: usize = 100_000;
/// Different texts that are kept once however often they ring; beyond it each ring keeps its own.
const INTERNED_MAX: usize = 4_096;
const NONE: u32 = u32::MAX;

/// One ring of one handset. `Debug` does not show its text.
#[derive(Clone, PartialEq, Eq)]
pub struct Ring {
    /// The whole text, parts joined; empty if texts are not recorded.
    pub text: Arc<str>,
    /// When it rang, in the time of the runtime.
    pub at: Instant,
    /// Counts the rings of all handsets, from 1.
    pub order: u64,
    /// How long the message had been valid from its submit, if it said so.
    pub validity: Option<Duration>,
    /// The `data_coding` of its (last) part.
    pub data_coding: u8,
    /// The sender that the handset shows.
    pub sender: Arc<str>,
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring").field("order", &self.order).field("at", &self.at).finish_non_exhaustive()
    }
}

/// A short message that reaches a handset, or one part of a long one.
pub(crate) struct Arrival<'a> {
    pub number: &'a str,
    pub sender: &'a str,
    pub octets: &'a [u8],
    pub alphabet: Alphabet,
    pub data_coding: u8,
    pub part: Option<Part>,
    pub validity: Option<Duration>,
    pub at: Instant,
}

/// The effect of an arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// The handset rang; it had rung `before` times.
    Rang { before: u32 },
    /// A part; others are missing, or it was there already.
    Waits,
    /// A part for which there is no room.
    Lost,
}

#[derive(Clone, Copy)]
struct Handset {
    submits: u32,
    rings: u32,
    /// Index of its newest ring in the log, or `NONE`.
    newest: u32,
}

/// A ring in the log, which refers to the same handset's ring before it: a million take one allocation.
struct Logged {
    ring: Ring,
    earlier: u32,
}

type PartsKey = (Box<str>, Box<str>, u16, u8);

/// All handsets.
pub(crate) struct Ledger {
    record_texts: bool,
    handsets: HashMap<Box<str>, Handset>,
    log: Vec<Logged>,
    open: HashMap<PartsKey, Vec<Option<Box<[u8]>>>>,
    texts: [HashMap<Box<[u8]>, Arc<str>>; 3],
    senders: HashMap<Box<str>, Arc<str>>,
}

/// Numbers are compared without their plus sign: SMPP has it in the type of number.
fn bare(number: &str) -> &str {
    number.trim_start_matches('+')
}

impl Ledger {
    pub(crate) fn new(record_texts: bool) -> Self {
        Self {
            record_texts,
            handsets: HashMap::new(),
            log: Vec::new(),
            open: HashMap::new(),
            texts: [HashMap::new(), HashMap::new(), HashMap::new()],
            senders: HashMap::new(),
        }
    }

    /// Notes a submit to `number`; how many there were before.
    pub(crate) fn submit(&mut self, number: &str) -> u32 {
        let handset = self.handset(number);
        handset.submits += 1;
        handset.submits - 1
    }

    fn handset(&mut self, number: &str) -> &mut Handset {
        let number = bare(number);
        if !self.handsets.contains_key(number) {
            self.handsets.insert(number.into(), Handset { submits: 0, rings: 0, newest: NONE });
        }
        self.handsets.get_mut(number).unwrap_or_else(|| unreachable!("it was put in above"))
    }

    /// A short message reaches a handset.
    pub(crate) fn arrive(&mut self, arrival: &Arrival<'_>) -> Effect {
        let text = match arrival.part.filter(|part| part.total > 1) {
            None => self.text(arrival.alphabet, arrival.octets),
            Some(part) => match self.join(arrival, part) {
                Ok(whole) => self.text(arrival.alphabet, &whole),
                Err(effect) => return effect,
            },
        };
        let Ok(index) = u32::try_from(self.log.len()) else { return Effect::Lost };
        let sender = self.sender(arrival.sender);
        let handset = self.handset(arrival.number);
        let before = handset.rings;
        let earlier = std::mem::replace(&mut handset.newest, index);
        handset.rings += 1;
        self.log.push(Logged {
            ring: Ring {
                text,
                at: arrival.at,
                order: u64::from(index) + 1,
                validity: arrival.validity,
                data_coding: arrival.data_coding,
                sender,
            },
            earlier,
        });
        Effect::Rang { before }
    }

    /// The whole message once its last part is there. A handset drops a part that it has, and starts anew with a part
    /// of a message that it has shown.
    fn join(&mut self, arrival: &Arrival<'_>, part: Part) -> Result<Vec<u8>, Effect> {
        let key: PartsKey = (bare(arrival.number).into(), arrival.sender.into(), part.reference, part.total);
        if !self.open.contains_key(&key) && self.open.len() >= OPEN_MAX {
            return Err(Effect::Lost);
        }
        let octets = if self.record_texts { arrival.octets.into() } else { Box::default() };
        let parts = self.open.entry(key.clone()).or_insert_with(|| vec![None; usize::from(part.total)]);
        if let Some(slot) = parts.get_mut(usize::from(part.number).saturating_sub(1)) {
            slot.get_or_insert(octets);
        }
        if parts.iter().any(Option::is_none) {
            return Err(Effect::Waits);
        }
        let whole = parts.iter().flatten().flat_map(|part| part.iter().copied()).collect();
        self.open.remove(&key);
        Ok(whole)
    }

    fn text(&mut self, alphabet: Alphabet, octets: &[u8]) -> Arc<str> {
        if !self.record_texts {
            return Arc::default();
        }
        let known = &mut self.texts[alphabet as usize];
        if let Some(text) = known.get(octets) {
            return Arc::clone(text);
        }
        let text: Arc<str> = alphabet.decode(octets).into();
        if known.len() < INTERNED_MAX {
            known.insert(octets.into(), Arc::clone(&text));
        }
        text
    }

    fn sender(&mut self, sender: &str) -> Arc<str> {
        if let Some(known) = self.senders.get(sender) {
            return Arc::clone(known);
        }
        let shared: Arc<str> = sender.into();
        if self.senders.len() < INTERNED_MAX {
            self.senders.insert(sender.into(), Arc::clone(&shared));
        }
        shared
    }

    /// The rings of one number, oldest first.
    pub(crate) fn rings_of(&self, number: &str) -> Vec<Ring> {
        let mut rings = Vec::new();
        let mut at = self.handsets.get(bare(number)).map_or(NONE, |handset| handset.newest);
        while let Some(logged) = usize::try_from(at).ok().and_then(|index| self.log.get(index)) {
            rings.push(logged.ring.clone());
            at = logged.earlier;
        }
        rings.reverse();
        rings
    }

    /// How often each number rang; numbers that never did are not in it.
    pub(crate) fn ring_counts(&self) -> HashMap<String, u32> {
        self.handsets
            .iter()
            .filter(|(_, handset)| handset.rings > 0)
            .map(|(number, handset)| (number.to_string(), handset.rings))
            .collect()
    }

    /// The rings of all handsets.
    pub(crate) fn total_rings(&self) -> u64 {
        u64::try_from(self.log.len()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrival<'a>(number: &'a str, octets: &'a [u8], part: Option<(u16, u8, u8)>) -> Arrival<'a> {
        Arrival {
            number,
            sender: "1000",
            octets,
            alphabet: Alphabet::Latin1,
            data_coding: 3,
            part: part.map(|(reference, total, number)| Part { reference, total, number }),
            validity: None,
            at: Instant::now(),
        }
    }

    fn texts(ledger: &Ledger, number: &str) -> Vec<String> {
        ledger.rings_of(number).iter().map(|ring| ring.text.to_string()).collect()
    }

    #[test]
    fn rings_are_counted_per_number_with_or_without_its_plus_sign() {
        let mut ledger = Ledger::new(true);
        assert_eq!(ledger.arrive(&arrival("31611111111", b"a", None)), Effect::Rang { before: 0 });
        assert_eq!(ledger.arrive(&arrival("31622222222", b"b", None)), Effect::Rang { before: 0 });
        assert_eq!(ledger.arrive(&arrival("+31611111111", b"c", None)), Effect::Rang { before: 1 });
        assert_eq!(texts(&ledger, "+31611111111"), ["a", "c"]);
        assert_eq!(ledger.ring_counts()["31611111111"], 2);
        assert_eq!(ledger.total_rings(), 3);
        assert_eq!(ledger.rings_of("31611111111").iter().map(|r| r.order).collect::<Vec<_>>(), [1, 3]);
        assert!(ledger.rings_of("31633333333").is_empty());
    }

    #[test]
    fn a_long_message_rings_once_when_all_its_parts_are_there_in_any_order() {
        let mut ledger = Ledger::new(true);
        assert_eq!(ledger.arrive(&arrival("316", b"b", Some((9, 2, 2)))), Effect::Waits);
        assert_eq!(ledger.arrive(&arrival("316", b"b", Some((9, 2, 2)))), Effect::Waits, "a part twice");
        assert_eq!(ledger.arrive(&arrival("317", b"a", Some((9, 2, 1)))), Effect::Waits, "another phone");
        assert_eq!(ledger.arrive(&arrival("316", b"a", Some((8, 2, 1)))), Effect::Waits, "another message");
        assert_eq!(ledger.arrive(&arrival("316", b"a", Some((9, 2, 1)))), Effect::Rang { before: 0 });
        assert_eq!(texts(&ledger, "316"), ["ab"]);
        assert_eq!(ledger.arrive(&arrival("316", b"a", Some((9, 2, 1)))), Effect::Waits, "a late repetition");
        assert_eq!(ledger.total_rings(), 1);
    }

    #[test]
    fn equal_texts_are_kept_once_and_without_recording_not_at_all() {
        let mut ledger = Ledger::new(true);
        ledger.arrive(&arrival("316", b"same", None));
        ledger.arrive(&arrival("317", b"same", None));
        let (one, two) = (ledger.rings_of("316"), ledger.rings_of("317"));
        assert!(Arc::ptr_eq(&one[0].text, &two[0].text));

        let mut bare = Ledger::new(false);
        bare.arrive(&arrival("316", b"a", Some((1, 2, 1))));
        assert_eq!(bare.arrive(&arrival("316", b"b", Some((1, 2, 2)))), Effect::Rang { before: 0 });
        assert_eq!(texts(&bare, "316"), [""]);
    }

    #[test]
    fn submits_are_counted_per_number() {
        let mut ledger = Ledger::new(true);
        assert_eq!([ledger.submit("316"), ledger.submit("+316"), ledger.submit("317")], [0, 1, 0]);
        assert!(ledger.ring_counts().is_empty());
    }
}
