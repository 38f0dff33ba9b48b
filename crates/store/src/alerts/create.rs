//! Taking incidents and alerts: one transaction, and the answer only after its commit.

use klaroen_domain::alert::{self, AlertEvent, AlertState, Priority};
use klaroen_domain::geofence::Geofence;
use klaroen_domain::id::{AlertId, IncidentId, KeyId, OrganisationId};
use klaroen_domain::text::MessageText;
use klaroen_domain::time::Timestamp;
use serde_json::json;
use uuid::Uuid;

use crate::alerts::activate;
use crate::alerts::fanout::{self, FIRST_PLACES};
use crate::alerts::incidents::{self, IncidentDraft};
use crate::engine::db::{Sql, Tx, on_db, on_tx};
use crate::matching::pages::MatchPages;
use crate::matching::query::{Audience, MatchQuery, MatchRules};
use crate::tenancy::audit;
use crate::tenancy::idempotency::{self, Idempotency, Once, Seen};
use crate::{Actor, Result, Store, StoreError};

/// The state of an alert that needs no approval.
const ACTIVATED: AlertState = match alert::advance(AlertState::Draft, AlertEvent::Activate) {
    Ok(state) => state,
    Err(_) => panic!("a draft can be activated"),
};

/// The content of a validated request.
#[derive(Clone, Debug)]
pub struct AlertDraft {
    /// The shape.
    pub geofence: Geofence,
    /// As it was asked for (`{"circle":…}`), to be shown again.
    pub area: serde_json::Value,
    /// The text of the start message.
    pub text: MessageText,
    /// Whom.
    pub audience: Audience,
    /// How urgent.
    pub priority: Priority,
    /// When it is over.
    pub expires_at: Timestamp,
    /// Training, not real.
    pub exercise: bool,
}

/// Who takes an alert, and with what rules.
#[derive(Clone, Debug)]
pub struct Intake<'a> {
    /// The tenant.
    pub organisation: OrganisationId,
    /// The operator's key.
    pub operator: KeyId,
    /// Makes a repetition known.
    pub idempotency: Option<&'a Idempotency>,
    /// The rules about disturbing people.
    pub rules: &'a MatchRules,
    /// The present moment.
    pub now: Timestamp,
}

/// An alert that was taken: its first page of deliveries is on the disk, the rest is [`Store::continue_fanout`]'s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The incident.
    pub incident: IncidentId,
    /// The alert, if there was one in the request.
    pub alert: Option<AlertId>,
    /// How many people are asked by the deliveries that were written. If there are more, the rest is counted as it is
    /// written.
    pub recipients: u64,
    /// Whether deliveries remain to be written.
    pub more: bool,
}

/// The people whom the first page of a fan-out is for, and whether there may be others.
pub(crate) struct FirstPage {
    /// As [`fanout::people`] returns them.
    pub(crate) people: String,
    pub(crate) more: bool,
    /// The cell in which the others begin.
    pub(crate) next_cell: Option<i64>,
}

/// Why a change to an alert was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeRefused {
    /// The organisation has no such alert (or incident).
    NotFound,
    /// The alert is in a state that does not allow it.
    NotPossible(AlertState),
}

const INSERT_ALERT: Sql = Sql::new(
    "INSERT INTO alerts (id, organisation_id, incident_id, state, priority, area, audience, exercise, expires_at,
         created_at, created_by, text, geofence)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
);
const INCIDENT_EXISTS: Sql =
    Sql::new("SELECT EXISTS (SELECT 1 FROM incidents WHERE organisation_id = $1 AND id = $2)");

impl Store {
    /// Takes an incident, with or without an alert, in one transaction.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the database does not answer or refuses the statement, [`StoreError::Corrupt`] if a
    /// stored row cannot be read, or [`StoreError::Stopped`] if the program is being shut down.
    pub async fn take_incident(
        &self,
        intake: &Intake<'_>,
        incident: &IncidentDraft,
        alert: Option<&AlertDraft>,
    ) -> Result<Once<Taken>> {
        let first = match alert {
            Some(alert) => Some(self.first_page(&intake.query(alert), intake.rules).await?),
            None => None,
        };
        let mut tx = self.db.begin().await?;
        if let Some(answer) = intake.seen_before(&mut tx).await? {
            return Ok(answer);
        }
        let id =
            incidents::insert(&mut tx, intake.organisation, incident, intake.operator, intake.now).await?;
        let mut taken = Taken { incident: id, alert: None, recipients: 0, more: false };
        if let (Some(alert), Some(first)) = (alert, &first) {
            taken = intake.insert_active_alert(&mut tx, id, alert, first).await?;
        }
        intake.remember(&mut tx, id.0).await?;
        intake.audit(&mut tx, "incident.reported", id.0, json!({ "category": incident.category })).await?;
        intake.audit_start(&mut tx, alert, &taken).await?;
        tx.commit().await?;
        Ok(Once::Done(taken))
    }

