//! The description of the API, the page that shows it, and what those who run the service ask.

use klaroen_test_databases::Engine;
use rstest::rstest;
use std::collections::HashSet;
use std::time::Duration;

use klaroen_simulator::Faults;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::contract::{document, media_type, operations};
use crate::control_room::{ControlRoom, Setup, circle, incident};
use crate::desk::Desk;
use crate::service::PATIENCE;

#[tokio::test(flavor = "multi_thread")]
async fn the_description_is_openapi_3_1_and_whole() {
    let room = ControlRoom::open(Engine::Sqlite).await;
    let served = room.stranger(None).get("/openapi.json").await.ok(200);
    assert_eq!(&served, document());
    // Where the Dutch API Design Rules have it, with the version that every answer names.
    let versioned = room.stranger(None).get("/v1/openapi.json").await;
    assert_eq!(versioned.header("api-version"), served["info"]["version"]);
    assert_eq!(versioned.ok(200), served);
    assert_eq!(room.stranger(None).get("/v1/nowhere").await.header("api-version"), served["info"]["version"]);
    assert!(served["openapi"].as_str().unwrap().starts_with("3.1."), "{}", served["openapi"]);
    let mut names = HashSet::new();
    for operation in operations() {
        let (said, what) = (operation.description, format!("{} {}", operation.method, operation.path));
        assert!(names.insert(said["operationId"].as_str().unwrap().to_owned()), "{what}: its id is taken");
        assert!(
            !said["summary"].as_str().unwrap().is_empty() && said["tags"].as_array().unwrap().len() == 1,
            "{what}"
        );
        let in_path: Vec<_> =
            operation.path.split('/').filter_map(|p| p.strip_prefix('{')?.strip_suffix('}')).collect();
        let parameters = said["parameters"].as_array().into_iter().flatten();
        let described: Vec<_> =
            parameters.filter(|p| p["in"] == "path").map(|p| p["name"].as_str().unwrap()).collect();
        assert_eq!(in_path, described, "{what}");
        let keyed = operation.path.starts_with("/v1/");
        assert_eq!(said["security"], if keyed { json!([{"key": []}]) } else { json!([]) }, "{what}");
        for status in ["401", "403", "429", "500", "503"] {
            let problem = &said["responses"][status]["content"]["application/problem+json"]["schema"]["$ref"];
            assert!(!keyed || problem == "#/components/schemas/Problem", "{what}: {status}");
        }
    }
    assert_references(document());
    room.close().await;
}

