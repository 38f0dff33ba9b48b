//! Requests, answers and callbacks, and the ids and times in them.

pub(super) mod form;
pub(super) mod signing;

use hyper::{HeaderMap, Method};
use serde_json::Value;

use crate::http::contracts::message::Refusal;

/// A request as it came.
pub(crate) struct Request<'a> {
    pub method: &'a Method,
    pub path: &'a str,
    pub query: &'a str,
    pub headers: &'a HeaderMap,
    pub body: &'a [u8],
}

impl Request<'_> {
    /// A header, empty if it is missing or not text.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The token behind a word such as `Bearer` in the `Authorization`.
    pub(crate) fn token(&self, scheme: &str) -> &str {
        self.header("authorization").strip_prefix(scheme).unwrap_or_default().trim()
    }

    pub(crate) fn json(&self) -> Option<Value> {
        serde_json::from_slice(self.body).ok().filter(Value::is_object)
    }
}

/// A call to the service that sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Callback {
    pub method: Method,
    pub url: String,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

impl Callback {
    pub(crate) fn json(url: String, body: &Value) -> Self {
        let headers = vec![("content-type", "application/json".to_owned())];
        Self { method: Method::POST, url, headers, body: body.to_string().into_bytes() }
    }

    pub(crate) fn form<'a>(url: String, pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let headers = vec![("content-type", "application/x-www-form-urlencoded".to_owned())];
        Self { method: Method::POST, url, headers, body: form::encode(pairs).into_bytes() }
    }
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub status: u16,
    pub content_type: &'static str,
    pub retry_after_s: Option<u32>,
    pub body: Vec<u8>,
}

impl Reply {
    pub(crate) fn json(status: u16, body: &Value) -> Self {
        let body = body.to_string().into_bytes();
        Self { status, content_type: "application/json", retry_after_s: None, body }
    }

    pub(crate) fn text(status: u16, body: &str) -> Self {
        Self { status, content_type: "text/plain", retry_after_s: None, body: body.into() }
    }

    /// The answer of a proxy in front of the provider.
    pub(crate) fn html(status: u16) -> Self {
        let body = format!("<html><head><title>{status}</title></head><body><h1>{status}</h1></body></html>");
        Self { status, content_type: "text/html", retry_after_s: None, body: body.into_bytes() }
    }

    /// The same with the `Retry-After` of a throttled submit.
    pub(crate) fn for_refusal(mut self, refusal: Refusal) -> Self {
        if let Refusal::Throttled { retry_after_s } = refusal {
            self.retry_after_s = retry_after_s;
        }
        self
    }
}

/// 32 hexadecimal digits that look like chance and are not.
pub(crate) fn hex_id(n: u64) -> String {
    format!("{:016x}{:016x}", crate::fault_plan::mix(n), crate::fault_plan::mix(!n))
}

/// The same in the shape of a UUID of version 4 (RFC 9562 §5.4).
pub(crate) fn uuid(n: u64) -> String {
    let hex = hex_id(n);
    format!("{}-{}-4{}-a{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..])
}

/// A time in UTC, in the form of `strftime`.
pub(crate) fn utc(at_ms: i64, form: &str) -> String {
    jiff::Timestamp::from_millisecond(at_ms)
        .map_or_else(|_| String::new(), |at| at.strftime(form).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_their_shapes() {
        assert_eq!(hex_id(7).len(), 32);
        assert_ne!(hex_id(7), hex_id(8));
        let uuid = uuid(7);
        let lengths: Vec<usize> = uuid.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12], "{uuid}");
    }
}
