//! Upkeep: statements that a worker runs each second. Every one is idempotent and returns the number of rows it changed. Work
//! that may concern a whole alert is done page by page ([`crate::deliveries::cancel`], [`crate::alerts::follow_ups`]).

use std::time::Duration;

use klaroen_domain::alert::LANES;
use klaroen_domain::id::OrganisationId;
use klaroen_domain::time::Timestamp;
use serde_json::json;
use uuid::Uuid;

use crate::deliveries::deferred::DeferredEffects;
use crate::deliveries::lost::ByPolicy;
use crate::deliveries::receipts::parked::unpark;
use crate::deliveries::receipts::{PartReceipt, apply};
use crate::engine::db::{Sql, on_db, on_tx};
use crate::engine::from_row::from_row;
use crate::tenancy::audit;
use crate::{Actor, Result, Store, StoreError};

/// The changes that one sweep made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Leases that ran out: now `unknown`.
    pub leases_lost: u64,
    /// Parked receipts that were joined: by their id, or to an `unknown` delivery by the phone that they are about.
    pub receipts_joined: u64,
    /// `unknown` that the policy sends once more.
    pub resent: u64,
    /// `unknown` that the policy leaves as it is.
    pub held: u64,
    /// Deliveries whose message's time ran out before they left.
    pub expired: u64,
    /// Deliveries that were put back after their alert was closed, or were left of the many that it had.
    pub cancelled: u64,
    /// Alerts whose time ran out.
    pub alerts_expired: u64,
    /// Follow-ups (end, update, retract) for people whose start settled late.
    pub followed_up: u64,
    /// `sent` without a receipt in time.
    pub no_receipt: u64,
    /// Messages that are done with.
    pub messages_settled: u64,
}

/// An answer comes within milliseconds of a receipt that overtook it; after this it is not coming.
const PHONE_JOIN_AFTER: Duration = Duration::from_secs(2);

/// Rows that one sweep takes of the kinds that are handled one by one.
const BATCH: i64 = 1_000;

