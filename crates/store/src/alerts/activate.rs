//! Starting an alert that is written down: it becomes active, and the first of its people are asked.

use klaroen_domain::alert::{self, AlertEvent, AlertState, MessageKind};
use klaroen_domain::geofence::Geofence;
use klaroen_domain::id::{AlertId, IncidentId, MessageId};
use klaroen_domain::text::MessageText;
use klaroen_domain::time::Timestamp;
use uuid::Uuid;

use crate::alerts::create::{AlertDraft, ChangeRefused, FirstPage, Intake, Taken};
use crate::alerts::fanout::{self, Target};
use crate::deliveries::messages::{self, NewMessage};
use crate::engine::db::{Sql, Tx, on_db, on_tx};
use crate::engine::from_row::from_row;
use crate::engine::sql::sql;
use crate::tenancy::idempotency::Once;
use crate::{Result, Store, StoreError};

const STORED: Sql = Sql::new(
    "SELECT incident_id, priority, area, geofence, text, audience, exercise, expires_at
     FROM alerts WHERE organisation_id = $1 AND id = $2",
);
/// Of several who start an alert, one does.
const LOCK: Sql = sql!("SELECT state FROM alerts WHERE organisation_id = $1 AND id = $2 {lock}");
const SET_STATE: Sql = Sql::new("UPDATE alerts SET state = $2 WHERE id = $1");

from_row! {
    struct StoredRow {
        incident_id: Uuid,
        priority: String,
        area: String,
        geofence: String,
        text: String,
        audience: String,
        exercise: bool,
        expires_at: i64,
    }
}

/// An alert as it is written down.
struct Stored {
    incident: IncidentId,
    draft: AlertDraft,
}

impl Store {
    /// Starts an alert that is a draft: matches its stored shape as of now, and writes its start message and the first page of
    /// deliveries. The rest is [`Store::continue_fanout`]'s.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the database does not answer, or if the stored alert cannot be read.
    pub async fn activate_alert(
        &self,
        intake: &Intake<'_>,
        id: AlertId,
    ) -> Result<Result<Once<Taken>, ChangeRefused>> {
        let row: Option<StoredRow> = on_db!(read self.db, pool, d => sqlx::query_as(STORED.of(d))
            .bind(intake.organisation.0).bind(id.0).fetch_optional(pool).await?);
        let Some(row) = row else { return Ok(Err(ChangeRefused::NotFound)) };
        // Nothing of it ever changes, so the match can be made before the transaction.
        let Stored { incident, draft } = Stored::try_from(row)?;
        let first = self.first_page(&intake.query(&draft), intake.rules).await?;
        let mut tx = self.db.begin().await?;
        if let Some(answer) = intake.seen_before(&mut tx).await? {
            return Ok(Ok(answer));
        }
        if let Err(refused) = set_active(&mut tx, intake, id).await? {
            return Ok(Err(refused));
        }
        let recipients = start(&mut tx, intake, id, &draft, &first).await?;
        let taken = Taken { incident, alert: Some(id), recipients, more: first.more };
        intake.remember(&mut tx, id.0).await?;
        intake.audit_start(&mut tx, Some(&draft), &taken).await?;
        tx.commit().await?;
        Ok(Ok(Once::Done(taken)))
    }
}

/// Moves a stored alert from draft to active, if its state allows it.
async fn set_active(tx: &mut Tx, intake: &Intake<'_>, id: AlertId) -> Result<Result<(), ChangeRefused>> {
    let state: Option<String> = on_tx!(&mut *tx, conn, d => sqlx::query_scalar(LOCK.of(d))
        .bind(intake.organisation.0).bind(id.0).fetch_optional(conn).await?);
    let Some(state) = state else { return Ok(Err(ChangeRefused::NotFound)) };
    let state: AlertState = state.parse().map_err(|_| corrupt("state"))?;
    let Ok(next) = alert::advance(state, AlertEvent::Activate) else {
        return Ok(Err(ChangeRefused::NotPossible(state)));
    };
    on_tx!(tx, conn, d => sqlx::query(SET_STATE.of(d)).bind(id.0).bind(next.as_str()).execute(conn).await?.rows_affected());
    Ok(Ok(()))
}

/// Writes the start message of an alert that has become active in this transaction, and the first page of its deliveries.
/// Returns how many deliveries that is.
pub(crate) async fn start(
    tx: &mut Tx,
    intake: &Intake<'_>,
    id: AlertId,
    alert: &AlertDraft,
    first: &FirstPage,
) -> Result<u64> {
    let message = MessageId::generate();
    let start = NewMessage {
        id: message,
        organisation: intake.organisation,
        alert: Some(id),
        kind: MessageKind::Start,
        priority: alert.priority,
        text: &alert.text,
        expires_at: alert.expires_at,
        created_by: Some(intake.operator.0),
        gateway: None,
        now: intake.now,
    };
    messages::insert(tx, &start).await?;
    let target = Target { organisation: intake.organisation, alert: id, message };
    fanout::begin(tx, target, None, intake.now, first).await
}

const fn corrupt(column: &'static str) -> StoreError {
    StoreError::Corrupt { table: "alerts", column }
}

