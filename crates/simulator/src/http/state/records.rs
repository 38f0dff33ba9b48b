//! The messages that look-ups can find: the newest ones, by id, by reference and by number.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::http::contracts::contract::{Found, Search};
use crate::http::contracts::message::{Sms, Stage};

/// Messages that one look-up gives at most, as a page of the contracts that have pages.
const PAGE_MAX: usize = 50;
/// Time that the flooding filter looks back (Infobip), in which a number may get a few messages with the same text.
const FLOODING_WINDOW: Duration = Duration::from_hours(1);
const IDENTICAL_MAX: usize = 6;
const VARIED_MAX: usize = 20;

struct Slot {
    found: Found,
    taken: Instant,
}

/// Sequence numbers by a key.
type Index = HashMap<Box<str>, VecDeque<u64>>;

/// The messages that are kept.
pub(crate) struct Records {
    kept_max: usize,
    /// The sequence number of the first slot.
    first: u64,
    slots: VecDeque<Slot>,
    by_id: HashMap<Box<str>, u64>,
    by_reference: Index,
    by_number: Index,
}

impl Records {
    pub(crate) fn new(kept_max: usize) -> Self {
        Self {
            kept_max: kept_max.max(1),
            first: 0,
            slots: VecDeque::new(),
            by_id: HashMap::new(),
            by_reference: Index::new(),
            by_number: Index::new(),
        }
    }

    pub(crate) fn insert(&mut self, sms: &Arc<Sms>, taken: Instant) {
        while self.slots.len() >= self.kept_max {
            self.forget_oldest();
        }
        let n = self.first + u64::try_from(self.slots.len()).unwrap_or(u64::MAX);
        // The first recipient of a batch speaks for its id.
        self.by_id.entry(sms.id.as_str().into()).or_insert(n);
        if let Some(reference) = &sms.message.reference {
            self.by_reference.entry(reference.clone()).or_default().push_back(n);
        }
        self.by_number.entry(sms.message.to.clone()).or_default().push_back(n);
        let found = Found { sms: Arc::clone(sms), stage: Stage::Sent, changed_ms: sms.created_ms };
        self.slots.push_back(Slot { found, taken });
    }

    fn forget_oldest(&mut self) {
        let Some(slot) = self.slots.pop_front() else { return };
        let (n, sms) = (self.first, slot.found.sms);
        self.first += 1;
        if self.by_id.get(sms.id.as_str()) == Some(&n) {
            self.by_id.remove(sms.id.as_str());
        }
        if let Some(reference) = &sms.message.reference {
            forget(&mut self.by_reference, reference, n);
        }
        forget(&mut self.by_number, &sms.message.to, n);
    }

    fn slot(&self, n: u64) -> Option<&Slot> {
        self.slots.get(usize::try_from(n.checked_sub(self.first)?).ok()?)
    }

    fn numbered(index: &Index, key: &str) -> Vec<u64> {
        index.get(key).map(|ns| ns.iter().copied().collect()).unwrap_or_default()
    }

    /// A message reached a stage.
    pub(crate) fn settle(&mut self, sms: &Arc<Sms>, stage: Stage, at_ms: i64) {
        let ns = Self::numbered(&self.by_number, &sms.message.to);
        let n = ns
            .into_iter()
            .rev()
            .find(|n| self.slot(*n).is_some_and(|slot| Arc::ptr_eq(&slot.found.sms, sms)));
        let index = n.and_then(|n| usize::try_from(n - self.first).ok());
        if let Some(slot) = index.and_then(|index| self.slots.get_mut(index)) {
            slot.found.stage = stage;
            slot.found.changed_ms = at_ms;
        }
    }

    /// The newest messages that match, oldest first; none if nothing is asked for. An id is the provider's or a reference.
    pub(crate) fn find(&self, search: &Search) -> Vec<Found> {
        let ns = if let Some(id) = &search.id {
            match self.by_id.get(id.as_str()) {
                Some(n) => vec![*n],
                None if search.one => Vec::new(),
                None => Self::numbered(&self.by_reference, id),
            }
        } else if let Some(reference) = &search.reference {
            Self::numbered(&self.by_reference, reference)
        } else if let Some(number) = &search.number {
            Self::numbered(&self.by_number, number.trim_start_matches(['+', ' ']))
        } else {
            Vec::new()
        };
        let number = search.number.as_deref().map(|number| number.trim_start_matches(['+', ' ']));
        let found = ns.into_iter().rev().filter_map(|n| self.slot(n)).map(|slot| &slot.found);
        let newest = found.filter(|found| number.is_none_or(|number| *found.sms.message.to == *number));
        let mut page: Vec<Found> = newest.take(PAGE_MAX).cloned().collect();
        page.reverse();
        page
    }

