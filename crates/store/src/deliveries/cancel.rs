//! Takes deliveries that are not to leave any more out of the queue, page by page. For an alert of a million people one
//! statement would make all other writers wait, or be cut off by the time-out and come to nothing, again and again.

use klaroen_domain::delivery::DeliveryEvent;
use klaroen_domain::id::{AlertId, OrganisationId};
use klaroen_domain::time::Timestamp;
use serde_json::json;
use uuid::Uuid;

use crate::alerts::fanout::PAGE;
use crate::deliveries::lifecycle::{self, Standing, Step};
use crate::engine::db::{Sql, Tx, on_db, on_tx};
use crate::tenancy::audit;
use crate::{Actor, Result, Store};

/// Pages that one sweep writes of a kind, some seconds' work: leases and doubts have their turn in between.
pub(crate) const PAGES_PER_SWEEP: usize = 10;

/// A page of what a message has in the queue, locked: `$1` is the message, `$2` how many at most. Deliveries that another holds are
/// passed over: they are being claimed, or are on the page of another process.
///
/// Two texts, because the page is locked before it becomes one value, and only PostgreSQL locks.
pub(crate) const QUEUED: Sql = Sql::each(
    "SELECT json_group_array(json_array(id, state, in_doubt))
     FROM (SELECT id, state, in_doubt FROM deliveries WHERE message_id = $1 AND state = 'queued' LIMIT $2)",
    "WITH page AS (
         SELECT id, state, in_doubt FROM deliveries WHERE message_id = $1 AND state = 'queued'
         ORDER BY due_at, id LIMIT $2 FOR UPDATE SKIP LOCKED)
     SELECT COALESCE(json_agg(json_build_array(id, state, in_doubt::int)), '[]')::text FROM page",
);
/// The same of what was sent and has no receipt.
pub(crate) const UNRECEIPTED: Sql = Sql::each(
    "SELECT json_group_array(json_array(id, state, in_doubt))
     FROM (SELECT id, state, in_doubt FROM deliveries WHERE message_id = $1 AND state = 'sent' LIMIT $2)",
    "WITH page AS (
         SELECT id, state, in_doubt FROM deliveries WHERE message_id = $1 AND state = 'sent' LIMIT $2 FOR UPDATE SKIP LOCKED)
     SELECT COALESCE(json_agg(json_build_array(id, state, in_doubt::int)), '[]')::text FROM page",
);
/// Messages whose time ran out before all of them left. Looked up among the readers: most seconds there is nothing to write.
const EXPIRED: Sql = Sql::new(
    "SELECT m.id FROM messages m WHERE NOT m.settled AND m.expires_at <= $1
         AND EXISTS (SELECT 1 FROM deliveries d WHERE d.message_id = m.id AND d.state = 'queued' LIMIT 1 OFFSET 0)",
);
/// Messages of which a receipt is missing that does not come any more.
const UNHEARD: Sql = Sql::new(
    "SELECT m.id FROM messages m WHERE NOT m.settled AND m.expires_at <= $1
         AND EXISTS (SELECT 1 FROM deliveries d WHERE d.message_id = m.id AND d.state = 'sent' LIMIT 1 OFFSET 0)",
);
/// The messages of an alert that were closed with it.
const CLOSED: Sql = Sql::new(
    "SELECT m.id FROM messages m WHERE m.alert_id = $1 AND NOT m.settled AND NOT m.open ORDER BY m.id",
);
const ALERTS_WITH_CLOSED: Sql = Sql::new(
    "SELECT DISTINCT m.alert_id FROM messages m
     WHERE NOT m.settled AND NOT m.open AND m.alert_id IS NOT NULL
         AND EXISTS (SELECT 1 FROM deliveries d WHERE d.message_id = m.id AND d.state = 'queued' LIMIT 1 OFFSET 0)",
);
/// One who cancels at a time: otherwise a page would look like the last because another holds the rest.
const ALERT: Sql = Sql::each(
    "SELECT organisation_id FROM alerts WHERE id = $1",
    "SELECT organisation_id FROM alerts WHERE id = $1 FOR NO KEY UPDATE",
);
const ALERT_IF_FREE: Sql = Sql::each(
    "SELECT organisation_id FROM alerts WHERE id = $1",
    "SELECT organisation_id FROM alerts WHERE id = $1 FOR NO KEY UPDATE SKIP LOCKED",
);
const CANCELLED: Sql = Sql::new(
    "SELECT COUNT(*) FROM messages m JOIN deliveries d ON d.message_id = m.id
     WHERE m.alert_id = $1 AND d.state = 'cancelled'",
);

/// Cancels a page of the deliveries that a closed alert has in the queue. Returns how many. Fewer than [`PAGE`]: only
/// deliveries that are being claimed at this moment are left. The alert is locked.
pub(crate) async fn cancel_page(tx: &mut Tx, alert: AlertId, now: Timestamp) -> Result<u64> {
    let closed: Vec<Uuid> =
        on_tx!(&mut *tx, conn, d => sqlx::query_scalar(CLOSED.of(d)).bind(alert.0).fetch_all(conn).await?);
    let mut cancelled = 0;
    for message in closed {
        let left = PAGE as u64 - cancelled;
        if left == 0 {
            break;
        }
        cancelled += page(tx, QUEUED, message, left, DeliveryEvent::Cancelled, now).await?;
    }
    Ok(cancelled)
}

