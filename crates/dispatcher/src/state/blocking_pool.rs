//! Work that keeps a processor busy for longer than other requests should wait: large shapes, whole libraries. It runs
//! beside the requests and a few at a time, so that a client that sends much of it waits by itself.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tracing::Span;

use crate::problem::Problem;
use crate::request::fields::{Node, Report};
use crate::request::json::Document;

/// Shapes that are looked at at once.
const SHAPES_AT_ONCE: usize = 2;
/// Libraries that are read at once: one is up to 16 MiB of text, as much again as shapes (three times as much in RD New), and
/// 16 MiB for the values of the feature that is read.
const LIBRARIES_AT_ONCE: usize = 1;
/// A body of this size holds some 500 corners, which are checked at once; larger ones go to the pool.
const SMALL_BYTES: usize = 16 * 1024;

/// A pool for one kind of heavy work, with a limit of jobs at once.
#[derive(Clone, Debug)]
pub struct BlockingPool(Arc<Semaphore>);

impl BlockingPool {
    /// For the shapes of alerts and of single areas.
    pub fn shapes() -> Self {
        Self(Arc::new(Semaphore::new(SHAPES_AT_ONCE)))
    }

    /// For collections of areas.
    pub fn libraries() -> Self {
        Self(Arc::new(Semaphore::new(LIBRARIES_AT_ONCE)))
    }

    /// Runs `work` on a thread of its own when it is its turn. Its place is taken until it is done, also where nobody
    /// waits for it any more.
    ///
    /// # Errors
    /// 500 if it panics.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let place = Arc::clone(&self.0).acquire_owned().await.map_err(|_| Problem::internal())?;
        let span = Span::current();
        let work = move || {
            let done = span.in_scope(work);
            drop(place);
            done
        };
        tokio::task::spawn_blocking(work).await.map_err(|error| {
            tracing::error!(%error, "work in the blocking pool did not finish");
            Problem::internal()
        })
    }

    /// Reads a document that may hold a shape, with everything that is wrong with it.
    ///
    /// # Errors
    /// As [`BlockingPool::run`].
    pub async fn read<T: Send + 'static>(
        &self,
        document: Document,
        reader: impl FnOnce(&Node<'_>) -> T + Send + 'static,
    ) -> Result<(T, Report), Problem> {
        let Document { value, length, held } = document;
        let read = move || {
            let report = Report::default();
            let read = reader(&Node::root(&value, &report));
            drop((value, held));
            (read, report)
        };
        if length <= SMALL_BYTES { Ok(read()) } else { self.run(read).await }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn no_more_than_allowed_runs_at_once() {
        let pool = BlockingPool::shapes();
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let work = || {
            let (running, most) = (Arc::clone(&running), Arc::clone(&most));
            pool.run(move || {
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                std::thread::yield_now();
                running.fetch_sub(1, Ordering::SeqCst);
            })
        };
        let all = futures::future::join_all((0..50).map(|_| work())).await;
        assert!(all.iter().all(Result::is_ok));
        assert!(most.load(Ordering::SeqCst) <= SHAPES_AT_ONCE, "{most:?}");
    }

    #[tokio::test]
    async fn a_panic_is_an_answer_and_gives_its_place_back() {
        let pool = BlockingPool::libraries();
        assert_eq!(pool.run(|| panic!("on purpose")).await.unwrap_err().status, 500);
        assert_eq!(pool.run(|| 7).await.unwrap(), 7);
    }
}
