//! Around every request: its id, its span, its numbers, the headers of every answer.

use std::any::Any;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tracing::Instrument;
use uuid::Uuid;

use super::route_table::matched_path;
use crate::problem::Problem;
use crate::state::App;

/// The header that names a request in the log.
const REQUEST_ID: &str = "x-request-id";
/// The route of a request that matched none: its path may hold anything.
const NO_ROUTE: &str = "none";

const API_POLICY: &str = "default-src 'none'; frame-ancestors 'none'";
const DOCS_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
    img-src 'self' data:; font-src 'self'; connect-src 'self'; frame-ancestors 'none'";

/// Gives a request its id and span, counts it, and puts the headers on its answer. The span holds the route's template,
/// never the path or the query: a query may hold a phone number.
pub async fn observe(State(app): State<App>, request: Request, next: Next) -> Response {
    let id = request_id(request.headers());
    let method = method_label(request.method());
    let route = matched_path(&request).unwrap_or(NO_ROUTE).to_owned();
    let span = tracing::info_span!("request", %id, method, route, key = tracing::field::Empty);
    let begun = Instant::now();
    let in_docs = request.uri().path().starts_with("/docs");
    let mut response = next.run(request).instrument(span.clone()).await;
    let status = response.status().as_u16();
    let seconds = begun.elapsed().as_secs_f64();
    span.in_scope(|| tracing::info!(status, ms = (seconds * 1000.0).round(), "answered"));
    let labels = [("method", method.to_owned()), ("route", route)];
    metrics::histogram!("klaroen_http_request_duration_seconds", &labels).record(seconds);
    let [method, route] = labels;
    metrics::counter!("klaroen_http_requests_total", &[method, route, ("status", status.to_string())])
        .increment(1);
    let https = app.settings.public_url.as_deref().is_some_and(|url| url.starts_with("https:"));
    put_headers(response.headers_mut(), &id, in_docs, https);
    response
}

fn put_headers(headers: &mut HeaderMap, id: &str, in_docs: bool, https: bool) {
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert(REQUEST_ID, id);
    }
    let policy = if in_docs { DOCS_POLICY } else { API_POLICY };
    let fixed = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, policy),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if https {
        let a_year = HeaderValue::from_static("max-age=31536000");
        headers.insert(header::STRICT_TRANSPORT_SECURITY, a_year);
    }
}

/// The answer to a panic: a defect of ours. The panic's own text is in the log of the panic hook.
pub fn panicked(_: Box<dyn Any + Send + 'static>) -> Response {
    tracing::error!("request panicked");
    Problem::internal().into_response()
}

/// A method as a metric's label: the usual ones, so that a client cannot make labels.
fn method_label(method: &Method) -> &'static str {
    const USUAL: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    USUAL.into_iter().find(|usual| *usual == method.as_str()).unwrap_or("OTHER")
}

/// Returns the client's own id if it is harmless, else a new one.
fn request_id(headers: &HeaderMap) -> String {
    let harmless = |id: &&str| crate::request::fields::is_code(id);
    let given = headers.get(REQUEST_ID).and_then(|v| v.to_str().ok()).filter(harmless);
    given.map_or_else(|| Uuid::now_v7().to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_id_cannot_forge_a_log_line() {
        let id = |value: &'static str| {
            request_id(&HeaderMap::from_iter([(
                axum::http::HeaderName::from_static(REQUEST_ID),
                HeaderValue::from_static(value),
            )]))
        };
        assert_eq!(id("desk-7.41"), "desk-7.41");
        assert_ne!(id("a b"), "a b");
        assert_eq!(method_label(&Method::from_bytes(b"BREW").unwrap()), "OTHER");
    }
}