    pub(crate) fn has_reference(&self, reference: &str) -> bool {
        self.by_reference.contains_key(reference)
    }

    /// Whether one more message of that text is one too many for that number.
    pub(crate) fn floods(&self, number: &str, text: &str, now: Instant) -> bool {
        let ns = Self::numbered(&self.by_number, number);
        let recent: Vec<&Slot> = ns
            .into_iter()
            .filter_map(|n| self.slot(n))
            .filter(|slot| now.saturating_duration_since(slot.taken) < FLOODING_WINDOW)
            .collect();
        let identical = recent.iter().filter(|slot| &*slot.found.sms.message.text == text).count();
        identical >= IDENTICAL_MAX || recent.len() >= VARIED_MAX
    }
}

fn forget(index: &mut Index, key: &str, n: u64) {
    if let Some(ns) = index.get_mut(key) {
        ns.retain(|kept| *kept != n);
        if ns.is_empty() {
            index.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::contracts::message::Message;

    fn sms(id: &str, number: &str, reference: &str) -> Arc<Sms> {
        let mut message = Message::new("1000", number, "x");
        message.reference = Some(reference.into());
        Arc::new(Sms { id: id.into(), message, created_ms: 5 })
    }

    fn ids(found: &[Found]) -> Vec<&str> {
        found.iter().map(|found| found.sms.id.as_str()).collect()
    }

    fn by(reference: &str) -> Search {
        Search { reference: Some(reference.into()), ..Search::default() }
    }

    #[test]
    fn the_oldest_is_forgotten_everywhere() {
        let (mut records, now) = (Records::new(2), Instant::now());
        for (id, number, reference) in
            [("a", "31612345678", "r"), ("b", "31612345678", "s"), ("c", "31687654321", "r")]
        {
            records.insert(&sms(id, number, reference), now);
        }
        assert_eq!(ids(&records.find(&by("r"))), ["c"]);
        assert!(records.has_reference("s"));
        let number = |number: &str| Search { number: Some(number.into()), ..Search::default() };
        assert_eq!(ids(&records.find(&number("+31612345678"))), ["b"]);
        let id = Search { id: Some("a".into()), one: true, ..Search::default() };
        assert!(records.find(&id).is_empty());
        records.insert(&sms("d", "31687654321", "t"), now);
        assert!(!records.has_reference("s"));
        assert!(records.find(&Search::default()).is_empty());
    }

    #[test]
    fn a_page_has_the_newest() {
        let (mut records, now) = (Records::new(99), Instant::now());
        for n in 0..60 {
            records.insert(&sms(&n.to_string(), "31612345678", "r"), now);
        }
        let found = records.find(&by("r"));
        assert_eq!((found.len(), ids(&found)[0], ids(&found)[49]), (50, "10", "59"));
    }

    #[test]
    fn a_stage_is_that_of_the_message_and_not_of_its_namesake() {
        let (mut records, now) = (Records::new(9), Instant::now());
        let (one, other) = (sms("a", "31612345678", "r"), sms("a", "31612345678", "r"));
        records.insert(&one, now);
        records.insert(&other, now);
        records.settle(&one, Stage::Expired, 7);
        let stages: Vec<Stage> = records.find(&by("r")).iter().map(|found| found.stage).collect();
        assert_eq!(stages, [Stage::Expired, Stage::Sent]);
    }

    #[tokio::test(start_paused = true)]
    async fn six_identical_messages_within_an_hour_are_enough() {
        let mut records = Records::new(99);
        let start = Instant::now();
        for n in 0..6 {
            assert!(!records.floods("31612345678", "x", start));
            records.insert(&sms(&n.to_string(), "31612345678", "r"), start);
        }
        assert!(records.floods("31612345678", "x", start) && !records.floods("31612345678", "y", start));
        assert!(!records.floods("31612345678", "x", start + FLOODING_WINDOW));
    }
}
