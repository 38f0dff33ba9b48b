//! `/v1/gateways/{name}/pause` and `/resume`: taking a gateway out of use by hand, and putting it back.

use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use utoipa::ToSchema;

use crate::auth::caller::Caller;
use crate::problem::Problem;
use crate::request::body::{JsonBody, NoBody};
use crate::request::fields::{Node, Report};
use crate::resources::gateways::overview::Overview;
use crate::resources::gateways::view::{Gateway, find};
use crate::state::App;

/// Characters of a reason.
const REASON_MAX: usize = 200;

/// A gateway is to be taken out of use.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PauseRequest {
    /// Why, for those who see it later.
    #[schema(min_length = 1, max_length = 200, example = "the provider has announced maintenance")]
    pub reason: Option<String>,
}

/// A gateway after an order.
#[derive(Debug, Serialize, ToSchema)]
pub struct OrderedGateway {
    /// As it stands now.
    #[serde(flatten)]
    pub gateway: Gateway,
    /// What the operator should know.
    pub warnings: Vec<GatewayWarning>,
}

/// What the operator should know.
#[derive(Debug, Serialize, ToSchema)]
pub struct GatewayWarning {
    /// What it is about: `no_gateway`.
    #[schema(example = "no_gateway")]
    pub code: &'static str,
    /// What it means here.
    pub detail: String,
}

/// Take a gateway out of use
///
/// Nothing more is handed to it, in any process, within two seconds; what waits for it goes elsewhere or stays in the queue. It
/// holds until it is taken back. A second order changes nothing.
#[utoipa::path(post, path = "/v1/gateways/{name}/pause", tag = "gateways", operation_id = "pause_gateway",
    params(("name" = String, Path, description = "The gateway's name")), request_body = PauseRequest,
    responses((status = 200, description = "It is out of use", body = OrderedGateway)))]
pub(crate) async fn pause(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
    body: JsonBody,
) -> Result<Json<OrderedGateway>, Problem> {
    let report = Report::default();
    let read = Node::root(&body.value, &report).object().map(|mut members| {
        let reason = members.read_optional("reason", |n| n.text(REASON_MAX).map(str::to_owned));
        members.finish();
        reason
    });
    let reason = report.finish(read)?.flatten();
    known(&app, &name)?;
    let (organisation, actor) = (caller.organisation(), caller.actor());
    app.store.pause_gateway(organisation, actor, &name, reason.as_deref(), app.now()).await?;
    told(&app, &caller, &name).await
}

/// Put a gateway back into use
///
/// It takes messages again when its state allows it. Without an order to take back nothing changes.
#[utoipa::path(post, path = "/v1/gateways/{name}/resume", tag = "gateways", operation_id = "resume_gateway",
    params(("name" = String, Path, description = "The gateway's name")),
    responses((status = 200, description = "No order keeps it out of use", body = OrderedGateway)))]
pub(crate) async fn resume(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
    _: NoBody,
) -> Result<Json<OrderedGateway>, Problem> {
    known(&app, &name)?;
    app.store.resume_gateway(caller.organisation(), caller.actor(), &name, app.now()).await?;
    told(&app, &caller, &name).await
}

fn known(app: &App, name: &str) -> Result<(), Problem> {
    let known = app.settings.gateways.iter().any(|gateway| gateway.name == name);
    known.then_some(()).ok_or_else(|| Problem::not_found("gateway"))
}

/// Wakes the workers, whether or not the order was new: a repetition may come because nobody seemed to hear the first.
async fn told(app: &App, caller: &Caller, name: &str) -> Result<Json<OrderedGateway>, Problem> {
    app.wake.notify_waiters();
    if let Err(error) = app.store.announce().await {
        tracing::debug!(%error, "the workers find out by themselves");
    }
    let all = Overview::read(&app.settings.gateways, &app.store, app.now()).await?;
    let seen = find(&all, name)?;
    let tests = app.store.latest_gateway_tests().await?;
    let gateway = Gateway::show(&all, seen, &tests, caller.organisation());
    // Where nothing is served at all, the order is not what keeps messages waiting; but somebody is looking now.
    let waiting = all.without_gateway();
    let warning = |kinds: &[String]| GatewayWarning {
        code: "no_gateway",
        detail: format!("no gateway takes messages of these kinds now, and they wait: {}", kinds.join("; ")),
    };
    let warnings = if waiting.is_empty() { Vec::new() } else { vec![warning(&waiting)] };
    Ok(Json(OrderedGateway { gateway, warnings }))
}