/// Receipts whose submit answer is there after all: none is known to come to that, and none may wait for ever. CROSS JOIN keeps
/// the order of the loops: this runs each second, and must not read every receipt that ever came.
pub(crate) const PARKED_BY_ID: Sql = Sql::each(
    "SELECT r.id, s.delivery_id, s.part, r.status, r.error, r.received_at, MAX(s.submitted_at) AS submitted_at
     FROM (SELECT * FROM receipts
           WHERE delivery_id IS NULL AND received_at <= $2 ORDER BY received_at DESC LIMIT $1) r
         CROSS JOIN submissions s ON s.gateway = r.gateway AND s.provider_id = r.provider_id
             AND s.submitted_at <= r.received_at + 60000
         CROSS JOIN deliveries d ON d.id = s.delivery_id AND (r.recipient IS NULL OR d.recipient = r.recipient)
     GROUP BY r.id",
    "SELECT DISTINCT ON (r.id) r.id, s.delivery_id, s.part, r.status, r.error, r.received_at
     FROM (SELECT * FROM receipts
           WHERE delivery_id IS NULL AND received_at <= $2 ORDER BY received_at DESC LIMIT $1) r
         JOIN submissions s ON s.gateway = r.gateway AND s.provider_id = r.provider_id
             AND s.submitted_at <= r.received_at + 60000
         JOIN deliveries d ON d.id = s.delivery_id AND (r.recipient IS NULL OR d.recipient = r.recipient)
     ORDER BY r.id, s.submitted_at DESC",
);
/// A lost answer took the provider's id with it; but the receipt names the phone. It counts if exactly one submit to that
/// phone through that gateway is in doubt and was there before the receipt, if none is under way whose answer may still
/// claim it, if no test message to that phone through that gateway is without an answer either (it would be the receipt of
/// that), and once it has been parked for [`PHONE_JOIN_AFTER`]. The doubts are few, so the search begins with them.
pub(crate) const PARKED_BY_PHONE: Sql = Sql::each(
    "SELECT r.id, MIN(d.id) AS delivery_id, 0 AS part, r.status, r.error, r.received_at
     FROM (SELECT id, recipient, message_id, channel FROM deliveries
           WHERE state = 'unknown' AND changed_at >= $2 - 604800000
           UNION ALL
           SELECT id, recipient, message_id, channel FROM deliveries
           WHERE in_doubt AND state = 'queued' AND message_id IN (SELECT id FROM messages WHERE NOT settled)) d
         CROSS JOIN receipts r ON r.recipient = d.recipient AND r.delivery_id IS NULL
         JOIN messages m ON m.id = d.message_id
     WHERE m.created_at <= r.received_at AND r.received_at <= $2
         AND substr(d.channel, 1, length(r.gateway) + 1) = r.gateway || '/'
         AND NOT EXISTS (SELECT 1 FROM deliveries o WHERE o.recipient = r.recipient AND o.state = 'sending')
         AND NOT EXISTS (SELECT 1 FROM gateway_tests t WHERE t.gateway = r.gateway AND t.recipient = r.recipient
             AND t.provider_id IS NULL AND t.state IN ('submitting', 'accepted', 'unknown', 'no_receipt')
             AND t.submitted_at BETWEEN r.received_at - 604800000 AND r.received_at + 60000)
     GROUP BY r.id HAVING COUNT(*) = 1 LIMIT $1",
    "SELECT r.id, MIN(d.id) AS delivery_id, 0::bigint AS part, r.status, r.error, r.received_at
     FROM (SELECT id, recipient, message_id, channel FROM deliveries
           WHERE state = 'unknown' AND changed_at >= $2 - 604800000
           UNION ALL
           SELECT id, recipient, message_id, channel FROM deliveries
           WHERE in_doubt AND state = 'queued' AND message_id IN (SELECT id FROM messages WHERE NOT settled)) d
         JOIN receipts r ON r.recipient = d.recipient AND r.delivery_id IS NULL
         JOIN messages m ON m.id = d.message_id
     WHERE m.created_at <= r.received_at AND r.received_at <= $2
         AND substr(d.channel, 1, length(r.gateway) + 1) = r.gateway || '/'
         AND NOT EXISTS (SELECT 1 FROM deliveries o WHERE o.recipient = r.recipient AND o.state = 'sending')
         AND NOT EXISTS (SELECT 1 FROM gateway_tests t WHERE t.gateway = r.gateway AND t.recipient = r.recipient
             AND t.provider_id IS NULL AND t.state IN ('submitting', 'accepted', 'unknown', 'no_receipt')
             AND t.submitted_at BETWEEN r.received_at - 604800000 AND r.received_at + 60000)
     GROUP BY r.id HAVING COUNT(*) = 1 LIMIT $1",
);
const EXPIRED_ALERTS: Sql = Sql::new(
    "UPDATE alerts SET state = 'expired', closed_at = $1 WHERE state = 'active' AND expires_at <= $1
     RETURNING id, organisation_id",
);
const SETTLE_MESSAGES: Sql = Sql::each(
    "UPDATE messages SET settled = TRUE
     WHERE NOT settled AND NOT awaits_start
         AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.message_id = messages.id
                         AND d.state IN ('queued', 'sending', 'sent'))
         AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.message_id = messages.id
                         AND d.state = 'unknown' AND d.settle_at IS NOT NULL)
         AND NOT EXISTS (SELECT 1 FROM fanouts f WHERE f.alert_id = messages.alert_id AND NOT f.done)
         AND id IN (SELECT unhex(j.value) FROM json_each($1) j)",
    "UPDATE messages SET settled = TRUE
     WHERE NOT settled AND NOT awaits_start
         AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.message_id = messages.id
                         AND d.state IN ('queued', 'sending', 'sent'))
         AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.message_id = messages.id
                         AND d.state = 'unknown' AND d.settle_at IS NOT NULL)
         AND NOT EXISTS (SELECT 1 FROM fanouts f WHERE f.alert_id = messages.alert_id AND NOT f.done)
         AND id IN (SELECT value::uuid FROM json_array_elements_text($1::json))",
);
/// Messages to which no process adds deliveries at this moment; on PostgreSQL none can, until this transaction ends.
const OPEN_MESSAGES: Sql = Sql::each(
    "SELECT id FROM messages WHERE NOT settled AND NOT awaits_start",
    "SELECT id FROM messages WHERE NOT settled AND NOT awaits_start FOR NO KEY UPDATE SKIP LOCKED",
);
const BROKEN_SUMS: Sql = Sql::new(
    "SELECT COUNT(*) FROM messages m
     WHERE NOT settled AND recipients <> (SELECT COUNT(*) FROM deliveries d WHERE d.message_id = m.id)",
);
const DEPTH: Sql = Sql::new(
    "SELECT m.lane, COUNT(*), MIN(d.due_at) FROM messages m JOIN deliveries d ON d.message_id = m.id
     WHERE NOT m.settled AND d.state = 'queued' GROUP BY m.lane",
);

