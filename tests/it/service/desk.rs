//! Who calls the API over HTTP, and what comes back.

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::Value;

use crate::contract;
use crate::service::PATIENCE;

/// A client of the API.
#[derive(Clone)]
pub struct Desk {
    http: Client,
    base: String,
    token: Option<String>,
}

impl Desk {
    pub const fn new(http: Client, base: String, token: Option<String>) -> Self {
        Self { http, base, token }
    }

    /// A request with the key, to be completed and handed to [`Desk::send`].
    pub fn request(&self, method: &str, path: &str) -> RequestBuilder {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.token {
            Some(token) => request.header(AUTHORIZATION, format!("Bearer {token}")),
            None => request,
        }
    }

    /// Sends a request, and checks what holds for every answer.
    pub async fn send(&self, request: RequestBuilder) -> Answer {
        let request = request.build().unwrap();
        let (method, path) = (request.method().to_string(), request.url().path().to_owned());
        let response = self.http.execute(request).await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.bytes().await.unwrap().to_vec();
        if method != "HEAD" {
            contract::check(&method, &path, status, &headers, &body);
        }
        Answer { asked: format!("{method} {path}"), status, headers, body }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request("GET", path)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send(self.request("DELETE", path)).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(self.request("POST", path).json(body)).await
    }

    pub async fn put(&self, path: &str, body: &Value) -> Answer {
        self.send(self.request("PUT", path).json(body)).await
    }

    pub async fn patch(&self, path: &str, body: &Value) -> Answer {
        self.send(self.request("PATCH", path).json(body)).await
    }

    /// A POST that may be repeated.
    pub async fn post_once(&self, path: &str, key: &str, body: &Value) -> Answer {
        self.send(self.request("POST", path).header("Idempotency-Key", key).json(body)).await
    }

    /// Imports a CSV file; `query` is empty or begins with a question mark.
    pub async fn import(&self, query: &str, csv: impl Into<Vec<u8>>) -> Answer {
        let request = self.request("POST", &format!("/v1/participants/imports{query}"));
        // A large file takes its time in a debug build.
        self.send(request.header(CONTENT_TYPE, "text/csv").body(csv.into()).timeout(10 * PATIENCE)).await
    }

    /// Watches an alert.
    pub async fn watch(&self, alert: &str, last_event_id: Option<&str>) -> Events {
        let mut request = self.request("GET", &format!("/v1/alerts/{alert}/events"));
        if let Some(id) = last_event_id {
            request = request.header("Last-Event-ID", id);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(contract::media_type(response.headers()), "text/event-stream");
        Events { response, received: String::new() }
    }
}

/// The answer that came back.
pub struct Answer {
    asked: String,
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The body, if the status is as expected; null if there is none.
    #[track_caller]
    pub fn ok(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}: {}", self.asked, self.text());
        if self.body.is_empty() { Value::Null } else { serde_json::from_slice(&self.body).unwrap() }
    }

    /// The pointers of the fields that were refused, if the status is as expected.
    #[track_caller]
    pub fn refused(&self, status: u16) -> Vec<String> {
        let problem = self.ok(status);
        let errors = problem["errors"].as_array().unwrap().iter();
        errors.map(|error| error["pointer"].as_str().unwrap().to_owned()).collect()
    }

    #[track_caller]
    pub fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).unwrap_or_else(|| panic!("{}: no header {name}", self.asked));
        value.to_str().unwrap()
    }
}

/// Server-Sent Events as they come.
pub struct Events {
    response: reqwest::Response,
    received: String,
}

impl Events {
    /// Name, id and data of the next event; `None` when the stream has ended.
    pub async fn next(&mut self) -> Option<(String, String, Value)> {
        loop {
            if let Some(end) = self.received.find("\n\n") {
                let block: String = self.received.drain(..end + 2).collect();
                let field = |name: &str| {
                    let mut lines = block.lines();
                    lines.find_map(|line| line.strip_prefix(name)).unwrap_or("").trim().to_owned()
                };
                if block.starts_with(':') {
                    continue;
                }
                return Some((field("event:"), field("id:"), serde_json::from_str(&field("data:")).unwrap()));
            }
            let chunk = self.response.chunk().await.unwrap()?;
            self.received.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// Reads on until an event of this name is as wanted.
    pub async fn until(&mut self, name: &str, wanted: impl Fn(&Value) -> bool) -> (String, Value) {
        loop {
            let (event, id, data) = self.next().await.expect("the stream goes on");
            if event == name && wanted(&data) {
                return (id, data);
            }
        }
    }
}
