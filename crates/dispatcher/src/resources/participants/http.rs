//! `/v1/participants`: the registry. The only place where phone numbers are shown whole.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use klaroen_domain::id::ParticipantId;
use klaroen_domain::participant::{Language, ParticipantKind};
use klaroen_domain::phone::PhoneNumber;
use klaroen_domain::time::Timestamp;
use klaroen_store::participants::{Participant as Stored, ParticipantDraft, Refused};
use serde::Serialize;
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use crate::auth::caller::Caller;
use crate::problem::{FieldError, Problem};
use crate::request::body::JsonBody;
use crate::request::fields::{Node, Report, path_id};
use crate::request::limits::PLACES_MAX;
use crate::request::point::PointView;
use crate::request::query::{List, PageParameters, Parameters};
use crate::resources::participants::request::{self as request, ParticipantPatch, ParticipantRequest};
use crate::resources::{created, schemas};
use crate::state::App;

/// A participant.
#[derive(Serialize, ToSchema)]
pub struct Participant {
    /// Its id.
    #[schema(schema_with = schemas::id)]
    pub id: ParticipantId,
    /// Resident or business.
    #[schema(schema_with = schemas::participant_kind)]
    pub kind: ParticipantKind,
    /// Name, if given.
    pub name: Option<String>,
    /// The number, whole.
    pub phone: String,
    /// Of automatic texts.
    #[schema(schema_with = schemas::language)]
    pub language: Language,
    /// Where alerts are wanted for.
    pub places: Vec<Place>,
    /// Codes of groups.
    pub groups: Vec<String>,
    /// The caller's own key.
    pub external_id: Option<String>,
    /// No alerts before this moment.
    #[schema(schema_with = schemas::time_or_null)]
    pub paused_until: Option<Timestamp>,
    /// Evidence that alerts are wanted.
    pub consent: Consent,
    /// Whether the number has opted out: it gets nothing then.
    pub opted_out: bool,
    /// When it was made.
    #[schema(schema_with = schemas::time)]
    pub created_at: Timestamp,
    /// When it was last changed.
    #[schema(schema_with = schemas::time)]
    pub updated_at: Timestamp,
}

/// A place for which alerts are wanted.
#[derive(Serialize, ToSchema)]
pub struct Place {
    /// Home, work, shop, …
    pub label: String,
    /// Where it is.
    pub location: PointView,
    /// When alerts are wanted; `null`: always.
    pub hours: Option<String>,
}

/// Evidence that alerts are wanted.
#[derive(Serialize, ToSchema)]
pub struct Consent {
    /// When.
    #[schema(schema_with = schemas::time)]
    pub given_at: Timestamp,
    /// How.
    pub method: String,
}

impl From<Stored> for Participant {
    fn from(stored: Stored) -> Self {
        let draft = stored.draft;
        let place = |place: klaroen_store::participants::Place| Place {
            label: place.label,
            location: place.location.into(),
            hours: place.hours.map(|hours| hours.to_string()),
        };
        Self {
            id: stored.id,
            kind: draft.kind,
            name: draft.name,
            phone: draft.phone.expose().to_owned(),
            language: draft.language,
            places: draft.places.into_iter().map(place).collect(),
            groups: draft.groups,
            external_id: draft.external_id,
            paused_until: draft.paused_until,
            consent: Consent { given_at: draft.consent.given_at, method: draft.consent.method },
            opted_out: stored.opted_out,
            created_at: stored.created_at,
            updated_at: stored.updated_at,
        }
    }
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

/// The codes of groups as the request names them, so that a pointer has their place.
fn given_groups(value: &Value) -> Vec<String> {
    let codes = value.get("groups").and_then(Value::as_array);
    codes.into_iter().flatten().filter_map(|c| c.as_str().map(|c| c.trim().to_owned())).collect()
}

/// Enrol a participant
#[utoipa::path(post, path = "/v1/participants", tag = "registry", operation_id = "create_participant",
    request_body = ParticipantRequest,
    responses((status = 201, description = "Enrolled", body = Participant, headers(("Location" = String))),
              (status = 409, description = "The external_id is taken", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn create(
    State(app): State<App>,
    caller: Caller,
    body: JsonBody,
) -> Result<Response, Problem> {
    let now = app.now();
    let report = Report::default();
    let draft = request::read(&Node::root(&body.value, &report), app.settings.country, now);
    let draft = report.finish(draft)?;
    let made = app.store.create_participant(caller.organisation(), &draft, caller.actor(), now).await?;
    let made = made.map_err(|refusal| refused(refusal, &given_groups(&body.value)))?;
    created(&format!("/v1/participants/{}", made.id), &Participant::from(made))
}

/// Which participants.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ParticipantFilter {
    /// Only those with this number; write the plus sign as `%2B`, or leave it out and begin with `0031`.
    pub phone: Option<String>,
}

/// The registry, oldest first
#[utoipa::path(get, path = "/v1/participants", tag = "registry", operation_id = "list_participants",
    params(ParticipantFilter, PageParameters),
    responses((status = 200, description = "A page", body = List<Participant>)))]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    parameters: Parameters,
) -> Result<Json<List<Participant>>, Problem> {
    let report = parameters.report();
    let phone = parameters.get("phone").and_then(|text| {
        // A plus sign that was not encoded arrives as a space.
        let text = text.strip_prefix(' ').map_or_else(|| text.to_owned(), |rest| format!("+{rest}"));
        PhoneNumber::parse(&text, app.settings.country)
            .map_err(|error| report.add("/phone", error.to_string()))
            .ok()
    });
    let page = parameters.page(&report);
    let page = report.finish(Some(page))?;
    let page = app.store.list_participants(caller.organisation(), phone.as_ref(), &page).await?;
    Ok(Json(List::from_page(page, Participant::from)))
}