/// Applies `event` to a page of a message's deliveries. Returns how many deliveries that were.
async fn page(
    tx: &mut Tx,
    which: Sql,
    message: Uuid,
    limit: u64,
    event: DeliveryEvent,
    now: Timestamp,
) -> Result<u64> {
    let page: String = on_tx!(&mut *tx, conn, d => sqlx::query_scalar(which.of(d))
        .bind(message).bind(i64::try_from(limit).unwrap_or(i64::MAX)).fetch_one(conn).await?);
    let steps: Vec<Step<'_>> =
        Standing::page(&page)?.into_iter().map(|delivery| Step::new(delivery, event, now)).collect();
    lifecycle::apply(tx, &steps).await
}

/// Whether a page of [`cancel_page`] may have left something.
pub(crate) const fn is_full(cancelled: u64) -> bool {
    cancelled >= PAGE as u64
}

impl Store {
    /// Cancels what the first page of a change left in the queue, and says in the audit log how many it came to. None of it
    /// would leave: nothing is claimed of an alert that is closed.
    pub(crate) async fn cancel_rest(&self, alert: AlertId, now: Timestamp) -> Result<()> {
        loop {
            let mut tx = self.db.begin().await?;
            let organisation: Uuid = on_tx!(&mut tx, conn, d =>
                sqlx::query_scalar(ALERT.of(d)).bind(alert.0).fetch_one(conn).await?);
            if is_full(cancel_page(&mut tx, alert, now).await?) {
                tx.commit().await?;
                continue;
            }
            // Counted, because the sweepers of all workers help.
            let cancelled: i64 = on_tx!(&mut tx, conn, d =>
                sqlx::query_scalar(CANCELLED.of(d)).bind(alert.0).fetch_one(conn).await?);
            let (organisation, subject) = (OrganisationId(organisation), alert.to_string());
            let detail = json!({ "cancelled": cancelled });
            audit::append(&mut tx, organisation, Actor::System, "alert.stopped", &subject, detail, now)
                .await?;
            return tx.commit().await;
        }
    }

    /// Cancels what was put back after its alert was closed, and what a crash left of a change.
    pub(crate) async fn cancel_closed(&self, now: Timestamp) -> Result<u64> {
        let alerts: Vec<Uuid> = on_db!(read self.db, pool, d =>
            sqlx::query_scalar(ALERTS_WITH_CLOSED.of(d)).fetch_all(pool).await?);
        let mut cancelled = 0;
        let mut pages = 0;
        for alert in alerts {
            loop {
                if pages == PAGES_PER_SWEEP {
                    return Ok(cancelled);
                }
                pages += 1;
                let mut tx = self.db.begin().await?;
                let free = on_tx!(&mut tx, conn, d => sqlx::query(ALERT_IF_FREE.of(d))
                    .bind(alert).fetch_optional(conn).await?.is_some());
                if !free {
                    break;
                }
                let page = cancel_page(&mut tx, AlertId(alert), now).await?;
                tx.commit().await?;
                cancelled += page;
                if !is_full(page) {
                    break;
                }
            }
        }
        Ok(cancelled)
    }

    /// Gives up deliveries that were not handed over in their message's time.
    pub(crate) async fn expire_unsent(&self, now: Timestamp) -> Result<u64> {
        self.in_pages(EXPIRED, now, QUEUED, DeliveryEvent::Expired, now).await
    }

    /// Gives up receipts that did not come until `expired_before`, the end of their message's time.
    pub(crate) async fn give_up_receipts(&self, expired_before: Timestamp, now: Timestamp) -> Result<u64> {
        self.in_pages(UNHEARD, expired_before, UNRECEIPTED, DeliveryEvent::ReceiptOverdue, now).await
    }

    /// Says of the deliveries that `which` selects of the messages that `of` finds that `event` happened, until nothing is left, or
    /// other upkeep should have its turn.
    async fn in_pages(
        &self,
        of: Sql,
        due: Timestamp,
        which: Sql,
        event: DeliveryEvent,
        now: Timestamp,
    ) -> Result<u64> {
        let messages: Vec<Uuid> = on_db!(read self.db, pool, d =>
            sqlx::query_scalar(of.of(d)).bind(due.as_millis()).fetch_all(pool).await?);
        let mut changed = 0;
        let mut pages = 0;
        for message in messages {
            loop {
                if pages == PAGES_PER_SWEEP {
                    return Ok(changed);
                }
                pages += 1;
                let mut tx = self.db.begin().await?;
                let rows = page(&mut tx, which, message, PAGE as u64, event, now).await?;
                tx.commit().await?;
                changed += rows;
                if rows < PAGE as u64 {
                    break;
                }
            }
        }
        Ok(changed)
    }
}
