//! A client of Klaroen's API on this machine.

use std::fmt;
use std::time::Duration;

use klaroen_gateway::tls::trusting_nobody;
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::Value;

/// A client of servers on this machine that gives a request up after `patience`.
#[expect(clippy::disallowed_methods, reason = "the home of the client that talks to Klaroen itself")]
#[must_use]
pub fn plain_http(patience: Duration) -> Client {
    let client = Client::builder().timeout(patience).no_proxy();
    client.tls_backend_preconfigured(trusting_nobody()).build().expect("an HTTP client")
}

/// Why there is no answer, or not the one that was wanted.
#[derive(Debug)]
pub enum ApiError {
    /// Nobody answered: the program was killed, or is not up.
    Unanswered(reqwest::Error),
    /// The answer is no success.
    Refused {
        /// The path of the request.
        path: String,
        /// The status of the answer.
        status: StatusCode,
        /// The body of the answer.
        body: Value,
    },
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unanswered(error) => write!(f, "no answer: {error}"),
            Self::Refused { path, status, body } => write!(f, "{path} answered {status}: {body}"),
        }
    }
}

impl std::error::Error for ApiError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unanswered(error) => Some(error),
            Self::Refused { .. } => None,
        }
    }
}

/// A server, and a key for it. Cheap to clone.
#[derive(Clone)]
pub struct Api {
    http: Client,
    base: String,
    key: String,
}

impl Api {
    /// `base` is the address without a slash at the end, `http://`. A request is given up after `patience`.
    #[must_use]
    pub fn new(base: String, key: String, patience: Duration) -> Self {
        Self { http: plain_http(patience), base, key }
    }

    /// The same server, called with another key over the same connections.
    #[must_use]
    pub fn with_key(&self, key: String) -> Self {
        Self { key, ..self.clone() }
    }

    /// A request that may be added to before it is sent by [`Self::answer`].
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base)).bearer_auth(&self.key)
    }

    /// Sends a request; returns whatever was answered. A body that is empty or no JSON is a text.
    ///
    /// # Errors
    ///
    /// Returns [`ApiError::Unanswered`] if the connection ends before the whole answer was read.
    pub async fn answer(request: RequestBuilder) -> Result<(StatusCode, Value), ApiError> {
        let response = request.send().await.map_err(ApiError::Unanswered)?;
        let status = response.status();
        let body = response.bytes().await.map_err(ApiError::Unanswered)?;
        let body = match serde_json::from_slice(&body) {
            Ok(json) => json,
            Err(_) if body.is_empty() => Value::Null,
            Err(_) => Value::String(String::from_utf8_lossy(&body).into_owned()),
        };
        Ok((status, body))
    }

    /// `GET`.
    ///
    /// # Errors
    ///
    /// Returns an [`ApiError`] if there is no answer or if it is no success.
    pub async fn get(&self, path: &str) -> Result<Value, ApiError> {
        Self::success(path, self.request(Method::GET, path)).await
    }

    /// `POST` of JSON.
    ///
    /// # Errors
    ///
    /// Returns an [`ApiError`] if there is no answer or if it is no success.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, ApiError> {
        Self::success(path, self.request(Method::POST, path).json(body)).await
    }

    /// Every item of a list, page by page.
    ///
    /// # Errors
    ///
    /// Returns an [`ApiError`] if there is no answer or if one is no success.
    pub async fn list(&self, path: &str) -> Result<Vec<Value>, ApiError> {
        let (mut items, mut cursor) = (Vec::new(), String::new());
        let and = if path.contains('?') { '&' } else { '?' };
        loop {
            let mut page = self.get(&format!("{path}{and}limit=500{cursor}")).await?;
            let Value::Array(more) = page["items"].take() else { panic!("{path} is no list: {page}") };
            items.extend(more);
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return Ok(items),
            }
        }
    }

    async fn success(path: &str, request: RequestBuilder) -> Result<Value, ApiError> {
        match Self::answer(request).await? {
            (status, body) if status.is_success() => Ok(body),
            (status, body) => Err(ApiError::Refused { path: path.to_owned(), status, body }),
        }
    }
}
