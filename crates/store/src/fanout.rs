//! Writing deliveries page by page, and again after a crash.

use klaroen_domain::id::AlertId;
use klaroen_domain::time::Timestamp;

use crate::matching::MatchRules;
use crate::{Result, Store};

/// Deliveries that one transaction writes.
pub const PAGE: usize = 10_000;

impl Store {
    /// Writes what remains of an alert's deliveries; `woken` is called after each page that was committed. Idempotent: after
    /// a crash it matches again and adds who is missing.
    ///
    /// # Errors
    /// What the database says; what was written stays, and the next call goes on.
    pub async fn continue_fanout(
        &self,
        _alert: AlertId,
        _rules: &MatchRules,
        _now: Timestamp,
        _woken: impl Fn() + Send,
    ) -> Result<()> {
        unimplemented!()
    }

    /// Alerts whose deliveries were not all written: a crash cut them off.
    ///
    /// # Errors
    /// What the database says.
    pub async fn open_fanouts(&self) -> Result<Vec<AlertId>> {
        unimplemented!()
    }
}
