//! The calls under `/v1/incidents`. The first one, with an `alert` in it, is the call that everything is about.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method};
use axum::response::Response;

use super::request::{IncidentRequest, read_incident};
use super::view::Incident;
use super::{create, find};
use crate::auth::caller::Caller;
use crate::problem::Problem;
use crate::request::body::JsonBody;
use crate::request::fields::path_id;
use crate::request::idempotency;
use crate::request::query::{List, PageParameters, Parameters, page_only};
use crate::resources::created;
use crate::state::App;

/// Report an incident and alert participants
///
/// If the request has an `alert`, incident, alert and deliveries are written in one transaction, and the response comes
/// after the commit. A repetition with the same `Idempotency-Key` and body creates nothing. It returns the present
/// state of what the first request created.
#[utoipa::path(post, path = "/v1/incidents", tag = "incidents", operation_id = "create_incident",
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters")),
    request_body = IncidentRequest,
    responses((status = 201, description = "Created", body = Incident, headers(("Location" = String)))))]
pub(crate) async fn create(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    body: JsonBody,
) -> Result<Response, Problem> {
    let idempotency = idempotency::read(&headers, &Method::POST, "/v1/incidents", &body.bytes)?;
    let new = read_incident(&app, caller.organisation(), body.into_document()).await?;
    let incident = create::create(&app, &caller, new, idempotency).await?;
    created(&format!("/v1/incidents/{}", incident.id), &incident)
}

/// List the incidents, newest first
#[utoipa::path(get, path = "/v1/incidents", tag = "incidents", operation_id = "list_incidents",
    params(PageParameters),
    responses((status = 200, description = "A page", body = List<Incident>)))]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    parameters: Parameters,
) -> Result<Json<List<Incident>>, Problem> {
    find::list(&app, caller.organisation(), &page_only(&parameters)?).await.map(Json)
}

/// Get an incident with its alerts
#[utoipa::path(get, path = "/v1/incidents/{id}", tag = "incidents", operation_id = "get_incident",
    params(("id" = uuid::Uuid, Path, description = "The incident")),
    responses((status = 200, description = "The incident", body = Incident)))]
pub(crate) async fn get(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Incident>, Problem> {
    find::find(&app, caller.organisation(), path_id(&id, "incident")?).await.map(Json)
}
