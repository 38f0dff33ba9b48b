//! Answers that say what went wrong: RFC 9457 problem details.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use klaroen_store::StoreError;
use serde::Serialize;
use utoipa::ToSchema;

/// The media type of every error answer (RFC 9457 §3).
pub const PROBLEM_JSON: &str = "application/problem+json";

/// One error in a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// JSON Pointer (RFC 6901) into the request body, such as `/alert/area/circle/radius_m`. For a query parameter its
    /// name, such as `/limit`. For a header its name, such as `/Idempotency-Key`.
    pub pointer: String,
    /// The error, and what would be right.
    pub detail: String,
}

/// An error response (RFC 9457).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Problem {
    /// The type of the problem. `about:blank` if the status says it all.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The type in words. It is the same for every occurrence.
    pub title: &'static str,
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599)]
    pub status: u16,
    /// A description of this occurrence.
    pub detail: String,
    /// Every field that is wrong. Empty if the problem is not about fields.
    pub errors: Vec<FieldError>,
    #[serde(skip)]
    #[schema(ignore)]
    pub(crate) header: Option<Box<(header::HeaderName, String)>>,
}

/// Seconds that a client waits before it tries again when the database is not available.
const RETRY_AFTER_S: u64 = 1;

impl Problem {
    /// A problem that its status describes.
    #[must_use]
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: detail.into(),
            errors: Vec::new(),
            header: None,
        }
    }

    /// Fields of the request that are wrong.
    #[must_use]
    pub fn invalid(errors: Vec<FieldError>) -> Self {
        let detail = match errors.len() {
            1 => "1 field of the request is not valid".to_owned(),
            n => format!("{n} fields of the request are not valid"),
        };
        Self {
            kind: "urn:klaroen:problem:invalid-request",
            title: "Invalid request",
            errors,
            ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
        }
    }

    /// One field of the request that is wrong.
    #[must_use]
    pub fn invalid_field(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::invalid(vec![FieldError { pointer: pointer.into(), detail: detail.into() }])
    }

    /// A body that is no JSON.
    #[must_use]
    pub fn malformed(detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self {
            kind: "urn:klaroen:problem:malformed-body",
            title: "Malformed body",
            errors: vec![FieldError { pointer: String::new(), detail: detail.clone() }],
            ..Self::new(StatusCode::BAD_REQUEST, detail)
        }
    }

    /// No such thing, or not one of yours: the two are not told apart.
    #[must_use]
    pub fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("there is no such {what}"))
    }

    /// A state that does not allow what was asked.
    #[must_use]
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, detail)
    }

    /// A value that another thing has already.
    #[must_use]
    pub fn taken(pointer: &str, detail: &str) -> Self {
        let errors = vec![FieldError { pointer: pointer.to_owned(), detail: detail.to_owned() }];
        Self { errors, ..Self::conflict(detail) }
    }

    /// No key, or one that does not work (RFC 6750 §3).
    #[must_use]
    pub fn unauthorized(detail: &str, challenge: &str) -> Self {
        Self {
            header: Some(Box::new((header::WWW_AUTHENTICATE, challenge.to_owned()))),
            ..Self::new(StatusCode::UNAUTHORIZED, detail)
        }
    }

    /// The path is there, the method is not (RFC 9110 §15.5.6).
    #[must_use]
    pub fn method_not_allowed(allow: String) -> Self {
        Self {
            detail: format!("this path accepts {allow}"),
            header: Some(Box::new((header::ALLOW, allow))),
            ..Self::new(StatusCode::METHOD_NOT_ALLOWED, "")
        }
    }

    /// Come back after `seconds`.
    #[must_use]
    pub fn try_later(status: StatusCode, seconds: u64, detail: &str) -> Self {
        Self {
            header: Some(Box::new((header::RETRY_AFTER, seconds.to_string()))),
            ..Self::new(status, detail)
        }
    }

    /// A defect of ours; the details are in the log, not in the answer.
    #[must_use]
    pub fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "an internal error occurred; the log of the service has the details under the X-Request-Id of this response",
        )
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        if matches!(error, StoreError::BadCursor) {
            return Self::invalid_field("/cursor", "is not a cursor of this list");
        }
        if error.is_retryable() {
            tracing::warn!(error = %error, "database not available; answering 503");
            return Self::try_later(
                StatusCode::SERVICE_UNAVAILABLE,
                RETRY_AFTER_S,
                "the database is not available; repeat the request later",
            );
        }
        tracing::error!(error = %error, "database error; answering 500");
        Self::internal()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if let Some((name, value)) = self.header.map(|header| *header)
            && let Ok(value) = HeaderValue::from_str(&value)
        {
            headers.insert(name, value);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_names_every_field_and_its_media_type() {
        let problem = Problem::invalid(vec![
            FieldError { pointer: "/a".into(), detail: "x".into() },
            FieldError { pointer: "/b".into(), detail: "y".into() },
        ]);
        let json = serde_json::to_value(&problem).unwrap();
        assert_eq!(json["status"], 422);
        assert_eq!(json["errors"][1]["pointer"], "/b");
        assert_eq!(json.as_object().unwrap().len(), 5, "nothing but the members of the contract");
        let response = problem.into_response();
        assert_eq!(response.headers()[header::CONTENT_TYPE], PROBLEM_JSON);
    }

    #[test]
    fn details_of_the_database_stay_inside() {
        let problem = Problem::from(StoreError::Corrupt { table: "participants", column: "phone" });
        assert_eq!(problem.status, 500);
        assert!(!problem.detail.contains("participants"));
        assert_eq!(Problem::from(StoreError::BadCursor).status, 422);
    }
}
