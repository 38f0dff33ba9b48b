//! Whether the process lives, whether it can do its work, and its numbers.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

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

/// Whether the process can do its work.
#[derive(Debug, Serialize, ToSchema)]
pub struct Readiness {
    /// `ready` or `not_ready`.
    pub status: &'static str,
    /// The components that readiness depends on.
    pub components: Components,
    /// The names of the gateways that are out of use by hand. Readiness does not depend on them.
    pub paused_gateways: Vec<String>,
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
              (status = 503, description = "It cannot do its work. `components` says why", body = Readiness)))]
pub async fn readyz(State(app): State<App>) -> Response {
    let Probed { writable, mut paused_gateways } = app.probe.look(&app.store, app.now()).await;
    // An order may be older than the configuration.
    paused_gateways.retain(|name| app.settings.gateway(name).is_some());
    let database = if writable { ComponentState::Up } else { ComponentState::Down };
    let gateways = match (app.health)() {
        GatewayHealth::Up => ComponentState::Up,
        GatewayHealth::Down => ComponentState::Down,
        GatewayHealth::Elsewhere => ComponentState::Elsewhere,
    };
    let ready = database == ComponentState::Up && gateways != ComponentState::Down;
    let (code, status) =
        if ready { (StatusCode::OK, "ready") } else { (StatusCode::SERVICE_UNAVAILABLE, "not_ready") };
    (code, Json(Readiness { status, components: Components { database, gateways }, paused_gateways }))
        .into_response()
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
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

/// Asked when the numbers are, rather than recorded: it would be old.
fn database_up(up: u8) -> String {
    const NAME: &str = "klaroen_database_up";
    format!("# HELP {NAME} Whether the database takes writes.\n# TYPE {NAME} gauge\n{NAME} {up}\n")
}
