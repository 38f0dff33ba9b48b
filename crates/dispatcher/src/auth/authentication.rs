//! Who calls, and whether they may: before anything of the body is read.

use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use klaroen_domain::id::OrganisationId;
use klaroen_store::Actor;
use klaroen_store::keys::{ApiKey, Authentication};

use crate::auth::permissions;
use crate::problem::Problem;
use crate::state::App;

/// No key of ours is longer.
const TOKEN_BYTES_MAX: usize = 256;

/// The holder of the key that a request came with.
#[derive(Clone, Debug)]
pub struct Caller(ApiKey);

impl Caller {
    /// The tenant.
    pub const fn organisation(&self) -> OrganisationId {
        self.0.organisation
    }

    /// The key.
    pub const fn key(&self) -> &ApiKey {
        &self.0
    }

    /// For the audit log.
    pub const fn actor(&self) -> Actor {
        Actor::Key(self.0.id)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| {
            tracing::error!("a handler was reached past authentication");
            Problem::internal()
        })
    }
}

/// Lets a request pass whose key may make this call, within its rate.
pub async fn require_permission(
    State(app): State<App>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let Some(permission) = permissions::needed(request.method(), route) else {
        return Err(Problem::method_not_allowed(permissions::allow(route)));
    };
    let key = authenticate(&app, request.headers()).await?;
    tracing::Span::current().record("key", tracing::field::display(key.id));
    if let Err(wait) = app.limit.check(key.id) {
        let seconds = wait.as_secs() + 1;
        let detail = "this key makes too many requests";
        return Err(Problem::try_later(StatusCode::TOO_MANY_REQUESTS, seconds, detail));
    }
    if !key.role.may(permission) {
        let needed = permissions::roles_with(permission);
        let detail =
            format!("this call needs a key with the role {needed}; this key has the role {}", key.role);
        return Err(Problem::new(StatusCode::FORBIDDEN, detail));
    }
    request.extensions_mut().insert(Caller(key));
    Ok(next.run(request).await)
}

/// Whose key a request came with.
///
/// # Errors
/// 401 where it does not work, or what the database says.
pub async fn authenticate(app: &App, headers: &HeaderMap) -> Result<ApiKey, Problem> {
    let missing = || Problem::unauthorized("send Authorization: Bearer klr_…", "Bearer");
    let invalid = |detail| Problem::unauthorized(detail, "Bearer error=\"invalid_token\"");
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next().ok_or_else(missing)?;
    if values.next().is_some() {
        return Err(invalid("the header Authorization stands there twice"));
    }
    let token = value.to_str().ok().and_then(bearer).ok_or_else(missing)?;
    if token.len() > TOKEN_BYTES_MAX {
        return Err(invalid("this key is not known"));
    }
    match app.store.authenticate(token, app.now()).await? {
        Authentication::Valid(key) => Ok(key),
        Authentication::NoLongerValid => Err(invalid("this key has expired or was revoked")),
        Authentication::Unknown => Err(invalid("this key is not known")),
    }
}

/// The token of a bearer header (RFC 6750 §2.1); the scheme's name has no case (RFC 9110 §11.1).
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_bearer_token_is_one() {
        assert_eq!(bearer("Bearer klr_1"), Some("klr_1"));
        assert_eq!(bearer("bearer  klr_1 "), Some("klr_1"));
        for bad in ["Basic abc", "Bearer", "Bearer ", "klr_1", ""] {
            assert_eq!(bearer(bad), None, "{bad:?}");
        }
    }
}
