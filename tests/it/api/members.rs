//! The names and defaults of the contract, member by member: the description of the API is made from the code, so that it would
//! follow a mistake there.

use klaroen_test_databases::Engine;
use rstest::rstest;
use std::collections::BTreeSet;

use klaroen_domain::role::Role;
use serde_json::{Value, json};

use crate::control_room::{ControlRoom, circle, incident};

/// A CSV file of `count` people at the Dom; every fifth has hours in the weekend only.
fn people(count: usize) -> String {
    let row = |n: usize| {
        let hours = if n % 5 == 4 { "Sa-Su 00:00-24:00" } else { "" };
        format!("resident,06140{n:05},52.0907,5.1214,{hours},2026-01-31,web")
    };
    let header = "kind,phone,latitude,longitude,hours,consent_at,consent_method".to_owned();
    [header].into_iter().chain((0..count).map(row)).collect::<Vec<_>>().join("\n")
}

fn names(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap_or_else(|| panic!("{value} is no object")).keys().map(String::as_str).collect()
}

/// All of these members are there; the contract leaves room for more.
#[track_caller]
fn has(value: &Value, wanted: &[&str]) {
    let missing: Vec<_> = wanted.iter().filter(|name| value.get(**name).is_none()).collect();
    assert!(missing.is_empty(), "{missing:?} missing in {value:#}");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn incidents_alerts_and_what_belongs_to_them(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let room = ControlRoom::open(engine).await;
    room.admin().import("", people(5)).await.ok(200);
    let operator = room.operator();
    let preview = operator.post("/v1/alerts/preview", &circle(500.0)).await.ok(200);
    let wanted =
        ["businesses", "cost", "excluded", "recipients", "residents", "seconds_to_send", "text", "warnings"];
    assert_eq!(names(&preview), BTreeSet::from(wanted));
    assert_eq!(names(&preview["excluded"]), BTreeSet::from(["off_hours", "paused", "frequency"]));
    assert_eq!(names(&preview["text"]), BTreeSet::from(["encoding", "segments", "characters", "replaced"]));
    let odd = json!({"area": circle(500.0)["area"], "text": "Zoek “Ж” — nu"});
    let warned = operator.post("/v1/alerts/preview", &odd).await.ok(200);
    assert_eq!(names(&warned["warnings"][0]), BTreeSet::from(["code", "detail"]));

    let taken = operator.post("/v1/incidents", &incident(&circle(500.0))).await.ok(201);
    has(
        &taken,
        &["id", "reference", "category", "description", "subject", "location", "occurred_at", "alerts"],
    );
    let path = format!("/v1/alerts/{}", taken["alerts"][0]["id"].as_str().unwrap());
    let alert = operator.get(&path).await.ok(200);
    has(
        &alert,
        &[
            "id",
            "incident_id",
            "state",
            "priority",
            "area",
            "audience",
            "exercise",
            "expires_at",
            "recipients",
        ],
    );
    assert_eq!(names(&alert["replies"]), BTreeSet::from(["total", "new"]));
    let message = &alert["messages"][0];
    has(
        message,
        &["id", "kind", "text", "encoding", "segments", "recipients", "first_sent_at", "last_sent_at"],
    );
    let states =
        "queued sending sent delivered undelivered failed unknown expired cancelled suppressed no_receipt";
    assert_eq!(names(&message["counts"]), states.split(' ').collect());

    let second = format!("/v1/incidents/{}/alerts", taken["id"].as_str().unwrap());
    let drill = json!({"area": circle(500.0)["area"], "text": "Zoek de fiets", "exercise": true, "expires_in_s": 600});
    let made = operator.post(&second, &drill).await;
    let location = made.header("location").to_owned();
    let made = made.ok(201);
    assert_eq!(location, format!("/v1/alerts/{}", made["id"].as_str().unwrap()));
    assert_eq!(
        (&made["exercise"], &made["messages"][0]["text"]),
        (&json!(true), &json!("OEFENING: Zoek de fiets"))
    );
    for path in ["/v1/incidents", "/v1/alerts", &format!("{path}/deliveries"), &format!("{path}/replies")] {
        let list = operator.get(path).await.ok(200);
        assert_eq!(names(&list), BTreeSet::from(["items", "next_cursor"]), "{path}");
        assert!(list["next_cursor"].is_null(), "{path}");
    }
    room.close().await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn hours_count_unless_life_is_at_stake(#[values(Engine::Sqlite, Engine::Postgres)] engine: Engine) {
    let room = ControlRoom::open(engine).await;
    room.admin().import("", people(5)).await.ok(200);
    for (priority, recipients) in
        [(None, 4), (Some("urgent"), 4), (Some("normal"), 4), (Some("life_threatening"), 5)]
    {
        let mut alert = circle(500.0);
        if let Some(priority) = priority {
            alert["priority"] = json!(priority);
        }
        let preview = room.operator().post("/v1/alerts/preview", &alert).await.ok(200);
        assert_eq!(preview["recipients"], recipients, "{priority:?}");
        let taken = room.operator().post("/v1/incidents", &incident(&alert)).await.ok(201);
        let taken = &taken["alerts"][0];
        assert_eq!(
            (&taken["recipients"], &taken["priority"]),
            (&json!(recipients), &json!(priority.unwrap_or("urgent")))
        );
    }
    room.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_point_in_rd_new_is_the_same_place() {
    let room = ControlRoom::open(Engine::Sqlite).await;
    room.admin().import("", people(1)).await.ok(200);
    // The Dom tower in EPSG:28992.
    let tower = json!({"rd_x": 136_785, "rd_y": 455_905});
    let alert = json!({"area": {"circle": {"center": tower, "radius_m": 200}}, "text": "Let op"});
    let mut report = incident(&alert);
    report["location"] = tower;
    let taken = room.operator().post("/v1/incidents", &report).await.ok(201);
    assert_eq!(taken["alerts"][0]["recipients"], 1);
    let near = |name: &str, degrees: f64| (taken["location"][name].as_f64().unwrap() - degrees).abs() < 0.001;
    assert!(near("latitude", 52.0907) && near("longitude", 5.1214), "{}", taken["location"]);
    room.close().await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn the_registry_and_its_lists(#[values(Engine::Sqlite, Engine::Postgres)] engine: Engine) {
    let room = ControlRoom::open(engine).await;
    let admin = room.admin();
    let report = admin.import("", people(101)).await.ok(200);
    assert_eq!(
        names(&report),
        BTreeSet::from(["rows", "created", "updated", "unchanged", "rejected", "errors"])
    );
    let first = admin.get("/v1/participants").await.ok(200);
    assert_eq!(first["items"].as_array().unwrap().len(), 100, "unless asked otherwise");
    let next = first["next_cursor"].as_str().unwrap();
    let rest = admin.get(&format!("/v1/participants?cursor={next}")).await.ok(200);
    assert_eq!((rest["items"].as_array().unwrap().len(), &rest["next_cursor"]), (1, &Value::Null));
    let all = admin.get("/v1/participants?limit=500").await.ok(200);
    assert_eq!(all["items"].as_array().unwrap().len(), 101);
    assert_eq!(admin.get("/v1/participants?limit=0").await.refused(422), ["/limit"]);
    let one = &rest["items"][0];
    has(one, &["id", "kind", "name", "phone", "language", "places", "groups", "external_id", "consent"]);
    assert_eq!(names(&one["places"][0]), BTreeSet::from(["label", "location", "hours"]));
    assert_eq!(names(&one["consent"]), BTreeSet::from(["given_at", "method"]));
    let twice = json!({"code": "kvo", "name": "Bedrijventerrein"});
    admin.post("/v1/groups", &twice).await.ok(201);
    assert_eq!(admin.post("/v1/groups", &twice).await.refused(409), ["/code"]);
    let made = admin.post("/v1/keys", &json!({"role": "auditor", "name": "toezicht"})).await;
    assert!(made.header("location").starts_with("/v1/keys/"));
    let made = made.ok(201);
    assert!(made["key"].as_str().unwrap().starts_with("klr_"));
    let audit = room.stranger(made["key"].as_str()).get("/v1/audit?limit=1").await.ok(200);
    has(&audit["items"][0], &["at", "actor", "action", "subject"]);
    assert_eq!(room.desk(Role::Auditor).get("/v1/audit?cursor=x").await.refused(422), ["/cursor"]);
    room.close().await;
}
