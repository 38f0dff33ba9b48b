//! Texts: what a worker sends, and the follow-ups (update, end, retract) to those who were reached.

use std::time::Duration;

use klaroen_domain::alert::{MessageKind, Priority, lane};
use klaroen_domain::id::{AlertId, MessageId, OrganisationId};
use klaroen_domain::text::MessageText;
use klaroen_domain::time::Timestamp;
use uuid::Uuid;

use crate::db::{Sql, Tx, on_db, on_tx};
use crate::fanout::PAGE;
use crate::{Result, Store, StoreError};

/// What a worker needs to know of a message; it never changes, so it can be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboundMessage {
    /// Its id.
    pub id: MessageId,
    /// Whose it is.
    pub organisation: OrganisationId,
    /// Its alert; none for an automatic answer.
    pub alert: Option<AlertId>,
    /// What it is for.
    pub kind: MessageKind,
    /// How urgent.
    pub priority: Priority,
    /// When it is over.
    pub expires_at: Timestamp,
    /// The text.
    pub text: MessageText,
}

/// How long an end, update or automatic answer may take to arrive: it is worth reading for hours.
pub const FOLLOW_UP_VALIDITY: Duration = Duration::from_hours(4);

const GET: Sql = Sql::new(
    "SELECT organisation_id, alert_id, kind, priority, expires_at, text FROM messages WHERE id = $1",
);
const INSERT: Sql = Sql::new(
    "INSERT INTO messages (id, organisation_id, alert_id, kind, priority, lane, text, encoding, segments, recipients,
         expires_at, created_at, created_by, awaits_start)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 0, $10, $11, $12, $13)",
);
/// Those whose start is settled and rang, or may have rung, and who did not get this message yet. `$1` is the follow-up.
const FOLLOW: Sql = Sql::new(
    "INSERT INTO deliveries
         (organisation_id, alert_id, message_id, participant_id, recipient, lane, state, due_at, changed_at)
     SELECT d.organisation_id, d.alert_id, $1, d.participant_id, d.recipient, 1, 'queued', $2, $2
     FROM messages s JOIN deliveries d ON d.message_id = s.id
     WHERE s.alert_id = $3 AND s.kind = 'start' AND d.state IN ('sent', 'delivered', 'unknown', 'no_receipt')
         AND (d.state <> 'unknown' OR d.settle_at IS NULL)
         AND NOT EXISTS (SELECT 1 FROM deliveries f WHERE f.recipient = d.recipient AND f.message_id = $1)
     LIMIT $4
     ON CONFLICT (recipient, message_id) DO NOTHING",
);
const COUNT_MORE: Sql =
    Sql::new("UPDATE messages SET recipients = recipients + $2, settled = FALSE WHERE id = $1");
const LOCK: Sql = Sql::each(
    "SELECT id FROM messages WHERE id = $1",
    "SELECT id FROM messages WHERE id = $1 FOR NO KEY UPDATE",
);
const STARTS_OPEN: Sql = Sql::new(
    "SELECT EXISTS (SELECT 1 FROM messages s JOIN deliveries d ON d.message_id = s.id
                    WHERE s.alert_id = $1 AND s.kind = 'start'
                        AND (d.state IN ('queued', 'sending') OR (d.state = 'unknown' AND d.settle_at IS NOT NULL)))",
);
const REACHED: Sql = Sql::new(
    "SELECT COUNT(*) FROM messages s JOIN deliveries d ON d.message_id = s.id
     WHERE s.alert_id = $1 AND s.kind = 'start' AND d.state IN ('sent', 'delivered', 'unknown', 'no_receipt')",
);
const AWAIT: Sql = Sql::new("UPDATE messages SET awaits_start = $2 WHERE id = $1 AND awaits_start <> $2");

const RECIPIENTS: Sql = Sql::new("SELECT recipients FROM messages WHERE id = $1");

type MessageRow = (Uuid, Option<Uuid>, String, String, i64, String);

/// What is written of a new message.
pub(crate) struct NewMessage<'a> {
    pub(crate) id: MessageId,
    pub(crate) organisation: OrganisationId,
    pub(crate) alert: Option<AlertId>,
    pub(crate) kind: MessageKind,
    pub(crate) priority: Priority,
    pub(crate) text: &'a MessageText,
    pub(crate) expires_at: Timestamp,
    pub(crate) created_by: Option<Uuid>,
    pub(crate) now: Timestamp,
}

/// Writes a message, as yet without deliveries.
pub(crate) async fn insert(tx: &mut Tx, message: &NewMessage<'_>) -> Result<()> {
    let awaits_start = matches!(message.kind, MessageKind::Update | MessageKind::End | MessageKind::Retract);
    on_tx!(tx, conn, d => sqlx::query(INSERT.of(d))
        .bind(message.id.0).bind(message.organisation.0).bind(message.alert.map(|a| a.0))
        .bind(message.kind.as_str()).bind(message.priority.as_str()).bind(lane(message.kind, message.priority))
        .bind(message.text.as_str()).bind(message.text.encoding().as_str()).bind(i64::from(message.text.segments()))
        .bind(message.expires_at.as_millis()).bind(message.now.as_millis()).bind(message.created_by)
        .bind(awaits_start)
        .execute(conn).await?.rows_affected());
    Ok(())
}

