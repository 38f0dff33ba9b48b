//! Upkeep: set statements that a worker runs each second. Every one is idempotent and gives the number of rows it changed.

use std::time::Duration;

use klaroen_domain::time::Timestamp;

use crate::{Result, Store};

/// What one sweep changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Leases that ran out: now `unknown`.
    pub leases_lost: u64,
    /// `unknown` settled by a parked receipt about the same phone.
    pub settled_by_receipt: u64,
    /// `unknown` that the policy sends once more.
    pub resent: u64,
    /// `unknown` that the policy leaves as it is.
    pub held: u64,
    /// Deliveries whose alert's time ran out before they left.
    pub expired: u64,
    /// Alerts whose time ran out.
    pub alerts_expired: u64,
    /// Follow-ups (end, update, retract) for people whose start settled late.
    pub followed_up: u64,
    /// `sent` without a receipt in time.
    pub no_receipt: u64,
    /// Messages that are done with.
    pub messages_settled: u64,
}

impl Store {
    /// Everything that time brings about. `receipt_grace` is how long after a message's expiry a receipt may come.
    ///
    /// # Errors
    /// What the database says; what was done stays.
    pub async fn sweep(&self, _receipt_grace: Duration, _now: Timestamp) -> Result<Swept> {
        unimplemented!()
    }

    /// Messages whose deliveries do not add up to their recipients: must be 0, and is a metric.
    ///
    /// # Errors
    /// What the database says.
    pub async fn broken_sums(&self) -> Result<u64> {
        unimplemented!()
    }

    /// Deliveries that wait, by lane, and the age of the oldest that is due.
    ///
    /// # Errors
    /// What the database says.
    pub async fn queue_depth(&self, _now: Timestamp) -> Result<QueueDepth> {
        unimplemented!()
    }
}

/// How much waits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueDepth {
    /// By lane, 0 to 4.
    pub by_lane: Vec<u64>,
    /// Age of the oldest due delivery.
    pub oldest_due: Duration,
}
