//! Answers in time.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::route_table::{RouteTable, TimeOut, matched_path};
use crate::problem::Problem;

/// Longer than any call but the streams takes; the client hears of it rather than hang.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Answers in time, whatever happens behind.
pub async fn deadline(State(table): State<Arc<RouteTable>>, request: Request, next: Next) -> Response {
    let rules = matched_path(&request).and_then(|path| table.find(request.method(), path));
    if rules.is_some_and(|rules| rules.time_out == TimeOut::Unlimited) {
        return next.run(request).await;
    }
    let answered = tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await;
    answered.unwrap_or_else(|_| {
        let detail = "the request took too long; it is safe to repeat it with the same Idempotency-Key";
        Problem::try_later(StatusCode::SERVICE_UNAVAILABLE, 5, detail).into_response()
    })
}