/// Every reference leads somewhere.
fn assert_references(value: &Value) {
    match value {
        Value::Object(members) => {
            if let Some(reference) = members.get("$ref").and_then(Value::as_str) {
                assert!(document().pointer(&reference[1..]).is_some(), "{reference} leads nowhere");
            }
            members.values().for_each(assert_references);
        }
        Value::Array(items) => items.iter().for_each(assert_references),
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_described_is_served_and_nothing_else() {
    let room = ControlRoom::open(Engine::Sqlite).await;
    let described: HashSet<_> = operations().into_iter().map(|o| (o.method, o.path)).collect();
    let paths: HashSet<_> = described.iter().map(|(_, path)| path.clone()).collect();
    let nobody = room.stranger(None);
    for path in &paths {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
            let filled = path
                .replace("{id}", "01890000-0000-7000-8000-000000000000")
                .replace("{code}", "BU1")
                .replace("{name}", "main");
            let answer = nobody.send(nobody.request(method, &filled)).await;
            let known = described.contains(&(method.to_owned(), path.clone()));
            assert_eq!(answer.status != 405, known, "{method} {path}: {}", answer.status);
            assert_ne!(answer.status, 404, "{method} {path}");
        }
    }
    room.close().await;
}

/// The values of an attribute or function in a text: `src="…"`, `href="…"`.
fn quoted_after<'a>(text: &'a str, before: &str) -> Vec<&'a str> {
    text.split(before).skip(1).filter_map(|rest| rest.split(['"', '\'', ')']).next()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_needs_nothing_from_other_hosts() {
    let room = ControlRoom::open(Engine::Sqlite).await;
    let reader = room.stranger(None);
    let page = reader.get("/docs/").await;
    assert_eq!((page.status, &*media_type(&page.headers)), (200, "text/html"));
    let policy = page.header("content-security-policy");
    for directive in ["script-src 'self'", "connect-src 'self'", "font-src 'self'"] {
        assert!(policy.split(';').any(|d| d.trim() == directive), "{policy}");
    }
    let html = page.text();
    assert_eq!(
        html.matches("<script").count(),
        quoted_after(html, "src=\"").len(),
        "the policy forbids scripts in the page"
    );
    let loads: Vec<_> = [quoted_after(html, "src=\""), quoted_after(html, "href=\"")].concat();
    assert!(loads.len() >= 4, "{loads:?}");
    for load in loads {
        assert!(!load.contains("//"), "{load} is elsewhere");
        let path = if load.starts_with('/') {
            load.to_owned()
        } else {
            format!("/docs/{}", load.trim_start_matches("./"))
        };
        let part = reader.get(&path).await;
        assert_eq!(part.status, 200, "{path}");
        if media_type(&part.headers) == "text/css" {
            let fetched = quoted_after(part.text(), "url(")
                .into_iter()
                .filter(|url| url.starts_with("http") || url.starts_with("//"));
            assert_eq!(fetched.count(), 0, "{path} loads from elsewhere");
            assert!(!part.text().contains("@import"), "{path}");
        }
        if path.ends_with("initializer.js") {
            assert!(
                part.text().contains("/openapi.json") && !part.text().contains("http"),
                "{}",
                part.text()
            );
            assert!(part.text().contains("\"validatorUrl\": \"none\""), "{}", part.text());
        }
    }
    room.close().await;
}

/// The database has to answer within a second, which a busy disk may not do the first time.
async fn until_ready_is(probe: &Desk, status: u16, wanted: &Value) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = probe.get("/readyz").await;
        if answer.status == status && answer.ok(status) == *wanted {
            return;
        }
        assert!(Instant::now() < deadline, "{}", answer.text());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn readiness_is_that_of_the_gateways_and_the_database(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let refused = Faults { bind_refusal: Some(13), ..Faults::default() };
    let room = ControlRoom::open_with(engine, Setup { faults: refused, ..Setup::default() }).await;
    let probe = room.stranger(None);
    until_ready_is(
        &probe,
        503,
        &json!({"type": "about:blank", "title": "Service Unavailable", "status": 503, "errors": [],
            "detail": "no connection of a gateway is up",
            "components": {"database": "up", "gateways": "down"}, "paused_gateways": [], "clock_set": null}),
    )
    .await;
    assert_eq!(probe.get("/livez").await.ok(200), json!({"status": "alive"}));
    // A new alert is taken all the same: it waits for the gateway.
    room.operator().post("/v1/incidents", &incident(&circle(500.0))).await.ok(201);
    room.close().await;

    let room = ControlRoom::open(engine).await;
    let probe = room.stranger(None);
    until_ready_is(
        &probe,
        200,
        &json!({"status": "ready", "components": {"database": "up", "gateways": "up"}, "paused_gateways": [], "clock_set": null}),
    )
    .await;
    room.close().await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_in_the_text_format_and_name_nobody(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let room = ControlRoom::open(engine).await;
    let csv = "kind,phone,latitude,longitude,consent_at,consent_method\nresident,0611000001,52.0907,5.1214,2026-01-31,web\n";
    room.admin().import("", csv).await.ok(200);
    let taken = room.operator().post("/v1/incidents", &incident(&circle(500.0))).await.ok(201);
    room.until(taken["alerts"][0]["id"].as_str().unwrap(), |a| a["messages"][0]["counts"]["delivered"] == 1)
        .await;
    until_ready_is(
        &room.stranger(None),
        200,
        &json!({"status": "ready", "components": {"database": "up", "gateways": "up"}, "paused_gateways": [], "clock_set": null}),
    )
    .await;
    let answer = room.stranger(None).get("/metrics").await;
    assert_eq!((answer.status, &*media_type(&answer.headers)), (200, "text/plain"));
    let mut samples = HashSet::new();
    for line in answer.text().lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (sample, value) = line.rsplit_once(' ').unwrap();
        value.parse::<f64>().unwrap_or_else(|_| panic!("no number: {line}"));
        let (name, labels) = sample.split_once('{').unwrap_or((sample, "}"));
        assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b':'), "{line}");
        assert!(labels.ends_with('}'), "{line}");
        let digits = labels.split(|c: char| !c.is_ascii_digit()).map(str::len).max();
        assert!(digits < Some(7), "a label that could be a number: {line}");
        samples.insert(sample.to_owned());
        assert!(name.starts_with("klaroen_"), "{line}");
        let (from, to) = if name == "klaroen_database_up" { (1.0, 1.0) } else { (0.0, f64::MAX) };
        assert!((from..=to).contains(&value.parse().unwrap()), "{line}");
    }
    assert!(samples.contains("klaroen_database_up"), "{samples:?}");
    let counted = |s: &String| {
        s.starts_with("klaroen_http_requests_total{") && s.contains("/v1/incidents") && s.contains("201")
    };
    assert!(samples.iter().any(counted), "{samples:?}");
    room.close().await;
}
