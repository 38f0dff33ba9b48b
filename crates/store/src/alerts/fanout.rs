//! Writing deliveries page by page, and again after a crash.

use klaroen_domain::geofence::Geofence;
use klaroen_domain::id::{AlertId, MessageId, OrganisationId};
use klaroen_domain::time::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use crate::alerts::create::FirstPage;
use crate::deliveries::messages;
use crate::engine::db::{Sql, Tx, on_db, on_tx};
use crate::engine::from_row::from_row;
use crate::engine::hex;
use crate::engine::json_object::object;
use crate::engine::sql::sql;
use crate::matching::pages::MatchPages;
use crate::matching::query::{Audience, MatchQuery, MatchRules, Matched};
use crate::tenancy::audit;
use crate::{Actor, Result, Store, StoreError};

/// Follow-ups that one transaction writes: some 50 ms on SQLite, during which nothing else is written.
pub const PAGE: usize = 10_000;
/// Places behind the first page of an alert: few, so that its first SMS leaves at once whatever its size.
pub(crate) const FIRST_PLACES: usize = 1_000;
/// Places behind each other page: some 20 ms on SQLite, between which what was written is claimed and sent.
const PLACES: usize = 5_000;

const INSERT_PAGE: Sql = sql!(
    "INSERT INTO deliveries
         (organisation_id, alert_id, message_id, participant_id, recipient, lane, state, due_at, changed_at)
     SELECT $2, $3, $4, {uuid(j.key)}, {blob(j.value)}, $5, 'queued', $6, $6 FROM {pairs($1)} j WHERE true
     ON CONFLICT (recipient, message_id) DO NOTHING"
);
const LANE: Sql = Sql::new("SELECT lane FROM messages WHERE id = $1");
const OPEN: Sql = Sql::new(
    "SELECT f.id, f.organisation_id, f.message_id, COALESCE(f.geofence, a.geofence) AS geofence, f.as_of, f.touched_at, f.next_cell, a.audience, a.priority
     FROM fanouts f JOIN alerts a ON a.id = f.alert_id
     WHERE f.alert_id = $1 AND NOT f.done ORDER BY f.id",
);
/// The alert does not change before the page is written.
const STILL_ACTIVE: Sql = sql!("SELECT state = 'active' FROM alerts WHERE id = $1 {lock}");
const INSERT: Sql = Sql::new(
    "INSERT INTO fanouts (id, organisation_id, alert_id, message_id, geofence, as_of, done, touched_at, next_cell)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $6, $8)",
);
/// Of several processes that find a fan-out cut off, one goes on with it.
const TAKE: Sql =
    Sql::new("UPDATE fanouts SET touched_at = $2 WHERE id = $1 AND NOT done AND touched_at = $3");
const TOUCH: Sql = Sql::new("UPDATE fanouts SET touched_at = $2, next_cell = $3 WHERE id = $1 AND NOT done");
const DONE: Sql = Sql::new("UPDATE fanouts SET done = TRUE WHERE id = $1 AND NOT done");
const ALERTS_WITH_OPEN: Sql =
    Sql::new("SELECT DISTINCT alert_id FROM fanouts WHERE NOT done AND touched_at <= $1");

from_row! {
    struct OpenRow {
        id: Uuid,
        organisation_id: Uuid,
        message_id: Uuid,
        geofence: String,
        as_of: i64,
        touched_at: i64,
        next_cell: Option<i64>,
        audience: String,
        priority: String,
    }
}

/// Whose deliveries are written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub(crate) organisation: OrganisationId,
    pub(crate) alert: AlertId,
    pub(crate) message: MessageId,
}

/// Writes the record of a fan-out, so that a crash can be mended, and its first page. Returns how many deliveries that is.
/// `extension` is the shape that is matched if it is not the alert's own.
pub(crate) async fn begin(
    tx: &mut Tx,
    target: Target,
    extension: Option<&Geofence>,
    now: Timestamp,
    first: &FirstPage,
) -> Result<u64> {
    on_tx!(&mut *tx, conn, d => sqlx::query(INSERT.of(d))
        .bind(Uuid::now_v7()).bind(target.organisation.0).bind(target.alert.0).bind(target.message.0)
        .bind(extension.map(|shape| shape.to_json().to_string())).bind(now.as_millis()).bind(!first.more).bind(first.next_cell)
        .execute(conn).await?.rows_affected());
    write_page(tx, target, &first.people, now).await
}

/// The people of a page as they are written: `{"participant": "recipient"}`. Made before the transaction, in which all other
/// writers wait for SQLite's one writer.
pub(crate) fn people(page: &[Matched]) -> String {
    object(page.iter().map(|m| (m.participant.0.simple(), hex::encode(&m.recipient.0))))
}