    /// Takes an alert about an incident that is there.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the database does not answer or refuses the statement, [`StoreError::Corrupt`] if a
    /// stored row cannot be read, or [`StoreError::Stopped`] if the program is being shut down. The inner
    /// [`ChangeRefused`] says why nothing was changed.
    pub async fn take_alert(
        &self,
        intake: &Intake<'_>,
        incident: IncidentId,
        alert: &AlertDraft,
    ) -> Result<Result<Once<Taken>, ChangeRefused>> {
        let exists: bool = on_db!(read self.db, pool, d => sqlx::query_scalar(INCIDENT_EXISTS.of(d))
            .bind(intake.organisation.0).bind(incident.0).fetch_one(pool).await?);
        if !exists {
            return Ok(Err(ChangeRefused::NotFound));
        }
        let first = self.first_page(&intake.query(alert), intake.rules).await?;
        let mut tx = self.db.begin().await?;
        if let Some(answer) = intake.seen_before(&mut tx).await? {
            return Ok(Ok(answer));
        }
        let taken = intake.insert_active_alert(&mut tx, incident, alert, &first).await?;
        let id = taken.alert.map_or(incident.0, |alert| alert.0);
        intake.remember(&mut tx, id).await?;
        intake.audit_start(&mut tx, Some(alert), &taken).await?;
        tx.commit().await?;
        Ok(Ok(Once::Done(taken)))
    }

    /// Looks up no more than the first page: the first SMS does not wait until the last recipient is found.
    pub(crate) async fn first_page(&self, query: &MatchQuery<'_>, rules: &MatchRules) -> Result<FirstPage> {
        let mut pages = MatchPages::begin(self, query, rules, None).await?;
        let people = fanout::people(&pages.step(FIRST_PLACES).await?);
        Ok(FirstPage { people, more: !pages.is_done(), next_cell: pages.next_cell() })
    }
}

impl Intake<'_> {
    /// Returns the match query for the people whom an alert is for.
    pub(crate) fn query<'a>(&self, alert: &'a AlertDraft) -> MatchQuery<'a> {
        MatchQuery {
            organisation: self.organisation,
            geofence: &alert.geofence,
            audience: &alert.audience,
            priority: alert.priority,
            as_of: self.now,
        }
    }

    /// Returns the earlier answer if the request was made before.
    pub(crate) async fn seen_before<T>(&self, tx: &mut Tx) -> Result<Option<Once<T>>> {
        let Some(key) = self.idempotency else { return Ok(None) };
        Ok(match idempotency::look_up(tx, self.organisation, key).await? {
            Seen::Never => None,
            Seen::Same(resource) => Some(Once::Repeated(resource)),
            Seen::Other => Some(Once::KeyReused),
        })
    }

    /// Remembers what the request made.
    pub(crate) async fn remember(&self, tx: &mut Tx, resource: Uuid) -> Result<()> {
        match self.idempotency {
            Some(key) => idempotency::remember(tx, self.organisation, key, resource, self.now).await,
            None => Ok(()),
        }
    }

    /// Appends to the audit log, as the operator.
    pub(crate) async fn audit(
        &self,
        tx: &mut Tx,
        action: &str,
        subject: Uuid,
        detail: serde_json::Value,
    ) -> Result<()> {
        let actor = Actor::Key(self.operator);
        audit::append(tx, self.organisation, actor, action, &subject.to_string(), detail, self.now).await
    }

    /// Writes down an alert in the state that it has at the end of the transaction: it need not be changed at once.
    pub(crate) async fn insert_alert(
        &self,
        tx: &mut Tx,
        incident: IncidentId,
        alert: &AlertDraft,
        state: AlertState,
    ) -> Result<AlertId> {
        let id = AlertId::generate();
        let audience = serde_json::to_string(&alert.audience)
            .map_err(|_| StoreError::Corrupt { table: "alerts", column: "audience" })?;
        on_tx!(tx, conn, d => sqlx::query(INSERT_ALERT.of(d))
            .bind(id.0).bind(self.organisation.0).bind(incident.0).bind(state.as_str()).bind(alert.priority.as_str())
            .bind(alert.area.to_string()).bind(audience).bind(alert.exercise).bind(alert.expires_at.as_millis())
            .bind(self.now.as_millis()).bind(self.operator.0).bind(alert.text.as_str())
            .bind(alert.geofence.to_json().to_string())
            .execute(conn).await?.rows_affected());
        Ok(id)
    }

    /// Writes down an alert that needs no approval, and starts it.
    async fn insert_active_alert(
        &self,
        tx: &mut Tx,
        incident: IncidentId,
        alert: &AlertDraft,
        first: &FirstPage,
    ) -> Result<Taken> {
        let id = self.insert_alert(tx, incident, alert, ACTIVATED).await?;
        let recipients = activate::start(tx, self, id, alert, first).await?;
        Ok(Taken { incident, alert: Some(id), recipients, more: first.more })
    }

    /// Says in the audit log that an alert was started, if one was.
    pub(crate) async fn audit_start(
        &self,
        tx: &mut Tx,
        alert: Option<&AlertDraft>,
        taken: &Taken,
    ) -> Result<()> {
        let (Some(alert), Some(id)) = (alert, taken.alert) else { return Ok(()) };
        // Of a large alert the number is not known yet: its own entry follows when the last page is written.
        let recipients = (!taken.more).then_some(taken.recipients);
        let detail = json!({
            "incident": taken.incident, "priority": alert.priority, "recipients": recipients,
            "exercise": alert.exercise,
        });
        self.audit(tx, "alert.started", id.0, detail).await
    }
}
