//! `/v1/gateways/{name}/pause` and `/resume`: taking a gateway out of use by hand, and putting it back.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::auth::caller::Principal;
use crate::problem::Problem;
use crate::request::fields::{Node, Report};
use crate::resources::gateways::find::among;
use crate::resources::gateways::overview::Overview;
use crate::resources::gateways::view::Gateway;
use crate::resources::warning::Warning;
use crate::state::App;

/// Characters of a reason.
const REASON_MAX: usize = 200;

/// An order to take a gateway out of use.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PauseRequest {
    /// The reason, for people who see the order later: operators of every organisation.
    #[schema(min_length = 1, max_length = 200, example = "the provider has announced maintenance")]
    pub reason: Option<String>,
}

/// A gateway after an order.
#[derive(Debug, Serialize, ToSchema)]
pub struct OrderedGateway {
    /// The gateway as it stands now.
    #[serde(flatten)]
    pub gateway: Gateway,
    /// Warnings for the operator.
    pub warnings: Vec<Warning>,
}

/// Reads a [`PauseRequest`]: the reason, if there is one.
///
/// # Errors
/// 422 with everything that is wrong.
pub fn read_pause(document: &Value) -> Result<Option<String>, Problem> {
    let report = Report::default();
    let read = Node::root(document, &report).object().map(|mut members| {
        let reason = members.read_optional("reason", |n| n.text(REASON_MAX).map(str::to_owned));
        members.finish();
        reason
    });
    Ok(report.finish(read)?.flatten())
}

/// Takes a gateway out of use.
///
/// # Errors
/// 404 if no gateway has this name, 503 if the database is not available.
pub async fn pause(
    app: &App,
    principal: &Principal,
    name: &str,
    reason: Option<&str>,
) -> Result<OrderedGateway, Problem> {
    known(app, name)?;
    app.store.pause_gateway(principal.actor(), name, reason, app.now()).await?;
    announce(app, name).await
}

/// Puts a gateway back into use.
///
/// # Errors
/// 404 if no gateway has this name, 503 if the database is not available.
pub async fn resume(app: &App, principal: &Principal, name: &str) -> Result<OrderedGateway, Problem> {
    known(app, name)?;
    app.store.resume_gateway(principal.actor(), name, app.now()).await?;
    announce(app, name).await
}

fn known(app: &App, name: &str) -> Result<(), Problem> {
    app.settings.gateway(name).map(|_| ()).ok_or_else(|| Problem::not_found("gateway"))
}

/// Wakes the workers, whether or not the order was new: it may be repeated because the first one seemed to have no effect.
async fn announce(app: &App, name: &str) -> Result<OrderedGateway, Problem> {
    app.wake.notify_waiters();
    if let Err(error) = app.store.announce().await {
        tracing::debug!(%error, "could not notify the workers; they read the order from the database");
    }
    let all = Overview::read(&app.settings.gateways, &app.store, app.now()).await?;
    let seen = among(&all, name)?;
    let tests = app.store.latest_gateway_tests().await?;
    let gateway = Gateway::show(&all, seen, &tests);
    // If no gateway is served at all, the order is not the reason why messages wait. The operator should know all the same.
    let warnings = all.no_gateway_warning(None).into_iter().collect();
    Ok(OrderedGateway { gateway, warnings })
}
