//! Every route with what stands around it.

use std::sync::Arc;

use axum::Router;
use axum::extract::MatchedPath;
use axum::http::Uri;
use axum::middleware::{from_fn, from_fn_with_state};
use tower_http::catch_panic::CatchPanicLayer;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::described::{self, Described};
use crate::problem::Problem;
use crate::{authentication, docs, health, permissions, refusal, trace, v1};

/// The routes that need a key.
pub fn keyed() -> OpenApiRouter<App> {
    OpenApiRouter::default()
        .routes(routes!(v1::incidents::create, v1::incidents::list))
        .routes(routes!(v1::incidents::get))
        .routes(routes!(v1::alerts::create))
        .routes(routes!(v1::preview::preview))
        .routes(routes!(v1::alerts::list))
        .routes(routes!(v1::alerts::get))
        .routes(routes!(v1::alert_changes::update))
        .routes(routes!(v1::alert_changes::retract))
        .routes(routes!(v1::alert_changes::end))
        .routes(routes!(v1::alert_changes::extend))
        .routes(routes!(v1::alert_changes::cancel))
        .routes(routes!(v1::deliveries::list))
        .routes(routes!(v1::replies::list))
        .routes(routes!(v1::replies::mark))
        .routes(routes!(v1::events::stream))
        .routes(routes!(v1::participants::create, v1::participants::list))
        .routes(routes!(v1::participants::get, v1::participants::change, v1::participants::erase))
        .routes(routes!(v1::imports::create))
        .routes(routes!(v1::export::export))
        .routes(routes!(v1::groups::list, v1::groups::create))
        .routes(routes!(v1::areas::list, v1::areas::put_all))
        .routes(routes!(v1::areas::get, v1::areas::put))
        .routes(routes!(v1::keys::list, v1::keys::create))
        .routes(routes!(v1::keys::revoke))
        .routes(routes!(v1::gateways::list))
        .routes(routes!(v1::gateways::get))
        .routes(routes!(v1::gateway_pauses::pause))
        .routes(routes!(v1::gateway_pauses::resume))
        .routes(routes!(v1::gateway_tests::request))
        .routes(routes!(v1::gateway_tests::list))
        .routes(routes!(v1::gateway_tests::get))
        .routes(routes!(v1::audit::list))
}

/// The routes that need none.
pub fn open() -> OpenApiRouter<App> {
    OpenApiRouter::default()
        .routes(routes!(health::livez))
        .routes(routes!(health::readyz))
        .routes(routes!(health::metrics))
}

/// The whole service.
pub fn build(app: App) -> Router {
    let (keyed, description) = keyed().split_for_parts();
    let described = from_fn_with_state(Arc::new(Described::of(&description)), described::require_described);
    let (open, _) = open().split_for_parts();
    let guard = from_fn_with_state(app.clone(), authentication::require_permission);
    let router = Router::new()
        .merge(keyed.route_layer(described).route_layer(guard))
        .merge(open)
        .merge(v1::callbacks::routes())
        .merge(docs::routes(app.settings.public_url.as_deref()));
    surrounded(router, app)
}

/// Only what tells how the process is.
pub fn operations(app: App) -> Router {
    let (open, _) = open().split_for_parts();
    surrounded(open, app)
}

/// With what stands around every route.
fn surrounded(router: Router<App>, app: App) -> Router {
    router
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .layer(from_fn(trace::deadline))
        .layer(CatchPanicLayer::custom(trace::panicked))
        .layer(from_fn_with_state(app.clone(), trace::observe))
        .layer(from_fn(refusal::read_to_its_end))
        .with_state(app)
}

async fn no_such_path(_: Uri) -> Problem {
    Problem::not_found("path")
}

/// The routes without a key are only read.
async fn no_such_method(path: MatchedPath) -> Problem {
    if let Some(allow) = v1::callbacks::allow(path.as_str()) {
        return Problem::method_not_allowed(allow.to_owned());
    }
    let allow = permissions::allow(path.as_str());
    Problem::method_not_allowed(if allow.is_empty() { "GET, HEAD".to_owned() } else { allow })
}
