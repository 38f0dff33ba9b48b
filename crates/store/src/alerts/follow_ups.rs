//! Follow-ups (update, end, retract): to the people whose start rang or may have, once each, however many they are.
//!
//! The first page is written with the change itself. The rest is looked up among the readers, some pages at a time, and
//! written page by page. No transaction compares what was written with what is owed, except once, to know that no recipient
//! is left.

use klaroen_domain::id::{AlertId, MessageId};
use klaroen_domain::time::Timestamp;
use serde_json::json;
use uuid::Uuid;

use crate::alerts::fanout::PAGE;
use crate::deliveries::messages::count_more;
use crate::engine::db::{Sql, Tx, on_db, on_tx};
use crate::engine::sql::sql;
use crate::{Result, Store};

/// Pages that are looked up at once: 8 bytes for each delivery.
const PAGES_AHEAD: usize = 20;
/// Pages that one sweep writes of follow-ups: other upkeep has its turn in between.
const PAGES_PER_SWEEP: usize = 5;

/// Those whose start is settled and rang, or may have rung, and who did not get this message yet. `$1` is the follow-up.
///
/// `OFFSET 0` keeps PostgreSQL from making a join of it, whose plan would rest on what it thinks of a message that is new.
pub(crate) const FOLLOW: Sql = Sql::new(
    "INSERT INTO deliveries
         (organisation_id, alert_id, message_id, participant_id, recipient, phone, country, lane, state, due_at, changed_at)
     SELECT d.organisation_id, d.alert_id, $1, d.participant_id, d.recipient, d.phone, d.country, 1, 'queued', $2, $2
     FROM messages s JOIN deliveries d ON d.message_id = s.id
     WHERE s.alert_id = $3 AND s.kind = 'start' AND d.state IN ('sent', 'delivered', 'unknown', 'no_receipt')
         AND (d.state <> 'unknown' OR d.settle_at IS NULL)
         AND NOT EXISTS (SELECT 1 FROM deliveries f WHERE f.recipient = d.recipient AND f.message_id = $1 LIMIT 1 OFFSET 0)
     LIMIT $4
     ON CONFLICT (recipient, message_id) DO NOTHING",
);
/// The starts of the same people.
pub(crate) const OWED: Sql = Sql::new(
    "SELECT d.id FROM messages s JOIN deliveries d ON d.message_id = s.id
     WHERE s.alert_id = $2 AND s.kind = 'start' AND d.state IN ('sent', 'delivered', 'unknown', 'no_receipt')
         AND (d.state <> 'unknown' OR d.settle_at IS NULL)
         AND NOT EXISTS (SELECT 1 FROM deliveries f WHERE f.recipient = d.recipient AND f.message_id = $1 LIMIT 1 OFFSET 0)
     LIMIT $3",
);
/// Of the starts `$3`, those that are still what they were when they were looked up.
///
/// Two texts, because the ids are looked up one by one by `CROSS JOIN` in SQLite, and by `LATERAL` with `OFFSET 0` in PostgreSQL.
pub(crate) const FOLLOW_THESE: Sql = Sql::each(
    "INSERT INTO deliveries
         (organisation_id, alert_id, message_id, participant_id, recipient, phone, country, lane, state, due_at, changed_at)
     SELECT d.organisation_id, d.alert_id, $1, d.participant_id, d.recipient, d.phone, d.country, 1, 'queued', $2, $2
     FROM json_each($3) j CROSS JOIN deliveries d ON d.id = j.value
     WHERE d.state IN ('sent', 'delivered', 'unknown', 'no_receipt') AND (d.state <> 'unknown' OR d.settle_at IS NULL)
     ON CONFLICT (recipient, message_id) DO NOTHING",
    "INSERT INTO deliveries
         (organisation_id, alert_id, message_id, participant_id, recipient, phone, country, lane, state, due_at, changed_at)
     SELECT d.organisation_id, d.alert_id, $1, d.participant_id, d.recipient, d.phone, d.country, 1, 'queued', $2, $2
     FROM json_array_elements_text($3::json) AS j(value)
         CROSS JOIN LATERAL (SELECT * FROM deliveries WHERE id = j.value::bigint OFFSET 0) d
     WHERE d.state IN ('sent', 'delivered', 'unknown', 'no_receipt') AND (d.state <> 'unknown' OR d.settle_at IS NULL)
     ON CONFLICT (recipient, message_id) DO NOTHING",
);
/// One process writes at a time, and only while the message waits for recipients.
const LOCK: Sql = sql!("SELECT id FROM messages WHERE id = $1 AND awaits_start {lock}");
const LOCK_FREE: Sql = sql!("SELECT id FROM messages WHERE id = $1 AND awaits_start {lock_skip}");
/// Starts that may still ring, or that are not written yet.
const STARTS_OPEN: Sql = Sql::new(
    "SELECT EXISTS (SELECT 1 FROM messages s JOIN deliveries d ON d.message_id = s.id
                    WHERE s.alert_id = $1 AND s.kind = 'start'
                        AND (d.state IN ('queued', 'sending') OR (d.state = 'unknown' AND d.settle_at IS NOT NULL)))
         OR EXISTS (SELECT 1 FROM fanouts WHERE alert_id = $1 AND NOT done)",
);
const REACHED: Sql = Sql::new(
    "SELECT COUNT(*) FROM messages s JOIN deliveries d ON d.message_id = s.id
     WHERE s.alert_id = $1 AND s.kind = 'start' AND d.state IN ('sent', 'delivered', 'unknown', 'no_receipt')",
);
/// Counted in two parts, of which an index answers the first alone.
const OWED_AND_WRITTEN: Sql = Sql::new(
    "SELECT (SELECT COUNT(*) FROM messages s JOIN deliveries d ON d.message_id = s.id
             WHERE s.alert_id = $2 AND s.kind = 'start' AND d.state IN ('sent', 'delivered', 'no_receipt'))
         + (SELECT COUNT(*) FROM messages s JOIN deliveries d ON d.message_id = s.id
            WHERE s.alert_id = $2 AND s.kind = 'start' AND d.state = 'unknown' AND d.settle_at IS NULL),
         recipients
     FROM messages WHERE id = $1",
);
const AWAIT: Sql = Sql::new("UPDATE messages SET awaits_start = $2 WHERE id = $1 AND awaits_start <> $2");
const WAITING: Sql =
    Sql::new("SELECT id, alert_id FROM messages WHERE NOT settled AND awaits_start AND alert_id IS NOT NULL");

