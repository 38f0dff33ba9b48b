//! Every route with what stands around it.

use std::sync::Arc;

use axum::Router;
use axum::extract::MatchedPath;
use axum::http::Uri;
use axum::middleware::{from_fn, from_fn_with_state};
use tower_http::catch_panic::CatchPanicLayer;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::{authentication, permissions};
use crate::middleware::strict_parameters::{DocumentedParameters, reject_undocumented};
use crate::middleware::{drain_body, trace};
use crate::problem::Problem;
use crate::state::App;
use crate::{openapi, resources};

/// The routes that need a key.
pub fn keyed() -> OpenApiRouter<App> {
    OpenApiRouter::default()
        .routes(routes!(resources::incidents::http::create, resources::incidents::http::list))
        .routes(routes!(resources::incidents::http::get))
        .routes(routes!(resources::alerts::http::create))
        .routes(routes!(resources::alerts::preview::preview))
        .routes(routes!(resources::alerts::http::list))
        .routes(routes!(resources::alerts::http::get))
        .routes(routes!(resources::alerts::change::update))
        .routes(routes!(resources::alerts::change::retract))
        .routes(routes!(resources::alerts::change::end))
        .routes(routes!(resources::alerts::change::extend))
        .routes(routes!(resources::alerts::change::cancel))
        .routes(routes!(resources::alerts::deliveries::list))
        .routes(routes!(resources::replies::list))
        .routes(routes!(resources::replies::mark))
        .routes(routes!(resources::alerts::events::stream))
        .routes(routes!(resources::participants::http::create, resources::participants::http::list))
        .routes(routes!(
            resources::participants::http::get,
            resources::participants::http::change,
            resources::participants::http::erase
        ))
        .routes(routes!(resources::participants::import::create))
        .routes(routes!(resources::participants::export::export))
        .routes(routes!(resources::groups::list, resources::groups::create))
        .routes(routes!(resources::areas::http::list, resources::areas::http::put_all))
        .routes(routes!(resources::areas::http::get, resources::areas::http::put))
        .routes(routes!(resources::keys::list, resources::keys::create))
        .routes(routes!(resources::keys::revoke))
        .routes(routes!(resources::gateways::view::list))
        .routes(routes!(resources::gateways::view::get))
        .routes(routes!(resources::gateways::pause::pause))
        .routes(routes!(resources::gateways::pause::resume))
        .routes(routes!(resources::gateways::self_test::request))
        .routes(routes!(resources::gateways::self_test::list))
        .routes(routes!(resources::gateways::self_test::get))
        .routes(routes!(resources::audit::list))
}

/// The routes that need none.
pub fn open() -> OpenApiRouter<App> {
    OpenApiRouter::default()
        .routes(routes!(resources::health::livez))
        .routes(routes!(resources::health::readyz))
        .routes(routes!(resources::health::metrics))
}

/// The whole service.
pub fn build(app: App) -> Router {
    let (keyed, description) = keyed().split_for_parts();
    let described = from_fn_with_state(Arc::new(DocumentedParameters::of(&description)), reject_undocumented);
    let (open, _) = open().split_for_parts();
    let guard = from_fn_with_state(app.clone(), authentication::require_permission);
    let router = Router::new()
        .merge(keyed.route_layer(described).route_layer(guard))
        .merge(open)
        .merge(resources::callbacks::routes())
        .merge(openapi::routes(app.settings.public_url.as_deref()));
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
        .layer(from_fn(drain_body::drain_refused))
        .with_state(app)
}

async fn no_such_path(_: Uri) -> Problem {
    Problem::not_found("path")
}

/// The routes without a key are only read.
async fn no_such_method(path: MatchedPath) -> Problem {
    if let Some(allow) = resources::callbacks::allow(path.as_str()) {
        return Problem::method_not_allowed(allow.to_owned());
    }
    let allow = permissions::allow(path.as_str());
    Problem::method_not_allowed(if allow.is_empty() { "GET, HEAD".to_owned() } else { allow })
}
