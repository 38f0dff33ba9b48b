//! Alerts as an operator sees them. Taking one is in [`crate::alerts::create`], changing one in [`crate::alerts::update`].

use std::collections::BTreeMap;

use klaroen_domain::alert::{AlertState, MessageKind, Outcome, Priority};
use klaroen_domain::delivery::DeliveryState;
use klaroen_domain::id::{AlertId, IncidentId, KeyId, MessageId, OrganisationId};
use klaroen_domain::time::Timestamp;
use serde_json::json;
use uuid::Uuid;

use crate::deliveries::doubts::DoubtCounts;
use crate::deliveries::refusals::RefusalView;
use crate::engine::db::{Sql, on_db, on_tx};
use crate::engine::from_row::from_row;
use crate::engine::page::uuid_cursor;
use crate::engine::sql::sql;
use crate::matching::query::Audience;
use crate::{Page, PageRequest, Result, Store, StoreError};

/// One message of an alert with what became of it.
#[derive(Clone, Debug, PartialEq)]
pub struct MessageView {
    /// Its id.
    pub id: MessageId,
    /// The purpose of the message.
    pub kind: MessageKind,
    /// The text that goes out.
    pub text: String,
    /// `gsm7` or `ucs2`.
    pub encoding: String,
    /// SMS each.
    pub segments: u8,
    /// How many people.
    pub recipients: u64,
    /// How many deliveries in each state; every state is there, and they add up to `recipients`.
    pub counts: BTreeMap<DeliveryState, u64>,
    /// How many were sent again after their answer was lost: those phones may have rung twice.
    pub in_doubt: u64,
    /// Submits whose answer was lost, and how each came to be known.
    pub doubts: DoubtCounts,
    /// Gateways that refused it for all recipients.
    pub refused: Vec<RefusalView>,
    /// When the first one was handed over.
    pub first_sent_at: Option<Timestamp>,
    /// When the last one was handed over.
    pub last_sent_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// An alert as an operator sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertView {
    /// Its id.
    pub id: AlertId,
    /// The incident that the alert is about.
    pub incident: IncidentId,
    /// The state of the alert.
    pub state: AlertState,
    /// How urgent.
    pub priority: Priority,
    /// As it was asked for.
    pub area: serde_json::Value,
    /// Whom.
    pub audience: Audience,
    /// Training, not real.
    pub exercise: bool,
    /// When it is over.
    pub expires_at: Timestamp,
    /// The outcome. Absent until the alert has ended.
    pub outcome: Option<Outcome>,
    /// When it was made.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: KeyId,
    /// When it was closed.
    pub closed_at: Option<Timestamp>,
    /// Its messages, oldest first.
    pub messages: Vec<MessageView>,
    /// Replies, all.
    pub replies_total: u64,
    /// Replies that no operator has looked at yet.
    pub replies_new: u64,
}

const ALERT: Sql = Sql::new(
    "SELECT a.id, a.incident_id, a.state, a.priority, a.area, a.audience, a.exercise, a.expires_at, a.outcome,
         a.created_at, a.created_by, a.closed_at
     FROM alerts a WHERE a.organisation_id = $1 AND a.id = $2",
);
const LIST: Sql = Sql::new(
    "SELECT a.id, a.incident_id, a.state, a.priority, a.area, a.audience, a.exercise, a.expires_at, a.outcome,
         a.created_at, a.created_by, a.closed_at
     FROM alerts a
     WHERE a.organisation_id = $1 AND (a.id < $2 OR $2 IS NULL) AND (a.state = $3 OR $3 IS NULL)
     ORDER BY a.id DESC LIMIT $4",
);
const OF_INCIDENT: Sql = Sql::new(
    "SELECT a.id, a.incident_id, a.state, a.priority, a.area, a.audience, a.exercise, a.expires_at, a.outcome,
         a.created_at, a.created_by, a.closed_at
     FROM alerts a WHERE a.organisation_id = $1 AND a.incident_id = $2 ORDER BY a.id",
);
const MESSAGES: Sql = sql!(
    "SELECT m.id, m.alert_id, m.kind, m.text, m.encoding, m.segments, m.recipients,
         (SELECT COUNT(*) FROM deliveries d WHERE d.message_id = m.id AND d.in_doubt) AS in_doubt, m.first_sent_at, m.last_sent_at,
         m.created_at
     FROM {values($1)} j JOIN messages m ON m.alert_id = {uuid(j.value)} ORDER BY m.id"
);
const COUNTS: Sql = sql!(
    "SELECT d.message_id, d.state, COUNT(*) FROM {values($1)} j
         JOIN messages m ON m.alert_id = {uuid(j.value)} JOIN deliveries d ON d.message_id = m.id
     GROUP BY d.message_id, d.state"
);
const REPLIES: Sql = sql!(
    "SELECT r.alert_id, COUNT(*), SUM(CASE WHEN r.state = 'new' THEN 1 ELSE 0 END)
     FROM {values($1)} j JOIN replies r ON r.alert_id = {uuid(j.value)} WHERE r.shown GROUP BY r.alert_id"
);