/// The action to take while another process writes pages of the same follow-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Other {
    Wait,
    Leave,
}

/// Queues a follow-up, once each, for a page of the recipients whose start is settled and rang. Returns how many were new.
/// Fewer than [`PAGE`] means that this was the last page; then the message waits only for starts that are still open. `None`
/// if it waits for no recipient, or is left to another process.
async fn follow(
    tx: &mut Tx,
    message: MessageId,
    alert: AlertId,
    now: Timestamp,
    other: Other,
) -> Result<Option<usize>> {
    // One at a time: another's page that is not committed yet would make this one look like the last.
    if !lock(tx, message, other).await? {
        return Ok(None);
    }
    // Asked before the page is written: a start that is settled in between is on the page, or the message waits on.
    let open: bool = on_tx!(&mut *tx, conn, d => sqlx::query_scalar(STARTS_OPEN.of(d))
        .bind(alert.0).fetch_one(conn).await?);
    let added = on_tx!(&mut *tx, conn, d => sqlx::query(FOLLOW.of(d))
        .bind(message.0).bind(now.as_millis()).bind(alert.0).bind(limit(PAGE)).execute(conn).await?.rows_affected());
    if added > 0 {
        count_more(tx, message, added).await?;
    }
    let added = usize::try_from(added).unwrap_or(usize::MAX);
    if added < PAGE {
        on_tx!(&mut *tx, conn, d => sqlx::query(AWAIT.of(d)).bind(message.0).bind(open).execute(conn).await?.rows_affected());
    }
    Ok(Some(added))
}

/// Writes the first page of a new follow-up; whether there may be others.
pub(crate) async fn first_page(
    tx: &mut Tx,
    message: MessageId,
    alert: AlertId,
    now: Timestamp,
) -> Result<bool> {
    Ok(follow(tx, message, alert, now, Other::Wait).await? == Some(PAGE))
}

/// How many of an alert's starts rang, or may have.
pub(crate) async fn reached(tx: &mut Tx, alert: AlertId) -> Result<i64> {
    Ok(on_tx!(tx, conn, d => sqlx::query_scalar(REACHED.of(d)).bind(alert.0).fetch_one(conn).await?))
}

