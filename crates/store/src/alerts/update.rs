//! Changing an alert that was taken: update, retract, end, cancel, extend.

use klaroen_domain::alert::{self, AlertEvent, AlertState, MessageKind, Outcome, Priority};
use klaroen_domain::geofence::Geofence;
use klaroen_domain::id::{AlertId, IncidentId, MessageId};
use klaroen_domain::text::MessageText;
use klaroen_domain::time::Timestamp;
use serde_json::json;
use uuid::Uuid;

use crate::alerts::create::{ChangeRefused, Intake, Taken};
use crate::alerts::fanout::{self, Target};
use crate::alerts::follow_ups;
use crate::deliveries::cancel;
use crate::deliveries::messages::{self, FOLLOW_UP_VALIDITY, NewMessage};
use crate::engine::db::{Sql, Tx, on_db, on_tx};
use crate::engine::sql::sql;
use crate::matching::query::{Audience, MatchQuery};
use crate::tenancy::idempotency::Once;
use crate::{Result, Store, StoreError};

const STATE: Sql = Sql::new(
    "SELECT state, priority, incident_id, audience FROM alerts WHERE organisation_id = $1 AND id = $2",
);
/// One change to an alert at a time, and none while a page of its fan-out is written.
const LOCK: Sql = sql!(
    "SELECT state, priority, incident_id, audience FROM alerts WHERE organisation_id = $1 AND id = $2 {lock}"
);
const SET_STATE: Sql = Sql::new(
    "UPDATE alerts SET state = $3, outcome = COALESCE($4, outcome), closed_at = $5 WHERE id = $1 AND state = $2",
);
const CLOSE_FANOUTS: Sql = Sql::new("UPDATE fanouts SET done = TRUE WHERE alert_id = $1 AND NOT done");
const CLOSE_UPDATES: Sql = Sql::new(
    "UPDATE messages SET awaits_start = FALSE WHERE alert_id = $1 AND kind = 'update' AND awaits_start",
);
const START_MESSAGE: Sql =
    Sql::new("SELECT id FROM messages WHERE alert_id = $1 AND kind = 'start' ORDER BY id LIMIT 1");
const REOPEN_UPDATES: Sql = Sql::new(
    "UPDATE messages SET awaits_start = TRUE, settled = FALSE WHERE alert_id = $1 AND kind = 'update'",
);

/// A change to an alert that was made: it is on the disk and holds. [`Store::continue_change`] does the rest of a large
/// change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// The message that is not written yet for all that it goes to.
    pub follow_up: Option<MessageId>,
    /// Whether deliveries are left in the queue that are to be cancelled. None of them leaves.
    pub unsent: bool,
}

impl Changed {
    /// Whether anything remains.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.follow_up.is_none() && !self.unsent
    }
}

/// The fields of an alert that a change needs.
struct Current {
    state: AlertState,
    priority: Priority,
    incident: IncidentId,
    audience: Audience,
}

/// One of the changes that send a text to those who were reached.
struct FollowUp<'a> {
    event: AlertEvent,
    kind: MessageKind,
    text: &'a MessageText,
    outcome: Option<Outcome>,
    action: &'static str,
}

impl Store {
    /// A text to the people who were reached. The rest is [`Store::continue_change`]'s, as after every change.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the database does not answer or refuses the statement, or [`StoreError::Corrupt`] if
    /// a stored row cannot be read. The inner [`ChangeRefused`] says why nothing was changed.
    pub async fn update_alert(
        &self,
        intake: &Intake<'_>,
        id: AlertId,
        text: &MessageText,
    ) -> Result<Result<Once<Changed>, ChangeRefused>> {
        let (event, kind) = (AlertEvent::Change, MessageKind::Update);
        self.follow_up(intake, id, FollowUp { event, kind, text, outcome: None, action: "alert.updated" })
            .await
    }

    /// Withdraws an alert: unsent starts are cancelled, those reached get the text.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the database does not answer or refuses the statement, or [`StoreError::Corrupt`] if
    /// a stored row cannot be read. The inner [`ChangeRefused`] says why nothing was changed.
    pub async fn retract_alert(
        &self,
        intake: &Intake<'_>,
        id: AlertId,
        text: &MessageText,
    ) -> Result<Result<Once<Changed>, ChangeRefused>> {
        let (event, kind) = (AlertEvent::Retract, MessageKind::Retract);
        self.follow_up(intake, id, FollowUp { event, kind, text, outcome: None, action: "alert.retracted" })
            .await
    }