/// Queues a follow-up for a page of those whose start is settled and rang, once each; gives how many were new. Fewer than
/// [`PAGE`] means that this was the last page; then the message waits only for starts that are still open.
pub(crate) async fn follow_up(
    tx: &mut Tx,
    message: MessageId,
    alert: AlertId,
    now: Timestamp,
) -> Result<usize> {
    let page = i64::try_from(PAGE).unwrap_or(i64::MAX);
    // One at a time: another's page that is not committed yet would make this one look like the last.
    on_tx!(&mut *tx, conn, d => sqlx::query(LOCK.of(d)).bind(message.0).execute(conn).await?.rows_affected());
    // Asked before the page is written: a start that is settled in between is on the page, or the message waits on.
    let open: bool = on_tx!(&mut *tx, conn, d => sqlx::query_scalar(STARTS_OPEN.of(d))
        .bind(alert.0).fetch_one(conn).await?);
    let added = on_tx!(&mut *tx, conn, d => sqlx::query(FOLLOW.of(d))
        .bind(message.0).bind(now.as_millis()).bind(alert.0).bind(page).execute(conn).await?.rows_affected());
    if added > 0 {
        count_more(tx, message, added).await?;
    }
    let added = usize::try_from(added).unwrap_or(usize::MAX);
    if added < PAGE {
        on_tx!(&mut *tx, conn, d => sqlx::query(AWAIT.of(d)).bind(message.0).bind(open).execute(conn).await?.rows_affected());
    }
    Ok(added)
}

/// How many of an alert's starts rang, or may have.
pub(crate) async fn reached(tx: &mut Tx, alert: AlertId) -> Result<i64> {
    Ok(on_tx!(tx, conn, d => sqlx::query_scalar(REACHED.of(d)).bind(alert.0).fetch_one(conn).await?))
}

/// How many deliveries a message has.
pub(crate) async fn recipients(tx: &mut Tx, message: MessageId) -> Result<i64> {
    Ok(on_tx!(tx, conn, d => sqlx::query_scalar(RECIPIENTS.of(d)).bind(message.0).fetch_one(conn).await?))
}

/// Keeps `recipients` equal to the number of deliveries, in the transaction that adds them.
pub(crate) async fn count_more(tx: &mut Tx, message: MessageId, added: u64) -> Result<()> {
    on_tx!(tx, conn, d => sqlx::query(COUNT_MORE.of(d))
        .bind(message.0).bind(i64::try_from(added).unwrap_or(i64::MAX)).execute(conn).await?.rows_affected());
    Ok(())
}

impl Store {
    /// Writes the pages of a follow-up that remain, each in a transaction of its own; gives how many deliveries were new. A
    /// crash in between is mended by the sweeper.
    pub(crate) async fn follow_up_rest(
        &self,
        message: MessageId,
        alert: AlertId,
        now: Timestamp,
    ) -> Result<u64> {
        let mut all = 0;
        loop {
            let mut tx = self.db.begin().await?;
            let added = follow_up(&mut tx, message, alert, now).await?;
            tx.commit().await?;
            all += added as u64;
            if added < PAGE {
                return Ok(all);
            }
        }
    }

    /// Whether a follow-up that waits has somebody to be written for: starts are counted, which is cheap, before they are
    /// compared one by one, which is not. Once no start is open, it is looked at once more and waits no longer.
    pub(crate) async fn follow_up_is_due(&self, message: MessageId, alert: AlertId) -> Result<bool> {
        let open: bool = on_db!(read self.db, pool, d =>
            sqlx::query_scalar(STARTS_OPEN.of(d)).bind(alert.0).fetch_one(pool).await?);
        let reached: i64 = on_db!(read self.db, pool, d =>
            sqlx::query_scalar(REACHED.of(d)).bind(alert.0).fetch_one(pool).await?);
        let written: i64 = on_db!(read self.db, pool, d =>
            sqlx::query_scalar(RECIPIENTS.of(d)).bind(message.0).fetch_one(pool).await?);
        Ok(!open || reached > written)
    }

    /// One message.
    ///
    /// # Errors
    /// What the database says.
    pub async fn outbound_message(&self, id: MessageId) -> Result<Option<OutboundMessage>> {
        let row: Option<MessageRow> = on_db!(read self.db, pool, d =>
            sqlx::query_as(GET.of(d)).bind(id.0).fetch_optional(pool).await?);
        let Some((organisation, alert, kind, priority, expires_at, text)) = row else { return Ok(None) };
        let corrupt = |column| move |_| StoreError::Corrupt { table: "messages", column };
        Ok(Some(OutboundMessage {
            id,
            organisation: OrganisationId(organisation),
            alert: alert.map(AlertId),
            kind: kind.parse().map_err(corrupt("kind"))?,
            priority: priority.parse().map_err(corrupt("priority"))?,
            expires_at: Timestamp::from_millis(expires_at),
            text: MessageText::from_stored(text),
        }))
    }
}
