//! JSON bodies: media type, size, time to arrive, syntax.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use serde_json::Value;

use super::json::{self, Document};
use super::memory::{self, Held};
use crate::problem::Problem;

/// No request but a library of areas needs more: a geofence of 10,000 corners, each written with all its decimals and on a
/// line of its own, is some 700 kB.
pub const JSON_BYTES_MAX: usize = 1024 * 1024;
/// All neighbourhoods of a province with their borders; the municipalities of the Netherlands as published for maps are
/// half a megabyte.
pub const AREAS_BYTES_MAX: usize = 16 * 1024 * 1024;
/// One area of 10,000 corners, with the properties that files of statistics offices have.
pub const AREA_BYTES_MAX: usize = 2 * 1024 * 1024;
/// A client that sends slower than this holds a connection for nothing.
const BODY_TIMEOUT: Duration = Duration::from_secs(20);
/// A library of areas over a slow line.
const LARGE_BODY_TIMEOUT: Duration = Duration::from_mins(5);

/// A JSON body of at most `MAX` bytes: as it came (for the fingerprint of a repetition) and as it was read.
#[derive(Debug)]
pub struct JsonBody<const MAX: usize = JSON_BYTES_MAX> {
    /// As it came.
    pub bytes: Bytes,
    /// As it was read.
    pub value: Value,
    /// The memory of the text, if it is large, and of the values.
    held: (Option<Held>, Held),
}

impl<const MAX: usize> JsonBody<MAX> {
    /// The body as it was read.
    #[must_use]
    pub fn into_document(self) -> Document {
        Document { value: self.value, length: self.bytes.len(), held: Some(self.held.1) }
    }
}

impl<S: Send + Sync, const MAX: usize> FromRequest<S> for JsonBody<MAX> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let text = JsonText::<MAX>::from_request(request, state).await?;
        let mut held = memory::TREES.take(json::worst(text.bytes.len())).await?;
        let (value, reckoned) = json::parse_reckoned(&text.bytes)?;
        held.shrink(reckoned);
        Ok(Self { bytes: text.bytes, value, held: (text.held, held) })
    }
}

/// A JSON body of at most `MAX` bytes that takes too long to parse on the threads that serve requests.
#[derive(Debug)]
pub struct JsonText<const MAX: usize> {
    bytes: Bytes,
    held: Option<Held>,
}

impl<const MAX: usize> JsonText<MAX> {
    /// The text, and its memory: to be held until nothing of the text is needed any more.
    #[must_use]
    pub fn into_parts(self) -> (Bytes, Option<Held>) {
        (self.bytes, self.held)
    }
}

impl<S: Send + Sync, const MAX: usize> FromRequest<S> for JsonText<MAX> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        require_json(request.headers())?;
        let held = room(request.headers(), MAX).await?;
        let bytes = read_bytes(request.into_body(), MAX).await?;
        Ok(Self { bytes, held })
    }
}

/// Takes the memory of a large text before its first byte is read. One that does not tell its length counts as the largest.
async fn room(headers: &HeaderMap, max: usize) -> Result<Option<Held>, Problem> {
    let told = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
    let length = told.unwrap_or(max).min(max);
    if length <= memory::SMALL_BYTES {
        return Ok(None);
    }
    let room = if max > AREA_BYTES_MAX { &memory::LIBRARIES } else { &memory::TEXTS };
    room.take(length).await.map(Some)
}

/// No body, or an empty object: for calls that say everything in their path.
#[derive(Clone, Copy, Debug)]
pub struct NoBody;

impl<S: Send + Sync> FromRequest<S> for NoBody {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let bytes = read_bytes(request.into_body(), 1024).await?;
        let given = bytes.trim_ascii();
        if given.is_empty() || given == b"{}" {
            return Ok(Self);
        }
        Err(Problem::malformed("this call takes no body"))
    }
}

/// A whole body of at most `max` bytes, which arrives in time.
///
/// # Errors
/// 400, 408 or 413.
pub async fn read_bytes(body: Body, max: usize) -> Result<Bytes, Problem> {
    let in_time = if max > JSON_BYTES_MAX { LARGE_BODY_TIMEOUT } else { BODY_TIMEOUT };
    tokio::time::timeout(in_time, axum::body::to_bytes(body, max))
        .await
        .map_err(|_| Problem::new(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time"))?
        .map_err(|error| unreadable(&error, max))
}

/// `application/json`, or anything that is JSON underneath (`application/geo+json`, `application/merge-patch+json`).
fn require_json(headers: &HeaderMap) -> Result<(), Problem> {
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
    let essence = media_type.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    if essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json")) {
        return Ok(());
    }
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "send Content-Type: application/json"))
}

fn unreadable(error: &axum::Error, max: usize) -> Problem {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(cause) = source {
        if cause.to_string().contains("length limit exceeded") {
            return Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("the body is larger than {} KiB", max / 1024),
            );
        }
        source = cause.source();
    }
    Problem::new(StatusCode::BAD_REQUEST, "the body ended early")
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    async fn read(content_type: &str, body: impl Into<Body>) -> Result<JsonBody<32>, Problem> {
        let request =
            Request::post("/").header(header::CONTENT_TYPE, content_type).body(body.into()).unwrap();
        JsonBody::from_request(request, &()).await
    }

    #[rstest]
    #[case("text/plain", "{}", 415)]
    #[case("", "{}", 415)]
    #[case("application/json", "{", 400)]
    #[case("application/json", "", 400)]
    #[case("application/json", "\"0123456789012345678901234567890123456789\"", 413)]
    #[tokio::test]
    async fn each_way_to_be_unreadable_has_its_status(
        #[case] media: &str,
        #[case] body: &'static str,
        #[case] status: u16,
    ) {
        assert_eq!(read(media, body).await.unwrap_err().status, status);
    }

    #[tokio::test]
    async fn json_in_every_dress_is_read() {
        for media in ["application/json", "Application/JSON; charset=utf-8", "application/geo+json"] {
            assert_eq!(read(media, "{\"a\":1}").await.unwrap().value["a"], 1);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_comes_is_given_up() {
        let never = Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
        assert_eq!(read("application/json", never).await.unwrap_err().status, 408);
    }
}
