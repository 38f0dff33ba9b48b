//! The calls under `/v1/alerts`, but for the stream of events.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method};
use axum::response::Response;
use klaroen_domain::alert::AlertState;
use klaroen_domain::delivery::DeliveryState;
use klaroen_domain::id::{AlertId, IncidentId};
use klaroen_store::idempotency::Idempotency;

use super::change::{AlertChange, change_alert};
use super::change_request::{EndRequest, ExtendRequest, TextRequest, read_end, read_extend, read_update};
use super::deliveries::{self, Delivery, DeliveryFilter};
use super::preview::{self, Preview};
use super::request::{AlertFilter, AlertRequest, read_alert};
use super::view::Alert;
use super::{create, find};
use crate::auth::caller::Caller;
use crate::problem::Problem;
use crate::request::body::{JsonBody, NoBody};
use crate::request::fields::path_id;
use crate::request::idempotency;
use crate::request::query::{List, PageParameters, Parameters};
use crate::resources::created;
use crate::state::App;

/// Create an alert about an existing incident
#[utoipa::path(post, path = "/v1/incidents/{id}/alerts", tag = "alerts", operation_id = "create_alert",
    params(("id" = uuid::Uuid, Path, description = "The incident"),
           ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters")),
    request_body = AlertRequest,
    responses((status = 201, description = "Created", body = Alert, headers(("Location" = String)))))]
pub(crate) async fn create(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: JsonBody,
) -> Result<Response, Problem> {
    let incident: IncidentId = path_id(&id, "incident")?;
    let path = format!("/v1/incidents/{incident}/alerts");
    let idempotency = idempotency::read(&headers, &Method::POST, &path, &body.bytes)?;
    let draft = read_alert(&app, caller.organisation(), body.into_document()).await?;
    let alert = create::create(&app, &caller, incident, draft, idempotency).await?;
    created(&format!("/v1/alerts/{}", alert.id), &alert)
}

/// Preview an alert
///
/// Nothing is written or sent.
#[utoipa::path(post, path = "/v1/alerts/preview", tag = "alerts", operation_id = "preview_alert",
    request_body = AlertRequest,
    responses((status = 200, description = "The preview", body = Preview)))]
pub(crate) async fn preview(
    State(app): State<App>,
    caller: Caller,
    body: JsonBody,
) -> Result<Json<Preview>, Problem> {
    let draft = read_alert(&app, caller.organisation(), body.into_document()).await?;
    preview::preview(&app, &caller, &draft).await.map(Json)
}

/// List the alerts, newest first
#[utoipa::path(get, path = "/v1/alerts", tag = "alerts", operation_id = "list_alerts",
    params(AlertFilter, PageParameters),
    responses((status = 200, description = "A page", body = List<Alert>)))]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    parameters: Parameters,
) -> Result<Json<List<Alert>>, Problem> {
    let report = parameters.report();
    let words: Vec<&str> = AlertState::ALL.iter().map(|s| s.as_str()).collect();
    let state = parameters.word::<AlertState>("state", &words, &report);
    let page = parameters.page(&report);
    let page = report.finish(Some(page))?;
    find::list(&app, caller.organisation(), state, &page).await.map(Json)
}

/// Get an alert
#[utoipa::path(get, path = "/v1/alerts/{id}", tag = "alerts", operation_id = "get_alert",
    params(("id" = uuid::Uuid, Path, description = "The alert")),
    responses((status = 200, description = "The alert", body = Alert)))]
