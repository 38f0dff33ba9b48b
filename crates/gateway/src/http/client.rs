//! One request and its answer, and, if there is none, whether the request had left.

use std::error::Error;
use std::io;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Method, Request, Response, Url, redirect, retry};
use serde_json::Value;
use tokio::time::Instant;

use crate::settings::{ConfigFault, Endpoint, tls};

/// Name look-up, TCP and TLS together; nothing of the request has left until then.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(if cfg!(test) { 2 } else { 5 });
/// Shorter than any server keeps a connection that idles (Node's 5 s is the shortest in use): a server that closes just when
/// we write leaves a message in doubt.
const IDLE: Duration = Duration::from_secs(4);
/// An answer is a few hundred bytes for each message.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// A provider's wish beyond this is not followed: an alert is over in half an hour.
const RETRY_AFTER_MAX: Duration = Duration::from_mins(1);

/// A request as a contract makes it. `Debug` shows neither secrets nor text.
#[derive(Clone)]
pub(crate) struct Call {
    pub(super) method: Method,
    pub(super) url: String,
    pub(super) headers: Vec<(HeaderName, String)>,
    pub(super) body: Vec<u8>,
}

impl Call {
    pub(super) fn get(url: String) -> Self {
        Self { method: Method::GET, url, headers: Vec::new(), body: Vec::new() }
    }

    pub(super) fn json(url: String, body: &Value) -> Self {
        let body = body.to_string().into_bytes();
        Self { method: Method::POST, url, headers: Vec::new(), body }.with(CONTENT_TYPE, "application/json")
    }

    pub(super) fn form(url: String, fields: &[(&str, &str)]) -> Self {
        let mut body = form_urlencoded::Serializer::new(String::new());
        body.extend_pairs(fields);
        let body = body.finish().into_bytes();
        Self { method: Method::POST, url, headers: Vec::new(), body }
            .with(CONTENT_TYPE, "application/x-www-form-urlencoded")
    }

    #[must_use]
    pub(super) fn with(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Call").field("method", &self.method).finish_non_exhaustive()
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(super) status: u16,
    /// Capped.
    pub(super) retry_after: Option<Duration>,
    /// `None` if it did not arrive whole, or was too large.
    pub(super) body: Option<Vec<u8>>,
}

impl Answer {
    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The body as JSON, whatever its `Content-Type` says.
    pub(super) fn json(&self) -> Option<Value> {
        serde_json::from_slice(self.body.as_deref()?).ok()
    }

    pub(super) fn text(&self) -> Option<&str> {
        std::str::from_utf8(self.body.as_deref()?).ok()
    }
}

/// How an exchange ended: a code and a detail where there is no answer.
#[derive(Debug)]
pub(super) enum Exchange {
    /// Not a byte of the request left.
    NotWritten(&'static str, &'static str),
    /// It left, or may have, and no answer came.
    NoAnswer(&'static str, &'static str),
    Answered(Answer),
}

pub(super) struct Client {
    inner: reqwest::Client,
    /// For the whole exchange. Longer than connecting may take, so that when it is over the request may have left.
    within: Duration,
}

impl Client {
    /// # Errors
    /// A [`ConfigFault`] if `tls_ca_file` cannot be used.
    #[expect(clippy::disallowed_methods, reason = "the home of the client that talks to providers")]
    pub(super) fn new(endpoint: &Endpoint) -> Result<Self, ConfigFault> {
        let builder = reqwest::Client::builder()
            .user_agent(concat!("klaroen/", env!("CARGO_PKG_VERSION")))
            .tls_backend_preconfigured(tls::client_config(endpoint.tls_ca_file.as_deref())?)
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(usize::from(endpoint.window))
            .http1_only()
            // The request carries the key and the text, so it goes only where the configuration says.
            .redirect(redirect::Policy::none())
            .referer(false)
            .no_proxy()
            // A second time is a second ring: what comes next is decided above, by the outcome.
            .retry(retry::never());
        #[cfg(test)]
        let builder = builder.dns_resolver(super::tests::offline::Nowhere);
        let inner = builder.build().map_err(|_| ConfigFault::new("base_url", "HTTP cannot be set up"))?;
        Ok(Self { inner, within: CONNECT_TIMEOUT + endpoint.response_timeout() })
    }

    /// Never retries, except where a kept connection turns out to be closed before a byte was written.
    pub(super) async fn exchange(&self, call: Call) -> Exchange {
        let Some(request) = request(call) else {
            return Exchange::NotWritten("request", "the request cannot be written as HTTP");
        };
        let end = Instant::now() + self.within;
        match tokio::time::timeout_at(end, self.inner.execute(request)).await {
            Err(_) => Exchange::NoAnswer("timeout", "no answer in time"),
            Ok(Err(error)) if error.is_connect() => {
                let (code, detail) = why_not_connected(&error);
                Exchange::NotWritten(code, detail)
            }
            Ok(Err(_)) => Exchange::NoAnswer("connection_lost", "the connection was lost before the answer"),
            Ok(Ok(response)) => Exchange::Answered(answer(response, end).await),
        }
    }
}

/// `None` if an address or a header cannot be written, which configuration checks keep from happening.
fn request(call: Call) -> Option<Request> {
    let mut headers = HeaderMap::new();
    for (name, value) in call.headers {
        let mut value = HeaderValue::from_str(&value).ok()?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    let mut request = Request::new(call.method, call.url.parse::<Url>().ok()?);
    *request.headers_mut() = headers;
    // An empty one would go out as `content-length: 0`.
    *request.body_mut() = (!call.body.is_empty()).then(|| call.body.into());
    Some(request)
}

async fn answer(response: Response, end: Instant) -> Answer {
    let status = response.status().as_u16();
    // A date instead of seconds is rare and would need a clock: it counts as no wish.
    let retry_after =
        response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let retry_after = retry_after.map(|seconds| Duration::from_secs(seconds).min(RETRY_AFTER_MAX));
    let body = tokio::time::timeout_at(end, whole(response)).await.ok().flatten();
    Answer { status, retry_after, body }
}

/// `None` if it breaks off or is too large.
async fn whole(mut response: Response) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.ok()? {
        if bytes.len() + chunk.len() > ANSWER_BYTES_MAX {
            return None;
        }
        bytes.extend_from_slice(&chunk);
    }
    Some(bytes)
}

fn why_not_connected(error: &reqwest::Error) -> (&'static str, &'static str) {
    if error.is_timeout() {
        return ("connect_timeout", "no connection in time");
    }
    let mut cause = error.source();
    while let Some(error) = cause {
        if error.is::<rustls::Error>() {
            return ("tls", "TLS was not agreed on: the certificate, or no TLS at all");
        }
        let io = error.downcast_ref::<io::Error>();
        if io.is_some_and(|io| io.kind() == io::ErrorKind::ConnectionRefused) {
            return ("refused", "the connection was refused");
        }
        // The source of an I/O error is that of the error inside of it, which would be left out.
        cause = match io.and_then(io::Error::get_ref) {
            Some(inside) => Some(inside),
            None => error.source(),
        };
    }
    ("no_connection", "no connection: name, network or provider")
}
