//! Opt-outs that a person records.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, StatusCode, header};
use klaroen_domain::role::Role::{self, Admin, Operator};
use serde_json::{Value, json};

use crate::tests::fixture::{Fixture, incident};

const OPT_OUTS: &str = "/v1/opt_outs";

fn asked() -> Value {
    json!({"phone": "0610000000", "note": "belde met de balie"})
}

#[tokio::test]
async fn an_operator_and_an_admin_record_list_and_lift_opt_outs() {
    for role in [Operator, Admin] {
        let fixture = Fixture::new().await;
        fixture.enrol(2).await;
        let mut told = std::pin::pin!(fixture.wake.notified());
        told.as_mut().enable();
        let made = fixture.post(role, OPT_OUTS, &asked()).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
        let recorded = made.json();
        let path = format!("{OPT_OUTS}/{}", recorded["id"].as_str().unwrap());
        assert_eq!(made.headers[header::LOCATION], path);
        assert_eq!((&recorded["source"], &recorded["in_flight"]), (&json!("person"), &json!(0)));
        assert_eq!(recorded["note"], "belde met de balie");
        assert!(recorded["participant_id"].is_string() && recorded["recorded_by"].is_string());
        let phone = recorded["phone"].as_str().unwrap();
        assert!(phone.starts_with("+316") && !phone.contains("10000000"), "{phone} is not masked");
        // The workers were told of the confirmation.
        tokio::time::timeout(Duration::from_secs(5), told).await.unwrap();
        let taken = fixture.post(Operator, "/v1/incidents", &incident()).await.json();
        assert_eq!(taken["alerts"][0]["recipients"], 1);

        let again = fixture.post(role, OPT_OUTS, &json!({"phone": "+31 6 1000 0000"})).await;
        assert_eq!((again.status, &again.json()["id"]), (StatusCode::OK, &recorded["id"]));
        let mut listed = fixture.get(role, &format!("{OPT_OUTS}?phone=0610000000")).await.json();
        assert_eq!(listed["items"].as_array().unwrap().len(), 1);
        assert_eq!(listed["items"][0], fixture.get(role, &path).await.json());
        listed["items"][0]["in_flight"] = json!(0);
        assert_eq!(listed["items"][0], recorded);
        assert_eq!(
            fixture.get(role, &format!("{OPT_OUTS}?phone=0610000001")).await.json()["items"],
            json!([])
        );

        let lift = async |body: &Value| fixture.call(role, Method::DELETE, &path, body).await;
        for wrong in [json!({}), json!({"reason": ""}), json!({"reason": null})] {
            assert_eq!(lift(&wrong).await.pointers(422), ["/reason"]);
        }
        for _ in 0..2 {
            assert_eq!(lift(&json!({"reason": "wil weer meedoen"})).await.status, StatusCode::NO_CONTENT);
        }
        assert_eq!(fixture.get(role, OPT_OUTS).await.json()["items"], json!([]));
        let gone = fixture.get(role, &path).await.json();
        assert_eq!(gone["lifted"]["reason"], "wil weer meedoen");
        let next = fixture.post(Operator, "/v1/incidents", &incident()).await.json();
        assert_eq!(next["alerts"][0]["recipients"], 2);

        // The log says who and what, and nothing of the person.
        let log = fixture.get(Role::Auditor, "/v1/audit?limit=500").await;
        for action in ["opt_out.recorded", "opt_out.lifted", "participant.opted_out", "participant.opted_in"]
        {
            assert!(log.text.contains(action), "{action}");
        }
        for secret in ["balie", "meedoen", "10000000"] {
            assert!(!log.text.contains(secret), "{secret}");
        }
    }
}

#[tokio::test]
async fn a_repeated_request_opts_out_once() {
    let fixture = Fixture::new().await;
    fixture.enrol(1).await;
    let ask = async |key: &str, body: &Value| {
        let request = fixture.request(Operator, &Method::POST, OPT_OUTS).header("idempotency-key", key);
        let request = request.header(header::CONTENT_TYPE, "application/json");
        fixture.send(request.body(Body::from(body.to_string())).unwrap()).await
    };
    let first = ask("once", &asked()).await;
    let again = ask("once", &asked()).await;
    assert_eq!((first.status, again.status), (StatusCode::CREATED, StatusCode::CREATED));
    assert_eq!(first.text, again.text);
    assert_eq!(first.headers[header::LOCATION], again.headers[header::LOCATION]);
    let other = json!({"phone": "0610000001"});
    assert_eq!(ask("once", &other).await.pointers(422), ["/Idempotency-Key"]);
    assert_eq!(ask("", &other).await.pointers(422), ["/Idempotency-Key"]);
    assert_eq!(fixture.get(Operator, OPT_OUTS).await.json()["items"].as_array().unwrap().len(), 1);
}