pub(crate) async fn get(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Alert>, Problem> {
    find::find(&app, caller.organisation(), path_id(&id, "alert")?).await.map(Json)
}

/// The alert that a path names, and the key that makes a repetition of its change known.
struct NamedAlert {
    id: AlertId,
    exercise: bool,
    idempotency: Option<Idempotency>,
}

impl NamedAlert {
    async fn find(
        app: &App,
        caller: &Caller,
        id: &str,
        verb: &str,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Self, Problem> {
        let id: AlertId = path_id(id, "alert")?;
        let path = format!("/v1/alerts/{id}/{verb}");
        let idempotency = idempotency::read(headers, &Method::POST, &path, body)?;
        let alert = find::find(app, caller.organisation(), id).await?;
        Ok(Self { id, exercise: alert.exercise, idempotency })
    }

    async fn change(self, app: &App, caller: &Caller, change: AlertChange) -> Result<Json<Alert>, Problem> {
        change_alert(app, caller, self.id, change, self.idempotency).await.map(Json)
    }
}

/// Send a correction or addition to the people who were reached
#[utoipa::path(post, path = "/v1/alerts/{id}/update", tag = "alerts", operation_id = "update_alert",
    params(("id" = uuid::Uuid, Path, description = "The alert"),
           ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters")),
    request_body = TextRequest,
    responses((status = 200, description = "The alert", body = Alert)))]
pub(crate) async fn update(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: JsonBody,
) -> Result<Json<Alert>, Problem> {
    let named = NamedAlert::find(&app, &caller, &id, "update", &headers, &body.bytes).await?;
    let text = read_update(&app, &body.into_document(), named.exercise)?;
    named.change(&app, &caller, AlertChange::Update { text }).await
}

/// Retract a wrong alert
///
/// Queued deliveries are stopped. The people who were reached get the text.
#[utoipa::path(post, path = "/v1/alerts/{id}/retract", tag = "alerts", operation_id = "retract_alert",
    params(("id" = uuid::Uuid, Path, description = "The alert"),
           ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters")),
    request_body = TextRequest,
    responses((status = 200, description = "The alert", body = Alert)))]
pub(crate) async fn retract(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: JsonBody,
) -> Result<Json<Alert>, Problem> {
    let named = NamedAlert::find(&app, &caller, &id, "retract", &headers, &body.bytes).await?;
    let text = read_update(&app, &body.into_document(), named.exercise)?;
    named.change(&app, &caller, AlertChange::Retract { text }).await
}

/// End an alert
///
/// Queued deliveries are stopped. The end message goes to exactly the people who were reached.
#[utoipa::path(post, path = "/v1/alerts/{id}/end", tag = "alerts", operation_id = "end_alert",
    params(("id" = uuid::Uuid, Path, description = "The alert"),
           ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters")),
    request_body = EndRequest,
    responses((status = 200, description = "The alert", body = Alert)))]
pub(crate) async fn end(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: JsonBody,
) -> Result<Json<Alert>, Problem> {
    let named = NamedAlert::find(&app, &caller, &id, "end", &headers, &body.bytes).await?;
    let (text, outcome) = read_end(&app, &body.into_document(), named.exercise)?;
    named.change(&app, &caller, AlertChange::End { text, outcome }).await
}

/// Ask more people
#[utoipa::path(post, path = "/v1/alerts/{id}/extend", tag = "alerts", operation_id = "extend_alert",
    params(("id" = uuid::Uuid, Path, description = "The alert"),
           ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters")),
    request_body = ExtendRequest,
    responses((status = 200, description = "The alert", body = Alert)))]
pub(crate) async fn extend(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: JsonBody,
) -> Result<Json<Alert>, Problem> {
    let named = NamedAlert::find(&app, &caller, &id, "extend", &headers, &body.bytes).await?;
    let (geofence, area) = read_extend(&app, caller.organisation(), body.into_document()).await?;
    named.change(&app, &caller, AlertChange::Extend { geofence, area }).await
}

/// Cancel an alert
///
/// Queued deliveries are stopped. The participants get no text about it. The call takes no body, or an empty object.
#[utoipa::path(post, path = "/v1/alerts/{id}/cancel", tag = "alerts", operation_id = "cancel_alert",
    params(("id" = uuid::Uuid, Path, description = "The alert"),
           ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters")),
    responses((status = 200, description = "The alert", body = Alert)))]
pub(crate) async fn cancel(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    _: NoBody,
) -> Result<Json<Alert>, Problem> {
    let named = NamedAlert::find(&app, &caller, &id, "cancel", &headers, b"").await?;
    named.change(&app, &caller, AlertChange::Cancel).await
}

/// List the deliveries of an alert, oldest first
#[utoipa::path(get, path = "/v1/alerts/{id}/deliveries", tag = "alerts", operation_id = "list_deliveries",
    params(("id" = uuid::Uuid, Path, description = "The alert"), DeliveryFilter, PageParameters),
    responses((status = 200, description = "A page", body = List<Delivery>)))]
pub(crate) async fn list_deliveries(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    parameters: Parameters,
) -> Result<Json<List<Delivery>>, Problem> {
    let alert = path_id(&id, "alert")?;
    let report = parameters.report();
    let words: Vec<&str> = DeliveryState::ALL.iter().map(|s| s.as_str()).collect();
    let state = parameters.word::<DeliveryState>("state", &words, &report);
    let page = parameters.page(&report);
    let page = report.finish(Some(page))?;
    deliveries::list(&app, caller.organisation(), alert, state, &page).await.map(Json)
}
