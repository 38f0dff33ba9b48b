//! Rules for every call, tested from the description of the API.

use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use klaroen_domain::role::{Permission, Role};
use serde_json::Value;

use crate::middleware::route_table::{Access, RouteRules};
use crate::routes::routes;
use crate::tests::fixture::Fixture;

/// Every call that takes a key, with the permission that it needs.
fn calls() -> Vec<(Method, String, Permission)> {
    let table = routes().table;
    let call = |rules: &RouteRules| match rules.access {
        Access::Key(permission) => Some((rules.method.clone(), rules.path.clone(), permission)),
        Access::Open | Access::Callback => None,
    };
    table.iter().filter_map(call).collect()
}

fn described() -> Vec<(Method, String, Value)> {
    let document = serde_json::to_value(crate::openapi()).unwrap();
    let mut calls = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            calls.push((method, path.clone(), operation.clone()));
        }
    }
    calls
}

/// A path that fits the template and names nothing.
fn example(path: &str) -> String {
    path.replace("{id}", "01931f00-0000-7000-8000-000000000000")
        .replace("{code}", "nowhere")
        .replace("{name}", "nowhere")
}

fn request(method: &Method, path: &str, token: Option<&str>) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(example(path));
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    let media = if path.ends_with("/imports") { "text/csv" } else { "application/json" };
    request.header(header::CONTENT_TYPE, media).body(Body::from("[]")).unwrap()
}

#[test]
fn every_call_is_described_and_every_description_is_a_call() {
    let described: BTreeSet<String> = described()
        .iter()
        .filter(|(_, path, _)| path.starts_with("/v1"))
        .map(|(method, path, _)| format!("{method} {path}"))
        .collect();
    let permitted: BTreeSet<String> =
        calls().iter().map(|(method, path, _)| format!("{method} {path}")).collect();
    assert_eq!(described, permitted);
}

#[test]
fn the_description_is_complete() {
    let document = serde_json::to_value(crate::openapi()).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["servers"], serde_json::json!([{"url": "/"}]));
    assert_eq!(document["components"]["securitySchemes"]["key"]["scheme"], "bearer");
    let mut ids = BTreeSet::new();
    for (method, path, operation) in described() {
        assert!(ids.insert(operation["operationId"].to_string()), "{method} {path}: operationId");
        assert!(operation["summary"].is_string(), "{method} {path}: summary");
        let keyed = path.starts_with("/v1");
        assert_eq!(operation["security"].as_array().unwrap().len(), usize::from(keyed), "{method} {path}");
        assert_eq!(operation["responses"].get("401").is_some(), keyed, "{method} {path}");
    }
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(document["components"]["schemas"].get(name).is_some(), "{name} is referred to and not there");
    }
}

#[tokio::test]
async fn a_role_passes_exactly_where_the_table_says() {
    let fixture = Fixture::new().await;
    for (method, path, permission) in &calls() {
        for role in Role::ALL {
            if path.ends_with("/events") && role.may(*permission) {
                continue;
            }
            let answer = fixture.send(request(method, path, Some(fixture.token(role)))).await;
            let refused = answer.status == StatusCode::FORBIDDEN;
            assert_eq!(refused, !role.may(*permission), "{role} {method} {path}: {}", answer.text);
            assert!(answer.status.as_u16() < 500, "{role} {method} {path}: {}", answer.text);
        }
    }
}

#[tokio::test]
async fn no_call_ignores_a_parameter_that_it_does_not_have() {
    let fixture = Fixture::new().await;
    for (method, path, permission) in &calls() {
        let role = Role::ALL.into_iter().find(|r| r.may(*permission)).unwrap();
        let mut asked = request(method, path, Some(fixture.token(role)));
        *asked.uri_mut() = format!("{}?dryrun=true", example(path)).parse().unwrap();
        let answer = fixture.send(asked).await;
        assert_eq!(answer.pointers(422), ["/dryrun"], "{method} {path}");
    }
}

#[tokio::test]
async fn what_makes_something_honours_an_idempotency_key_or_refuses_it() {
    let fixture = Fixture::new().await;
    let mut refusing = Vec::new();
    for (method, path, operation) in described() {
        let makes = method == Method::POST && operation["responses"].get("201").is_some();
        let honours = operation["parameters"].to_string().contains("Idempotency-Key");
        if !makes || honours {
            continue;
        }
        assert!(operation["description"].to_string().contains("no `Idempotency-Key`"), "{path}");
        let mut asked = request(&method, &path, Some(fixture.token(Role::Admin)));
        asked.headers_mut().insert("idempotency-key", "once".parse().unwrap());
        assert_eq!(fixture.send(asked).await.pointers(422), ["/Idempotency-Key"], "{path}");
        refusing.push(path);
    }
    refusing.sort();
    assert_eq!(refusing, ["/v1/groups", "/v1/keys", "/v1/participants"]);
}

