//! Writing down what came of submits, in batches, fenced by the lease token.

use klaroen_domain::decide::Decision;
use klaroen_domain::id::DeliveryId;
use klaroen_domain::outcome::ProviderId;
use klaroen_domain::time::Timestamp;

use crate::{Result, Store};

/// What came of one attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct Finished {
    /// The delivery.
    pub id: DeliveryId,
    /// The fence: a write with another token than the row's changes nothing.
    pub lease_token: i64,
    /// What is to be done.
    pub decision: Decision,
    /// What the provider calls its parts, where it took it.
    pub provider_ids: Vec<ProviderId>,
    /// Segments that were sent.
    pub segments: u8,
    /// When the answer came.
    pub at: Timestamp,
}

/// What a batch changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FinishedCounts {
    /// Rows that moved.
    pub applied: u64,
    /// Rows whose lease had gone to another: nothing was changed.
    pub fenced: u64,
    /// Receipts that had come before their answer and were joined now.
    pub joined: u64,
}

impl Store {
    /// Writes a batch in one transaction and joins receipts that came early. `gateway` is the one that all were handed to.
    ///
    /// # Errors
    /// What the database says; nothing of the batch is written then.
    pub async fn finish(&self, _gateway: &str, _batch: &[Finished]) -> Result<FinishedCounts> {
        unimplemented!()
    }
}
