//! A repetition with the same `Idempotency-Key` makes nothing new.

use klaroen_test_databases::Engine;
use rstest::rstest;
use std::collections::BTreeSet;

use futures::future::join_all;
use serde_json::{Value, json};

use crate::control_room::{ControlRoom, circle, incident};

fn ids(incident: &Value) -> (String, String) {
    let id = |value: &Value| value["id"].as_str().unwrap().to_owned();
    (id(incident), id(&incident["alerts"][0]))
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn fifty_at_once_with_one_key_are_one_incident(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let room = ControlRoom::open(engine).await;
    room.enrol(40).await;
    let (operator, report) = (room.operator(), incident(&circle(500.0)));
    let repeated = (0..50).map(|_| operator.post_once("/v1/incidents", "desk-7-4711", &report));
    let answers = join_all(repeated).await;
    let made: BTreeSet<_> =
        answers.iter().map(|a| (a.header("location").to_owned(), ids(&a.ok(201)))).collect();
    assert_eq!(made.len(), 1);
    let (_, (_, alert)) = made.into_iter().next().unwrap();
    room.until(&alert, |a| a["messages"][0]["counts"]["delivered"] == 40).await;
    assert_eq!(room.incidents().await, 1);
    let again = operator.post_once("/v1/incidents", "desk-7-4711", &report).await.ok(201);
    assert_eq!(ids(&again).1, alert, "later too");
    assert!(room.smsc.ring_counts().values().all(|rings| *rings == 1) && room.smsc.total_rings() == 40);

    let mut other = report.clone();
    other["category"] = json!("burglary");
    let reused = operator.post_once("/v1/incidents", "desk-7-4711", &other).await;
    assert_eq!(reused.refused(422), ["/Idempotency-Key"]);
    let path = format!("/v1/incidents/{}/alerts", ids(&again).0);
    assert_eq!(
        operator.post_once(&path, "desk-7-4711", &circle(500.0)).await.refused(422),
        ["/Idempotency-Key"]
    );
    for bad in ["a b", &"x".repeat(256)] {
        assert_eq!(
            operator.post_once("/v1/incidents", bad, &report).await.refused(422),
            ["/Idempotency-Key"]
        );
    }
    assert_eq!(room.incidents().await, 1);
    operator.post_once("/v1/incidents", "desk-7-4712", &report).await.ok(201);
    assert_eq!(room.incidents().await, 2);
    room.close().await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_was_refused_can_be_used_for_the_corrected_request(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let room = ControlRoom::open(engine).await;
    let (operator, report) = (room.operator(), incident(&circle(500.0)));
    let mut wrong = report.clone();
    wrong["alert"]["text"] = json!("");
    assert_eq!(operator.post_once("/v1/incidents", "k", &wrong).await.refused(422), ["/alert/text"]);
    operator.post_once("/v1/incidents", "k", &report).await.ok(201);
    assert_eq!(room.incidents().await, 1);
    room.close().await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn another_organisations_keys_are_its_own(#[values(Engine::Sqlite, Engine::Postgres)] engine: Engine) {
    let room = ControlRoom::open(engine).await;
    let other = room.other_organisation().await;
    let report = incident(&circle(500.0));
    let ours = room.operator().post_once("/v1/incidents", "k", &report).await.ok(201);
    let theirs =
        other(klaroen_domain::role::Role::Operator).post_once("/v1/incidents", "k", &report).await.ok(201);
    assert_ne!(ids(&ours), ids(&theirs));
    room.close().await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn repeated_changes_ring_once(#[values(Engine::Sqlite, Engine::Postgres)] engine: Engine) {
    let room = ControlRoom::open(engine).await;
    room.enrol(20).await;
    let operator = room.operator();
    let taken = operator.post_once("/v1/incidents", "k0", &incident(&circle(500.0))).await.ok(201);
    let (_, alert) = ids(&taken);
    room.until(&alert, |a| a["messages"][0]["counts"]["delivered"] == 20).await;
    let path = format!("/v1/alerts/{alert}");
    for (verb, body, other) in [
        ("update", json!({"text": "Nu op een fiets."}), json!({"text": "Nu te voet."})),
        ("extend", json!({"area": circle(900.0)["area"]}), json!({"area": circle(950.0)["area"]})),
        (
            "end",
            json!({"text": "Gevonden.", "outcome": "found"}),
            json!({"text": "Gevonden.", "outcome": "other"}),
        ),
    ] {
        let path = format!("{path}/{verb}");
        let repeated = (0..10).map(|_| operator.post_once(&path, verb, &body));
        for answer in join_all(repeated).await {
            answer.ok(200);
        }
        assert_eq!(
            operator.post_once(&path, verb, &other).await.refused(422),
            ["/Idempotency-Key"],
            "{verb}"
        );
        // An end takes back an update that has not left.
        room.until(&alert, |a| {
            a["messages"].as_array().unwrap().iter().all(|m| m["counts"]["delivered"] == 20)
        })
        .await;
    }
    let view = room
        .until(&alert, |a| {
            let last = a["messages"].as_array().unwrap().last().unwrap();
            last["kind"] == "end" && last["counts"]["delivered"] == 20
        })
        .await;
    let kinds: Vec<_> =
        view["messages"].as_array().unwrap().iter().map(|m| m["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds.iter().filter(|k| **k == "update").count(), 1, "{kinds:?}");
    assert_eq!(kinds.iter().filter(|k| **k == "end").count(), 1, "{kinds:?}");
    assert!(room.smsc.ring_counts().values().all(|rings| *rings == 3), "start, update and end");
    room.close().await;
}
