//! Gateways as a control room sees them: how they do, out of use and back, and tested.

use std::time::Duration;

use klaroen_domain::role::Role;
use klaroen_test_databases::Engine;
use rstest::rstest;
use serde_json::{Value, json};

use crate::control_room::{ControlRoom, Setup, circle, incident};
use crate::service::PATIENCE;

const GATEWAY: &str = "/v1/gateways/main";
const TEST_NUMBER: &str = "+31687654321";

async fn room(engine: Engine) -> ControlRoom {
    let gateway = json!({"test_number": TEST_NUMBER});
    ControlRoom::open_with(engine, Setup { gateway, ..Setup::default() }).await
}

/// Looks until it is as wanted.
async fn until(room: &ControlRoom, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let mut seen = Value::Null;
    let reached = async {
        loop {
            seen = room.operator().get(path).await.ok(200);
            if wanted(&seen) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let in_time = tokio::time::timeout(PATIENCE, reached).await.is_ok();
    assert!(in_time, "{path} stays {seen:#}");
    seen
}

fn rings(room: &ControlRoom) -> usize {
    room.smsc
        .ring_counts()
        .iter()
        .filter(|(phone, _)| TEST_NUMBER.ends_with(phone.trim_start_matches('+')))
        .map(|(_, n)| *n as usize)
        .sum()
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_out_of_use_sends_nothing_but_its_test_and_everything_once_it_is_back(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let room = room(engine).await;
    room.world.enrol(3).await;
    let well = until(&room, GATEWAY, |g| g["state"] == "up" && g["in_use"] == true).await;
    assert_eq!((&well["type"], &well["channels"]), (&json!("smpp"), &json!({"up": 1, "configured": 1})));
    let paused = room
        .desk(Role::Platform)
        .post(&format!("{GATEWAY}/pause"), &json!({"reason": "maintenance"}))
        .await
        .ok(200);
    assert_eq!((&paused["state"], &paused["warnings"][0]["code"]), (&json!("stopped"), &json!("no_gateway")));
    // Once the worker says so itself, it hands nothing over any more.
    let store = &room.world.store;
    let heard = async {
        while !store
            .gateway_reports(room.clock.now())
            .await
            .unwrap()
            .iter()
            .any(|r| r.state.as_str() == "stopped")
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, heard).await.expect("the worker hears of it");
    let made = room.operator().post("/v1/incidents", &incident(&circle(1_500.0))).await.ok(201);
    until(&room, GATEWAY, |g| g["queue"]["due"] == 3).await;

    let asked = room.desk(Role::Platform).post(&format!("{GATEWAY}/test"), &json!({})).await;
    let place = asked.header("location").to_owned();
    let test = asked.ok(202);
    assert_eq!(place, format!("{GATEWAY}/tests/{}", test["id"].as_str().unwrap()));
    let test = until(&room, &place, |t| !t["ok"].is_null()).await;
    assert_eq!(
        (&test["state"], &test["ok"], &test["channel"]),
        (&json!("delivered"), &json!(true), &json!("main/0"))
    );
    assert!(test["answer_ms"].is_u64() && test["receipt_ms"].is_u64(), "{test}");
    assert_eq!(room.smsc.total_rings(), 1, "the test and nothing else");
    assert_eq!(rings(&room), 1);
    let listed = room.operator().get(&format!("{GATEWAY}/tests")).await.ok(200);
    assert_eq!(listed["items"], json!([test]));

    let back = room.desk(Role::Platform).post(&format!("{GATEWAY}/resume"), &json!({})).await.ok(200);
    assert_eq!(back["paused"], Value::Null);
    let alert = made["alerts"][0]["id"].as_str().unwrap();
    let path = format!("/v1/alerts/{alert}");
    until(&room, &path, |a| a["messages"][0]["counts"]["delivered"] == 3).await;
    assert_eq!(room.smsc.total_rings(), 4);
    let well = until(&room, GATEWAY, |g| g["in_use"] == true && g["queue"]["due"] == 0).await;
    assert_eq!(well["tests"]["last"], test);
    // The alert is the organisation's; the audit log of another says nothing of it, and so of the test.
    let audit = room.desk(Role::Auditor).get("/v1/audit").await.ok(200);
    let items = audit["items"].as_array().unwrap().iter();
    let actions: Vec<_> =
        items.map(|e| e["action"].as_str().unwrap()).filter(|a| a.starts_with("gateway.")).collect();
    assert_eq!(actions, ["gateway.resumed", "gateway.tested", "gateway.paused"]);
    room.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_of_gateways_in_a_wrong_way_is_refused() {
    let room = ControlRoom::open(Engine::Sqlite).await;
    let platform = room.desk(Role::Platform);
    assert_eq!(platform.post(&format!("{GATEWAY}/test"), &json!({})).await.refused(422), [""]);
    assert_eq!(
        platform.post(&format!("{GATEWAY}/pause"), &json!({"reason": 5, "x": 1})).await.refused(422),
        ["/reason", "/x"]
    );
    assert_eq!(platform.get(&format!("{GATEWAY}/tests?limit=0")).await.refused(422), ["/limit"]);
    assert_eq!(platform.get(&format!("{GATEWAY}/tests?cursor=!")).await.refused(422), ["/cursor"]);
    for absent in [
        "/v1/gateways/MAIN",
        "/v1/gateways/main%2F0",
        "/v1/gateways/nergens/tests",
        "/v1/gateways/main/tests/1",
    ] {
        assert_eq!(platform.get(absent).await.refused(404), Vec::<String>::new(), "{absent}");
    }
    room.close().await;
}