    /// Ends an alert: unsent starts are cancelled, those reached get the text.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the database does not answer or refuses the statement, or [`StoreError::Corrupt`] if
    /// a stored row cannot be read. The inner [`ChangeRefused`] says why nothing was changed.
    pub async fn end_alert(
        &self,
        intake: &Intake<'_>,
        id: AlertId,
        text: &MessageText,
        outcome: Outcome,
    ) -> Result<Result<Once<Changed>, ChangeRefused>> {
        let (event, kind) = (AlertEvent::End, MessageKind::End);
        let outcome = Some(outcome);
        self.follow_up(intake, id, FollowUp { event, kind, text, outcome, action: "alert.ended" }).await
    }

    async fn follow_up(
        &self,
        intake: &Intake<'_>,
        id: AlertId,
        change: FollowUp<'_>,
    ) -> Result<Result<Once<Changed>, ChangeRefused>> {
        let mut tx = self.db.begin().await?;
        if let Some(answer) = intake.seen_before(&mut tx).await? {
            return Ok(Ok(answer));
        }
        let current = match change_state(&mut tx, intake, id, change.event, change.outcome).await? {
            Ok(current) => current,
            Err(refused) => return Ok(Err(refused)),
        };
        // An update leaves the unsent starts alone: their people get the start, and the update after it.
        let unsent = match change.kind {
            MessageKind::Update => 0,
            _ => cancel_unsent(&mut tx, intake, id).await?,
        };
        let message = MessageId::generate();
        let new = NewMessage {
            id: message,
            organisation: intake.organisation,
            alert: Some(id),
            kind: change.kind,
            priority: current.priority,
            text: change.text,
            expires_at: intake.now.plus(FOLLOW_UP_VALIDITY),
            created_by: Some(intake.operator.0),
            gateway: None,
            now: intake.now,
        };
        messages::insert(&mut tx, &new).await?;
        let more = follow_ups::first_page(&mut tx, message, id, intake.now).await?;
        let reached = follow_ups::reached(&mut tx, id).await?;
        let detail = json!({ "message": message, "reached": reached, "outcome": change.outcome });
        intake.remember(&mut tx, id.0).await?;
        intake.audit(&mut tx, change.action, id.0, detail).await?;
        tx.commit().await?;
        Ok(Ok(Once::Done(Changed { follow_up: more.then_some(message), unsent: cancel::is_full(unsent) })))
    }

    /// Stops what has not left.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the database does not answer or refuses the statement, or [`StoreError::Corrupt`] if
    /// a stored row cannot be read. The inner [`ChangeRefused`] says why nothing was changed.
    pub async fn cancel_alert(
        &self,
        intake: &Intake<'_>,
        id: AlertId,
    ) -> Result<Result<Once<Changed>, ChangeRefused>> {
        let mut tx = self.db.begin().await?;
        if let Some(answer) = intake.seen_before(&mut tx).await? {
            return Ok(Ok(answer));
        }
        if let Err(refused) = change_state(&mut tx, intake, id, AlertEvent::Cancel, None).await? {
            return Ok(Err(refused));
        }
        let cancelled = cancel_unsent(&mut tx, intake, id).await?;
        let unsent = cancel::is_full(cancelled);
        // Of a large alert the number is not known yet: its own entry follows when the last page is cancelled.
        let detail = json!({ "unsent": (!unsent).then_some(cancelled) });
        intake.audit(&mut tx, "alert.cancelled", id.0, detail).await?;
        intake.remember(&mut tx, id.0).await?;
        tx.commit().await?;
        Ok(Ok(Once::Done(Changed { follow_up: None, unsent })))
    }

    /// Does what remains of a change, page by page. `wake` is called after each page that has messages to be sent.
    /// Idempotent; the sweeper does what a crash cuts off.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the database does not answer or refuses the statement, or [`StoreError::Corrupt`] if
    /// a stored row cannot be read. The change holds all the same.
    pub async fn continue_change(
        &self,
        alert: AlertId,
        changed: &Changed,
        now: Timestamp,
        wake: impl Fn() + Sync,
    ) -> Result<()> {
        // People wait for the follow-up, but not for the cancellation.
        if let Some(message) = changed.follow_up {
            self.follow_up_rest(message, alert, now, &wake).await?;
        }
        if changed.unsent {
            self.cancel_rest(alert, now).await?;
        }
        Ok(())
    }