async fn find(app: &App, caller: &Caller, id: ParticipantId) -> Result<Stored, Problem> {
    let stored = app.store.participant(caller.organisation(), id).await?;
    stored.ok_or_else(|| Problem::not_found("participant"))
}

/// One participant
#[utoipa::path(get, path = "/v1/participants/{id}", tag = "registry", operation_id = "get_participant",
    params(("id" = uuid::Uuid, Path, description = "The participant")),
    responses((status = 200, description = "The participant", body = Participant)))]
pub(crate) async fn get(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Participant>, Problem> {
    find(&app, &caller, path_id(&id, "participant")?).await.map(|stored| Json(stored.into()))
}

/// Change a participant
#[utoipa::path(patch, path = "/v1/participants/{id}", tag = "registry", operation_id = "change_participant",
    params(("id" = uuid::Uuid, Path, description = "The participant")),
    request_body(content = ParticipantPatch, content_type = "application/merge-patch+json"),
    responses((status = 200, description = "The participant", body = Participant),
              (status = 409, description = "The external_id is taken", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn change(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    body: JsonBody,
) -> Result<Json<Participant>, Problem> {
    let id = path_id(&id, "participant")?;
    if !body.value.is_object() {
        return Err(Problem::invalid_field("", "must be an object"));
    }
    // Read, merged and written as one: what an import writes in between would be undone.
    let taken = app.store.take_participant(caller.organisation(), id).await?;
    let taken = taken.ok_or_else(|| Problem::not_found("participant"))?;
    let (document, draft) = patched(&app, taken.draft(), &body.value)?;
    let changed = taken.replace(&draft, caller.actor(), app.now()).await?;
    let changed = changed.map_err(|refusal| refused(refusal, &given_groups(&document)))?;
    Ok(Json(changed.into()))
}

/// A registration with a patch laid over it, as a document and as what it says.
fn patched(
    app: &App,
    stored: &ParticipantDraft,
    patch: &Value,
) -> Result<(Value, ParticipantDraft), Problem> {
    let mut document = request::write(stored);
    // While an import runs, whoever it moves has the places of before, too: more than a request may name.
    let keeps_places = patch.get("places").is_none();
    if keeps_places && let Some(places) = document["places"].as_array_mut() {
        places.truncate(PLACES_MAX);
    }
    request::merge(&mut document, patch);
    let report = Report::default();
    let draft = request::read(&Node::root(&document, &report), app.settings.country, app.now());
    let mut draft = report.finish(draft)?;
    if keeps_places {
        draft.places.clone_from(&stored.places);
    }
    Ok((document, draft))
}

/// Erase a participant
///
/// Name, number and places are gone; what is queued for it is not sent. An opt-out of its number stays.
#[utoipa::path(delete, path = "/v1/participants/{id}", tag = "registry", operation_id = "erase_participant",
    params(("id" = uuid::Uuid, Path, description = "The participant")),
    responses((status = 204, description = "Erased")))]
pub(crate) async fn erase(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let id = path_id(&id, "participant")?;
    if app.store.erase_participant(caller.organisation(), id, caller.actor(), app.now()).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Problem::not_found("participant"))
    }
}