impl TryFrom<StoredRow> for Stored {
    type Error = StoreError;
    fn try_from(row: StoredRow) -> Result<Self> {
        let geofence = serde_json::from_str(&row.geofence).ok();
        let draft = AlertDraft {
            geofence: geofence.and_then(|json| Geofence::from_json(&json)).ok_or(corrupt("geofence"))?,
            area: serde_json::from_str(&row.area).map_err(|_| corrupt("area"))?,
            text: MessageText::from_stored(row.text),
            audience: serde_json::from_str(&row.audience).map_err(|_| corrupt("audience"))?,
            priority: row.priority.parse().map_err(|_| corrupt("priority"))?,
            expires_at: Timestamp::from_millis(row.expires_at),
            exercise: row.exercise,
        };
        Ok(Self { incident: IncidentId(row.incident_id), draft })
    }
}

#[cfg(test)]
mod tests {
    use klaroen_domain::alert::Priority;
    use klaroen_domain::id::KeyId;
    use klaroen_domain::point::Point;
    use klaroen_test_databases::Engine;
    use rstest::rstest;
    use serde_json::json;

    use super::*;
    use crate::alerts::incidents::IncidentDraft;
    use crate::matching::query::{Audience, MatchRules};
    use crate::tests::fixture::{ACTOR, Fixture, NOW, draft};

    fn shape() -> Geofence {
        Geofence::circle(Point::wgs84(52.0907, 5.1214).unwrap(), 500.0).unwrap()
    }

    fn alert() -> AlertDraft {
        AlertDraft {
            geofence: shape(),
            area: json!({ "circle": {} }),
            text: MessageText::from_stored("Zoek mee.".into()),
            audience: Audience::default(),
            priority: Priority::Urgent,
            expires_at: NOW.plus(std::time::Duration::from_hours(1)),
            exercise: true,
        }
    }

    fn report() -> IncidentDraft {
        IncidentDraft {
            reference: None,
            category: "missing_person".into(),
            description: "d".into(),
            subject: None,
            location: Point::wgs84(52.0907, 5.1214).unwrap(),
            occurred_at: None,
        }
    }

    fn rules() -> MatchRules {
        MatchRules { zone: "UTC".parse().unwrap(), quiet_hours: None, max_alerts_per_day: 0 }
    }

    fn intake(organisation: klaroen_domain::id::OrganisationId, rules: &MatchRules) -> Intake<'_> {
        Intake { organisation, operator: KeyId(Uuid::from_u128(0xac)), idempotency: None, rules, now: NOW }
    }

    #[rstest]
    #[tokio::test]
    async fn a_draft_asks_nobody_until_it_is_activated_and_is_activated_once(
        #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
    ) {
        let f = Fixture::new(engine).await;
        for n in 0..3 {
            f.store.create_participant(f.organisation, &draft(n), ACTOR, NOW).await.unwrap().unwrap();
        }
        let rules = rules();
        let (intake, strange) = (intake(f.organisation, &rules), intake(f.stranger, &rules));
        let Once::Done(Taken { incident, .. }) =
            f.store.take_incident(&intake, &report(), None).await.unwrap()
        else {
            panic!("nothing repeats a request without a key")
        };
        let mut tx = f.store.db.begin().await.unwrap();
        let id = intake.insert_alert(&mut tx, incident, &alert(), AlertState::Draft).await.unwrap();
        tx.commit().await.unwrap();
        let view = f.store.alert(f.organisation, id).await.unwrap().unwrap();
        assert_eq!((view.state, view.messages.len()), (AlertState::Draft, 0));
        assert_eq!(f.store.activate_alert(&strange, id).await.unwrap(), Err(ChangeRefused::NotFound));

        let taken = Taken { incident, alert: Some(id), recipients: 3, more: false };
        assert_eq!(f.store.activate_alert(&intake, id).await.unwrap(), Ok(Once::Done(taken)));
        let view = f.store.alert(f.organisation, id).await.unwrap().unwrap();
        let start = &view.messages[0];
        assert_eq!((view.state, view.messages.len()), (AlertState::Active, 1));
        assert_eq!((start.kind, start.recipients, start.text.as_str()), (MessageKind::Start, 3, "Zoek mee."));

        let refused = Err(ChangeRefused::NotPossible(AlertState::Active));
        assert_eq!(f.store.activate_alert(&intake, id).await.unwrap(), refused);
        assert_eq!(f.store.alert(f.organisation, id).await.unwrap().unwrap().messages.len(), 1);
    }

    #[test]
    fn what_is_stored_is_what_was_asked_for() {
        let asked = alert();
        let row = StoredRow {
            incident_id: Uuid::nil(),
            priority: asked.priority.as_str().into(),
            area: asked.area.to_string(),
            geofence: asked.geofence.to_json().to_string(),
            text: asked.text.as_str().into(),
            audience: serde_json::to_string(&asked.audience).unwrap(),
            exercise: asked.exercise,
            expires_at: asked.expires_at.as_millis(),
        };
        let stored = Stored::try_from(row).unwrap().draft;
        assert_eq!(format!("{stored:?}"), format!("{asked:?}"));
    }
}
