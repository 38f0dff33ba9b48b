//! Alerts as they stand.

use klaroen_domain::alert::{AlertState, Priority};
use klaroen_domain::id::{AlertId, MessageId, OrganisationId};
use klaroen_store::{PageRequest, Store};

use super::view::{Alert, Message, Waiting};
use crate::problem::Problem;
use crate::request::query::List;
use crate::resources::gateways::overview::Overview;
use crate::state::App;

/// The present state of one alert, with what keeps its messages waiting, and which gateways are out of use.
///
/// # Errors
/// 404 if the organisation has no such alert, 503 if the database is not available.
pub async fn find(app: &App, organisation: OrganisationId, id: AlertId) -> Result<Alert, Problem> {
    let alert = app.store.alert(organisation, id).await?;
    let mut alert = alert.map(Alert::from).ok_or_else(|| Problem::not_found("alert"))?;
    let mut warnings = Vec::new();
    let mut queued: Vec<&mut Message> = alert.messages.iter_mut().filter(|m| m.counts.queued > 0).collect();
    if !queued.is_empty() || alert.state == AlertState::Active {
        let all = Overview::read_standings(&app.settings.gateways, &app.store, app.now()).await?;
        if alert.state == AlertState::Active {
            warnings = all.warnings(alert.priority);
        }
        // The queue is read only if something may be wrong, because it may be long.
        if all.leaves_any_waiting(alert.priority) {
            for message in &mut queued {
                message.waiting = Some(waiting(&app.store, &all, alert.priority, message.id).await?);
            }
        }
    }
    for message in &mut alert.messages {
        message.waiting.get_or_insert_default();
    }
    alert.warnings = Some(warnings);
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

/// One page of the alerts, newest first.
///
/// # Errors
/// 422 if the cursor is none of this list, 503 if the database is not available.
pub async fn list(
    app: &App,
    organisation: OrganisationId,
    state: Option<AlertState>,
    page: &PageRequest,
) -> Result<List<Alert>, Problem> {
    let page = app.store.list_alerts(organisation, state, page).await?;
    Ok(List::from_page(page, Alert::from))
}
