//! Texts: what a worker sends. The recipients of an update, end or retract are in [`crate::alerts::follow_ups`].

use std::time::Duration;

use klaroen_domain::alert::{AlertState, MessageKind, Priority, closed_kinds, lane};
use klaroen_domain::id::{AlertId, MessageId, OrganisationId};
use klaroen_domain::text::MessageText;
use klaroen_domain::time::Timestamp;
use uuid::Uuid;

use crate::engine::db::{Sql, Tx, on_db, on_tx};
use crate::engine::sql::sql;
use crate::{Result, Store, StoreError};

/// The fields of a message that a worker needs. They never change, so the worker can keep them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboundMessage {
    /// Its id.
    pub id: MessageId,
    /// Whose it is.
    pub organisation: OrganisationId,
    /// Its alert; none for an automatic answer.
    pub alert: Option<AlertId>,
    /// The purpose of the message.
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
         expires_at, created_at, created_by, awaits_start, gateway)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 0, $10, $11, $12, $13, $14)",
);
const COUNT_MORE: Sql =
    Sql::new("UPDATE messages SET recipients = recipients + $2, settled = FALSE WHERE id = $1");
/// The messages of an alert in the order in which every transaction locks messages.
const LOCK_OF_ALERT: Sql = sql!("SELECT id FROM messages WHERE alert_id = $1 ORDER BY id {lock}");
const CLOSE: Sql = Sql::new("UPDATE messages SET open = FALSE WHERE alert_id = $1 AND kind = $2 AND open");
const RECIPIENTS: Sql = Sql::new("SELECT recipients FROM messages WHERE id = $1");
/// On PostgreSQL in the order of the messages: see `lock::messages_of`, which would be one question more.
pub(crate) const SENT_TIMES_OF: Sql = Sql::each(
    "UPDATE messages SET
         first_sent_at = MIN(COALESCE(first_sent_at, s.earliest), s.earliest),
         last_sent_at = MAX(COALESCE(last_sent_at, s.latest), s.latest),
         settled = FALSE
     FROM (SELECT d.message_id, MIN(d.sent_at) AS earliest, MAX(d.sent_at) AS latest
           FROM json_each($1) j CROSS JOIN deliveries d ON d.id = j.value GROUP BY d.message_id) s
     WHERE messages.id = s.message_id",
    "WITH s AS (
         SELECT d.message_id, MIN(d.sent_at) AS earliest, MAX(d.sent_at) AS latest
         FROM deliveries d WHERE d.id IN (SELECT value::bigint FROM json_array_elements_text($1::json))
         GROUP BY d.message_id),
     m AS (
         SELECT m.id, s.earliest, s.latest FROM messages m JOIN s ON s.message_id = m.id ORDER BY m.id FOR NO KEY UPDATE OF m)
     UPDATE messages SET
         first_sent_at = LEAST(first_sent_at, m.earliest), last_sent_at = GREATEST(last_sent_at, m.latest),
         settled = FALSE
     FROM m WHERE messages.id = m.id",
);
/// On PostgreSQL also if it is not settled: this statement does not see what another transaction has just settled, but waits
/// for it.
const UNSETTLE: Sql = Sql::each(
    "UPDATE messages SET settled = FALSE
     WHERE settled AND id IN (SELECT d.message_id FROM json_each($1) j CROSS JOIN deliveries d ON d.id = j.value)",
    "UPDATE messages SET settled = FALSE
     WHERE id IN (
         SELECT m.id FROM messages m WHERE m.id IN (
             SELECT d.message_id FROM deliveries d
             WHERE d.id IN (SELECT value::bigint FROM json_array_elements_text($1::json)))
         ORDER BY m.id FOR NO KEY UPDATE)",
);

/// A start that counted as lost rang after all: its phone is owed what was said since and still may leave.
const OWE_FOLLOW_UPS: Sql = sql!(
    "UPDATE messages SET awaits_start = TRUE, settled = FALSE
     WHERE open AND kind IN ('update', 'end', 'retract') AND alert_id IN (
         SELECT d.alert_id FROM deliveries d JOIN messages s ON s.id = d.message_id AND s.kind = 'start'
         WHERE d.id IN {ints($1)})"
);

type MessageRow = (Uuid, Option<Uuid>, String, String, i64, String);

/// The fields that are written of a new message.
pub(crate) struct NewMessage<'a> {
    pub(crate) id: MessageId,
    pub(crate) organisation: OrganisationId,
    pub(crate) alert: Option<AlertId>,
    pub(crate) kind: MessageKind,
    pub(crate) priority: Priority,
    pub(crate) text: &'a MessageText,
    pub(crate) expires_at: Timestamp,
    pub(crate) created_by: Option<Uuid>,
    /// The one that may take it; any, if there is none.
    pub(crate) gateway: Option<&'a str>,
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
        .bind(awaits_start).bind(message.gateway)
        .execute(conn).await?.rows_affected());
    Ok(())
}

/// Closes the messages of an alert that leave no more in `state`. The caller holds the alert's row, so no message is added
/// meanwhile.
///
/// # Errors
///
/// Returns a [`StoreError`] if the database does not answer or refuses the statement.
pub(crate) async fn close(tx: &mut Tx, alert: AlertId, state: AlertState) -> Result<()> {
    let kinds = closed_kinds(state);
    if kinds.is_empty() {
        return Ok(());
    }
    on_tx!(&mut *tx, conn, d => sqlx::query(LOCK_OF_ALERT.of(d)).bind(alert.0).fetch_all(conn).await?.len());
    for kind in kinds {
        on_tx!(&mut *tx, conn, d => sqlx::query(CLOSE.of(d))
            .bind(alert.0).bind(kind.as_str()).execute(conn).await?.rows_affected());
    }
    Ok(())
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

/// Notes when these deliveries were sent. Their messages are not settled, because receipts may come. A JSON array, as in what follows.
pub(crate) async fn note_sent(tx: &mut Tx, deliveries: &str) -> Result<()> {
    of_deliveries(tx, SENT_TIMES_OF, deliveries).await
}

/// Puts the messages of deliveries that are queued or sent again back under claiming and upkeep.
pub(crate) async fn unsettle(tx: &mut Tx, deliveries: &str) -> Result<()> {
    of_deliveries(tx, UNSETTLE, deliveries).await
}

/// The phones of these deliveries rang after all: they get the follow-ups of their alerts.
pub(crate) async fn owe_follow_ups(tx: &mut Tx, deliveries: &str) -> Result<()> {
    of_deliveries(tx, OWE_FOLLOW_UPS, deliveries).await
}

async fn of_deliveries(tx: &mut Tx, statement: Sql, deliveries: &str) -> Result<()> {
    on_tx!(tx, conn, d => sqlx::query(statement.of(d)).bind(deliveries).execute(conn).await?.rows_affected());
    Ok(())
}

impl Store {
    /// One message.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the database does not answer or refuses the statement, or [`StoreError::Corrupt`] if
    /// a stored row cannot be read.
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
