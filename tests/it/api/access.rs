//! Who may call what, and what those who may not are told.

use klaroen_test_databases::Engine;
use rstest::rstest;
use std::collections::BTreeSet;
use std::time::Duration;

use klaroen_domain::role::Role;
use serde_json::{Value, json};

use crate::contract::{Operation, operations};
use crate::control_room::{ControlRoom, Setup, circle, incident, rectangle};
use crate::desk::Desk;

/// An id that nothing has.
const ABSENT: &str = "01890000-0000-7000-8000-000000000000";

/// The contract: who may make each call. Approvers see what operators see.
const OPERATOR: &[&str] = &["operator"];
const SEES_ALERTS: &[&str] = &["operator", "approver"];
/// A request for an alert names areas and groups.
const SEES_LIBRARY: &[&str] = &["operator", "approver", "admin"];
const SEES_GATEWAYS: &[&str] = &["operator", "admin", "platform"];
const MANAGES_OPT_OUTS: &[&str] = &["operator", "admin"];
const ADMIN: &[&str] = &["admin"];
const AUDITOR: &[&str] = &["auditor"];
const PLATFORM: &[&str] = &["platform"];
const MATRIX: &[(&str, &str, &[&str])] = &[
    ("POST", "/v1/incidents", OPERATOR),
    ("GET", "/v1/incidents", SEES_ALERTS),
    ("GET", "/v1/incidents/{id}", SEES_ALERTS),
    ("POST", "/v1/incidents/{id}/alerts", OPERATOR),
    ("POST", "/v1/alerts/preview", OPERATOR),
    ("GET", "/v1/alerts", SEES_ALERTS),
    ("GET", "/v1/alerts/{id}", SEES_ALERTS),
    ("POST", "/v1/alerts/{id}/update", OPERATOR),
    ("POST", "/v1/alerts/{id}/retract", OPERATOR),
    ("POST", "/v1/alerts/{id}/end", OPERATOR),
    ("POST", "/v1/alerts/{id}/extend", OPERATOR),
    ("POST", "/v1/alerts/{id}/cancel", OPERATOR),
    ("GET", "/v1/alerts/{id}/deliveries", SEES_ALERTS),
    ("GET", "/v1/alerts/{id}/replies", SEES_ALERTS),
    ("GET", "/v1/replies", SEES_ALERTS),
    ("PATCH", "/v1/replies/{id}", OPERATOR),
    ("GET", "/v1/alerts/{id}/events", SEES_ALERTS),
    ("POST", "/v1/opt_outs", MANAGES_OPT_OUTS),
    ("GET", "/v1/opt_outs", MANAGES_OPT_OUTS),
    ("GET", "/v1/opt_outs/{id}", MANAGES_OPT_OUTS),
    ("DELETE", "/v1/opt_outs/{id}", MANAGES_OPT_OUTS),
    ("POST", "/v1/participants", ADMIN),
    ("GET", "/v1/participants", ADMIN),
    ("GET", "/v1/participants/{id}", ADMIN),
    ("PATCH", "/v1/participants/{id}", ADMIN),
    ("DELETE", "/v1/participants/{id}", ADMIN),
    ("POST", "/v1/participants/imports", ADMIN),
    ("GET", "/v1/participants/export", ADMIN),
    ("GET", "/v1/groups", SEES_LIBRARY),
    ("POST", "/v1/groups", ADMIN),
    ("GET", "/v1/areas", SEES_LIBRARY),
    ("PUT", "/v1/areas", ADMIN),
    ("GET", "/v1/areas/{code}", SEES_LIBRARY),
    ("PUT", "/v1/areas/{code}", ADMIN),
    ("GET", "/v1/keys", ADMIN),
    ("POST", "/v1/keys", ADMIN),
    ("DELETE", "/v1/keys/{id}", ADMIN),
    ("GET", "/v1/gateways", SEES_GATEWAYS),
    ("GET", "/v1/gateways/{name}", SEES_GATEWAYS),
    ("POST", "/v1/gateways/{name}/pause", PLATFORM),
    ("POST", "/v1/gateways/{name}/resume", PLATFORM),
    ("POST", "/v1/gateways/{name}/test", PLATFORM),
    ("GET", "/v1/gateways/{name}/tests", SEES_GATEWAYS),
    ("GET", "/v1/gateways/{name}/tests/{id}", SEES_GATEWAYS),
    ("GET", "/v1/audit", AUDITOR),
];

