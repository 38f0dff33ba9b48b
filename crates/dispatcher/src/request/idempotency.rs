//! `Idempotency-Key`: makes a repetition of a request known.

use axum::http::{HeaderMap, Method};
use klaroen_store::idempotency::Idempotency;
use sha2::{Digest, Sha256};

use crate::problem::Problem;

/// The name of the header.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// The form of a key (JSON Schema `pattern`): 1 to 255 visible ASCII characters.
pub const PATTERN: &str = "^[!-~]{1,255}$";
const POINTER: &str = "/Idempotency-Key";

/// The key of a request and the fingerprint of what it asks; `None` without the header.
///
/// # Errors
/// 422 if the key is not 1 to 255 visible ASCII characters, or is given twice.
pub fn read(
    headers: &HeaderMap,
    method: &Method,
    path: &str,
    body: &[u8],
) -> Result<Option<Idempotency>, Problem> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Problem::invalid_field(POINTER, "is given twice"));
    }
    let bytes = value.as_bytes();
    if !(1..=255).contains(&bytes.len()) || !bytes.iter().all(u8::is_ascii_graphic) {
        return Err(Problem::invalid_field(POINTER, "must be 1 to 255 visible ASCII characters"));
    }
    let key = String::from_utf8_lossy(bytes).into_owned();
    Ok(Some(Idempotency { key, fingerprint: fingerprint(method, path, body) }))
}

/// SHA-256 of what was asked; the lengths keep the parts apart.
fn fingerprint(method: &Method, path: &str, body: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in [method.as_str().as_bytes(), path.as_bytes(), body] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// The answer to a key that was used for another request.
#[must_use]
pub fn reused() -> Problem {
    Problem {
        kind: "urn:klaroen:problem:idempotency-key-reused",
        title: "Idempotency key reused",
        ..Problem::invalid_field(POINTER, "was used for another request; use a new key for a new request")
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(
            axum::http::HeaderName::from_static(IDEMPOTENCY_KEY),
            HeaderValue::from_str(value).unwrap(),
        )])
    }

    #[test]
    fn the_fingerprint_tells_requests_apart() {
        let print = |method, path, body: &str| {
            read(&headers("k"), &method, path, body.as_bytes()).unwrap().unwrap().fingerprint
        };
        let one = print(Method::POST, "/v1/incidents", "{}");
        assert_eq!(one, print(Method::POST, "/v1/incidents", "{}"));
        assert_ne!(one, print(Method::POST, "/v1/incidents", "{ }"));
        assert_ne!(one, print(Method::PUT, "/v1/incidents", "{}"));
        assert_ne!(one, print(Method::POST, "/v1/incidents{", "}"), "parts do not run into each other");
    }

    #[test]
    fn a_key_is_visible_ascii() {
        for bad in ["", "a b", &"x".repeat(256)] {
            assert_eq!(read(&headers(bad), &Method::POST, "/", b"").unwrap_err().status, 422, "{bad:?}");
        }
        assert!(read(&headers(&"x".repeat(255)), &Method::POST, "/", b"").unwrap().is_some());
        assert_eq!(read(&HeaderMap::new(), &Method::POST, "/", b""), Ok(None));
    }
}
