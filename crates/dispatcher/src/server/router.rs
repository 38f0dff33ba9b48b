//! The router with all that stands around the routes.

use std::sync::Arc;

use axum::Router;
use axum::extract::MatchedPath;
use axum::http::{HeaderName, HeaderValue, Uri};
use axum::middleware::{from_fn, from_fn_with_state};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::set_header::SetResponseHeaderLayer;

use crate::middleware::authorization::require_permission;
use crate::middleware::deadline::deadline;
use crate::middleware::drain_body::drain_refused;
use crate::middleware::route_table::RouteTable;
use crate::middleware::strict_parameters::{DocumentedParameters, reject_undocumented};
use crate::middleware::trace;
use crate::openapi;
use crate::problem::Problem;
use crate::routes::{Routes, routes};
use crate::state::App;

/// In every answer (Dutch API Design Rules, rule version-header): the version that the description names.
const API_VERSION: HeaderName = HeaderName::from_static("api-version");
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The whole service.
pub fn build(app: App) -> Router {
    let Routes { table, keyed, open, callbacks } = routes();
    let table = Arc::new(table);
    let (keyed, keyed_description) = keyed.split_for_parts();
    let (open, open_description) = open.split_for_parts();
    let documented = Arc::new(DocumentedParameters::of(&keyed_description));
    let document = openapi::document([keyed_description, open_description], &table);
    let strict = from_fn_with_state(documented, reject_undocumented);
    let guard = from_fn_with_state((app.clone(), Arc::clone(&table)), require_permission);
    let router = Router::new()
        .merge(keyed.route_layer(strict).route_layer(guard))
        .merge(open)
        .merge(callbacks)
        .merge(openapi::routes(document, app.settings.public_url.as_deref()));
    surrounded(router, app, table)
}

/// The routes of the operator of the process alone: health and numbers.
pub fn operations(app: App) -> Router {
    let Routes { table, open, .. } = routes();
    let (open, _) = open.split_for_parts();
    surrounded(open, app, Arc::new(table))
}

/// With what stands around every route.
fn surrounded(router: Router<App>, app: App, table: Arc<RouteTable>) -> Router {
    let allowed = Arc::clone(&table);
    let no_such_method =
        async move |path: MatchedPath| Problem::method_not_allowed(allowed.allow(path.as_str()));
    router
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .layer(from_fn_with_state(table, deadline))
        .layer(CatchPanicLayer::custom(trace::panicked))
        .layer(from_fn_with_state(app.clone(), trace::observe))
        .layer(from_fn(drain_refused))
        .layer(SetResponseHeaderLayer::if_not_present(API_VERSION, HeaderValue::from_static(VERSION)))
        .with_state(app)
}

async fn no_such_path(_: Uri) -> Problem {
    Problem::not_found("path")
}
