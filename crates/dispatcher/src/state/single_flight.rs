//! What many watch, looked at once: to count an alert of a million people takes the database a good part of a second, however
//! many desks have it on their screen.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::time::Instant;

/// What was seen is shown for so long: less than a watcher waits, so that one alone sees something new at each look.
const FRESH: Duration = Duration::from_millis(300);
/// And for so many times as long as the look took: a fifth of the time at most goes into looking.
const REST: u32 = 4;

/// The things that are watched, each as long as somebody does.
#[derive(Debug)]
pub struct Looks<K, T>(Mutex<HashMap<K, Weak<Look<T>>>>);

/// One thing that is watched.
#[derive(Debug)]
pub struct Look<T>(tokio::sync::Mutex<Option<Seen<T>>>);

#[derive(Debug)]
struct Seen<T> {
    what: T,
    fresh_until: Instant,
}

impl<K, T> Default for Looks<K, T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash, T> Looks<K, T> {
    /// What all who watch `key` share.
    pub fn share(&self, key: K) -> Arc<Look<T>> {
        let mut watched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(look) = watched.get(&key).and_then(Weak::upgrade) {
            return look;
        }
        watched.retain(|_, look| look.strong_count() > 0);
        let look = Arc::new(Look(tokio::sync::Mutex::default()));
        watched.insert(key, Arc::downgrade(&look));
        look
    }
}

impl<T: Clone> Look<T> {
    /// What somebody saw a moment ago, or what `ask` gives. One asks at a time; the others wait, and see the same.
    ///
    /// # Errors
    /// What `ask` says, to the one whose it is.
    pub async fn see<E, F>(&self, ask: impl FnOnce() -> F) -> Result<T, E>
    where
        F: Future<Output = Result<T, E>>,
    {
        let mut seen = self.0.lock().await;
        let began = Instant::now();
        if let Some(seen) = seen.as_ref().filter(|seen| began < seen.fresh_until) {
            return Ok(seen.what.clone());
        }
        let what = ask().await?;
        let fresh_until = Instant::now() + FRESH.max(began.elapsed() * REST);
        *seen = Some(Seen { what: what.clone(), fresh_until });
        Ok(what)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn those_who_watch_one_thing_have_it_looked_at_once() {
        let looks = Looks::default();
        let asked = AtomicU32::new(0);
        let ask = async |takes: Duration| {
            let nth = asked.fetch_add(1, Ordering::Relaxed) + 1;
            tokio::time::sleep(takes).await;
            Ok::<u32, ()>(nth)
        };
        let quick = Duration::from_millis(1);
        let (one, two) = (looks.share('a'), looks.share('a'));
        let both = tokio::join!(one.see(|| ask(quick)), two.see(|| ask(quick)));
        assert_eq!(both, (Ok(1), Ok(1)));
        assert_eq!(looks.share('b').see(|| ask(quick)).await, Ok(2), "another thing is looked at by itself");
        tokio::time::advance(FRESH).await;
        // A look that takes long is good for long.
        assert_eq!(one.see(|| ask(2 * FRESH)).await, Ok(3));
        tokio::time::advance(3 * FRESH).await;
        assert_eq!(two.see(|| ask(quick)).await, Ok(3));
        tokio::time::advance(6 * FRESH).await;
        assert_eq!(two.see(|| ask(quick)).await, Ok(4));
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_that_failed_is_seen_by_nobody_else() {
        let looks = Looks::default();
        let look = looks.share('a');
        assert_eq!(look.see(async || Err::<u32, _>("away")).await, Err("away"));
        assert_eq!(look.see(async || Ok::<_, &str>(1)).await, Ok(1));
        drop(look);
        assert_eq!(
            looks.share('a').see(async || Ok::<_, &str>(2)).await,
            Ok(2),
            "nothing is kept that nobody watches"
        );
    }
}
