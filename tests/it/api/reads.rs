//! Who reads data about people stands in the audit log, or sees nothing.

use klaroen_domain::role::Role;
use klaroen_test_databases::Engine;
use rstest::rstest;
use serde_json::{Value, json};
use sqlx::postgres::PgConnection;
use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, Executor};

use crate::service::control_room::{ControlRoom, circle, incident};

/// The newest `n` entries, oldest first: actions with their details.
async fn newest(room: &ControlRoom, n: usize) -> Vec<(String, Value)> {
    let log = room.desk(Role::Auditor).get(&format!("/v1/audit?limit={n}")).await.ok(200);
    let entry = |e: &Value| (e["action"].as_str().unwrap().to_owned(), e["detail"].clone());
    log["items"].as_array().unwrap().iter().rev().map(entry).collect()
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn every_read_of_data_about_people_is_in_the_log_without_a_number(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let room = ControlRoom::open(engine).await;
    room.enrol(3).await;
    let (admin, operator) = (room.admin(), room.operator());
    let found = admin.get("/v1/participants?phone=0612000001").await.ok(200);
    let id = found["items"][0]["id"].as_str().unwrap();
    admin.get("/v1/participants?phone=0612009999").await.ok(200);
    admin.get("/v1/participants?limit=2").await.ok(200);
    admin.get(&format!("/v1/participants/{id}")).await.ok(200);
    admin.get("/v1/participants/export").await;
    let made = operator.post("/v1/incidents", &incident(&circle(500.0))).await.ok(201);
    let alert = made["alerts"][0]["id"].as_str().unwrap();
    operator.get(&format!("/v1/alerts/{alert}/replies")).await.ok(200);
    drop(operator.watch(alert, None).await);

    let entries = newest(&room, 9).await;
    let expected = [
        ("participants.looked_up", json!({"found": [id]})),
        ("participants.looked_up", json!({"found": []})),
        ("participants.listed", json!({"count": 2})),
        ("participant.read", json!({})),
        ("participants.exported", json!({"format": "csv"})),
        ("replies.read", json!({"count": 0})),
        ("replies.followed", json!({})),
    ];
    let reads = entries
        .iter()
        .filter(|(action, _)| !["incident.reported", "alert.started"].contains(&action.as_str()));
    assert_eq!(reads.map(|(action, detail)| (action.as_str(), detail.clone())).collect::<Vec<_>>(), expected);
    assert!(!format!("{entries:?}").contains("6120"), "{entries:?}");
    // What is not there was not read.
    let before = newest(&room, 1).await;
    admin.get("/v1/participants/01890000-0000-7000-8000-000000000000").await.ok(404);
    assert_eq!(newest(&room, 1).await, before);
    room.close().await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_shown_whose_reading_cannot_be_noted(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let room = ControlRoom::open(engine).await;
    room.enrol(1).await;
    let admin = room.admin();
    let found = admin.get("/v1/participants").await.ok(200);
    let id = found["items"][0]["id"].as_str().unwrap();
    let refuse = match engine {
        Engine::Sqlite => "CREATE TRIGGER deaf BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'deaf'); END",
        Engine::Postgres => "ALTER TABLE audit ADD CONSTRAINT deaf CHECK (false) NOT VALID",
    };
    match engine {
        Engine::Sqlite => {
            SqliteConnection::connect(&room.world.url).await.unwrap().execute(refuse).await.unwrap();
        }
        Engine::Postgres => {
            PgConnection::connect(&room.world.url).await.unwrap().execute(refuse).await.unwrap();
        }
    }
    for path in [
        "/v1/participants",
        "/v1/participants?phone=0612000000",
        &format!("/v1/participants/{id}"),
        "/v1/participants/export",
    ] {
        let answer = admin.get(path).await;
        assert!(answer.status >= 500, "{path}: {}", answer.status);
        assert!(!answer.text().contains("612000000"), "{}", answer.text());
    }
    room.close().await;
}
