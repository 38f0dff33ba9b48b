//! Replies.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, StatusCode};
use futures::StreamExt;
use klaroen_domain::decide::Decision;
use klaroen_domain::participant::Language;
use klaroen_domain::phone::PhoneNumber;
use klaroen_domain::role::Role::{Approver, Operator};
use klaroen_domain::text::MessageText;
use klaroen_store::channels::ChannelName;
use klaroen_store::claims::{ClaimRequest, Turns, lease_token};
use klaroen_store::outcomes::Finished;
use klaroen_store::replies::{AutoReply, AutoReplyTexts, IncomingReply, ReplyStored};
use serde_json::{Value, json};

use crate::tests::fixture::{Fixture, NOW, incident};

struct NoTexts;

impl AutoReplyTexts for NoTexts {
    fn text(&self, _: AutoReply, _: Language) -> MessageText {
        MessageText::parse("dank", 1).unwrap()
    }
}

/// Hands the start message to the one participant, who answers.
async fn reply(fixture: &Fixture, text: &str) {
    let name = ChannelName { gateway: "main".into(), channel: 0 };
    let until = NOW.plus(Duration::from_mins(1));
    fixture.store.lease_channel(&name, uuid::Uuid::from_u128(1), until, NOW).await.unwrap();
    let lease_token = lease_token();
    let request = ClaimRequest { channel: &name, limit: 10, lease_until: until, now: NOW, lease_token };
    for claimed in fixture.store.claim(&request, &mut Turns::default()).await.unwrap().claimed {
        let sent = Finished {
            id: claimed.id,
            lease_token: claimed.lease_token,
            decision: Decision::Sent,
            provider_ids: vec![],
            segments: 1,
            at: NOW,
        };
        assert_eq!(fixture.store.finish("main", &[sent]).await.unwrap().applied, 1);
    }
    let stored = receive(fixture, "+31610000000", text).await;
    assert!(matches!(stored, ReplyStored::ForAlert(_)), "{stored:?}");
}

async fn receive(fixture: &Fixture, from: &str, text: &str) -> ReplyStored {
    let reply = IncomingReply {
        gateway: "main".into(),
        dedupe_key: text.into(),
        from: from.into(),
        phone: Some(PhoneNumber::from_sealed(from.into())),
        text: text.into(),
        keyword: None,
        received_at: NOW,
    };
    fixture.store.store_reply(&reply, &NoTexts).await.unwrap()
}

#[tokio::test]
async fn replies_are_watched_listed_and_marked() {
    let fixture = Fixture::new().await;
    fixture.enrol(1).await;
    let made = fixture.post(Operator, "/v1/incidents", &incident()).await.json();
    let path = format!("/v1/alerts/{}", made["alerts"][0]["id"].as_str().unwrap());
    reply(&fixture, "Ik zie hem bij de Dom").await;
    let watch = |last: Option<String>| {
        let mut request = fixture.request(Operator, &Method::GET, &format!("{path}/events"));
        if let Some(last) = last {
            request = request.header("Last-Event-ID", last);
        }
        fixture.stream(request.body(Body::empty()).unwrap())
    };
    let next = async |events: &mut axum::body::BodyDataStream| {
        String::from_utf8(events.next().await.unwrap().unwrap().to_vec()).unwrap()
    };
    let mut events = watch(None).await;
    assert!(next(&mut events).await.starts_with("event: counts"));
    let first = next(&mut events).await;
    assert!(first.starts_with("event: reply") && first.contains("bij de Dom"), "{first}");
    assert!(!first.contains("10000000"), "{first} shows the number");

    reply(&fixture, "Nu op het Neude").await;
    assert!(next(&mut events).await.contains("\"total\":2"));
    assert!(next(&mut events).await.contains("Neude"));

    let replies = fixture.get(Operator, &format!("{path}/replies")).await.json();
    let id = replies["items"][0]["id"].as_str().unwrap().to_owned();
    let mut again = watch(Some(id.clone())).await;
    assert!(next(&mut again).await.starts_with("event: counts"));
    assert!(next(&mut again).await.contains("Neude"), "what was seen is not shown again");

    let mark = json!({"state": "handled", "useful": true});
    let marked = fixture.call(Operator, Method::PATCH, &format!("/v1/replies/{id}"), &mark).await.json();
    assert_eq!((&marked["state"], &marked["useful"]), (&json!("handled"), &json!(true)));
    assert_eq!(fixture.get(Operator, &path).await.json()["replies"], json!({"total": 2, "new": 1}));
}

