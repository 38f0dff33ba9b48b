//! Incidents and alerts.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, StatusCode, header};
use futures::StreamExt;
use klaroen_domain::role::Role::Operator;
use serde_json::{Value, json};

use crate::tests::fixture::{Fixture, NOW, alert, incident};

#[tokio::test]
async fn an_incident_with_an_alert_is_taken_and_followed() {
    let fixture = Fixture::new().await;
    fixture.enrol(3).await;
    let mut told = std::pin::pin!(fixture.wake.notified());
    told.as_mut().enable();
    let taken = fixture.post(Operator, "/v1/incidents", &incident()).await;
    assert_eq!(taken.status, StatusCode::CREATED, "{}", taken.text);
    let made = taken.json();
    assert_eq!(taken.headers[header::LOCATION], format!("/v1/incidents/{}", made["id"].as_str().unwrap()));
    let alert = &made["alerts"][0];
    assert_eq!((&alert["state"], &alert["recipients"]), (&json!("active"), &json!(3)));
    assert_eq!(alert["messages"][0]["counts"]["queued"], 3);
    assert_eq!(alert["messages"][0]["counts"].as_object().unwrap().len(), 11);
    assert_eq!(alert["replies"], json!({"total": 0, "new": 0}));
    // The worker, who waits, was told.
    tokio::time::timeout(Duration::from_secs(5), told).await.unwrap();

    let id = alert["id"].as_str().unwrap();
    let again = fixture.get(Operator, &format!("/v1/alerts/{id}")).await.json();
    assert_eq!(again["id"], alert["id"]);
    let page =
        fixture.get(Operator, &format!("/v1/alerts/{id}/deliveries?state=queued&limit=2")).await.json();
    assert_eq!(page["items"].as_array().unwrap().len(), 2);
    assert!(page["next_cursor"].is_string());
    let phone = page["items"][0]["phone"].as_str().unwrap();
    assert!(phone.starts_with("+316") && !phone.contains("10000"), "{phone} is not masked");
    assert_eq!(fixture.get(Operator, "/v1/incidents").await.json()["items"][0]["id"], made["id"]);
    assert_eq!(fixture.get(Operator, "/v1/alerts?state=ended").await.json()["items"], json!([]));
}

#[tokio::test]
async fn an_incident_without_an_alert_can_get_one_later() {
    let fixture = Fixture::new().await;
    fixture.enrol(1).await;
    let mut body = incident();
    body.as_object_mut().unwrap().remove("alert");
    let made = fixture.post(Operator, "/v1/incidents", &body).await.json();
    assert_eq!(made["alerts"], json!([]));
    let path = format!("/v1/incidents/{}/alerts", made["id"].as_str().unwrap());
    let taken = fixture.post(Operator, &path, &alert()).await;
    assert_eq!(taken.status, StatusCode::CREATED, "{}", taken.text);
    let location = taken.headers[header::LOCATION].to_str().unwrap();
    assert_eq!(fixture.get(Operator, location).await.json()["recipients"], 1);
}

#[tokio::test]
async fn nothing_of_a_wrong_request_is_written_and_all_of_it_is_named() {
    let fixture = Fixture::new().await;
    let mut body = incident();
    body["category"] = json!("");
    body["alert"]["area"] = json!({"areas": ["BU1", "BU2"]});
    body["alert"]["audience"] = json!({"groups": ["honden"]});
    body["alert"]["text"] = json!("x".repeat(600));
    let pointers = fixture.post(Operator, "/v1/incidents", &body).await.pointers(422);
    assert_eq!(
        pointers,
        [
            "/alert/area/areas/0",
            "/alert/area/areas/1",
            "/alert/audience/groups/0",
            "/alert/text",
            "/category"
        ]
    );
    assert_eq!(fixture.get(Operator, "/v1/incidents").await.json()["items"], json!([]));
}

#[tokio::test]
async fn bodies_that_cannot_be_read_say_where() {
    let fixture = Fixture::new().await;
    let request = |body: &'static str, media: &str| {
        let request = fixture.request(Operator, &Method::POST, "/v1/incidents");
        request.header(header::CONTENT_TYPE, media.to_owned()).body(Body::from(body)).unwrap()
    };
    let answer =
        fixture.send(request("{\"category\": \"x\",\n \"description\" 1}", "application/json")).await;
    assert_eq!(answer.pointers(400), [""]);
    assert!(answer.json()["detail"].as_str().unwrap().contains("line 2 column"), "{}", answer.text);
    assert_eq!(fixture.send(request("{}", "text/plain")).await.status, 415);
}

