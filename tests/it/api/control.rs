//! Stopping, withdrawing, looking at single deliveries.

use klaroen_test_databases::Engine;
use rstest::rstest;
use std::collections::BTreeSet;

use klaroen_simulator::Faults;
use serde_json::{Value, json};

use crate::control_room::{ControlRoom, Setup, circle, incident};

async fn begin(room: &ControlRoom) -> String {
    let taken = room.operator().post("/v1/incidents", &incident(&circle(500.0))).await.ok(201);
    taken["alerts"][0]["id"].as_str().unwrap().to_owned()
}

fn count(alert: &Value, message: usize, states: &[&str]) -> u64 {
    states.iter().map(|state| alert["messages"][message]["counts"][state].as_u64().unwrap_or(0)).sum()
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_alert_rings_nobody_more(#[values(Engine::Sqlite, Engine::Postgres)] engine: Engine) {
    let room = ControlRoom::open_with(
        engine,
        Setup { gateway: json!({"segments_per_second": 100}), ..Setup::default() },
    )
    .await;
    room.enrol(1_500).await;
    let alert = begin(&room).await;
    room.until(&alert, |a| count(a, 0, &["delivered"]) > 10).await;
    let path = format!("/v1/alerts/{alert}/cancel");
    let request = room.operator().request("POST", &path);
    let cancelled = room.operator().send(request).await.ok(200);
    assert_eq!(cancelled["state"], "cancelled");
    assert!(count(&cancelled, 0, &["cancelled"]) > 0 && count(&cancelled, 0, &["queued"]) == 0);
    let view = room.until(&alert, |a| count(a, 0, &["queued", "sending", "sent"]) == 0).await;
    assert_eq!(count(&view, 0, &["delivered", "cancelled"]), 1_500);
    assert_eq!(room.smsc.total_rings(), count(&view, 0, &["delivered"]));
    room.operator().post(&path, &json!({})).await.ok(409);
    assert_eq!(room.operator().post(&path, &json!({"text": "x"})).await.refused(400), [""]);
    room.close().await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_retracted_alert_tells_those_who_were_reached(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let room = ControlRoom::open_with(
        engine,
        Setup { gateway: json!({"segments_per_second": 100}), ..Setup::default() },
    )
    .await;
    room.enrol(1_500).await;
    let alert = begin(&room).await;
    room.until(&alert, |a| count(a, 0, &["delivered"]) > 10).await;
    let text = json!({"text": "Vorig bericht was een vergissing."});
    let retracted = room.operator().post(&format!("/v1/alerts/{alert}/retract"), &text).await.ok(200);
    assert_eq!(retracted["state"], "cancelled");
    assert_eq!(count(&retracted, 0, &["queued"]), 0);
    let view = room
        .until(&alert, |a| {
            let open = |n| count(a, n, &["queued", "sending", "sent"]);
            open(0) == 0 && a["messages"][1]["recipients"] == count(a, 0, &["delivered"]) && open(1) == 0
        })
        .await;
    assert_eq!(view["messages"][1]["kind"], "retract");
    let rings = room.smsc.ring_counts();
    assert!(
        rings.len() < 1_500 && rings.values().all(|rings| *rings == 2),
        "a start and its withdrawal each"
    );
    room.close().await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn deliveries_are_listed_by_state_in_pages_with_masked_numbers(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let setup = Setup { faults: Faults { undelivered: 0.3, ..Faults::default() }, ..Setup::default() };
    let room = ControlRoom::open_with(engine, setup).await;
    room.enrol(60).await;
    let alert = begin(&room).await;
    let view = room.until(&alert, |a| count(a, 0, &["delivered", "undelivered"]) == 60).await;
    let path = format!("/v1/alerts/{alert}/deliveries");
    let (mut seen, mut participants) = (Vec::new(), BTreeSet::new());
    let mut query = "?limit=7".to_owned();
    loop {
        let page = room.operator().get(&format!("{path}{query}")).await;
        assert!(!page.text().contains("6120000"), "no whole number in {}", page.text());
        let page = page.ok(200);
        let items = page["items"].as_array().unwrap();
        assert!((1..=7).contains(&items.len()));
        for item in items {
            seen.push(item["id"].as_u64().unwrap());
            participants.insert(item["participant_id"].as_str().unwrap().to_owned());
            assert!(item["phone"].as_str().unwrap().starts_with("+316"));
            assert_eq!((&item["attempts"], &item["message_id"]), (&json!(1), &view["messages"][0]["id"]));
        }
        let Some(next) = page["next_cursor"].as_str() else { break };
        query = format!("?limit=7&cursor={next}");
    }
    assert!(seen.is_sorted_by(|a, b| a < b) && seen.len() == 60 && participants.len() == 60);
    for state in ["delivered", "undelivered", "queued"] {
        let page = room.operator().get(&format!("{path}?state={state}")).await.ok(200);
        let items = page["items"].as_array().unwrap();
        assert_eq!(items.len() as u64, count(&view, 0, &[state]));
        assert!(items.iter().all(|item| item["state"] == state));
    }
    assert_eq!(
        room.operator().get(&format!("{path}?state=lost&page=2&limit=501")).await.refused(422),
        ["/limit", "/page", "/state"]
    );
    assert_eq!(room.operator().get(&format!("{path}?cursor=x")).await.refused(422), ["/cursor"]);
    room.close().await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_erased_participant_is_gone_and_gets_nothing_more(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let room = ControlRoom::open(engine).await;
    room.enrol(2).await;
    let alert = begin(&room).await;
    room.until(&alert, |a| count(a, 0, &["delivered"]) == 2).await;
    let found = room.admin().get("/v1/participants?phone=0612000000").await.ok(200);
    let path = format!("/v1/participants/{}", found["items"][0]["id"].as_str().unwrap());
    room.admin().delete(&path).await.ok(204);
    room.admin().get(&path).await.ok(404);
    room.admin().delete(&path).await.ok(404);
    let end = json!({"text": "Voorbij.", "outcome": "other"});
    room.operator().post(&format!("/v1/alerts/{alert}/end"), &end).await.ok(200);
    room.until(&alert, |a| count(a, 1, &["delivered"]) == 1).await;
    assert_eq!(room.smsc.rings_of("31612000000").len(), 1, "what was erased is not rung");
    let shown = room.operator().get(&format!("/v1/alerts/{alert}/deliveries")).await.ok(200);
    let masked = shown["items"].as_array().unwrap().iter().filter(|d| d["phone"].is_null()).count();
    assert_eq!(masked, 2, "start and end of who was erased: {shown:#}");
    room.close().await;
}
