//! Whether a caller may make a call: decided before anything of the body is read.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::Response;

use super::route_table::{RouteTable, matched_path};
use crate::auth::authentication::authenticate;
use crate::auth::caller::Principal;
use crate::auth::permissions::roles_with;
use crate::problem::Problem;
use crate::state::App;

/// Lets a request pass whose key may make this call, within its rate.
pub async fn require_permission(
    State((app, table)): State<(App, Arc<RouteTable>)>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let path = matched_path(&request).unwrap_or_default();
    let Some(permission) = table.permission(request.method(), path) else {
        return Err(Problem::method_not_allowed(table.allow(path)));
    };
    let key = authenticate(&app, request.headers()).await?;
    tracing::Span::current().record("key", tracing::field::display(key.id));
    if let Err(wait) = app.limit.check(key.id) {
        let seconds = wait.as_secs() + 1;
        let detail = "this key makes too many requests";
        return Err(Problem::try_later(StatusCode::TOO_MANY_REQUESTS, seconds, detail));
    }
    if !key.role.may(permission) {
        let needed = roles_with(permission);
        let detail =
            format!("this call needs a key with the role {needed}; this key has the role {}", key.role);
        return Err(Problem::new(StatusCode::FORBIDDEN, detail));
    }
    request.extensions_mut().insert(Principal::new(key));
    Ok(next.run(request).await)
}
