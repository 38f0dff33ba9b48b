//! Attempts that ended in doubt, kept so that an answer that comes late can still settle them.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use klaroen_domain::id::DeliveryId;

use crate::submit::Attempt;

/// More than the window of any connection; the oldest are forgotten and settled by receipt or policy instead.
const KEPT: usize = 10_000;

#[derive(Debug, Default)]
struct Entries {
    by_id: HashMap<DeliveryId, Attempt>,
    oldest_first: VecDeque<DeliveryId>,
}

/// A bounded memory of attempts; the oldest leaves first.
#[derive(Debug, Default)]
pub(crate) struct InDoubt(Mutex<Entries>);

impl InDoubt {
    /// Remembers an attempt; a later attempt of the same delivery takes its place.
    pub(crate) fn remember(&self, attempt: Attempt) {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.by_id.insert(attempt.id, attempt).is_none() {
            entries.oldest_first.push_back(attempt.id);
        }
        while entries.oldest_first.len() > KEPT {
            let oldest = entries.oldest_first.pop_front();
            oldest.and_then(|id| entries.by_id.remove(&id));
        }
    }

    /// The attempt of which a late answer came. It stays: the answer may be repeated, and the fence is in the database.
    pub(crate) fn recall(&self, id: DeliveryId) -> Option<Attempt> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).by_id.get(&id).copied()
    }
}

#[cfg(test)]
mod tests {
    use klaroen_domain::alert::Priority;
    use klaroen_domain::time::Timestamp;

    use super::*;

    fn attempt(id: i64, lease_token: i64) -> Attempt {
        Attempt {
            id: DeliveryId(id),
            lease_token,
            retries: 0,
            expires_at: Timestamp::from_millis(1),
            priority: Priority::Urgent,
        }
    }

    #[test]
    fn it_is_bounded_and_the_newest_attempt_counts() {
        let in_doubt = InDoubt::default();
        for id in 0..=10_000 {
            in_doubt.remember(attempt(id, 1));
        }
        assert!(in_doubt.recall(DeliveryId(0)).is_none());
        in_doubt.remember(attempt(7, 2));
        assert_eq!(in_doubt.recall(DeliveryId(7)).unwrap().lease_token, 2);
        assert!(in_doubt.recall(DeliveryId(10_000)).is_some());
    }
}
