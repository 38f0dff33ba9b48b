//! Whether the process lives, whether it can do its work, and its numbers.

use std::fmt::Write;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::{App, GatewayHealth};
use crate::problem::Problem;

/// A database that takes longer than this to write a row is of no use to a control room.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// Whether a component works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ComponentState {
    /// It works.
    Up,
    /// It does not.
    Down,
    /// Another process has it.
    Elsewhere,
}

/// What readiness is made of.
#[derive(Debug, Serialize, ToSchema)]
pub struct Components {
    /// A row was written and committed within a second.
    pub database: ComponentState,
    /// At least one gateway connection is up.
    pub gateways: ComponentState,
}

/// Whether the process can do its work.
#[derive(Debug, Serialize, ToSchema)]
pub struct Readiness {
    /// `ready` or `not_ready`.
    pub status: &'static str,
    /// What it is made of.
    pub components: Components,
}

/// Whether the process lives.
#[derive(Debug, Serialize, ToSchema)]
pub struct Liveness {
    /// `alive`.
    pub status: &'static str,
}

/// Whether the process lives
///
/// Asks nothing of the database or the gateways: restarting would not mend them.
#[utoipa::path(get, path = "/livez", tag = "operations", operation_id = "livez",
    responses((status = 200, description = "It does", body = Liveness)))]
pub async fn livez() -> Json<Liveness> {
    Json(Liveness { status: "alive" })
}

/// Whether the process can do its work
#[utoipa::path(get, path = "/readyz", tag = "operations", operation_id = "readyz",
    responses((status = 200, description = "It can", body = Readiness),
              (status = 503, description = "It cannot; `components` says what is down", body = Readiness)))]
pub async fn readyz(State(app): State<App>) -> Response {
    let database = match tokio::time::timeout(PROBE_TIMEOUT, app.store.probe_write(app.now())).await {
        Ok(Ok(())) => ComponentState::Up,
        Ok(Err(error)) => {
            tracing::warn!(%error, "the write probe failed");
            ComponentState::Down
        }
        Err(_) => ComponentState::Down,
    };
    let gateways = match (app.health)() {
        GatewayHealth::Up => ComponentState::Up,
        GatewayHealth::Down => ComponentState::Down,
        GatewayHealth::Elsewhere => ComponentState::Elsewhere,
    };
    let ready = database == ComponentState::Up && gateways != ComponentState::Down;
    let (code, status) =
        if ready { (StatusCode::OK, "ready") } else { (StatusCode::SERVICE_UNAVAILABLE, "not_ready") };
    (code, Json(Readiness { status, components: Components { database, gateways } })).into_response()
}

/// Numbers for Prometheus
#[utoipa::path(get, path = "/metrics", tag = "operations", operation_id = "metrics",
    responses((status = 200, description = "Prometheus text format 0.0.4", body = String, content_type = "text/plain"),
              (status = 503, description = "The database is away", body = Problem, content_type = "application/problem+json")))]
pub async fn metrics(State(app): State<App>) -> Result<Response, Problem> {
    let mut text = app.metrics.render();
    let depth = app.store.queue_depth(app.now()).await?;
    let broken = app.store.broken_sums().await?;
    text.push_str("# HELP queue_depth Deliveries that wait, by lane.\n# TYPE queue_depth gauge\n");
    for (lane, waiting) in depth.by_lane.iter().enumerate() {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "queue_depth{{lane=\"{lane}\"}} {waiting}");
    }
    let _ = write!(
        text,
        "# HELP queue_oldest_due_seconds Age of the oldest delivery that is due.\n\
         # TYPE queue_oldest_due_seconds gauge\nqueue_oldest_due_seconds {}\n\
         # HELP broken_sums Messages whose deliveries do not add up to their recipients; must be 0.\n\
         # TYPE broken_sums gauge\nbroken_sums {broken}\n",
        depth.oldest_due.as_secs_f64(),
    );
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}