#[tokio::test]
async fn without_a_key_that_works_nothing_passes() {
    let fixture = Fixture::new().await;
    let revoked = {
        let made = serde_json::json!({"role": "operator", "name": "desk"});
        let made = fixture.post(Role::Admin, "/v1/keys", &made).await;
        let gone = format!("/v1/keys/{}", made.json()["id"].as_str().unwrap());
        let gone = fixture.call(Role::Admin, Method::DELETE, &gone, &Value::Null).await;
        assert_eq!(gone.status, StatusCode::NO_CONTENT);
        made.json()["key"].as_str().unwrap().to_owned()
    };
    for (method, path, _) in &calls() {
        for token in [None, Some("klr_x"), Some(revoked.as_str()), Some("é")] {
            let answer = fixture.send(request(method, path, token)).await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{method} {path} {token:?}");
            assert!(answer.headers[header::WWW_AUTHENTICATE].to_str().unwrap().starts_with("Bearer"));
        }
    }
    let answer = fixture.send(request(&Method::GET, "/v1/alerts", Some(&revoked))).await;
    assert!(answer.json()["detail"].as_str().unwrap().contains("revoked"));
}

/// A resource of another organisation and one that does not exist get the same response, byte for byte.
#[tokio::test]
async fn another_organisations_thing_is_as_absent_as_one_that_is_not_there() {
    let fixture = Fixture::new().await;
    fixture.enrol(1).await;
    let incident =
        fixture.post(Role::Operator, "/v1/incidents", &crate::tests::fixture::incident()).await.json();
    let participants = fixture.get(Role::Admin, "/v1/participants").await.json();
    let keys = fixture.get(Role::Admin, "/v1/keys").await.json();
    let number = serde_json::json!({"phone": "0610000009"});
    let opt_out = fixture.post(Role::Operator, "/v1/opt_outs", &number).await.json();
    for (method, path, permission) in calls().iter().filter(|(_, path, _)| path.contains("{id}")) {
        let role = Role::ALL.into_iter().find(|r| r.may(*permission)).unwrap();
        let id = match path.split('/').nth(2).unwrap() {
            "incidents" => &incident["id"],
            "alerts" => &incident["alerts"][0]["id"],
            "participants" => &participants["items"][0]["id"],
            "opt_outs" => &opt_out["id"],
            "keys" => &keys["items"][0]["id"],
            // Gateways are the installation's: see the tests of their calls.
            "replies" | "gateways" => continue,
            other => panic!("no example of {other}"),
        };
        let body = match path.rsplit('/').next().unwrap() {
            "alerts" => crate::tests::fixture::alert().to_string(),
            "extend" => serde_json::json!({"area": crate::tests::fixture::alert()["area"]}).to_string(),
            "end" => r#"{"text":"x","outcome":"found"}"#.to_owned(),
            "update" | "retract" => r#"{"text":"x"}"#.to_owned(),
            _ if path.starts_with("/v1/opt_outs/") => r#"{"reason":"x"}"#.to_owned(),
            _ => "{}".to_owned(),
        };
        let ask = |path: String| {
            Request::builder()
                .method(method)
                .uri(path)
                .header(header::AUTHORIZATION, format!("Bearer {}", fixture.strange_token(role)))
                .header(header::CONTENT_TYPE, "application/json")
                .body(Body::from(body.clone()))
                .unwrap()
        };
        let foreign = fixture.send(ask(path.replace("{id}", id.as_str().unwrap()))).await;
        let absent = fixture.send(ask(example(path))).await;
        let rubbish = fixture.send(ask(path.replace("{id}", "rubbish"))).await;
        assert_eq!(foreign.status, StatusCode::NOT_FOUND, "{method} {path}: {}", foreign.text);
        assert_eq!((foreign.status, &foreign.text), (absent.status, &absent.text), "{method} {path}");
        assert_eq!(rubbish.status, StatusCode::NOT_FOUND, "{method} {path}");
    }
    let keys = fixture.get(Role::Admin, "/v1/keys").await.json();
    assert!(keys["items"].as_array().unwrap().iter().all(|k| k["revoked_at"].is_null()));
}

#[tokio::test]
async fn unknown_paths_and_methods_are_problems() {
    let fixture = Fixture::new().await;
    for path in ["/", "/v1", "/v2/incidents", "/v1/incidents/", "/v1/nothing"] {
        let answer = fixture.get(Role::Operator, path).await;
        assert_eq!(answer.pointers(404), Vec::<String>::new(), "{path}");
    }
    let answer = fixture.call(Role::Operator, Method::PUT, "/v1/incidents", &Value::Null).await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(answer.headers[header::ALLOW], "POST, GET, HEAD");
    let answer = fixture.call(Role::Operator, Method::POST, "/livez", &Value::Null).await;
    assert_eq!(
        (answer.status, answer.headers[header::ALLOW].as_bytes()),
        (StatusCode::METHOD_NOT_ALLOWED, &b"GET, HEAD"[..])
    );
}

#[tokio::test]
async fn the_open_paths_need_no_key_and_every_answer_has_its_headers() {
    let fixture = Fixture::new().await;
    for (path, says) in [
        ("/livez", "alive"),
        ("/readyz", "\"database\":\"up\""),
        ("/metrics", "klaroen_database_up 1"),
        ("/openapi.json", "\"/v1/incidents\""),
        ("/docs/", "swagger-ui"),
    ] {
        let answer = fixture.send(request(&Method::GET, path, None)).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text);
        assert!(answer.text.contains(says), "{path}: {}", answer.text);
        assert_eq!(answer.headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff", "{path}");
        assert_eq!(answer.headers[header::CACHE_CONTROL], "no-store", "{path}");
        assert!(answer.headers.contains_key("x-request-id"), "{path}");
        assert!(!answer.text.contains("http://unpkg") && !answer.text.contains("cdn."), "{path}");
    }
}