from_row! {
    struct ParkedRow {
        id: i64,
        delivery_id: i64,
        part: i64,
        status: String,
        error: Option<String>,
        received_at: i64,
    }
}

impl Store {
    /// Everything that time brings about. `receipt_grace` is how long after a message's expiry a receipt may come.
    ///
    /// # Errors
    ///
    /// Returns the first [`StoreError`] that a step returns. Each step is tried all the same: one bad row must not stop the
    /// others.
    pub async fn sweep(&self, receipt_grace: Duration, now: Timestamp) -> Result<Swept> {
        let mut failed = None;
        let swept = Swept {
            leases_lost: kept(&mut failed, self.lose_leases(now).await),
            receipts_joined: kept(&mut failed, self.join_parked_receipts(now).await),
            ..Swept::default()
        };
        let ByPolicy { resent, held } = kept(&mut failed, self.settle_by_policy(now).await);
        let swept = Swept {
            resent,
            held,
            expired: kept(&mut failed, self.expire_unsent(now).await),
            cancelled: kept(&mut failed, self.cancel_closed(now).await),
            alerts_expired: kept(&mut failed, self.expire_alerts(now).await),
            followed_up: kept(&mut failed, self.follow_up_late_starts(now).await),
            no_receipt: kept(&mut failed, self.give_up_receipts(now.minus(receipt_grace), now).await),
            messages_settled: kept(&mut failed, self.settle_messages().await),
            ..swept
        };
        failed.map_or(Ok(swept), Err)
    }

    async fn settle_messages(&self) -> Result<u64> {
        let mut tx = self.db.begin().await?;
        // Two statements: the second sees all that was committed before the first had its locks.
        let open: Vec<Uuid> =
            on_tx!(&mut tx, conn, d => sqlx::query_scalar(OPEN_MESSAGES.of(d)).fetch_all(conn).await?);
        let open = json!(open.iter().map(|id| id.simple().to_string()).collect::<Vec<_>>()).to_string();
        let settled = on_tx!(&mut tx, conn, d =>
            sqlx::query(SETTLE_MESSAGES.of(d)).bind(open).execute(conn).await?.rows_affected());
        tx.commit().await?;
        Ok(settled)
    }

