//! Incidents as they stand.

use futures::{StreamExt, TryStreamExt, stream};
use klaroen_domain::id::{IncidentId, OrganisationId};
use klaroen_store::incidents::Incident as Stored;
use klaroen_store::{PageRequest, Store};

use super::view::{Incident, Subject};
use crate::problem::Problem;
use crate::request::query::List;
use crate::resources::alerts::view::Alert;
use crate::state::App;

/// Incidents whose alerts are read at once for a list.
const READS_AT_ONCE: usize = 4;

/// The present state of one incident.
///
/// # Errors
/// 404 if the organisation has no such incident, 503 if the database is not available.
pub async fn find(app: &App, organisation: OrganisationId, id: IncidentId) -> Result<Incident, Problem> {
    let incident = app.store.incident(organisation, id).await?;
    let incident = incident.ok_or_else(|| Problem::not_found("incident"))?;
    with_alerts(&app.store, organisation, incident).await
}

/// One page of the incidents, newest first.
///
/// # Errors
/// 422 if the cursor is none of this list, 503 if the database is not available.
pub async fn list(
    app: &App,
    organisation: OrganisationId,
    page: &PageRequest,
) -> Result<List<Incident>, Problem> {
    let page = app.store.list_incidents(organisation, page).await?;
    let items = stream::iter(page.items)
        .map(|incident| with_alerts(&app.store, organisation, incident))
        .buffered(READS_AT_ONCE)
        .try_collect()
        .await?;
    Ok(List { items, next_cursor: page.next_cursor })
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
