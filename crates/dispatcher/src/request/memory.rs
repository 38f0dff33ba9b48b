//! The memory that the bodies of all requests may take together, so that many at once wait instead of taking the process down.
//!
//! A body counts while it is there as text, and again while it is there as values. What it takes as values is reckoned by
//! [`json`](super::json) while they grow; before that it counts as the worst text of its length.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::http::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::problem::Problem;

/// A request waits for its room no longer than this.
const WAIT: Duration = Duration::from_secs(10);
/// Seconds after which a client that found no room tries again.
const RETRY_AFTER_S: u64 = 5;
/// One place of the semaphores, in bytes.
const UNIT_BYTES: usize = 1024;
/// A body of this size is not counted as text: all connections together hold fewer of them than a large one takes.
pub(super) const SMALL_BYTES: usize = 64 * 1024;

/// Texts of requests that may hold a shape: 32 of the largest.
pub(super) static TEXTS: LazyLock<Room> = LazyLock::new(|| Room::new(64 * 1024 * 1024));
/// Texts of libraries of areas: 3 of the largest, so that they take nothing from alerts.
pub(super) static LIBRARIES: LazyLock<Room> = LazyLock::new(|| Room::new(48 * 1024 * 1024));
/// Values of requests: 6 of the largest, or some thousands of the usual size.
pub(super) static TREES: LazyLock<Room> = LazyLock::new(|| Room::new(96 * 1024 * 1024));

/// Memory that several requests share.
#[derive(Debug)]
pub(super) struct Room(Arc<Semaphore>);

/// Memory that a request holds, until it is dropped.
#[derive(Debug)]
pub struct Held(OwnedSemaphorePermit);

impl Room {
    fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes / UNIT_BYTES)))
    }

    /// Takes memory when there is some. Requests are served in the order in which they came.
    ///
    /// # Errors
    /// 503 if there is none in time.
    pub(super) async fn take(&self, bytes: usize) -> Result<Held, Problem> {
        let taken = Arc::clone(&self.0).acquire_many_owned(units(bytes));
        let full = || {
            let detail = "other large requests take all memory for bodies; repeat the request later";
            Problem::try_later(StatusCode::SERVICE_UNAVAILABLE, RETRY_AFTER_S, detail)
        };
        match tokio::time::timeout(WAIT, taken).await {
            Ok(Ok(permit)) => Ok(Held(permit)),
            _ => Err(full()),
        }
    }
}

impl Held {
    /// Gives back all but `bytes`.
    pub(super) fn shrink(&mut self, bytes: usize) {
        let more = self.0.num_permits().saturating_sub(units(bytes) as usize);
        drop(self.0.split(more));
    }
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_request_waits_for_its_room_and_is_told_to_come_back() {
        let room = Room::new(10 * UNIT_BYTES);
        let mut first = room.take(6 * UNIT_BYTES + 1).await.unwrap();
        let refused = room.take(4 * UNIT_BYTES).await.unwrap_err();
        assert_eq!(refused.status, 503);
        assert!(refused.header.is_some(), "Retry-After");
        first.shrink(2 * UNIT_BYTES);
        let second = room.take(8 * UNIT_BYTES).await.unwrap();
        drop(first);
        assert_eq!(room.take(3 * UNIT_BYTES).await.unwrap_err().status, 503);
        drop(second);
        assert!(room.take(10 * UNIT_BYTES).await.is_ok());
    }
}
