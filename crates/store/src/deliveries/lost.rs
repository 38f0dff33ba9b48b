//! Attempts that were lost: leases that ran out, and what the policy makes of those that nothing else settles.

use klaroen_domain::alert::Priority;
use klaroen_domain::decide::{Settlement, settle};
use klaroen_domain::delivery::DeliveryEvent;
use klaroen_domain::time::Timestamp;

use crate::deliveries::doubts::ASKED_WITHIN;
use crate::deliveries::lifecycle::{self, Standing, Step};
use crate::engine::db::{Sql, Tx, on_db, on_tx};
use crate::engine::sql::sql;
use crate::{Result, Store};

/// Doubts that one sweep takes.
const BATCH: i64 = 1_000;

/// In the order of the ids, as who writes answers locks them. `$1`: the present moment; `$2`: the channel whose deliveries are lost
/// whatever their leases say, or null for every one whose lease ran out.
///
/// `CROSS JOIN` keeps the order of the loops in SQLite: few messages are open.
pub(crate) const LOST: Sql = sql!(
    "SELECT d.id, d.state, d.in_doubt, m.priority FROM messages m CROSS JOIN deliveries d
     WHERE d.message_id = m.id AND NOT m.settled AND d.state = 'sending'
         AND (d.channel = $2 OR ($2 IS NULL AND d.lease_until <= $1))
     ORDER BY d.id {lock(d)}"
);
/// Deliveries that are due for the policy, locked: after their time, and if the provider can be asked, once it was asked in vain
/// or no worker asks (`$3`). Deliveries that another transaction settles at this moment are passed over.
const UNSETTLED: Sql = sql!(
    "SELECT d.id, d.state, d.in_doubt, m.priority, m.expires_at > $1 AND COALESCE(a.state = 'active', TRUE)
     FROM deliveries d JOIN messages m ON m.id = d.message_id LEFT JOIN alerts a ON a.id = d.alert_id
     WHERE d.state = 'unknown' AND d.settle_at IS NOT NULL AND d.settle_at <= $1
         AND (d.settle_at <= $3 OR NOT EXISTS (
             SELECT 1 FROM doubts x JOIN channels c ON c.gateway = x.gateway AND c.can_be_asked
             WHERE x.delivery_id = d.id AND x.lease_token = d.lease_token AND x.ask_at IS NOT NULL))
     LIMIT $2 {lock_skip(d)}"
);

/// A row of [`LOST`]: id, state, in doubt, priority.
type LostRow = (i64, String, bool, String);
/// A row of [`UNSETTLED`]: the same, and whether its alert runs.
type UnsettledRow = (i64, String, bool, String, bool);

/// Puts in doubt the deliveries that a channel had in flight or, without a channel, all that have outlived their lease.
/// Returns how many that was.
pub(crate) async fn lose(tx: &mut Tx, channel: Option<String>, now: Timestamp) -> Result<u64> {
    let rows: Vec<LostRow> = on_tx!(&mut *tx, conn, d => sqlx::query_as(LOST.of(d))
        .bind(now.as_millis()).bind(channel).fetch_all(conn).await?);
    let lost = rows.iter().map(|(id, state, in_doubt, priority)| {
        let delivery = Standing::new(*id, state, *in_doubt)?;
        let priority: Priority = priority.parse().unwrap_or(Priority::Normal);
        let step = Step::new(delivery, DeliveryEvent::LeaseLost, now).because("lease_lost");
        Ok(Step { settle_at: Some(now.plus(priority.settle_after())), ..step })
    });
    let steps = lost.collect::<Result<Vec<_>>>()?;
    lifecycle::apply(tx, &steps).await
}

/// The actions of the policy on lost submits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ByPolicy {
    /// Sent once more.
    pub(crate) resent: u64,
    /// Left as they are.
    pub(crate) held: u64,
}

impl Store {
    /// Puts in doubt the deliveries that have outlived their lease. Returns how many that was.
    pub(crate) async fn lose_leases(&self, now: Timestamp) -> Result<u64> {
        let mut tx = self.db.begin().await?;
        let lost = lose(&mut tx, None, now).await?;
        tx.commit().await?;
        Ok(lost)
    }

    /// Carries out what the policy says of lost submits whose time to be settled otherwise is over.
    pub(crate) async fn settle_by_policy(&self, now: Timestamp) -> Result<ByPolicy> {
        let (at, unasked) = (now.as_millis(), now.minus(ASKED_WITHIN).as_millis());
        // Looked up among the readers first: most seconds there is nothing to settle, and nothing to lock for.
        let seen: Vec<UnsettledRow> = on_db!(read self.db, pool, d => sqlx::query_as(UNSETTLED.of(d))
            .bind(at).bind(1_i64).bind(unasked).fetch_all(pool).await?);
        let mut by_policy = ByPolicy::default();
        if seen.is_empty() {
            return Ok(by_policy);
        }
        let mut tx = self.db.begin().await?;
        let rows: Vec<UnsettledRow> = on_tx!(&mut tx, conn, d => sqlx::query_as(UNSETTLED.of(d))
            .bind(at).bind(BATCH).bind(unasked).fetch_all(conn).await?);
        let mut steps = Vec::with_capacity(rows.len());
        for (id, state, in_doubt, priority, running) in rows {
            let settlement = settle(priority.parse().unwrap_or(Priority::Normal), in_doubt, running);
            let step = Step::new(Standing::new(id, &state, in_doubt)?, settlement.event(), now);
            steps.push(match settlement {
                Settlement::Resend => {
                    by_policy.resent += 1;
                    Step { due_at: Some(now), ..step.because("policy_resend") }
                }
                Settlement::Hold => {
                    by_policy.held += 1;
                    step.because("policy_hold")
                }
            });
        }
        lifecycle::apply(&mut tx, &steps).await?;
        tx.commit().await?;
        Ok(by_policy)
    }
}
