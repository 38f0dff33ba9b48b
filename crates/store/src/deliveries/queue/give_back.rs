//! Gives back what a claim leased that no caller got to see: its commit was not answered.

use klaroen_domain::decide::Decision;
use klaroen_domain::id::DeliveryId;
use klaroen_domain::time::Timestamp;

use crate::deliveries::deferred::DeferredEffects;
use crate::deliveries::outcomes::{Finished, Settling, finish_each};
use crate::engine::db::{Sql, on_tx};
use crate::engine::lock;
use crate::{Result, Store};

/// Few are under way or unknown at any time, and this is asked after a failure only: the token has no index.
const OF_CLAIM: Sql = Sql::new(
    "SELECT d.id FROM messages m JOIN deliveries d ON d.message_id = m.id
     WHERE NOT m.settled AND d.state = 'sending' AND d.lease_token = $1
     UNION ALL
     SELECT d.id FROM deliveries d WHERE d.state = 'unknown' AND d.lease_token = $1",
);

impl Store {
    /// Puts the deliveries that the claim with this token leased back into the queue, in time or when it counts as lost
    /// already. Returns how many that was. Only for the caller that made the claim, once it has ended without an answer:
    /// nothing of it was handed over.
    ///
    /// # Errors
    ///
    /// Returns a [`crate::StoreError`] if the database does not answer or refuses the statement, or
    /// [`crate::StoreError::Corrupt`] if a stored row cannot be read. The caller tries again then, if the same call may
    /// work later.
    pub async fn give_back(&self, gateway: &str, lease_token: i64, now: Timestamp) -> Result<u64> {
        let mut tx = self.db.begin().await?;
        // The server may still be at its commit.
        lock::Lock::Claim(lease_token).take(&mut tx).await?;
        let ids: Vec<i64> = on_tx!(&mut tx, conn, d =>
            sqlx::query_scalar(OF_CLAIM.of(d)).bind(lease_token).fetch_all(conn).await?);
        if ids.is_empty() {
            return Ok(0);
        }
        let back: Vec<Finished> = ids
            .into_iter()
            .map(|id| Finished {
                id: DeliveryId(id),
                lease_token,
                decision: Decision::PutBack { due_at: now, spent: false },
                provider_ids: Vec::new(),
                segments: 0,
                at: now,
            })
            .collect();
        let mut deferred = DeferredEffects::default();
        let counts = finish_each(&mut tx, gateway, &back, Settling::LATE, &mut deferred).await?;
        deferred.write(&mut tx).await?;
        tx.commit().await?;
        Ok(counts.applied)
    }
}
