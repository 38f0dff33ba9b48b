//! Reads once what many clients watch: to count an alert of a million people takes the database a good part of a second,
//! however many desks have it on their screen.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::time::Instant;

/// A value stays fresh for this long: less than a client waits, so that a single client gets a new value at each read.
const FRESH_FOR: Duration = Duration::from_millis(300);
/// And for this many times as long as the read took: at most a fifth of the time is spent on reading.
const REST: u32 = 4;

/// The values that are watched, each as long as a client watches it.
#[derive(Debug)]
pub struct SingleFlight<K, T>(Mutex<HashMap<K, Weak<Flight<T>>>>);

/// One value that is watched.
#[derive(Debug)]
pub struct Flight<T>(tokio::sync::Mutex<Option<Cached<T>>>);

#[derive(Debug)]
struct Cached<T> {
    value: T,
    fresh_until: Instant,
}

impl<K, T> Default for SingleFlight<K, T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash, T> SingleFlight<K, T> {
    /// The entry that all clients of `key` share.
    pub fn share(&self, key: K) -> Arc<Flight<T>> {
        let mut watched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(look) = watched.get(&key).and_then(Weak::upgrade) {
            return look;
        }
        watched.retain(|_, look| look.strong_count() > 0);
        let look = Arc::new(Flight(tokio::sync::Mutex::default()));
        watched.insert(key, Arc::downgrade(&look));
        look
    }
}

impl<T: Clone> Flight<T> {
    /// Returns the fresh value, or the result of `fetch`. One client fetches at a time; the others wait and get the same.
    ///
    /// # Errors
    /// The error of `fetch`, to the client that called it.
    pub async fn get_or_fetch<E, F>(&self, fetch: impl FnOnce() -> F) -> Result<T, E>
    where
        F: Future<Output = Result<T, E>>,
    {
        let mut last = self.0.lock().await;
        let began = Instant::now();
        if let Some(cached) = last.as_ref().filter(|cached| began < cached.fresh_until) {
            return Ok(cached.value.clone());
        }
        let value = fetch().await?;
        let fresh_until = Instant::now() + FRESH_FOR.max(began.elapsed() * REST);
        *last = Some(Cached { value: value.clone(), fresh_until });
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn those_who_watch_one_thing_have_it_looked_at_once() {
        let flights = SingleFlight::default();
        let asked = AtomicU32::new(0);
        let ask = async |takes: Duration| {
            let nth = asked.fetch_add(1, Ordering::Relaxed) + 1;
            tokio::time::sleep(takes).await;
            Ok::<u32, ()>(nth)
        };
        let quick = Duration::from_millis(1);
        let (one, two) = (flights.share('a'), flights.share('a'));
        let both = tokio::join!(one.get_or_fetch(|| ask(quick)), two.get_or_fetch(|| ask(quick)));
        assert_eq!(both, (Ok(1), Ok(1)));
        assert_eq!(
            flights.share('b').get_or_fetch(|| ask(quick)).await,
            Ok(2),
            "another thing is looked at by itself"
        );
        tokio::time::advance(FRESH_FOR).await;
        // A look that takes long is good for long.
        assert_eq!(one.get_or_fetch(|| ask(2 * FRESH_FOR)).await, Ok(3));
        tokio::time::advance(3 * FRESH_FOR).await;
        assert_eq!(two.get_or_fetch(|| ask(quick)).await, Ok(3));
        tokio::time::advance(6 * FRESH_FOR).await;
        assert_eq!(two.get_or_fetch(|| ask(quick)).await, Ok(4));
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_that_failed_is_seen_by_nobody_else() {
        let flights = SingleFlight::default();
        let look = flights.share('a');
        assert_eq!(look.get_or_fetch(async || Err::<u32, _>("away")).await, Err("away"));
        assert_eq!(look.get_or_fetch(async || Ok::<_, &str>(1)).await, Ok(1));
        drop(look);
        assert_eq!(
            flights.share('a').get_or_fetch(async || Ok::<_, &str>(2)).await,
            Ok(2),
            "nothing is kept that nobody watches"
        );
    }
}
