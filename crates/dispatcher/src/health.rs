//! Whether the process lives, whether it can do its work, and its numbers.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use klaroen_store::StoreError;
use klaroen_store::sweep::QueueDepth;
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::{App, GatewayHealth};

/// A database that takes longer than this to write a row is of no use to a control room.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// A scrape is worth less than the request that the database is busy with.
const SCRAPE_TIMEOUT: Duration = Duration::from_secs(5);

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
///
/// Those of the database are missing while it is away, and `database_up` is 0.
#[utoipa::path(get, path = "/metrics", tag = "operations", operation_id = "metrics",
    responses((status = 200, description = "Prometheus text format 0.0.4", body = String, content_type = "text/plain")))]
pub async fn metrics(State(app): State<App>) -> Response {
    let mut text = app.metrics.render();
    let asked = async {
        let depth = app.store.queue_depth(app.now()).await?;
        Ok::<_, StoreError>((depth, app.store.broken_sums().await?))
    };
    let numbers = match tokio::time::timeout(SCRAPE_TIMEOUT, asked).await {
        Ok(Ok(numbers)) => Some(numbers),
        Ok(Err(error)) => {
            tracing::warn!(%error, "the database has no numbers");
            None
        }
        Err(_) => None,
    };
    let up = f64::from(u8::from(numbers.is_some()));
    text.push_str(&gauge("database_up", "Whether the database answers.", &[("", up)]));
    if let Some((depth, broken)) = numbers {
        text.push_str(&of_database(&depth, broken));
    }
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

#[expect(clippy::cast_precision_loss, reason = "nobody queues 2^52 deliveries")]
fn of_database(depth: &QueueDepth, broken: u64) -> String {
    let lanes: Vec<String> = (0..depth.by_lane.len()).map(|lane| format!("{{lane=\"{lane}\"}}")).collect();
    let waiting: Vec<(&str, f64)> =
        lanes.iter().map(String::as_str).zip(depth.by_lane.iter().map(|n| *n as f64)).collect();
    let oldest = depth.oldest_due.as_secs_f64();
    let sums = "Messages whose deliveries do not add up to their recipients; must be 0.";
    [
        gauge("queue_depth", "Deliveries that wait, by lane.", &waiting),
        gauge("queue_oldest_due_seconds", "Age of the oldest delivery that is due.", &[("", oldest)]),
        gauge("broken_sums", sums, &[("", broken as f64)]),
    ]
    .concat()
}

/// One gauge in the text format: its values with their labels.
fn gauge(name: &str, help: &str, values: &[(&str, f64)]) -> String {
    let lines: Vec<String> =
        values.iter().map(|(labels, value)| format!("{name}{labels} {value}\n")).collect();
    format!("# HELP {name} {help}\n# TYPE {name} gauge\n{}", lines.concat())
}
