//! A client of Klaroen's API.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use klaroen_gateway::tls::trusting_nobody;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::Value;

/// Nothing here takes longer.
const TIMEOUT: Duration = Duration::from_mins(5);

/// A server and a key for it.
pub struct Api {
    client: Client,
    base: String,
    key: String,
}

impl Api {
    /// `base` is the address without a slash at the end, `http://`.
    #[expect(clippy::disallowed_methods, reason = "the home of the client that talks to Klaroen")]
    pub fn new(base: String, key: String) -> Result<Self> {
        let client = Client::builder()
            .timeout(TIMEOUT)
            .no_proxy()
            .tls_backend_preconfigured(trusting_nobody())
            .build()
            .context("cannot make an HTTP client")?;
        Ok(Self { client, base, key })
    }

    /// `GET`.
    pub async fn get(&self, path: &str) -> Result<Value> {
        self.answer(self.request(Method::GET, path), path).await
    }

    /// `POST` of JSON.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.answer(self.request(Method::POST, path).json(body), path).await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base)).bearer_auth(&self.key)
    }

    async fn answer(&self, request: RequestBuilder, path: &str) -> Result<Value> {
        let response = request.send().await.with_context(|| path.to_owned())?;
        let status = response.status();
        let body = response.bytes().await.with_context(|| path.to_owned())?;
        if !status.is_success() {
            bail!("{path} answered {status}: {}", String::from_utf8_lossy(&body));
        }
        if body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&body).with_context(|| format!("{path} answered no JSON"))
    }
}