    async fn join_parked_receipts(&self, now: Timestamp) -> Result<u64> {
        let mut joined = 0;
        for (statement, before) in [(PARKED_BY_ID, now), (PARKED_BY_PHONE, now.minus(PHONE_JOIN_AFTER))] {
            let before = before.as_millis();
            // Looked up among the readers first: most seconds there is nothing to join, and nothing to lock for.
            let seen: Vec<ParkedRow> = on_db!(read self.db, pool, d =>
                sqlx::query_as(statement.of(d)).bind(BATCH).bind(before).fetch_all(pool).await?);
            if seen.is_empty() {
                continue;
            }
            let mut tx = self.db.begin().await?;
            let rows: Vec<ParkedRow> = on_tx!(&mut tx, conn, d => sqlx::query_as(statement.of(d))
                .bind(BATCH).bind(before).fetch_all(conn).await?);
            let owners: Vec<(i64, i64)> = rows.iter().map(|row| (row.id, row.delivery_id)).collect();
            let receipts: Vec<PartReceipt> = rows.into_iter().filter_map(part_receipt).collect();
            unpark(&mut tx, &owners).await?;
            let mut deferred = DeferredEffects::default();
            apply(&mut tx, &receipts, &mut deferred).await?;
            deferred.write(&mut tx).await?;
            tx.commit().await?;
            joined += receipts.len() as u64;
        }
        Ok(joined)
    }

    async fn expire_alerts(&self, now: Timestamp) -> Result<u64> {
        let mut tx = self.db.begin().await?;
        let mut expired: Vec<(Uuid, Uuid)> = on_tx!(&mut tx, conn, d => sqlx::query_as(EXPIRED_ALERTS.of(d))
            .bind(now.as_millis()).fetch_all(conn).await?);
        // In one order, so that two who do this do not wait for each other.
        expired.sort_unstable_by_key(|(_, organisation)| *organisation);
        for (alert, organisation) in &expired {
            let subject = alert.to_string();
            audit::append(
                &mut tx,
                OrganisationId(*organisation),
                Actor::System,
                "alert.expired",
                &subject,
                json!({}),
                now,
            )
            .await?;
        }
        tx.commit().await?;
        Ok(expired.len() as u64)
    }

    /// Messages whose deliveries do not add up to their recipients: must be 0, and is a metric.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the database does not answer or refuses the statement.
    pub async fn broken_sums(&self) -> Result<u64> {
        let broken: i64 =
            on_db!(read self.db, pool, d => sqlx::query_scalar(BROKEN_SUMS.of(d)).fetch_one(pool).await?);
        Ok(u64::try_from(broken).unwrap_or(0))
    }

    /// Deliveries that wait, by lane, and the age of the oldest that is due.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the database does not answer or refuses the statement.
    pub async fn queue_depth(&self, now: Timestamp) -> Result<QueueDepth> {
        let rows: Vec<(i64, i64, Option<i64>)> =
            on_db!(read self.db, pool, d => sqlx::query_as(DEPTH.of(d)).fetch_all(pool).await?);
        let mut depth =
            QueueDepth { by_lane: vec![0; usize::try_from(LANES).unwrap_or(0)], ..QueueDepth::default() };
        for (lane, count, oldest) in rows {
            if let Some(slot) = usize::try_from(lane).ok().and_then(|l| depth.by_lane.get_mut(l)) {
                *slot = u64::try_from(count).unwrap_or(0);
            }
            let age = oldest.map_or(Duration::ZERO, |due| now.since(Timestamp::from_millis(due)));
            depth.oldest_due = depth.oldest_due.max(age);
        }
        Ok(depth)
    }
}

/// The result of a step, or nothing if it failed; the first error is kept.
fn kept<T: Default>(failed: &mut Option<StoreError>, step: Result<T>) -> T {
    step.unwrap_or_else(|error| {
        failed.get_or_insert(error);
        T::default()
    })
}

/// How much waits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueDepth {
    /// By lane, 0 to 4.
    pub by_lane: Vec<u64>,
    /// Age of the oldest due delivery.
    pub oldest_due: Duration,
}

fn part_receipt(row: ParkedRow) -> Option<PartReceipt> {
    let status = row.status.parse().ok()?;
    Some(PartReceipt {
        delivery: row.delivery_id,
        part: row.part,
        status,
        error: row.error,
        at: row.received_at,
    })
}