#[tokio::test]
async fn fifty_repetitions_at_once_make_one_incident() {
    let fixture = Fixture::new().await;
    fixture.enrol(2).await;
    let send = |body: Value| {
        let request = fixture.request(Operator, &Method::POST, "/v1/incidents");
        let request =
            request.header(header::CONTENT_TYPE, "application/json").header("Idempotency-Key", "desk-1");
        fixture.send(request.body(Body::from(body.to_string())).unwrap())
    };
    let answers = futures::future::join_all((0..50).map(|_| send(incident()))).await;
    let first = answers[0].json()["id"].clone();
    for answer in &answers {
        assert_eq!((answer.status, &answer.json()["id"]), (StatusCode::CREATED, &first), "{}", answer.text);
    }
    assert_eq!(fixture.get(Operator, "/v1/alerts").await.json()["items"].as_array().unwrap().len(), 1);
    let mut other = incident();
    other["category"] = json!("theft");
    let reused = send(other).await;
    assert_eq!(reused.pointers(422), ["/Idempotency-Key"]);
}

#[tokio::test]
async fn a_preview_writes_nothing() {
    let fixture = Fixture::new().await;
    fixture.enrol(4).await;
    let preview = fixture.post(Operator, "/v1/alerts/preview", &alert()).await;
    let json = preview.json();
    assert_eq!(
        (&json["recipients"], &json["residents"], &json["businesses"]),
        (&json!(4), &json!(4), &json!(0))
    );
    assert_eq!(json["cost"], json!(0.28));
    assert_eq!(json["seconds_to_send"], json!(0.04));
    assert_eq!(json["text"]["encoding"], "gsm7");
    assert_eq!(fixture.get(Operator, "/v1/alerts").await.json()["items"], json!([]));
}

#[tokio::test]
async fn an_alert_is_updated_ended_and_then_over() {
    let fixture = Fixture::new().await;
    fixture.enrol(1).await;
    let mut body = incident();
    body["alert"]["exercise"] = json!(true);
    let made = fixture.post(Operator, "/v1/incidents", &body).await.json();
    assert!(made["alerts"][0]["messages"][0]["text"].as_str().unwrap().starts_with("OEFENING: "));
    let path = format!("/v1/alerts/{}", made["alerts"][0]["id"].as_str().unwrap());
    let call = |verb: &str, body: Value| {
        let path = format!("{path}/{verb}");
        let fixture = &fixture;
        async move { fixture.post(Operator, &path, &body).await }
    };
    let updated = call("update", json!({"text": "Jas is blauw"})).await.json();
    assert_eq!(updated["messages"][1]["text"], "OEFENING: Jas is blauw");
    assert_eq!(
        call("end", json!({"text": "", "outcome": "gone"})).await.pointers(422),
        ["/outcome", "/text"]
    );
    let area =
        json!({"area": {"circle": {"center": {"latitude": 52.09, "longitude": 5.12}, "radius_m": 5000}}});
    assert_eq!(call("extend", area.clone()).await.status, StatusCode::OK);
    let ended = call("end", json!({"text": "Gevonden, dank", "outcome": "found"})).await.json();
    assert_eq!((&ended["state"], &ended["outcome"]), (&json!("ended"), &json!("found")));
    let after = call("cancel", json!({})).await;
    assert_eq!(after.status, StatusCode::CONFLICT);
    assert!(after.json()["detail"].as_str().unwrap().contains("the alert is ended"));
    assert_eq!(call("extend", area).await.status, StatusCode::CONFLICT);
}

#[tokio::test]
async fn a_client_that_watches_hears_of_the_counts_at_once() {
    let fixture = Fixture::new().await;
    fixture.enrol(1).await;
    let made = fixture.post(Operator, "/v1/incidents", &incident()).await.json();
    let path = format!("/v1/alerts/{}/events", made["alerts"][0]["id"].as_str().unwrap());
    let request = fixture.request(Operator, &Method::GET, &path).body(Body::empty()).unwrap();
    let mut events = fixture.stream(request).await;
    let first = String::from_utf8(events.next().await.unwrap().unwrap().to_vec()).unwrap();
    assert!(first.starts_with("event: counts\ndata: {"), "{first}");
    assert!(first.contains("\"queued\":1"), "{first}");
    let cancel = path.replace("/events", "/cancel");
    assert_eq!(fixture.post(Operator, &cancel, &json!({})).await.status, StatusCode::OK);
    let next = String::from_utf8(events.next().await.unwrap().unwrap().to_vec()).unwrap();
    assert!(next.contains("\"cancelled\""), "{next}");
}

/// More than one page of deliveries: the answer comes when all of them are written, and they add up.
#[tokio::test]
async fn a_large_alert_is_written_whole_before_the_answer() {
    let fixture = Fixture::new().await;
    fixture.enrol(10_500).await;
    let taken = fixture.post(Operator, "/v1/incidents", &incident()).await;
    let message = &taken.json()["alerts"][0]["messages"][0];
    assert_eq!((&message["recipients"], &message["counts"]["queued"]), (&json!(10_500), &json!(10_500)));
    assert_eq!(fixture.store.broken_sums().await.unwrap(), 0);
    assert!(fixture.store.open_fanouts(NOW.plus(Duration::from_hours(1))).await.unwrap().is_empty());
}