async fn lock(tx: &mut Tx, message: MessageId, other: Other) -> Result<bool> {
    let statement = if other == Other::Wait { LOCK } else { LOCK_FREE };
    Ok(on_tx!(tx, conn, d =>
        sqlx::query(statement.of(d)).bind(message.0).fetch_optional(conn).await?.is_some()))
}

fn limit(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}

impl Store {
    /// Writes the pages of a follow-up that remain, each in a transaction of its own; `wake` is called after each. A crash in
    /// between is mended by the sweeper.
    pub(crate) async fn follow_up_rest(
        &self,
        message: MessageId,
        alert: AlertId,
        now: Timestamp,
        wake: &(impl Fn() + Sync),
    ) -> Result<()> {
        loop {
            let written = self.follow_up_pages(message, alert, now, Other::Wait, PAGES_AHEAD, wake).await?;
            if written.done {
                return Ok(());
            }
        }
    }

    /// Writes follow-ups for the recipients whose start settled late, and the ones that a crash left. Returns how many
    /// deliveries were new.
    pub(crate) async fn follow_up_late_starts(&self, now: Timestamp) -> Result<u64> {
        let waiting: Vec<(Uuid, Uuid)> =
            on_db!(read self.db, pool, d => sqlx::query_as(WAITING.of(d)).fetch_all(pool).await?);
        let mut added = 0;
        for (message, alert) in waiting {
            let pages = PAGES_PER_SWEEP.saturating_sub(usize::try_from(added).unwrap_or(usize::MAX) / PAGE);
            let (message, alert) = (MessageId(message), AlertId(alert));
            if pages > 0 && self.follow_up_is_due(message, alert).await? {
                added += self.follow_up_pages(message, alert, now, Other::Leave, pages, &|| {}).await?.added;
            }
        }
        Ok(added)
    }

    /// Looks up some pages and writes them.
    async fn follow_up_pages(
        &self,
        message: MessageId,
        alert: AlertId,
        now: Timestamp,
        other: Other,
        pages: usize,
        wake: &(impl Fn() + Sync),
    ) -> Result<Written> {
        let mut written = Written::default();
        let open = self.starts_are_open(alert).await?;
        let mut owed: Vec<i64> = on_db!(read self.db, pool, d => sqlx::query_scalar(OWED.of(d))
            .bind(message.0).bind(alert.0).bind(limit(pages * PAGE)).fetch_all(pool).await?);
        let last = owed.len() < pages * PAGE;
        // Pages of neighbours: the rows of each lie together, so they are read and written together.
        owed.sort_unstable();
        for page in owed.chunks(PAGE) {
            let mut tx = self.db.begin().await?;
            if !lock(&mut tx, message, other).await? {
                return Ok(Written { done: true, ..written });
            }
            let added = on_tx!(&mut tx, conn, d => sqlx::query(FOLLOW_THESE.of(d))
                .bind(message.0).bind(now.as_millis()).bind(json!(page).to_string())
                .execute(conn).await?.rows_affected());
            if added > 0 {
                count_more(&mut tx, message, added).await?;
            }
            tx.commit().await?;
            written.added += added;
            wake();
        }
        if last && open {
            // It waits on: the sweeper looks again.
            written.done = true;
        } else if last {
            let mut tx = self.db.begin().await?;
            let added = follow(&mut tx, message, alert, now, other).await?;
            tx.commit().await?;
            written.added += added.unwrap_or(0) as u64;
            written.done = added != Some(PAGE);
        }
        Ok(written)
    }

    /// Whether a follow-up that waits has recipients to be written for. Starts are counted, which is cheap, before they are
    /// compared one by one, which is not. Once no start is open, it is looked at once more and waits no longer.
    async fn follow_up_is_due(&self, message: MessageId, alert: AlertId) -> Result<bool> {
        if !self.starts_are_open(alert).await? {
            return Ok(true);
        }
        let (owed, written): (i64, i64) = on_db!(read self.db, pool, d =>
            sqlx::query_as(OWED_AND_WRITTEN.of(d)).bind(message.0).bind(alert.0).fetch_one(pool).await?);
        Ok(owed > written)
    }

    async fn starts_are_open(&self, alert: AlertId) -> Result<bool> {
        Ok(on_db!(read self.db, pool, d =>
            sqlx::query_scalar(STARTS_OPEN.of(d)).bind(alert.0).fetch_one(pool).await?))
    }
}

/// The result of writing some pages.
#[derive(Clone, Copy, Debug, Default)]
struct Written {
    added: u64,
    /// No recipient is left at this moment, or another process is at it.
    done: bool,
}
