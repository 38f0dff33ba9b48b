//! Which key a request came with.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use klaroen_store::keys::{ApiKey, Authentication};

use super::caller::{Caller, Principal};
use crate::problem::Problem;
use crate::state::App;

/// No key of ours is longer.
const TOKEN_BYTES_MAX: usize = 256;

impl<S: Send + Sync> FromRequestParts<S> for Principal {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| {
            tracing::error!("handler called without authentication");
            Problem::internal()
        })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let principal = Principal::from_request_parts(parts, state).await?;
        Self::of(&principal).ok_or_else(|| {
            Problem::new(
                StatusCode::FORBIDDEN,
                "this call is for keys of an organisation; this key acts on the installation",
            )
        })
    }
}

/// Returns the key that a request came with.
///
/// # Errors
/// 401 if the request has no key that works, 503 if the database is not available.
pub async fn authenticate(app: &App, headers: &HeaderMap) -> Result<ApiKey, Problem> {
    let missing = || Problem::unauthorized("send Authorization: Bearer klr_…", "Bearer");
    let invalid = |detail| Problem::unauthorized(detail, "Bearer error=\"invalid_token\"");
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next().ok_or_else(missing)?;
    if values.next().is_some() {
        return Err(invalid("the header Authorization is given twice"));
    }
    let token = value.to_str().ok().and_then(bearer).ok_or_else(missing)?;
    if token.len() > TOKEN_BYTES_MAX {
        return Err(invalid("the key is unknown"));
    }
    match app.store.authenticate(token, app.now()).await? {
        Authentication::Valid(key) => Ok(key),
        Authentication::NoLongerValid => Err(invalid("the key has expired or was revoked")),
        Authentication::Unknown => Err(invalid("the key is unknown")),
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
