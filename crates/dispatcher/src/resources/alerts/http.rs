//! `/v1/alerts`: the calls to participants.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method};
use axum::response::Response;
use klaroen_domain::alert::{AlertState, Priority};
use klaroen_domain::id::{AlertId, IncidentId, MessageId, OrganisationId};
use klaroen_store::Store;
use klaroen_store::idempotency::Once;
use utoipa::IntoParams;

use crate::auth::caller::Caller;
use crate::problem::Problem;
use crate::request::body::JsonBody;
use crate::request::fields::path_id;
use crate::request::idempotency;
use crate::request::query::{List, PageParameters, Parameters};
use crate::resources::alerts::fan_out::Request;
use crate::resources::alerts::request::{AlertFields, AlertRequest};
use crate::resources::alerts::view::{Alert, Message, Waiting};
use crate::resources::gateways::overview::Overview;
use crate::resources::{created, schemas};
use crate::state::App;

/// The present state of one alert, with what keeps its messages waiting.
pub(crate) async fn find(app: &App, organisation: OrganisationId, id: AlertId) -> Result<Alert, Problem> {
    let alert = app.store.alert(organisation, id).await?;
    let mut alert = alert.map(Alert::from).ok_or_else(|| Problem::not_found("alert"))?;
    let mut queued: Vec<&mut Message> = alert.messages.iter_mut().filter(|m| m.counts.queued > 0).collect();
    if !queued.is_empty() {
        let all = Overview::read_standings(&app.settings.gateways, &app.store, app.now()).await?;
        // The queue is looked at only where something may be wrong: it may be long.
        if all.leaves_any_waiting(alert.priority) {
            for message in &mut queued {
                message.waiting = Some(waiting(&app.store, &all, alert.priority, message.id).await?);
            }
        }
    }
    for message in &mut alert.messages {
        message.waiting.get_or_insert_default();
    }
    Ok(alert)
}

async fn waiting(
    store: &Store,
    all: &Overview<'_>,
    priority: Priority,
    message: MessageId,
) -> Result<Vec<Waiting>, Problem> {
    let queued = store.queued_by_country(message).await?.into_iter();
    let waiting = queued.filter_map(|(country, deliveries)| {
        let reason = all.why_it_waits(priority, &country)?;
        Some(Waiting { country: Some(country).filter(|c| !c.is_empty()), deliveries, reason })
    });
    Ok(waiting.collect())
}

/// Ask participants about an incident that is there
#[utoipa::path(post, path = "/v1/incidents/{id}/alerts", tag = "alerts", operation_id = "create_alert",
    params(("id" = uuid::Uuid, Path, description = "The incident"),
           ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters")),
    request_body = AlertRequest,
    responses((status = 201, description = "Taken", body = Alert, headers(("Location" = String)))))]
pub(crate) async fn create(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    mut body: JsonBody,
) -> Result<Response, Problem> {
    let now = app.now();
    let incident: IncidentId = path_id(&id, "incident")?;
    let path = format!("/v1/incidents/{incident}/alerts");
    let idempotency = idempotency::read(&headers, &Method::POST, &path, &body.bytes)?;
    let organisation = caller.organisation();
    let draft = read(&app, organisation, &mut body).await?;
    let request = Request { app: app.clone(), caller, idempotency, now };
    let alert = match request.carry_out(move |r| r.take_alert(incident, draft)).await? {
        Once::Done(taken) => taken.alert.ok_or_else(Problem::internal)?,
        Once::Repeated(id) => id.into(),
        Once::KeyReused => return Err(idempotency::reused()),
    };
    let alert = find(&app, organisation, alert).await?;
    created(&format!("/v1/alerts/{}", alert.id), &alert)
}

/// Reads an alert request whole.
pub(crate) async fn read(
    app: &App,
    organisation: OrganisationId,
    body: &mut JsonBody,
) -> Result<klaroen_store::alerts::AlertDraft, Problem> {
    let max_segments = app.settings.max_segments;
    let (fields, mut report) =
        app.shapes.read(body, move |node| AlertFields::read(node, max_segments)).await?;
    let draft = match fields {
        Some(fields) => fields.resolve(app, organisation, app.now(), &mut report).await?,
        None => None,
    };
    report.finish(draft)
}

/// Which alerts.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct AlertFilter {
    /// Only alerts in this state.
    #[param(schema_with = schemas::alert_state)]
    pub state: Option<String>,
}

/// The alerts, newest first
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
    let page = app.store.list_alerts(caller.organisation(), state, &page).await?;
    Ok(Json(List::from_page(page, Alert::from)))
}

/// One alert
#[utoipa::path(get, path = "/v1/alerts/{id}", tag = "alerts", operation_id = "get_alert",
    params(("id" = uuid::Uuid, Path, description = "The alert")),
    responses((status = 200, description = "The alert", body = Alert)))]
pub(crate) async fn get(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Alert>, Problem> {
    find(&app, caller.organisation(), path_id(&id, "alert")?).await.map(Json)
}
