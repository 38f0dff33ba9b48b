//! The rules that hold for every answer of the API: checked at each one that any test gets.

mod schema;

use std::sync::OnceLock;

use reqwest::header::{self, HeaderMap};
use serde_json::Value;

/// The description of the API as it is served.
pub fn document() -> &'static Value {
    static DOCUMENT: OnceLock<Value> = OnceLock::new();
    DOCUMENT.get_or_init(|| serde_json::to_value(klaroen_dispatcher::openapi()).unwrap())
}

/// An operation of the document.
pub struct Operation {
    pub method: String,
    /// The path's template.
    pub path: String,
    pub description: &'static Value,
}

pub fn operations() -> Vec<Operation> {
    let paths = document()["paths"].as_object().unwrap();
    let of_path = |(path, item): (&String, &'static Value)| {
        let path = path.clone();
        let item = item.as_object().unwrap().iter();
        let methods =
            item.filter(|(name, _)| ["get", "post", "put", "patch", "delete"].contains(&name.as_str()));
        methods
            .map(|(method, description)| Operation {
                method: method.to_uppercase(),
                path: path.clone(),
                description,
            })
            .collect::<Vec<_>>()
    };
    paths.iter().flat_map(of_path).collect()
}

/// The operation that a request asks for. Of the paths that fit, the one with the fewest parameters is meant.
pub fn operation(method: &str, path: &str) -> Option<Operation> {
    let fits = |template: &str| {
        let (given, wanted) = (path.split('/'), template.split('/'));
        given.clone().count() == wanted.clone().count()
            && given.zip(wanted).all(|(given, wanted)| wanted.starts_with('{') || given == wanted)
    };
    let fitting: Vec<_> = operations().into_iter().filter(|o| fits(&o.path)).collect();
    let meant =
        fitting.iter().map(|o| o.path.clone()).min_by_key(|template| template.matches('{').count())?;
    fitting.into_iter().find(|o| o.path == meant && o.method == method)
}

/// Panics if an answer breaks what holds for all of them.
#[track_caller]
pub fn check(method: &str, path: &str, status: u16, headers: &HeaderMap, body: &[u8]) {
    let answer = format!("{method} {path} → {status}");
    check_headers(&answer, headers);
    if status >= 400 && path != "/readyz" {
        check_problem(&answer, status, headers, body);
    }
    let Some(operation) = operation(method, path) else { return };
    let response = &operation.description["responses"][status.to_string()];
    assert!(response.is_object(), "{answer} is not documented");
    let Some(content) = response["content"].as_object() else {
        assert!(body.is_empty(), "{answer} has a body that is not documented");
        return;
    };
    let media_type = media_type(headers);
    let documented = content.get(&media_type);
    let documented =
        documented.unwrap_or_else(|| panic!("{answer}: {media_type} is not among {:?}", content.keys()));
    if media_type == "application/json" || media_type.ends_with("+json") {
        let value = serde_json::from_slice(body).unwrap();
        let wrong = schema::violations(document(), &documented["schema"], &value);
        assert!(wrong.is_empty(), "{answer} is not as documented: {wrong:#?}\n{value:#}");
    }
}

pub fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE).map_or("", |v| v.to_str().unwrap());
    value.split(';').next().unwrap().trim().to_owned()
}

#[track_caller]
fn check_headers(answer: &str, headers: &HeaderMap) {
    for (name, wanted) in [
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "no-referrer"),
        ("cache-control", "no-store"),
    ] {
        assert_eq!(headers.get(name).map(|v| v.to_str().unwrap()), Some(wanted), "{answer}: {name}");
    }
    let policy = headers["content-security-policy"].to_str().unwrap();
    assert!(
        policy.starts_with("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
        "{answer}"
    );
    assert!(headers.contains_key("x-request-id"), "{answer}: no request id");
    for talkative in ["server", "x-powered-by"] {
        assert!(!headers.contains_key(talkative), "{answer}: {talkative}");
    }
}

/// RFC 9457, with nothing of our inside in it.
#[track_caller]
fn check_problem(answer: &str, status: u16, headers: &HeaderMap, body: &[u8]) {
    assert_eq!(media_type(headers), "application/problem+json", "{answer}");
    let text = std::str::from_utf8(body).unwrap();
    let problem: Value = serde_json::from_str(text).unwrap();
    let members: Vec<_> = problem.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(members, ["detail", "errors", "status", "title", "type"], "{answer}");
    assert_eq!(problem["status"], status, "{answer}");
    for error in problem["errors"].as_array().unwrap() {
        let pointer = error["pointer"].as_str().unwrap();
        assert!(pointer.is_empty() || pointer.starts_with('/'), "{answer}: {pointer} is no JSON Pointer");
        assert!(!error["detail"].as_str().unwrap().is_empty(), "{answer}: {pointer} without a reason");
    }
    for inside in ["panicked", ".rs:", "stack backtrace", "sqlx", "SQLite", "SELECT ", "Some(", "Error {"] {
        assert!(!text.contains(inside), "{answer} shows our inside: {text}");
    }
}