    /// Asks more people, with the start message, about an alert that runs. People already asked are not asked again: the database
    /// has one delivery for each number. `Taken::recipients` counts the new ones of what was written.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the database does not answer or refuses the statement, [`StoreError::Corrupt`] if a
    /// stored row cannot be read, or [`StoreError::Stopped`] if the program is being shut down. The inner
    /// [`ChangeRefused`] says why nothing was changed.
    pub async fn extend_alert(
        &self,
        intake: &Intake<'_>,
        id: AlertId,
        geofence: &Geofence,
        area: &serde_json::Value,
    ) -> Result<Result<Once<Taken>, ChangeRefused>> {
        // The question and the audience of an alert never change, so the match can be made before the transaction.
        let found: Option<AlertRow> = on_db!(read self.db, pool, d => sqlx::query_as(STATE.of(d))
            .bind(intake.organisation.0).bind(id.0).fetch_optional(pool).await?);
        let found = found.map(Current::try_from).transpose()?;
        let Some(found) = found else { return Ok(Err(ChangeRefused::NotFound)) };
        let query = MatchQuery {
            organisation: intake.organisation,
            geofence,
            audience: &found.audience,
            priority: found.priority,
            as_of: intake.now,
        };
        let first = self.first_page(&query, intake.rules).await?;
        let mut tx = self.db.begin().await?;
        if let Some(answer) = intake.seen_before(&mut tx).await? {
            return Ok(Ok(answer));
        }
        if let Err(refused) = change_state(&mut tx, intake, id, AlertEvent::Change, None).await? {
            return Ok(Err(refused));
        }
        let start: Uuid = on_tx!(&mut tx, conn, d =>
            sqlx::query_scalar(START_MESSAGE.of(d)).bind(id.0).fetch_one(conn).await?);
        let target = Target { organisation: intake.organisation, alert: id, message: MessageId(start) };
        let recipients = fanout::begin(&mut tx, target, Some(geofence), intake.now, &first).await?;
        let more = first.more;
        on_tx!(&mut tx, conn, d => sqlx::query(REOPEN_UPDATES.of(d)).bind(id.0).execute(conn).await?.rows_affected());
        // Of a large area the number is not known yet: the message's follows when the last page is written.
        let detail = json!({ "area": area, "recipients": (!more).then_some(recipients) });
        intake.audit(&mut tx, "alert.extended", id.0, detail).await?;
        intake.remember(&mut tx, id.0).await?;
        tx.commit().await?;
        Ok(Ok(Once::Done(Taken { incident: found.incident, alert: Some(id), recipients, more })))
    }
}

async fn lock(tx: &mut Tx, intake: &Intake<'_>, id: AlertId) -> Result<Option<Current>> {
    let row: Option<AlertRow> = on_tx!(tx, conn, d => sqlx::query_as(LOCK.of(d))
        .bind(intake.organisation.0).bind(id.0).fetch_optional(conn).await?);
    row.map(Current::try_from).transpose()
}

type AlertRow = (String, String, Uuid, String);

impl TryFrom<AlertRow> for Current {
    type Error = StoreError;
    fn try_from((state, priority, incident, audience): AlertRow) -> Result<Self> {
        let corrupt = |column| StoreError::Corrupt { table: "alerts", column };
        Ok(Self {
            state: state.parse().map_err(|_| corrupt("state"))?,
            priority: priority.parse().map_err(|_| corrupt("priority"))?,
            incident: IncidentId(incident),
            audience: serde_json::from_str(&audience).map_err(|_| corrupt("audience"))?,
        })
    }
}

/// Moves the alert if its state allows it, and closes the messages that are of no use in its new state.
async fn change_state(
    tx: &mut Tx,
    intake: &Intake<'_>,
    id: AlertId,
    event: AlertEvent,
    outcome: Option<Outcome>,
) -> Result<Result<Current, ChangeRefused>> {
    let Some(current) = lock(tx, intake, id).await? else { return Ok(Err(ChangeRefused::NotFound)) };
    let Ok(next) = alert::advance(current.state, event) else {
        return Ok(Err(ChangeRefused::NotPossible(current.state)));
    };
    if next != current.state {
        on_tx!(tx, conn, d => sqlx::query(SET_STATE.of(d))
            .bind(id.0).bind(current.state.as_str()).bind(next.as_str()).bind(outcome.map(Outcome::as_str))
            .bind(intake.now.as_millis())
            .execute(conn).await?.rows_affected());
        messages::close(tx, id, next).await?;
    }
    Ok(Ok(current))
}

/// Takes a page of the deliveries that have not left out of the queue, and stops fan-outs and updates that are under way. The
/// deliveries behind the page do not leave either, once this is committed: the alert is closed.
async fn cancel_unsent(tx: &mut Tx, intake: &Intake<'_>, id: AlertId) -> Result<u64> {
    on_tx!(&mut *tx, conn, d => sqlx::query(CLOSE_FANOUTS.of(d)).bind(id.0).execute(conn).await?.rows_affected());
    let cancelled = cancel::cancel_page(tx, id, intake.now).await?;
    on_tx!(tx, conn, d => sqlx::query(CLOSE_UPDATES.of(d)).bind(id.0).execute(conn).await?.rows_affected());
    Ok(cancelled)
}
