//! Use cases are called without HTTP.

use klaroen_domain::alert::{AlertState, Outcome};
use klaroen_domain::role::Role;
use klaroen_store::Actor;
use klaroen_store::keys::USUAL_LIFE;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::auth::caller::Principal;
use crate::request::json::Document;
use crate::resources::alerts::change::{AlertChange, change_alert};
use crate::resources::alerts::change_request::read_end;
use crate::resources::alerts::request::read_alert;
use crate::resources::alerts::{create, preview};
use crate::resources::incidents::request::read_incident;
use crate::resources::participants::request::read_registration;
use crate::resources::{incidents, participants};
use crate::tests::fixture::{NOW, alert, dispatcher, incident};
use crate::{App, Caller};

fn document(value: Value) -> Document {
    Document { length: value.to_string().len(), value }
}

#[tokio::test]
async fn an_alert_lives_from_preview_to_end_without_http() {
    let (dispatcher, _directory) = dispatcher().await;
    let store = dispatcher.store.clone();
    let organisation = store.create_organisation("utrecht", "Utrecht", NOW).await.unwrap().unwrap().id;
    let key = store
        .create_key(Some(organisation), Role::Operator, "desk", NOW.plus(USUAL_LIFE), Actor::System, NOW)
        .await
        .unwrap();
    let (app, caller) =
        (App::new(dispatcher, CancellationToken::new()), Caller::of(&Principal::new(key.key)).unwrap());

    let registration = json!({
        "kind": "resident", "phone": "06-12345678",
        "places": [{"label": "home", "location": {"latitude": 52.0907, "longitude": 5.1214}}],
        "consent": {"given_at": "2026-01-31T10:00:00+01:00", "method": "web"},
    });
    let registration = read_registration(&registration, app.settings.country, app.now()).unwrap();
    participants::write::create(&app, &caller, registration).await.unwrap();

    let draft = read_alert(&app, organisation, document(alert())).await.unwrap();
    assert_eq!(preview::preview(&app, &caller, &draft).await.unwrap().recipients, 1);
    let mut report = incident();
    report.as_object_mut().unwrap().remove("alert");
    let new = read_incident(&app, organisation, document(report)).await.unwrap();
    let incident = incidents::create::create(&app, &caller, new, None).await.unwrap();
    let alert = create::create(&app, &caller, incident.id, draft, None).await.unwrap();
    assert_eq!((alert.state, alert.recipients), (AlertState::Active, 1));

    let end = document(json!({"text": "Gevonden, dank u.", "outcome": "found"}));
    let (text, outcome) = read_end(&app, &end, alert.exercise).unwrap();
    let ended =
        change_alert(&app, &caller, alert.id, AlertChange::End { text, outcome }, None).await.unwrap();
    assert_eq!((ended.state, ended.outcome), (AlertState::Ended, Some(Outcome::Found)));
    let refused = change_alert(&app, &caller, alert.id, AlertChange::Cancel, None).await.unwrap_err();
    assert_eq!(refused.status, 409);
}