/// Writes one page of [`people`]. Returns how many deliveries were new.
async fn write_page(tx: &mut Tx, target: Target, people: &str, now: Timestamp) -> Result<u64> {
    let lane: i64 = on_tx!(&mut *tx, conn, d =>
        sqlx::query_scalar(LANE.of(d)).bind(target.message.0).fetch_one(conn).await?);
    let added = on_tx!(&mut *tx, conn, d => sqlx::query(INSERT_PAGE.of(d))
        .bind(people)
        .bind(target.organisation.0).bind(target.alert.0).bind(target.message.0).bind(lane).bind(now.as_millis())
        .execute(conn).await?.rows_affected());
    if added > 0 {
        messages::count_more(tx, target.message, added).await?;
    }
    Ok(added)
}

impl Store {
    /// Writes what remains of an alert's deliveries. `wake` is called after each page that was committed. Idempotent: it
    /// matches as of the alert's own moment, from the point that it had reached, and adds the people who are missing. Pages
    /// that another process took in the same moment are left to that process.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the database does not answer or refuses the statement, [`StoreError::Corrupt`] if a
    /// stored row cannot be read, or [`StoreError::Stopped`] if the program is being shut down. Rows that were written
    /// stay, and the next call goes on.
    pub async fn continue_fanout(
        &self,
        alert: AlertId,
        rules: &MatchRules,
        now: Timestamp,
        wake: impl Fn() + Send,
    ) -> Result<()> {
        let open: Vec<OpenRow> =
            on_db!(read self.db, pool, d => sqlx::query_as(OPEN.of(d)).bind(alert.0).fetch_all(pool).await?);
        for row in open {
            self.write_fanout(alert, &row, rules, now, &wake).await?;
        }
        Ok(())
    }

    async fn write_fanout(
        &self,
        alert: AlertId,
        row: &OpenRow,
        rules: &MatchRules,
        now: Timestamp,
        wake: &(impl Fn() + Send),
    ) -> Result<()> {
        let corrupt = |table, column| StoreError::Corrupt { table, column };
        let geofence = serde_json::from_str(&row.geofence)
            .ok()
            .and_then(|json: Value| Geofence::from_json(&json))
            .ok_or_else(|| corrupt("fanouts", "geofence"))?;
        let audience: Audience =
            serde_json::from_str(&row.audience).map_err(|_| corrupt("alerts", "audience"))?;
        let organisation = OrganisationId(row.organisation_id);
        let query = MatchQuery {
            organisation,
            geofence: &geofence,
            audience: &audience,
            priority: row.priority.parse().map_err(|_| corrupt("alerts", "priority"))?,
            as_of: Timestamp::from_millis(row.as_of),
        };
        let target = Target { organisation, alert, message: MessageId(row.message_id) };
        let taken = on_db!(write self.db, pool, d => sqlx::query(TAKE.of(d))
            .bind(row.id).bind(now.as_millis()).bind(row.touched_at).execute(pool).await?.rows_affected());
        if taken == 0 {
            return Ok(());
        }
        let began = Instant::now();
        let mut pages = MatchPages::begin(self, &query, rules, row.next_cell).await?;
        while !pages.is_done() {
            let page = pages.step(PLACES).await?;
            let people = people(&page);
            let mut tx = self.db.begin().await?;
            let active: bool = on_tx!(&mut tx, conn, d =>
                sqlx::query_scalar(STILL_ACTIVE.of(d)).bind(alert.0).fetch_one(conn).await?);
            // Ended or cancelled meanwhile: no new people are asked.
            if !active {
                break;
            }
            if !page.is_empty() {
                write_page(&mut tx, target, &people, now).await?;
            }
            // Also if the page found no people: a process that looks through a million places is not cut off.
            on_tx!(&mut tx, conn, d => sqlx::query(TOUCH.of(d))
                .bind(row.id).bind(now.plus(began.elapsed()).as_millis()).bind(pages.next_cell())
                .execute(conn).await?.rows_affected());
            tx.commit().await?;
            wake();
        }
        self.written_out(target, row.id, now).await?;
        wake();
        Ok(())
    }

    /// Closes the record of a fan-out, and says in the audit log how many the message is for.
    async fn written_out(&self, target: Target, id: Uuid, now: Timestamp) -> Result<()> {
        let mut tx = self.db.begin().await?;
        let closed = on_tx!(&mut tx, conn, d =>
            sqlx::query(DONE.of(d)).bind(id).execute(conn).await?.rows_affected());
        if closed > 0 {
            let recipients = messages::recipients(&mut tx, target.message).await?;
            let (subject, detail) = (target.alert.0.to_string(), json!({ "recipients": recipients }));
            let action = "alert.written_out";
            audit::append(&mut tx, target.organisation, Actor::System, action, &subject, detail, now).await?;
        }
        tx.commit().await
    }

    /// Alerts whose deliveries were not all written although no process wrote a page since `before`: a crash cut them off.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the database does not answer or refuses the statement.
    pub async fn open_fanouts(&self, before: Timestamp) -> Result<Vec<AlertId>> {
        let alerts: Vec<Uuid> = on_db!(read self.db, pool, d =>
            sqlx::query_scalar(ALERTS_WITH_OPEN.of(d)).bind(before.as_millis()).fetch_all(pool).await?);
        Ok(alerts.into_iter().map(AlertId).collect())
    }
}
