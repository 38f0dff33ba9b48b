//! A limit of what each key holds at once: connections of a peer, streams of an API key.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

/// Counts for each key what is held. It grows with what is held, not with who was ever seen.
#[derive(Debug)]
pub struct ConcurrencyLimit<K> {
    max: u32,
    held: Arc<Mutex<HashMap<K, u32>>>,
}

/// One thing that is held, until it is dropped.
#[derive(Debug)]
pub struct Slot<K: Eq + Hash> {
    key: K,
    held: Arc<Mutex<HashMap<K, u32>>>,
}

impl<K: Eq + Hash + Copy> ConcurrencyLimit<K> {
    /// At most `max` for each key.
    pub fn new(max: u32) -> Self {
        Self { max, held: Arc::default() }
    }

    /// Takes one more for `key`. Returns `None` if it holds as many as it may.
    #[must_use]
    pub fn acquire(&self, key: K) -> Option<Slot<K>> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let count = held.get(&key).copied().unwrap_or(0);
        if count >= self.max {
            return None;
        }
        held.insert(key, count + 1);
        Some(Slot { key, held: Arc::clone(&self.held) })
    }
}

impl<K: Eq + Hash> Drop for Slot<K> {
    fn drop(&mut self) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = held.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_own_limit_and_what_is_dropped_counts_no_more() {
        let limit = ConcurrencyLimit::new(2);
        let (one, two) = (limit.acquire('a'), limit.acquire('a'));
        assert!(one.is_some() && limit.acquire('a').is_none() && limit.acquire('b').is_some());
        drop(one);
        assert!(limit.acquire('a').is_some());
        drop((two, limit.acquire('a')));
        assert!(limit.held.lock().unwrap().is_empty(), "nobody is remembered who holds nothing");
    }
}
