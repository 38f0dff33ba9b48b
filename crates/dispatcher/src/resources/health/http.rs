//! Whether the process lives, whether it can do its work, and its numbers.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use klaroen_domain::time::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::problem::{PROBLEM_JSON, Problem};
use crate::resources::schemas;
use crate::state::probe::Probed;
use crate::state::{App, GatewayHealth};

/// The state of a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ComponentState {
    /// The component works.
    Up,
    /// The component does not work.
    Down,
    /// The component runs in another process.
    Elsewhere,
}

/// The components that readiness depends on.
#[derive(Debug, Serialize, ToSchema)]
pub struct Components {
    /// `up` if a row was written and committed within a second.
    pub database: ComponentState,
    /// `up` if at least one gateway connection is up.
    pub gateways: ComponentState,
}

/// Why the process cannot do its work: a problem (RFC 9457) with what readiness depends on.
#[derive(Debug, Serialize, ToSchema)]
pub struct NotReady {
    /// The problem.
    #[serde(flatten)]
    pub problem: Problem,
    /// The components that readiness depends on.
    pub components: Components,
    /// The names of the gateways that are out of use by hand.
    pub paused_gateways: Vec<String>,
    /// The last time that the clock was set by more than 5 seconds while this process ran. `null` if it was not.
    pub clock_set: Option<ClockSet>,
}

/// The process can do its work.
#[derive(Debug, Serialize, ToSchema)]
pub struct Readiness {
    /// `ready`.
    pub status: &'static str,
    /// The components that readiness depends on.
    pub components: Components,
    /// The names of the gateways that are out of use by hand. Readiness does not depend on them.
    pub paused_gateways: Vec<String>,
    /// The last time that the clock was set by more than 5 seconds while this process ran. `null` if it was not.
    pub clock_set: Option<ClockSet>,
}

/// A clock that was set.
#[derive(Debug, Serialize, ToSchema)]
pub struct ClockSet {
    /// The time that it showed afterwards.
    #[schema(schema_with = schemas::time)]
    pub at: Timestamp,
    /// By how many seconds. Negative if it was set back.
    pub by_s: f64,
}

/// Whether the process runs.
#[derive(Debug, Serialize, ToSchema)]
pub struct Liveness {
    /// `alive`.
    pub status: &'static str,
}

/// Check whether the process runs
///
/// Does not ask the database or the gateways, because a restart would not repair them.
#[utoipa::path(get, path = "/livez", tag = "operations", operation_id = "livez",
    responses((status = 200, description = "It runs", body = Liveness)))]
pub async fn livez() -> Json<Liveness> {
    Json(Liveness { status: "alive" })
}

/// Check whether the process can do its work
#[utoipa::path(get, path = "/readyz", tag = "operations", operation_id = "readyz",
    responses((status = 200, description = "It can do its work", body = Readiness),
              (status = 503, description = "It cannot do its work. `components` says why", body = NotReady, content_type = "application/problem+json")))]
pub async fn readyz(State(app): State<App>) -> Response {
    let Probed { writable, mut paused_gateways } = app.probe.look(&app.store, app.now()).await;
    app.clock_watch.look(app.now());
    // An order may be older than the configuration.
    paused_gateways.retain(|name| app.settings.gateway(name).is_some());
    let database = if writable { ComponentState::Up } else { ComponentState::Down };
    let gateways = match (app.health)() {
        GatewayHealth::Up => ComponentState::Up,
        GatewayHealth::Down => ComponentState::Down,
        GatewayHealth::Elsewhere => ComponentState::Elsewhere,
    };
    let clock_set = app.clock_watch.steps().1.map(|step| ClockSet { at: step.at, by_s: seconds(step.by_ms) });
    let ready = database == ComponentState::Up && gateways != ComponentState::Down;
    let components = Components { database, gateways };
    if !ready {
        let what = match (database, gateways) {
            (ComponentState::Up, _) => "no connection of a gateway is up",
            (_, ComponentState::Down) => "the database takes no writes, and no connection of a gateway is up",
            _ => "the database takes no writes",
        };
        let code = StatusCode::SERVICE_UNAVAILABLE;
        let problem = Problem::new(code, what);
        let body = NotReady { problem, components, paused_gateways, clock_set };
        return (code, [(header::CONTENT_TYPE, PROBLEM_JSON)], Json(body)).into_response();
    }
    Json(Readiness { status: "ready", components, paused_gateways, clock_set }).into_response()
}

/// Get the metrics of the process
///
/// In the text format of Prometheus. `klaroen_database_up` is 0 while the database takes no writes.
#[utoipa::path(get, path = "/metrics", tag = "operations", operation_id = "metrics",
    responses((status = 200, description = "Prometheus text format 0.0.4", body = String, content_type = "text/plain")))]
pub async fn metrics(State(app): State<App>) -> Response {
    let up = u8::from(app.probe.look(&app.store, app.now()).await.writable);
    let mut text = app.metrics.render();
    text.push_str(&database_up(up));
    app.clock_watch.look(app.now());
    text.push_str(&clock_steps(app.clock_watch.steps().0));
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

#[expect(clippy::cast_precision_loss, reason = "a step of 285 years is not told to the millisecond")]
fn seconds(millis: i64) -> f64 {
    millis as f64 / 1_000.0
}

fn clock_steps(steps: u64) -> String {
    const NAME: &str = "klaroen_clock_steps_total";
    format!(
        "# HELP {NAME} How often the clock was set by more than 5 seconds.\n# TYPE {NAME} counter\n{NAME} {steps}\n"
    )
}

/// Asked when the numbers are, rather than recorded: it would be old.
fn database_up(up: u8) -> String {
    const NAME: &str = "klaroen_database_up";
    format!("# HELP {NAME} Whether the database takes writes.\n# TYPE {NAME} gauge\n{NAME} {up}\n")
}
