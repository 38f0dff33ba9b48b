//! Attempts with an unknown outcome, kept so that a late response can settle them. Each attempt is kept separately,
//! because the response to the first attempt says nothing about the second.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use klaroen_domain::id::DeliveryId;

use crate::session::attempt::Attempt;

/// More than the window of any connection. The oldest are dropped; a receipt or the policy settles them.
const KEPT: usize = 10_000;

/// More late responses than come at one time.
const EARLY: usize = 1_000;

/// A delivery and the lease token of the attempt.
type Key = (DeliveryId, i64);

#[derive(Debug, Default)]
struct Entries {
    by_key: HashMap<Key, Attempt>,
    oldest_first: VecDeque<Key>,
    /// Late responses to attempts that were not remembered when they came, the oldest first.
    early: VecDeque<Key>,
}

/// A bounded memory of attempts. The oldest is dropped first.
#[derive(Debug, Default)]
pub(crate) struct UnknownAttempts(Mutex<Entries>);

impl UnknownAttempts {
    /// Remembers an attempt.
    pub(crate) fn remember(&self, attempt: Attempt) {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (attempt.id, attempt.lease_token);
        if entries.by_key.insert(key, attempt).is_none() {
            entries.oldest_first.push_back(key);
        }
        while entries.oldest_first.len() > KEPT {
            let oldest = entries.oldest_first.pop_front();
            oldest.and_then(|key| entries.by_key.remove(&key));
        }
    }

    /// Whether a late response to an attempt that is not remembered came for the first time. It may be too early: a
    /// request that is dropped reports at that moment which messages had not left, before the attempt is remembered.
    /// The adapter is asked to send it again then.
    pub(crate) fn may_be_early(&self, id: DeliveryId, lease_token: i64) -> bool {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let first = !entries.early.contains(&(id, lease_token));
        if first {
            entries.early.push_back((id, lease_token));
            if entries.early.len() > EARLY {
                entries.early.pop_front();
            }
        }
        first
    }

    /// The attempt of a late response. It is kept: the response may be repeated, and the fence is in the database.
    pub(crate) fn recall(&self, id: DeliveryId, lease_token: i64) -> Option<Attempt> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).by_key.get(&(id, lease_token)).copied()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use klaroen_domain::alert::Priority;
    use klaroen_domain::time::Timestamp;

    use super::*;

    fn attempt(id: i64, lease_token: i64) -> Attempt {
        Attempt {
            id: DeliveryId(id),
            lease_token,
            retries: 0,
            claims: 0,
            expires_at: Timestamp::from_millis(1),
            priority: Priority::Urgent,
            settle_after: Duration::from_secs(30),
        }
    }

    #[test]
    fn it_is_bounded_and_the_oldest_leaves() {
        let unknown_attempts = UnknownAttempts::default();
        for id in 0..=10_000 {
            unknown_attempts.remember(attempt(id, 1));
        }
        assert!(unknown_attempts.recall(DeliveryId(0), 1).is_none());
        assert!(unknown_attempts.recall(DeliveryId(10_000), 1).is_some());
    }

    #[test]
    fn each_attempt_is_remembered_by_itself() {
        let unknown_attempts = UnknownAttempts::default();
        unknown_attempts.remember(attempt(7, 1));
        unknown_attempts.remember(attempt(7, 2));
        let tokens =
            [1, 2, 3].map(|token| unknown_attempts.recall(DeliveryId(7), token).map(|a| a.lease_token));
        assert_eq!(tokens, [Some(1), Some(2), None]);
    }

    #[test]
    fn an_answer_may_be_early_once() {
        let unknown_attempts = UnknownAttempts::default();
        let first =
            [(7, 1), (7, 2), (7, 1)].map(|(id, token)| unknown_attempts.may_be_early(DeliveryId(id), token));
        assert_eq!(first, [true, true, false]);
    }
}
