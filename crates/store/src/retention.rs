//! Deleting what is no longer needed.

use std::time::Duration;

use klaroen_domain::time::Timestamp;

use crate::{Result, Store};

/// How long things are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Idempotency keys.
    pub idempotency: Duration,
    /// Receipts that no delivery claimed.
    pub parked_receipts: Duration,
}

impl Store {
    /// Deletes what is older than it may be, a bounded number of rows at a time; gives how many.
    ///
    /// # Errors
    /// What the database says.
    pub async fn prune(&self, _retention: &Retention, _now: Timestamp) -> Result<u64> {
        unimplemented!()
    }
}