const UNATTRIBUTED: &str = "/v1/replies?unattributed=true";

#[tokio::test]
async fn a_reply_of_no_alert_is_listed_and_given_to_one() {
    let fixture = Fixture::new().await;
    fixture.enrol(1).await;
    // Before any alert. The second organisation does not know the number.
    assert_eq!(receive(&fixture, "+31610000000", "Er ligt een fiets").await, ReplyStored::Unattributed);
    assert_eq!(receive(&fixture, "+31699999999", "Wie bent u?").await, ReplyStored::Unattributed);
    let listed = fixture.get(Approver, UNATTRIBUTED).await.json();
    assert_eq!(listed["items"].as_array().unwrap().len(), 1, "{listed}");
    let first = listed["items"][0].clone();
    assert_eq!((&first["text"], &first["alert_id"]), (&json!("Er ligt een fiets"), &Value::Null));
    let made = fixture.post(Operator, "/v1/incidents", &incident()).await.json();
    let alert = made["alerts"][0]["id"].as_str().unwrap().to_owned();
    reply(&fixture, "Ik zie hem bij de Dom").await;
    let watch = fixture.request(Operator, &Method::GET, &format!("/v1/alerts/{alert}/events"));
    let mut events = fixture.stream(watch.body(Body::empty()).unwrap()).await;
    let mut next = async || String::from_utf8(events.next().await.unwrap().unwrap().to_vec()).unwrap();
    assert!(next().await.starts_with("event: counts"));
    assert!(next().await.contains("bij de Dom"));

    let path = format!("/v1/replies/{}", first["id"].as_str().unwrap());
    for (body, status, pointer) in [
        (json!({"alert_id": "01890000-0000-7000-8000-000000000000"}), 422, "/alert_id"),
        (json!({"alert_id": "gisteren"}), 422, "/alert_id"),
        (json!({"alert_id": null}), 422, ""),
    ] {
        let refused = fixture.call(Operator, Method::PATCH, &path, &body).await;
        let problem = refused.json();
        assert_eq!(
            (&problem["status"], &problem["errors"][0]["pointer"]),
            (&json!(status), &json!(pointer)),
            "{body}"
        );
    }
    let give = json!({"alert_id": alert, "state": "read"});
    for _ in 0..2 {
        let given = fixture.call(Operator, Method::PATCH, &path, &give).await.json();
        assert_eq!((&given["alert_id"], &given["state"]), (&json!(alert), &json!("read")));
    }
    assert!(next().await.contains("\"total\":2"));
    let shown = next().await;
    assert!(shown.starts_with("event: reply") && shown.contains("een fiets"), "who watches sees it: {shown}");
    let absent = "/v1/replies/01890000-0000-7000-8000-000000000000";
    assert_eq!(fixture.call(Operator, Method::PATCH, absent, &give).await.status, StatusCode::NOT_FOUND);

    let other = fixture.post(Operator, "/v1/incidents", &incident()).await.json();
    let other = json!({"alert_id": other["alerts"][0]["id"]});
    let conflict = fixture.call(Operator, Method::PATCH, &path, &other).await;
    assert_eq!(conflict.status, StatusCode::CONFLICT);
    assert!(conflict.json()["detail"].as_str().unwrap().contains(&alert), "{}", conflict.text);
    assert_eq!(fixture.get(Operator, UNATTRIBUTED).await.json()["items"], json!([]));
    let all = fixture.get(Operator, "/v1/replies?limit=1").await.json();
    assert_eq!(all["items"][0]["id"], first["id"]);
    assert!(all["next_cursor"].is_string());
    receive(&fixture, "+31610000000", "Liked “Let op”").await;
    for path in [format!("/v1/alerts/{alert}/replies"), "/v1/replies".to_owned()] {
        let kinds = async |kind: &str| {
            let list = fixture.get(Operator, &format!("{path}?kind={kind}")).await.json();
            list["items"].as_array().unwrap().iter().map(|reply| reply["kind"].clone()).collect::<Vec<_>>()
        };
        assert_eq!(kinds("message").await, ["message", "message"]);
        assert_eq!(kinds("reaction").await, ["reaction"]);
        let wrong = fixture.get(Operator, &format!("{path}?kind=sighting")).await.json();
        assert_eq!(wrong["errors"][0]["pointer"], "/kind");
    }
    let wrong = fixture.get(Operator, "/v1/replies?unattributed=yes").await.json();
    assert_eq!(wrong["errors"][0]["pointer"], "/unattributed");
}
