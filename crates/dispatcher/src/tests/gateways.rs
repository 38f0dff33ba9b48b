use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, StatusCode, header};
use klaroen_domain::gateway::{GatewayState, TestState};
use klaroen_domain::role::Role;
use klaroen_store::channels::ChannelName;
use klaroen_store::gateway_tests::TestAnswer;
use klaroen_store::gateways::{Counts, Figures, GatewayReport, LastError};
use serde_json::{Value, json};

use crate::tests::fixture::{self, Fixture, NOW};

const MINUTE: Duration = Duration::from_mins(1);

fn report(gateway: &str) -> GatewayReport {
    let quarter =
        Counts { accepted: 90, refused: 4, unknown: 6, delivered: 30, undelivered: 10, ..Counts::default() };
    GatewayReport {
        gateway: gateway.into(),
        worker: uuid::Uuid::nil(),
        state: GatewayState::Up,
        since: NOW.minus(MINUTE),
        reason: String::new(),
        paused_until: None,
        usable: true,
        channels_up: 1,
        channels_held: 1,
        rate: None,
        in_flight: 3,
        figures: Figures { quarter, receipt_median_s: Some(2.5), ..Figures::default() },
        last_error: Some(LastError { code: "408".into(), detail: "no answer".into(), at: NOW.as_millis() }),
    }
}

