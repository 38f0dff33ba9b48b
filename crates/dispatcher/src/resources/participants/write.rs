//! Enrolling, changing and erasing participants.

use klaroen_domain::id::ParticipantId;
use klaroen_store::participants::{ParticipantDraft, Refused};
use serde_json::Value;

use super::request::{self as request, Registration, read_registration};
use super::view::Participant;
use crate::auth::caller::Caller;
use crate::problem::{FieldError, Problem};
use crate::request::limits::PLACES_MAX;
use crate::state::App;

/// Enrols a participant.
///
/// # Errors
/// 409 if another participant has the external id, 422 if a group is unknown, 503 if the database is not available.
pub async fn create(app: &App, caller: &Caller, registration: Registration) -> Result<Participant, Problem> {
    let Registration { draft, given_groups } = registration;
    let made = app.store.create_participant(caller.organisation(), &draft, caller.actor(), app.now()).await?;
    made.map(Participant::from).map_err(|refusal| refused(refusal, &given_groups))
}

/// Lays a JSON Merge Patch (RFC 7396) over a registration.
///
/// # Errors
/// 404 if the organisation has no such participant, 409 if another participant has the external id, 422 if the patch makes
/// fields wrong, 503 if the database is not available.
pub async fn change(
    app: &App,
    caller: &Caller,
    id: ParticipantId,
    patch: &Value,
) -> Result<Participant, Problem> {
    if !patch.is_object() {
        return Err(Problem::invalid_field("", "must be an object"));
    }
    // Read, merged and written as one: what an import writes in between would be undone.
    let taken = app.store.take_participant(caller.organisation(), id).await?;
    let taken = taken.ok_or_else(|| Problem::not_found("participant"))?;
    let Registration { draft, given_groups } = patched(app, taken.draft(), patch)?;
    let changed = taken.replace(&draft, caller.actor(), app.now()).await?;
    changed.map(Participant::from).map_err(|refusal| refused(refusal, &given_groups))
}

/// Erases a participant: name, number and places.
///
/// # Errors
/// 404 if the organisation has no such participant, 503 if the database is not available.
pub async fn erase(app: &App, caller: &Caller, id: ParticipantId) -> Result<(), Problem> {
    let erased = app.store.erase_participant(caller.organisation(), id, caller.actor(), app.now()).await?;
    if erased { Ok(()) } else { Err(Problem::not_found("participant")) }
}

/// A registration with a patch laid over it.
fn patched(app: &App, stored: &ParticipantDraft, patch: &Value) -> Result<Registration, Problem> {
    let mut document = request::write(stored);
    // While an import runs, a participant who moves has the previous places too: more than a request may name.
    let keeps_places = patch.get("places").is_none();
    if keeps_places && let Some(places) = document["places"].as_array_mut() {
        places.truncate(PLACES_MAX);
    }
    request::merge(&mut document, patch);
    let mut registration = read_registration(&document, app.settings.country, app.now())?;
    if keeps_places {
        registration.draft.places.clone_from(&stored.places);
    }
    Ok(registration)
}

fn refused(refusal: Refused, given: &[String]) -> Problem {
    match refusal {
        Refused::ExternalIdTaken => {
            Problem::taken("/external_id", "another participant has this external_id")
        }
        Refused::UnknownGroups(codes) => {
            let error = |code: &String| FieldError {
                pointer: given
                    .iter()
                    .position(|g| g == code)
                    .map_or("/groups".into(), |i| format!("/groups/{i}")),
                detail: format!("there is no group {code}"),
            };
            Problem::invalid(codes.iter().map(error).collect())
        }
    }
}