/// A doubt counts as held if the policy wanted to send the delivery again and it was stopped before that. Doubts are few and
/// have their own index.
const DOUBTS: Sql = sql!(
    "SELECT message_id, settled_by, COUNT(*) FROM (
         SELECT x.message_id, CASE WHEN x.settled_by = 'policy_resend' AND d.state = 'unknown' THEN 'policy_hold' ELSE x.settled_by END
             AS settled_by
         FROM {values($1)} j JOIN messages m ON m.alert_id = {uuid(j.value)} JOIN doubts x ON x.message_id = m.id
             LEFT JOIN deliveries d ON d.id = x.delivery_id AND d.lease_token = x.lease_token) s
     GROUP BY message_id, settled_by"
);
const REFUSALS: Sql = sql!(
    "SELECT r.message_id, r.gateway, r.code, r.detail, r.at FROM {values($1)} j
         JOIN messages m ON m.alert_id = {uuid(j.value)} JOIN message_refusals r ON r.message_id = m.id
     ORDER BY r.message_id, r.at, r.gateway"
);

type DoubtRow = (Uuid, Option<String>, i64);
type RefusalRow = (Uuid, String, String, String, i64);

from_row! {
    struct AlertRow {
        id: Uuid,
        incident_id: Uuid,
        state: String,
        priority: String,
        area: String,
        audience: String,
        exercise: bool,
        expires_at: i64,
        outcome: Option<String>,
        created_at: i64,
        created_by: Uuid,
        closed_at: Option<i64>,
    }
}

from_row! {
    struct MessageRow {
        id: Uuid,
        alert_id: Uuid,
        kind: String,
        text: String,
        encoding: String,
        segments: i64,
        recipients: i64,
        in_doubt: i64,
        first_sent_at: Option<i64>,
        last_sent_at: Option<i64>,
        created_at: i64,
    }
}

impl Store {
    /// One alert.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the database does not answer or refuses the statement, or [`StoreError::Corrupt`] if
    /// a stored row cannot be read.
    pub async fn alert(&self, organisation: OrganisationId, id: AlertId) -> Result<Option<AlertView>> {
        let row: Option<AlertRow> = on_db!(read self.db, pool, d => sqlx::query_as(ALERT.of(d))
            .bind(organisation.0).bind(id.0).fetch_optional(pool).await?);
        Ok(self.views(row.into_iter().collect()).await?.pop())
    }

    /// The alerts of an organisation, newest first.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the database does not answer or refuses the statement, [`StoreError::BadCursor`] if
    /// a list did not return the cursor of `page`, or [`StoreError::Corrupt`] if a stored row cannot be read.
    pub async fn list_alerts(
        &self,
        organisation: OrganisationId,
        state: Option<AlertState>,
        page: &PageRequest,
    ) -> Result<Page<AlertView>> {
        let rows: Vec<AlertRow> = on_db!(read self.db, pool, d => sqlx::query_as(LIST.of(d))
            .bind(organisation.0).bind(page.after_uuid()?).bind(state.map(AlertState::as_str)).bind(page.fetch())
            .fetch_all(pool).await?);
        let rows = Page::from_rows(rows, page, |row| uuid_cursor(row.id));
        Ok(Page { items: self.views(rows.items).await?, next_cursor: rows.next_cursor })
    }

    /// The alerts of one incident, oldest first.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the database does not answer or refuses the statement, or [`StoreError::Corrupt`] if
    /// a stored row cannot be read.
    pub async fn alerts_of_incident(
        &self,
        organisation: OrganisationId,
        incident: IncidentId,
    ) -> Result<Vec<AlertView>> {
        let rows: Vec<AlertRow> = on_db!(read self.db, pool, d => sqlx::query_as(OF_INCIDENT.of(d))
            .bind(organisation.0).bind(incident.0).fetch_all(pool).await?);
        self.views(rows).await
    }

