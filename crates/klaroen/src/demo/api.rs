//! A small client of Klaroen's own API: the demo uses what every client uses.

use std::time::Duration;

use klaroen_gateway::tls::trusting_nobody;
use reqwest::{Client, Method, RequestBuilder};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use crate::failure::{Because, Failure};

/// A server and a key for it.
#[derive(Clone)]
pub struct Api {
    client: Client,
    base: String,
    key: SecretString,
}

/// Nothing here takes longer, an import of 100,000 rows in a debug build included.
const TIMEOUT: Duration = Duration::from_mins(5);

impl Api {
    /// `base` is the address without a slash at the end, `http://`.
    #[expect(clippy::disallowed_methods, reason = "the home of the client that talks to Klaroen itself")]
    pub fn new(base: impl Into<String>, key: impl Into<SecretString>) -> Result<Self, Failure> {
        let client = Client::builder()
            .timeout(TIMEOUT)
            .no_proxy()
            .tls_backend_preconfigured(trusting_nobody())
            .build()
            .because("cannot make an HTTP client")?;
        Ok(Self { client, base: base.into(), key: key.into() })
    }

    /// `GET`.
    pub async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.answer(self.request(Method::GET, path), path).await
    }

    /// `POST` of JSON.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.answer(self.request(Method::POST, path).json(body), path).await
    }

    /// `PUT` of JSON.
    pub async fn put(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.answer(self.request(Method::PUT, path).json(body), path).await
    }

    /// `POST` of CSV.
    pub async fn post_csv(&self, path: &str, csv: String) -> Result<Value, Failure> {
        let request = self.request(Method::POST, path).header("content-type", "text/csv").body(csv);
        self.answer(request, path).await
    }

    /// Every item of a list, page by page.
    pub async fn list(&self, path: &str) -> Result<Vec<Value>, Failure> {
        let mut items = Vec::new();
        let mut cursor = String::new();
        loop {
            let mut page = self.get(&format!("{path}?limit=500{cursor}")).await?;
            if let Value::Array(more) = page["items"].take() {
                items.extend(more);
            }
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return Ok(items),
            }
        }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base)).bearer_auth(self.key.expose_secret())
    }

    async fn answer(&self, request: RequestBuilder, path: &str) -> Result<Value, Failure> {
        let response = request.send().await.because(path)?;
        let status = response.status();
        let body = response.bytes().await.because(path)?;
        let text = || String::from_utf8_lossy(&body).into_owned();
        if !status.is_success() {
            return Err(Failure::new(format!("{path} answered {status}: {}", text())));
        }
        if body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&body)
            .map_err(|_| Failure::new(format!("{path} answered no JSON: {}", text())))
    }
}
