//! Keys, lists and limits.

use std::time::Duration;

use axum::body::Body;
use axum::http::{StatusCode, header};
use klaroen_domain::role::Role::{Admin, Operator};
use serde_json::json;

use crate::tests::fixture::Fixture;

#[tokio::test]
async fn keys_are_shown_once_and_expire() {
    let fixture = Fixture::new().await;
    let wrong = json!({"role": "boss", "name": "", "expires_at": "2026-11-23T15:59:59Z"});
    let pointers = fixture.post(Admin, "/v1/keys", &wrong).await.pointers(422);
    assert_eq!(pointers, ["/expires_at", "/name", "/role"]);
    let body = json!({"role": "operator", "name": "desk", "expires_at": "2026-11-23T17:00:00Z"});
    let made = fixture.post(Admin, "/v1/keys", &body).await;
    let token = made.json()["key"].as_str().unwrap().to_owned();
    let ask = || {
        let request = axum::http::Request::get("/v1/incidents");
        let request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        fixture.send(request.body(Body::empty()).unwrap())
    };
    assert_eq!(ask().await.status, StatusCode::OK);
    assert!(!fixture.get(Admin, "/v1/keys").await.text.contains(&token));
    fixture.clock.advance(Duration::from_hours(1));
    let answer = ask().await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert!(answer.json()["detail"].as_str().unwrap().contains("expired"));
}

#[tokio::test]
async fn lists_refuse_what_they_do_not_know() {
    let fixture = Fixture::new().await;
    for (path, pointer) in [
        ("/v1/incidents?limit=0", "/limit"),
        ("/v1/alerts?limit=501", "/limit"),
        ("/v1/alerts?state=running", "/state"),
        ("/v1/alerts?stat=active", "/stat"),
        ("/v1/alerts?cursor=rubbish", "/cursor"),
    ] {
        assert_eq!(fixture.get(Operator, path).await.pointers(422), [pointer], "{path}");
    }
}

#[tokio::test]
async fn a_key_that_asks_too_often_is_told_to_wait() {
    let fixture = Fixture::new().await;
    let mut limited = None;
    for _ in 0..2_000 {
        let answer = fixture.get(Operator, "/v1/nothing/such").await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND);
        let answer = fixture.get(Operator, "/v1/incidents/x").await;
        if answer.status == StatusCode::TOO_MANY_REQUESTS {
            limited = Some(answer);
            break;
        }
    }
    let limited = limited.expect("the burst is 1,000 requests");
    assert_eq!(limited.headers[header::RETRY_AFTER], "1");
    assert_eq!(fixture.get(Admin, "/v1/groups").await.status, StatusCode::OK);
    assert_eq!(fixture.store.broken_sums().await.unwrap(), 0);
    assert!(
        fixture
            .store
            .organisation_by_code("utrecht")
            .await
            .unwrap()
            .is_some_and(|o| o.id == fixture.organisation)
    );
}