#[tokio::test]
async fn gateways_are_shown_as_they_are_configured_and_as_workers_report_them() {
    let fixture = Fixture::new().await;
    let until = NOW.plus(MINUTE);
    fixture.store.report_gateways(&[report("kannel")], until).await.unwrap();
    fixture.enrol(2).await;
    fixture.post(Role::Operator, "/v1/incidents", &crate::tests::fixture::incident()).await;
    for role in [Role::Operator, Role::Admin] {
        let all = fixture.get(role, "/v1/gateways").await.json();
        let names: Vec<_> =
            all["items"].as_array().unwrap().iter().map(|g| g["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["kannel", "dry"]);
        let one = fixture.get(role, "/v1/gateways/kannel").await.json();
        assert_eq!(one, all["items"][0]);
        let expected = json!({
            "type": "kannel", "sender": "1000", "priority": 100, "weight": 100, "countries": [], "priorities": [],
            "state": "up", "since": "2026-11-23T15:59:00.000Z", "reason": null, "in_use": true, "not_in_use_because": null,
            "channels": {"up": 1, "configured": 1}, "rate": {"now": null, "configured": null},
            "queue": {"due": 2, "in_flight": 3}, "paused": null,
            "last_15_minutes": {"accepted": 90, "success_ratio": 0.9, "delivered_ratio": 0.75, "receipt_median_s": 2.5},
            "last_error": {"code": "408", "detail": "no answer", "at": "2026-11-23T16:00:00.000Z"},
            "tests": {"possible": true, "daily_at": "06:30", "last": null},
        });
        for (key, value) in expected.as_object().unwrap() {
            assert_eq!(&one[key], value, "{key}");
        }
        assert_eq!(
            (&one["capabilities"]["receipts"], &one["capabilities"]["status_query"]),
            (&json!(true), &json!(false))
        );
        let dry = &all["items"][1];
        assert_eq!(
            (&dry["state"], &dry["in_use"], &dry["since"]),
            (&json!("unserved"), &json!(false), &Value::Null)
        );
        assert_eq!(dry["not_in_use_because"], "no running worker serves it");
    }
    // The report of a worker counts for a while.
    fixture.clock.advance(MINUTE);
    assert_eq!(fixture.get(Role::Operator, "/v1/gateways/kannel").await.json()["state"], "unserved");
    assert_eq!(fixture.get(Role::Operator, "/v1/gateways/nothing").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn an_alert_says_what_of_it_waits_for_a_gateway_and_why() {
    let fixture = Fixture::new().await;
    fixture.store.report_gateways(&[report("kannel"), report("dry")], NOW.plus(MINUTE)).await.unwrap();
    fixture.enrol(3).await;
    let made = fixture.post(Role::Operator, "/v1/incidents", &crate::tests::fixture::incident()).await.json();
    let path = format!("/v1/alerts/{}", made["alerts"][0]["id"].as_str().unwrap());
    let waiting = async || {
        let alert = fixture.get(Role::Operator, &path).await.json();
        alert["messages"][0]["waiting"].clone()
    };
    assert_eq!(waiting().await, json!([]));
    for name in ["kannel", "dry"] {
        fixture.post(Role::Platform, &format!("/v1/gateways/{name}/pause"), &json!({})).await;
    }
    let reason = "kannel: taken out of use by hand; dry: taken out of use by hand";
    assert_eq!(waiting().await, json!([{"country": "NL", "deliveries": 3, "reason": reason}]));
    fixture.post(Role::Platform, "/v1/gateways/dry/resume", &json!({})).await;
    assert_eq!(waiting().await, json!([]));
    let list = fixture.get(Role::Operator, "/v1/alerts").await.json();
    assert_eq!(list["items"][0]["messages"][0].get("waiting"), None);
}

#[tokio::test]
async fn a_pause_holds_until_it_is_taken_back_and_says_what_has_no_gateway_then() {
    let fixture = Fixture::new().await;
    fixture.store.report_gateways(&[report("kannel"), report("dry")], NOW.plus(MINUTE)).await.unwrap();
    let pause = |name: &str, body: Value| {
        let (fixture, path) = (&fixture, format!("/v1/gateways/{name}/pause"));
        async move { fixture.post(Role::Platform, &path, &body).await }
    };
    let woken = std::sync::Arc::clone(&fixture.wake).notified_owned();
    tokio::pin!(woken);
    woken.as_mut().enable();
    let first = pause("kannel", json!({"reason": "maintenance"})).await;
    tokio::time::timeout(MINUTE, woken).await.expect("the workers are woken");
    assert_eq!((first.status, &first.json()["warnings"]), (StatusCode::OK, &json!([])));
    let again = pause("kannel", json!({})).await.json();
    for answer in [first.json(), again, fixture.get(Role::Operator, "/v1/gateways/kannel").await.json()] {
        assert_eq!((&answer["state"], &answer["in_use"]), (&json!("stopped"), &json!(false)));
        assert_eq!(answer["paused"]["reason"], "maintenance", "the first order stands");
        assert_eq!(answer["paused"]["in_force"], false, "the worker has not said so");
        assert!(answer["paused"]["by"].as_str().unwrap().starts_with("key:"));
        assert_eq!(answer["not_in_use_because"], "taken out of use by hand");
    }
    let last = pause("dry", json!({})).await.json();
    assert_eq!(last["warnings"][0]["code"], "no_gateway");
    assert!(last["warnings"][0]["detail"].as_str().unwrap().contains("life_threatening"));

    assert_eq!(fixture.store.gateway_pauses().await.unwrap().len(), 2);

    for _ in 0..2 {
        let back = fixture.post(Role::Platform, "/v1/gateways/kannel/resume", &json!({})).await;
        assert_eq!((back.status, &back.json()["state"]), (StatusCode::OK, &json!("up")));
        assert_eq!((&back.json()["paused"], &back.json()["warnings"]), (&Value::Null, &json!([])));
    }
    let audit = fixture.get(Role::Auditor, "/v1/audit").await.json();
    let actions: Vec<_> =
        audit["items"].as_array().unwrap().iter().map(|e| e["action"].as_str().unwrap()).collect();
    let of_gateways: Vec<_> = actions.into_iter().filter(|action| action.starts_with("gateway.")).collect();
    assert_eq!(of_gateways, ["gateway.resumed", "gateway.paused", "gateway.paused"]);
}

#[tokio::test]
async fn an_order_to_the_installation_is_the_platforms_and_everybody_sees_it() {
    let fixture = Fixture::new().await;
    fixture.store.report_gateways(&[report("kannel"), report("dry")], NOW.plus(MINUTE)).await.unwrap();
    fixture.enrol(2).await;
    let made = fixture.post(Role::Operator, "/v1/incidents", &fixture::incident()).await;
    let alert = format!("/v1/alerts/{}", made.json()["alerts"][0]["id"].as_str().unwrap());
    for (role, verb) in
        Role::of_organisation().flat_map(|role| ["pause", "resume", "test"].map(|v| (role, v)))
    {
        let refused = fixture.post(role, &format!("/v1/gateways/kannel/{verb}"), &json!({})).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{role} {verb}");
    }
    for path in ["/v1/alerts", "/v1/participants", "/v1/keys", "/v1/audit", "/v1/areas"] {
        let refused = fixture.get(Role::Platform, path).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{path}");
    }
    assert_eq!(fixture.get(Role::Operator, &alert).await.json()["warnings"], json!([]));
    assert_eq!(fixture.get(Role::Auditor, "/readyz").await.json()["paused_gateways"], json!([]));

    let order = json!({"reason": "maintenance"});
    fixture.post(Role::Platform, "/v1/gateways/kannel/pause", &order).await;
    // The probe of the database serves for a second.
    let paused =
        async || fixture.get(Role::Auditor, "/readyz").await.json()["paused_gateways"] == json!(["kannel"]);
    while !paused().await {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let warned = json!([{"code": "gateway_paused",
        "detail": "gateway kannel is out of use by hand since 2026-11-23T16:00:00.000Z: maintenance"}]);
    let preview = fixture.post(Role::Operator, "/v1/alerts/preview", &fixture::alert()).await;
    assert_eq!(preview.json()["warnings"], warned);
    assert_eq!(fixture.get(Role::Operator, &alert).await.json()["warnings"], warned);
    fixture.post(Role::Platform, "/v1/gateways/dry/pause", &json!({})).await;
    let preview = fixture.post(Role::Operator, "/v1/alerts/preview", &fixture::alert()).await.json();
    let codes: Vec<_> =
        preview["warnings"].as_array().unwrap().iter().map(|w| w["code"].as_str().unwrap()).collect();
    assert_eq!(codes, ["gateway_paused", "gateway_paused", "no_gateway"]);

    for token in [fixture.token(Role::Auditor), fixture.strange_token(Role::Auditor)] {
        let request = axum::http::Request::builder()
            .uri("/v1/audit?limit=2")
            .header(header::AUTHORIZATION, format!("Bearer {token}"));
        let log = fixture.send(request.body(Body::empty()).unwrap()).await.json();
        let entries = log["items"].as_array().unwrap();
        assert!(entries.iter().all(|entry| entry["action"] == "gateway.paused"), "{log}");
    }
    fixture.post(Role::Operator, &format!("{alert}/cancel"), &json!({})).await;
    assert_eq!(
        fixture.get(Role::Operator, &alert).await.json()["warnings"],
        json!([]),
        "nothing more is sent"
    );
}

#[tokio::test]
async fn what_is_wrong_with_an_order_is_named() {
    let fixture = Fixture::new().await;
    let pause = "/v1/gateways/kannel/pause";
    for (body, pointers) in [
        (json!({"reason": ""}), vec!["/reason"]),
        (json!({"reason": "x".repeat(201)}), vec!["/reason"]),
        (json!({"reason": 1, "until": 2}), vec!["/reason", "/until"]),
        (json!([]), vec![""]),
    ] {
        assert_eq!(fixture.post(Role::Platform, pause, &body).await.pointers(422), pointers, "{body}");
    }
    for verb in ["pause", "resume", "test"] {
        let path = format!("/v1/gateways/nothing/{verb}");
        assert_eq!(fixture.post(Role::Platform, &path, &json!({})).await.status, StatusCode::NOT_FOUND);
        let get = fixture.get(Role::Admin, &format!("/v1/gateways/kannel/{verb}")).await;
        assert_eq!(get.status, StatusCode::METHOD_NOT_ALLOWED);
    }
    for verb in ["resume", "test"] {
        let path = format!("/v1/gateways/kannel/{verb}");
        assert!(fixture.post(Role::Platform, &path, &json!({"text": "x"})).await.status.is_client_error());
    }
    assert_eq!(fixture.store.gateway_pauses().await.unwrap(), []);
}

#[tokio::test]
async fn a_test_is_asked_for_followed_and_limited() {
    let fixture = Fixture::new().await;
    let ask = async || fixture.post(Role::Platform, "/v1/gateways/kannel/test", &json!({})).await;
    let refused = fixture.post(Role::Platform, "/v1/gateways/dry/test", &json!({})).await;
    assert_eq!(refused.pointers(422), [""]);
    assert!(refused.text.contains("test_number"), "{}", refused.text);
    let asked = ask().await;
    assert_eq!(asked.status, StatusCode::ACCEPTED);
    let place = asked.headers[header::LOCATION].to_str().unwrap().to_owned();
    let shown = fixture.get(Role::Operator, &place).await.json();
    assert_eq!(
        (&shown["state"], &shown["ok"], &shown["daily"]),
        (&json!("requested"), &Value::Null, &json!(false))
    );
    assert!(!shown.to_string().contains("12345678"), "the number is in the configuration only");
    assert_eq!(ask().await.status, StatusCode::CONFLICT);

    let channel = ChannelName { gateway: "kannel".into(), channel: 0 };
    let answer =
        TestAnswer { state: TestState::Accepted, provider_id: None, awaits_receipt: false, failure: None };
    let finish = async || {
        let now = NOW.plus(MINUTE);
        let claimed =
            fixture.store.claim_gateway_test(&channel, now.plus(MINUTE), NOW).await.unwrap().unwrap();
        let end = NOW.plus(Duration::from_millis(230));
        assert!(
            fixture
                .store
                .finish_gateway_test(claimed.number, claimed.lease_token, &answer, end)
                .await
                .unwrap()
        );
    };
    finish().await;
    let shown = fixture.get(Role::Operator, &place).await.json();
    assert_eq!(
        (&shown["state"], &shown["ok"], &shown["answer_ms"]),
        (&json!("accepted"), &json!(true), &json!(230))
    );
    assert_eq!(fixture.get(Role::Admin, "/v1/gateways/kannel").await.json()["tests"]["last"], shown);
    let mut asked = 1;
    let last = loop {
        let answer = ask().await;
        if answer.status != StatusCode::ACCEPTED {
            break answer;
        }
        asked += 1;
        finish().await;
    };
    assert_eq!(
        (asked, last.status),
        (klaroen_store::gateway_tests::TESTS_PER_HOUR, StatusCode::TOO_MANY_REQUESTS)
    );
    assert_eq!(last.headers[header::RETRY_AFTER], "3601");
    let page = fixture.get(Role::Operator, "/v1/gateways/kannel/tests?limit=2").await.json();
    assert_eq!(page["items"].as_array().unwrap().len(), 2);
    let next = format!("/v1/gateways/kannel/tests?cursor={}", page["next_cursor"].as_str().unwrap());
    let rest = fixture.get(Role::Operator, &next).await.json();
    assert_eq!(rest["items"].as_array().unwrap().last().unwrap()["id"], shown["id"]);
    for absent in ["/v1/gateways/dry/tests/", "/v1/gateways/nothing/tests/"] {
        let path = format!("{absent}{}", shown["id"].as_str().unwrap());
        assert_eq!(fixture.get(Role::Operator, &path).await.status, StatusCode::NOT_FOUND);
    }
    let rubbish = fixture.get(Role::Operator, "/v1/gateways/kannel/tests/rubbish").await;
    assert_eq!(rubbish.status, StatusCode::NOT_FOUND);
    let operator = fixture.call(Role::Operator, Method::POST, "/v1/gateways/kannel/test", &json!({})).await;
    assert_eq!(operator.status, StatusCode::FORBIDDEN);
}
