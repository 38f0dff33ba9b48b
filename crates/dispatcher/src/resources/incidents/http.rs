//! `/v1/incidents`: what was reported. With an `alert` in it, the call that everything is about.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method};
use axum::response::Response;
use futures::{StreamExt, TryStreamExt, stream};
use klaroen_domain::alert::SubjectKind;
use klaroen_domain::id::{IncidentId, KeyId, OrganisationId};
use klaroen_domain::time::Timestamp;
use klaroen_store::Store;
use klaroen_store::idempotency::Once;
use klaroen_store::incidents::Incident as Stored;
use serde::Serialize;
use utoipa::ToSchema;

use crate::auth::caller::Caller;
use crate::problem::Problem;
use crate::request::body::JsonBody;
use crate::request::fields::{Node, path_id};
use crate::request::idempotency;
use crate::request::point::PointView;
use crate::request::query::{List, PageParameters, Parameters, page_only};
use crate::resources::alerts::fan_out::Request;
use crate::resources::alerts::view::Alert;
use crate::resources::incidents::request::{IncidentFields, IncidentRequest};
use crate::resources::{created, schemas};
use crate::state::App;

/// Incidents whose alerts are read at once for a list.
const READS_AT_ONCE: usize = 4;

/// An incident.
#[derive(Debug, Serialize, ToSchema)]
pub struct Incident {
    /// Its id.
    #[schema(schema_with = schemas::id)]
    pub id: IncidentId,
    /// The control room's own number.
    pub reference: Option<String>,
    /// The control room's own word for it.
    pub category: String,
    /// What happened.
    pub description: String,
    /// Whom or what to look out for.
    pub subject: Option<Subject>,
    /// Where.
    pub location: PointView,
    /// When.
    #[schema(schema_with = schemas::time_or_null)]
    pub occurred_at: Option<Timestamp>,
    /// When it was reported.
    #[schema(schema_with = schemas::time)]
    pub created_at: Timestamp,
    /// The key that reported it.
    #[schema(schema_with = schemas::id)]
    pub created_by: KeyId,
    /// Its alerts, oldest first.
    pub alerts: Vec<Alert>,
}

/// Whom or what to look out for.
#[derive(Debug, Serialize, ToSchema)]
pub struct Subject {
    /// A person, a vehicle or something else.
    #[schema(schema_with = schemas::subject_kind)]
    pub kind: SubjectKind,
    /// What it looks like.
    pub text: String,
}

async fn with_alerts(
    store: &Store,
    organisation: OrganisationId,
    incident: Stored,
) -> Result<Incident, Problem> {
    let alerts = store.alerts_of_incident(organisation, incident.id).await?;
    let draft = incident.draft;
    Ok(Incident {
        id: incident.id,
        reference: draft.reference,
        category: draft.category,
        description: draft.description,
        subject: draft.subject.map(|(kind, text)| Subject { kind, text }),
        location: draft.location.into(),
        occurred_at: draft.occurred_at,
        created_at: incident.created_at,
        created_by: incident.created_by,
        alerts: alerts.into_iter().map(Alert::from).collect(),
    })
}

async fn find(store: &Store, organisation: OrganisationId, id: IncidentId) -> Result<Incident, Problem> {
    let incident = store.incident(organisation, id).await?.ok_or_else(|| Problem::not_found("incident"))?;
    with_alerts(store, organisation, incident).await
}

/// Report an incident, and ask participants at once
///
/// With an `alert`, incident, alert and deliveries are written in one transaction: the answer comes after they are
/// safe. A repetition with the same `Idempotency-Key` and body makes nothing new and answers with the present state of
/// what the first one made.
#[utoipa::path(post, path = "/v1/incidents", tag = "incidents", operation_id = "create_incident",
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters")),
    request_body = IncidentRequest,
    responses((status = 201, description = "Taken", body = Incident, headers(("Location" = String)))))]
pub(crate) async fn create(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    mut body: JsonBody,
) -> Result<Response, Problem> {
    let now = app.now();
    let idempotency = idempotency::read(&headers, &Method::POST, "/v1/incidents", &body.bytes)?;
    let max_segments = app.settings.max_segments;
    let reader = move |node: &Node<'_>| IncidentFields::read(node, max_segments, now);
    let (fields, mut report) = app.shapes.read(&mut body, reader).await?;
    let organisation = caller.organisation();
    let (incident, alert) = match fields {
        None => (None, None),
        Some(IncidentFields { incident, alert: None }) => (incident, None),
        Some(IncidentFields { incident, alert: Some(alert) }) => {
            (incident, alert.resolve(&app, organisation, now, &mut report).await?)
        }
    };
    let incident = report.finish(incident)?;
    let request = Request { app: app.clone(), caller, idempotency, now };
    let id = match request.carry_out(|r| r.take_incident(incident, alert)).await? {
        Once::Done(taken) => taken.incident,
        Once::Repeated(id) => id.into(),
        Once::KeyReused => return Err(idempotency::reused()),
    };
    let incident = find(&app.store, organisation, id).await?;
    created(&format!("/v1/incidents/{id}"), &incident)
}

/// The incidents, newest first
#[utoipa::path(get, path = "/v1/incidents", tag = "incidents", operation_id = "list_incidents",
    params(PageParameters),
    responses((status = 200, description = "A page", body = List<Incident>)))]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    parameters: Parameters,
) -> Result<Json<List<Incident>>, Problem> {
    let organisation = caller.organisation();
    let page = app.store.list_incidents(organisation, &page_only(&parameters)?).await?;
    let items = stream::iter(page.items)
        .map(|incident| with_alerts(&app.store, organisation, incident))
        .buffered(READS_AT_ONCE)
        .try_collect()
        .await?;
    Ok(Json(List { items, next_cursor: page.next_cursor }))
}

/// One incident with its alerts
#[utoipa::path(get, path = "/v1/incidents/{id}", tag = "incidents", operation_id = "get_incident",
    params(("id" = uuid::Uuid, Path, description = "The incident")),
    responses((status = 200, description = "The incident", body = Incident)))]
pub(crate) async fn get(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Incident>, Problem> {
    find(&app.store, caller.organisation(), path_id(&id, "incident")?).await.map(Json)
}
