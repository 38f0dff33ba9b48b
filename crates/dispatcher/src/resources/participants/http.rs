//! The calls under `/v1/participants`: one participant at a time.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;

use super::request::{ParticipantFilter, ParticipantPatch, ParticipantRequest, read_registration};
use super::view::Participant;
use super::{find, write};
use crate::auth::caller::Caller;
use crate::problem::Problem;
use crate::request::body::JsonBody;
use crate::request::fields::path_id;
use crate::request::query::{List, PageParameters, Parameters};
use crate::resources::created;
use crate::state::App;

/// Enrol a participant
#[utoipa::path(post, path = "/v1/participants", tag = "registry", operation_id = "create_participant",
    request_body = ParticipantRequest,
    responses((status = 201, description = "Enrolled", body = Participant, headers(("Location" = String))),
              (status = 409, description = "Another participant has this `external_id`", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn create(
    State(app): State<App>,
    caller: Caller,
    body: JsonBody,
) -> Result<Response, Problem> {
    let registration = read_registration(&body.value, app.settings.country, app.now())?;
    let made = write::create(&app, &caller, registration).await?;
    created(&format!("/v1/participants/{}", made.id), &made)
}

/// List the participants, oldest first
#[utoipa::path(get, path = "/v1/participants", tag = "registry", operation_id = "list_participants",
    params(ParticipantFilter, PageParameters),
    responses((status = 200, description = "A page", body = List<Participant>)))]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    parameters: Parameters,
) -> Result<Json<List<Participant>>, Problem> {
    let report = parameters.report();
    let phone = parameters.phone("phone", app.settings.country, &report);
    let page = parameters.page(&report);
    let page = report.finish(Some(page))?;
    find::list(&app, &caller, phone.as_ref(), &page).await.map(Json)
}

/// Get a participant
#[utoipa::path(get, path = "/v1/participants/{id}", tag = "registry", operation_id = "get_participant",
    params(("id" = uuid::Uuid, Path, description = "The participant")),
    responses((status = 200, description = "The participant", body = Participant)))]
pub(crate) async fn get(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Participant>, Problem> {
    find::find(&app, &caller, path_id(&id, "participant")?).await.map(Json)
}

/// Change a participant
#[utoipa::path(patch, path = "/v1/participants/{id}", tag = "registry", operation_id = "change_participant",
    params(("id" = uuid::Uuid, Path, description = "The participant")),
    request_body(content = ParticipantPatch, content_type = "application/merge-patch+json"),
    responses((status = 200, description = "The participant", body = Participant),
              (status = 409, description = "Another participant has this `external_id`", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn change(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    body: JsonBody,
) -> Result<Json<Participant>, Problem> {
    let id = path_id(&id, "participant")?;
    write::change(&app, &caller, id, &body.value).await.map(Json)
}

/// Erase a participant
///
/// The name, the number and the places are deleted. Queued deliveries to the participant are not sent. An opt-out of
/// the number remains.
#[utoipa::path(delete, path = "/v1/participants/{id}", tag = "registry", operation_id = "erase_participant",
    params(("id" = uuid::Uuid, Path, description = "The participant")),
    responses((status = 204, description = "Erased")))]
pub(crate) async fn erase(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    write::erase(&app, &caller, path_id(&id, "participant")?).await?;
    Ok(StatusCode::NO_CONTENT)
}