    /// Adds messages, counts, doubts, refusals and replies: a statement each for a whole page, inside one snapshot each.
    async fn views(&self, rows: Vec<AlertRow>) -> Result<Vec<AlertView>> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let ids = json!(rows.iter().map(|row| row.id.simple().to_string()).collect::<Vec<_>>()).to_string();
        // One transaction, so that recipients and counts are of the same moment and add up.
        let mut tx = self.db.snapshot().await?;
        let messages: Vec<MessageRow> = on_tx!(&mut tx, conn, d =>
            sqlx::query_as(MESSAGES.of(d)).bind(&ids).fetch_all(conn).await?);
        let counts: Vec<(Uuid, String, i64)> = on_tx!(&mut tx, conn, d =>
            sqlx::query_as(COUNTS.of(d)).bind(&ids).fetch_all(conn).await?);
        let doubts: Vec<DoubtRow> = on_tx!(&mut tx, conn, d =>
            sqlx::query_as(DOUBTS.of(d)).bind(&ids).fetch_all(conn).await?);
        let refusals: Vec<RefusalRow> = on_tx!(&mut tx, conn, d =>
            sqlx::query_as(REFUSALS.of(d)).bind(&ids).fetch_all(conn).await?);
        let replies: Vec<(Uuid, i64, i64)> = on_tx!(&mut tx, conn, d =>
            sqlx::query_as(REPLIES.of(d)).bind(&ids).fetch_all(conn).await?);
        drop(tx);
        let mut views = rows.into_iter().map(AlertView::try_from).collect::<Result<Vec<_>>>()?;
        for row in messages {
            let owner = AlertId(row.alert_id);
            let mut view = MessageView::try_from(row)?;
            for (_, state, count) in counts.iter().filter(|(message, ..)| *message == view.id.0) {
                let state = state.parse().map_err(|_| corrupt("deliveries", "state"))?;
                view.counts.insert(state, unsigned(*count));
            }
            for (_, settled_by, count) in doubts.iter().filter(|(message, ..)| *message == view.id.0) {
                view.doubts.add(settled_by.as_deref(), unsigned(*count))?;
            }
            let refused = refusals.iter().filter(|(message, ..)| *message == view.id.0);
            view.refused = refused
                .map(|(_, gateway, code, detail, at)| RefusalView {
                    gateway: gateway.clone(),
                    code: code.clone(),
                    detail: detail.clone(),
                    at: Timestamp::from_millis(*at),
                })
                .collect();
            if let Some(alert) = views.iter_mut().find(|alert| alert.id == owner) {
                alert.messages.push(view);
            }
        }
        for (alert, total, new) in replies {
            if let Some(alert) = views.iter_mut().find(|a| a.id.0 == alert) {
                alert.replies_total = unsigned(total);
                alert.replies_new = unsigned(new);
            }
        }
        Ok(views)
    }
}

const fn corrupt(table: &'static str, column: &'static str) -> StoreError {
    StoreError::Corrupt { table, column }
}

fn unsigned(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}

impl TryFrom<AlertRow> for AlertView {
    type Error = StoreError;
    fn try_from(row: AlertRow) -> Result<Self> {
        Ok(Self {
            id: AlertId(row.id),
            incident: IncidentId(row.incident_id),
            state: row.state.parse().map_err(|_| corrupt("alerts", "state"))?,
            priority: row.priority.parse().map_err(|_| corrupt("alerts", "priority"))?,
            area: serde_json::from_str(&row.area).map_err(|_| corrupt("alerts", "area"))?,
            audience: serde_json::from_str(&row.audience).map_err(|_| corrupt("alerts", "audience"))?,
            exercise: row.exercise,
            expires_at: Timestamp::from_millis(row.expires_at),
            outcome: row.outcome.map(|o| o.parse()).transpose().map_err(|_| corrupt("alerts", "outcome"))?,
            created_at: Timestamp::from_millis(row.created_at),
            created_by: KeyId(row.created_by),
            closed_at: row.closed_at.map(Timestamp::from_millis),
            messages: Vec::new(),
            replies_total: 0,
            replies_new: 0,
        })
    }
}

impl TryFrom<MessageRow> for MessageView {
    type Error = StoreError;
    fn try_from(row: MessageRow) -> Result<Self> {
        Ok(Self {
            id: MessageId(row.id),
            kind: row.kind.parse().map_err(|_| corrupt("messages", "kind"))?,
            text: row.text,
            encoding: row.encoding,
            segments: u8::try_from(row.segments).unwrap_or(u8::MAX),
            recipients: unsigned(row.recipients),
            in_doubt: unsigned(row.in_doubt),
            doubts: DoubtCounts::default(),
            refused: Vec::new(),
            counts: DeliveryState::ALL.into_iter().map(|state| (state, 0)).collect(),
            first_sent_at: row.first_sent_at.map(Timestamp::from_millis),
            last_sent_at: row.last_sent_at.map(Timestamp::from_millis),
            created_at: Timestamp::from_millis(row.created_at),
        })
    }
}
