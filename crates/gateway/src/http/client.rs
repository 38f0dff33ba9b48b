//! One request and its answer, and, where there is none, whether the request had left.

use std::error::Error;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::{HeaderMap, Method, Request, Response, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::time::Instant;
use tower::Service;

use crate::config::{ConfigFault, Link};

/// Name look-up, TCP and TLS together; nothing of the request has left until then.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(if cfg!(test) { 2 } else { 5 });
/// Shorter than any server keeps a connection that idles (Node's 5 s is the shortest in use): a server that closes just when
/// we write leaves a message in doubt.
const IDLE: Duration = Duration::from_secs(4);
/// An answer is a few hundred bytes for each message.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// A provider's wish beyond this is not followed: an alert is over in half an hour.
const RETRY_AFTER_MAX: Duration = Duration::from_mins(1);

#[cfg(not(test))]
type Dns = hyper_util::client::legacy::connect::dns::GaiResolver;
#[cfg(test)]
type Dns = super::tests::offline::Nowhere;
type Secured = HttpsConnector<HttpConnector<Dns>>;
type Cause = Box<dyn Error + Send + Sync>;

/// Connects within [`CONNECT_TIMEOUT`], or not at all.
#[derive(Clone)]
struct Bounded(Secured);

impl Service<Uri> for Bounded {
    type Response = <Secured as Service<Uri>>::Response;
    type Error = Cause;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Cause>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Cause>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.0.call(uri);
        Box::pin(async { tokio::time::timeout(CONNECT_TIMEOUT, connecting).await? })
    }
}

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
    /// `None` where it did not arrive whole, or was too large.
    pub(super) body: Option<Bytes>,
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
    inner: hyper_util::client::legacy::Client<Bounded, Full<Bytes>>,
    /// For the whole exchange. Longer than connecting may take, so that when it is over the request may have left.
    within: Duration,
}

impl Client {
    /// # Errors
    /// Where `tls_ca_file` cannot be used.
    pub(super) fn new(link: &Link) -> Result<Self, ConfigFault> {
        let mut tcp = HttpConnector::new_with_resolver(Dns::new());
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        // Named, because a process-wide default would depend on who comes first.
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|_| ConfigFault::new("base_url", "TLS cannot be set up"))?
            .with_root_certificates(roots(link)?)
            .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let inner = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .http1_max_buf_size(ANSWER_BYTES_MAX)
            .pool_max_idle_per_host(usize::from(link.window))
            .build(Bounded(connector));
        Ok(Self { inner, within: CONNECT_TIMEOUT + link.response_timeout() })
    }

    /// Never retries, except where a kept connection turns out to be closed before a byte was written.
    pub(super) async fn exchange(&self, call: Call) -> Exchange {
        let Some(request) = request(call) else {
            return Exchange::NotWritten("request", "the request cannot be written as HTTP");
        };
        let end = Instant::now() + self.within;
        match tokio::time::timeout_at(end, self.inner.request(request)).await {
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

fn roots(link: &Link) -> Result<RootCertStore, ConfigFault> {
    let fault = |reason: &str| ConfigFault::new("tls_ca_file", reason);
    let mut roots = RootCertStore::empty();
    let Some(path) = &link.tls_ca_file else {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        return Ok(roots);
    };
    let certificates = CertificateDer::pem_file_iter(path).map_err(|_| fault("cannot be read"))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|_| fault("holds what is no certificate"))?;
        roots.add(certificate).map_err(|_| fault("holds a certificate that is no authority's"))?;
    }
    if roots.is_empty() { Err(fault("holds no certificate")) } else { Ok(roots) }
}

/// `None` where an address or a header cannot be written, which configuration checks keep from happening.
fn request(call: Call) -> Option<Request<Full<Bytes>>> {
    let mut headers = HeaderMap::new();
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("klaroen/", env!("CARGO_PKG_VERSION"))));
    for (name, value) in call.headers {
        let mut value = HeaderValue::from_str(&value).ok()?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    let mut request = Request::new(Full::new(Bytes::from(call.body)));
    *request.method_mut() = call.method;
    *request.uri_mut() = call.url.parse::<Uri>().ok()?;
    *request.headers_mut() = headers;
    Some(request)
}

async fn answer(response: Response<Incoming>, end: Instant) -> Answer {
    let status = response.status().as_u16();
    // A date instead of seconds is rare and would need a clock: it counts as no wish.
    let retry_after =
        response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let retry_after = retry_after.map(|seconds| Duration::from_secs(seconds).min(RETRY_AFTER_MAX));
    let body = tokio::time::timeout_at(end, whole(response.into_body())).await.ok().flatten();
    Answer { status, retry_after, body }
}

/// `None` where it breaks off or is too large.
async fn whole(mut body: Incoming) -> Option<Bytes> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.ok()?.into_data() {
            if bytes.len() + data.len() > ANSWER_BYTES_MAX {
                return None;
            }
            bytes.extend_from_slice(&data);
        }
    }
    Some(bytes.into())
}

fn why_not_connected(error: &(dyn Error + 'static)) -> (&'static str, &'static str) {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<tokio::time::error::Elapsed>() {
            return ("connect_timeout", "no connection in time");
        }
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