fn call(desk: &Desk, operation: &Operation) -> reqwest::RequestBuilder {
    let path =
        operation.path.replace("{id}", ABSENT).replace("{code}", "NERGENS").replace("{name}", "nergens");
    let request = desk.request(&operation.method, &path);
    if ["POST", "PUT", "PATCH"].contains(&operation.method.as_str()) {
        request.json(&json!({}))
    } else {
        request
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn every_call_is_for_the_roles_of_the_contract(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let room = ControlRoom::open(engine).await;
    let described: BTreeSet<_> =
        operations().into_iter().filter(|o| o.path.starts_with("/v1/")).map(|o| (o.method, o.path)).collect();
    let wanted = MATRIX.iter().map(|(method, path, _)| ((*method).to_owned(), (*path).to_owned())).collect();
    assert_eq!(described, wanted, "the calls of the contract, all of them, and no others");
    for operation in operations().iter().filter(|o| o.path.starts_with("/v1/")) {
        let (.., roles) =
            MATRIX.iter().find(|(m, p, _)| *m == operation.method && *p == operation.path).unwrap();
        for role in Role::ALL {
            let desk = room.desk(role);
            let status = desk.send(call(&desk, operation)).await.status;
            let refused = status == 403;
            assert_eq!(
                refused,
                !roles.contains(&role.as_str()),
                "{} {} as {role}: {status}",
                operation.method,
                operation.path
            );
            assert!(status < 500);
        }
    }
    room.close().await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn without_a_key_that_works_there_is_nothing(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let room = ControlRoom::open(engine).await;
    let admin = room.admin();
    let made = admin.post("/v1/keys", &json!({"role": "admin", "name": "loket"})).await.ok(201);
    let revoked = made["key"].as_str().unwrap().to_owned();
    let works = room.stranger(Some(&revoked)).get("/v1/groups").await;
    works.ok(200);
    let listed = admin.get("/v1/keys").await;
    assert!(!listed.text().contains(revoked.rsplit_once('_').unwrap().1), "the secret is shown once");
    admin.delete(&format!("/v1/keys/{}", made["id"].as_str().unwrap())).await.ok(204);
    let expired = room.token(Role::Operator, Some(room.clock.now().minus(Duration::from_secs(1)))).await;
    let unknown = format!("klr_{}_{}", "0".repeat(32), "0".repeat(64));
    let valid = room.token(Role::Operator, None).await;
    let forged = format!("{}0", &valid[..valid.len() - 1]);
    let forged = if forged == valid { format!("{}1", &valid[..valid.len() - 1]) } else { forged };
    let long = "x".repeat(5_000);
    for token in [None, Some("x"), Some(&revoked), Some(&expired), Some(&unknown), Some(&forged), Some(&long)]
    {
        let stranger = room.stranger(token);
        for operation in operations().iter().filter(|o| o.path.starts_with("/v1/")) {
            let answer = stranger.send(call(&stranger, operation)).await;
            assert_eq!(answer.status, 401, "{} {} with {token:?}", operation.method, operation.path);
            assert!(answer.header("www-authenticate").starts_with("Bearer"));
        }
    }
    let nobody = room.stranger(None);
    let in_words = nobody.request("GET", "/v1/incidents").header("Authorization", format!("Basic {valid}"));
    nobody.send(in_words).await.ok(401);
    let in_query = nobody.get(&format!("/v1/incidents?access_token={valid}")).await;
    in_query.ok(401);
    room.close().await;
}

/// The belongings of an organisation: the paths to all of it.
async fn belongings(room: &ControlRoom) -> Vec<(Role, &'static str, String, Value)> {
    let (admin, operator) = (room.admin(), room.operator());
    let person = json!({
        "kind": "resident", "phone": "0611000001",
        "places": [{"label": "thuis", "location": {"latitude": 52.0907, "longitude": 5.1214}}],
        "consent": {"given_at": "2026-01-31T10:00:00+01:00", "method": "web"},
    });
    let participant = admin.post("/v1/participants", &person).await.header("location").to_owned();
    let number = json!({"phone": "0611000009"});
    let opt_out = operator.post("/v1/opt_outs", &number).await.header("location").to_owned();
    let area = json!({"type": "Feature", "properties": {"name": "Oost"}, "geometry": rectangle(5.1, 52.0, 5.2, 52.1)});
    admin.put("/v1/areas/BU1", &area).await.ok(201);
    let key = admin
        .post("/v1/keys", &json!({"role": "operator", "name": "balie"}))
        .await
        .header("location")
        .to_owned();
    let taken = operator.post("/v1/incidents", &incident(&circle(500.0))).await.ok(201);
    let incident = format!("/v1/incidents/{}", taken["id"].as_str().unwrap());
    let id = taken["alerts"][0]["id"].as_str().unwrap().to_owned();
    room.until(&id, |a| a["messages"][0]["counts"]["delivered"] == 1).await;
    room.smsc.send_inbound("31611000001", crate::service::SENDER, "Gezien!").await.unwrap();
    let replies = operator.get(&format!("/v1/alerts/{id}/replies")).await.ok(200);
    let reply = format!("/v1/replies/{}", replies["items"][0]["id"].as_str().unwrap());
    let alert = |rest: &str| format!("/v1/alerts/{id}{rest}");
    let text = json!({"text": "Voorbij."});
    let end = json!({"text": "Voorbij.", "outcome": "other"});
    let wider = json!({"area": circle(900.0)["area"]});
    vec![
        (Role::Operator, "GET", incident.clone(), Value::Null),
        (Role::Operator, "POST", format!("{incident}/alerts"), circle(500.0)),
        (Role::Operator, "GET", alert(""), Value::Null),
        (Role::Operator, "POST", alert("/update"), text.clone()),
        (Role::Operator, "POST", alert("/retract"), text),
        (Role::Operator, "POST", alert("/end"), end),
        (Role::Operator, "POST", alert("/extend"), wider),
        (Role::Operator, "POST", alert("/cancel"), json!({})),
        (Role::Operator, "GET", alert("/deliveries"), Value::Null),
        (Role::Operator, "GET", alert("/replies"), Value::Null),
        (Role::Operator, "GET", alert("/events"), Value::Null),
        (Role::Operator, "PATCH", reply, json!({"state": "read"})),
        (Role::Operator, "GET", opt_out.clone(), Value::Null),
        (Role::Operator, "DELETE", opt_out, json!({"reason": "x"})),
        (Role::Admin, "GET", participant.clone(), Value::Null),
        (Role::Admin, "PATCH", participant.clone(), json!({"name": "x"})),
        (Role::Admin, "DELETE", participant, Value::Null),
        (Role::Admin, "GET", "/v1/areas/BU1".to_owned(), Value::Null),
        (Role::Admin, "DELETE", key, Value::Null),
    ]
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_is_another_organisations_is_not_there(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let room = ControlRoom::open(engine).await;
    let belongings = belongings(&room).await;
    // Gateways are the installation's, and alike for all.
    let owned = |o: &&Operation| o.path.contains('{') && !o.path.contains("{name}") && o.method != "PUT";
    let with_id = operations().iter().filter(owned).count();
    assert_eq!(belongings.len(), with_id, "every call with an id");
    let other = room.other_organisation().await;
    for (role, method, path, body) in belongings {
        let absent = |part| match part {
            "BU1" => "BU2",
            id if id.len() == ABSENT.len() => ABSENT,
            name => name,
        };
        let absent = path.split('/').map(absent).collect::<Vec<_>>().join("/");
        let mut answers = Vec::new();
        for path in [&path, &absent] {
            let request = other(role).request(method, path);
            let request = if body.is_null() { request } else { request.json(&body) };
            let answer = other(role).send(request).await;
            assert_eq!(answer.status, 404, "{method} {path}: {}", answer.text());
            answers.push(answer.text().to_owned());
        }
        assert_eq!(answers[0], answers[1], "{method} {path}: absent and another's are told apart");
    }
    for (role, path) in [
        (Role::Operator, "/v1/incidents"),
        (Role::Operator, "/v1/alerts"),
        (Role::Operator, "/v1/replies"),
        (Role::Operator, "/v1/opt_outs"),
        (Role::Admin, "/v1/participants"),
        (Role::Admin, "/v1/participants?phone=0611000001"),
        (Role::Admin, "/v1/groups"),
        (Role::Admin, "/v1/areas"),
    ] {
        assert_eq!(other(role).get(path).await.ok(200)["items"], json!([]), "{path}");
    }
    let by_code = json!({"area": {"areas": ["BU1"]}, "text": "Let op"});
    assert_eq!(
        other(Role::Operator).post("/v1/alerts/preview", &by_code).await.refused(422),
        ["/area/areas/0"]
    );
    let nobody = other(Role::Operator).post("/v1/alerts/preview", &circle(5_000.0)).await.ok(200);
    assert_eq!(nobody["recipients"], 0);
    room.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_key_that_asks_too_often_waits_and_the_others_do_not() {
    let setup = Setup { requests_per_second: 1, burst: 5, ..Setup::default() };
    let room = ControlRoom::open_with(Engine::Sqlite, setup).await;
    let hasty = room.operator();
    let mut statuses = Vec::new();
    for _ in 0..30 {
        let answer = hasty.get("/v1/incidents").await;
        if answer.status == 429 {
            assert!(answer.header("retry-after").parse::<u32>().unwrap() >= 1);
        }
        statuses.push(answer.status);
    }
    assert_eq!(statuses[..5], [200; 5]);
    assert!(statuses[5..].iter().filter(|s| **s == 429).count() > 10, "{statuses:?}");
    room.desk(Role::Approver).get("/v1/incidents").await.ok(200);
    room.stranger(None).get("/livez").await.ok(200);
    room.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_and_methods_that_are_not_there() {
    let room = ControlRoom::open(Engine::Sqlite).await;
    for path in [
        "/",
        "/v1",
        "/v1/else",
        "/v2/incidents",
        "/v1/incidents/",
        "/v1//incidents",
        "/admin",
        "/v1/alerts/x/y/z",
    ] {
        for desk in [room.operator(), room.stranger(None)] {
            desk.get(path).await.ok(404);
        }
    }
    for bad_id in
        ["x", "1", "01890000-0000-7000-8000-00000000000g", "%00", "..%2f..%2fetc%2fpasswd", "'%20OR%201=1"]
    {
        room.operator().get(&format!("/v1/alerts/{bad_id}")).await.ok(404);
    }
    for (method, path) in [
        ("DELETE", "/v1/incidents"),
        ("PUT", "/v1/alerts/preview"),
        ("PATCH", "/v1/keys"),
        ("POST", "/livez"),
        ("TRACE", "/v1/audit"),
    ] {
        let answer = room.operator().send(room.operator().request(method, path)).await;
        answer.ok(405);
        assert!(
            !answer.header("allow").contains(method) && !answer.header("allow").is_empty(),
            "{method} {path}"
        );
    }
    room.close().await;
}
