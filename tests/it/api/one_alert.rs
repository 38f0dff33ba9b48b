//! The whole life of an alert as a control room sees it, from the registry to the end message.

use klaroen_test_databases::Engine;
use rstest::rstest;
use std::collections::BTreeSet;

use klaroen_domain::role::Role;
use klaroen_simulator::Faults;
use serde_json::{Value, json};

use crate::control_room::{ControlRoom, Setup, circle, incident, rectangle};
use crate::service::SENDER;

/// It is a Wednesday, 12:00. Inside the neighbourhood: longitude 5.11 to 5.13, latitude 52.085 to 52.095.
const REGISTRY: &str = "\
external_id,kind,name,phone,label,latitude,longitude,groups,hours,consent_at,consent_method
home-inside,resident,,0611000001,thuis,52.0900,5.1200,,,2026-01-31,web
works-inside,resident,,0611000002,thuis,52.1200,5.2000,,,2026-01-31,web
weekend-only,resident,,0611000003,thuis,52.0905,5.1205,,Sa-Su 00:00-24:00,2026-01-31,web
two-inside,resident,,0611000004,thuis,52.0910,5.1210,,,2026-01-31,web
works-inside,resident,,0611000002,werk,52.0915,5.1215,,Mo-Fr 08:00-18:00,2026-01-31,web
shop-inside,business,Winkel,0611000005,winkel,52.0920,5.1220,winkeliers;kvo-oost,,2026-01-31,brief
two-inside,resident,,0611000004,werk,52.0911,5.1211,,,2026-01-31,web
next-door,resident,,0611000006,thuis,52.0900,5.1400,,,2026-01-31,web
paused,resident,,0611000007,thuis,52.0901,5.1201,,,2026-01-31,web
same-phone,business,,0611000001,winkel,52.0902,5.1202,winkeliers,,2026-01-31,web
far-away,resident,,0611000008,thuis,53.2000,6.5600,,,2026-01-31,web
stopped,resident,,0611000009,thuis,52.0903,5.1203,,,2026-01-31,web
";

/// The numbers of the registry that rang, by their last digit.
fn rang(room: &ControlRoom, text: &str) -> BTreeSet<u32> {
    let counts = room.smsc.ring_counts();
    let rings = |number: &str| room.smsc.rings_of(number).iter().filter(|r| &*r.text == text).count();
    let with_text = counts.keys().filter_map(|number| match rings(number) {
        0 => None,
        1 => Some(number.strip_prefix("3161100000").unwrap().parse().unwrap()),
        many => panic!("{many} times {text}"),
    });
    with_text.collect()
}

async fn registry(room: &ControlRoom) {
    let admin = room.admin();
    for code in ["winkeliers", "kvo-oost"] {
        let group = admin.post("/v1/groups", &json!({"code": code, "name": code})).await;
        assert_eq!(group.header("location"), "/v1/groups");
        assert_eq!(group.ok(201)["participants"], 0);
    }
    let report = admin.import("", REGISTRY).await.ok(200);
    assert_eq!(
        report,
        json!({"rows": 12, "created": 10, "updated": 0, "unchanged": 0, "rejected": 0, "errors": []})
    );
    let again = admin.import("", REGISTRY).await.ok(200);
    assert_eq!(
        (&again["unchanged"], &again["created"], &again["updated"]),
        (&json!(10), &json!(0), &json!(0))
    );
    let found = admin.get("/v1/participants?phone=%2B31611000007").await.ok(200);
    let path = format!("/v1/participants/{}", found["items"][0]["id"].as_str().unwrap());
    let until = "2026-11-26T12:00:00+01:00";
    let paused = admin.patch(&path, &json!({"paused_until": until})).await.ok(200);
    assert_eq!(paused["external_id"], "paused");
    assert_eq!(room.smsc.send_inbound("31611000009", SENDER, "STOP").await.unwrap(), 0);
    let stopped = admin.get("/v1/participants?phone=0611000009").await.ok(200);
    assert_eq!(stopped["items"][0]["opted_out"], true);
    let district = |name: &str, box_of: Value| json!({"type": "Feature", "properties": {"name": name, "kind": "neighbourhood"}, "geometry": box_of});
    let inner = district("Binnenstad", rectangle(5.11, 52.085, 5.13, 52.095));
    let put = admin.put("/v1/areas/BU03440011", &inner).await;
    assert_eq!(put.header("location"), "/v1/areas/BU03440011");
    put.ok(201);
    admin.put("/v1/areas/BU03440011", &inner).await.ok(200);
}

fn by_code() -> Value {
    json!({"area": {"areas": ["BU03440011"]}, "text": "Let op: man, rode jas."})
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_alert_from_the_report_to_its_end(#[values(Engine::Sqlite, Engine::Postgres)] engine: Engine) {
    let room = ControlRoom::open(engine).await;
    registry(&room).await;
    let operator = room.operator();
    let preview = operator.post("/v1/alerts/preview", &by_code()).await.ok(200);
    assert_eq!(preview["recipients"], 4);
    assert_eq!(preview["excluded"], json!({"off_hours": 1, "paused": 1, "frequency": 0}));
    assert_eq!(preview["text"], json!({"encoding": "gsm7", "segments": 1, "characters": 22, "replaced": []}));
    assert_eq!(preview["cost"], 0.28);
    assert_eq!(room.incidents().await, 0, "a preview writes nothing");

    let taken = operator.post("/v1/incidents", &incident(&by_code())).await;
    let location = taken.header("location").to_owned();
    let taken = taken.ok(201);
    assert_eq!(location, format!("/v1/incidents/{}", taken["id"].as_str().unwrap()));
    assert_eq!(taken["alerts"][0]["recipients"], preview["recipients"], "the preview is what happens");
    let alert = taken["alerts"][0]["id"].as_str().unwrap().to_owned();
    let view = room.until(&alert, |a| a["messages"][0]["counts"]["delivered"] == 4).await;
    assert_eq!(rang(&room, "Let op: man, rode jas."), BTreeSet::from([1, 2, 4, 5]));
    assert_eq!(
        (&view["state"], &view["priority"], &view["exercise"]),
        (&json!("active"), &json!("urgent"), &json!(false))
    );
    assert_eq!(view["area"], json!({"areas": ["BU03440011"]}));
    assert!(view["messages"][0]["first_sent_at"].is_string());
    let same = operator.get(&location).await.ok(200);
    assert_eq!(same["subject"], json!({"kind": "person", "text": "man, rode jas"}));

    let path = format!("/v1/alerts/{alert}");
    operator.post(&format!("{path}/update"), &json!({"text": "Nu op een fiets."})).await.ok(200);
    room.until(&alert, |a| a["messages"][1]["counts"]["delivered"] == 4).await;
    assert_eq!(rang(&room, "Nu op een fiets."), BTreeSet::from([1, 2, 4, 5]));

    // More people: the box reaches farther, and only who was not asked yet is. They get the update after their start.
    let wider = json!({"area": {"geometry": rectangle(5.10, 52.08, 5.15, 52.10)}});
    let extended = operator.post(&format!("{path}/extend"), &wider).await.ok(200);
    assert_eq!(extended["recipients"], 5);
    room.until(&alert, |a| {
        let messages = a["messages"].as_array().unwrap().iter();
        messages.map(|m| m["counts"]["delivered"].as_u64().unwrap()).sum::<u64>() == 10
    })
    .await;
    assert_eq!(rang(&room, "Let op: man, rode jas."), BTreeSet::from([1, 2, 4, 5, 6]));

    // One of those who were reached opts out before the end.
    assert_eq!(room.smsc.send_inbound("31611000002", SENDER, "stop").await.unwrap(), 0);
    let end = json!({"text": "Gevonden, dank u.", "outcome": "found"});
    let ended = operator.post(&format!("{path}/end"), &end).await.ok(200);
    assert_eq!((&ended["state"], &ended["outcome"]), (&json!("ended"), &json!("found")));
    room.until(&alert, |a| {
        let last = a["messages"].as_array().unwrap().last().unwrap();
        last["kind"] == "end" && last["counts"]["delivered"] == 4
    })
    .await;
    assert_eq!(rang(&room, "Gevonden, dank u."), BTreeSet::from([1, 4, 5, 6]));
    operator.post(&format!("{path}/update"), &json!({"text": "Te laat"})).await.ok(409);
    operator.post(&format!("{path}/end"), &end).await.ok(409);
    let ended = operator.get("/v1/alerts?state=ended").await.ok(200);
    assert_eq!(ended["items"].as_array().unwrap().len(), 1);
    let audit = room.desk(Role::Auditor).get("/v1/audit?limit=500").await.ok(200);
    let actions: Vec<_> =
        audit["items"].as_array().unwrap().iter().map(|e| e["action"].as_str().unwrap()).collect();
    for action in ["alert.started", "alert.extended", "alert.ended", "alert.updated"] {
        assert!(actions.contains(&action), "{action} is not in {actions:?}");
    }
    room.close().await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_audience_of_kinds_and_groups(#[values(Engine::Sqlite, Engine::Postgres)] engine: Engine) {
    let room = ControlRoom::open(engine).await;
    registry(&room).await;
    for (audience, recipients, businesses) in [
        (json!({"kinds": ["business"]}), 2, 2),
        (json!({"groups": ["kvo-oost"]}), 1, 1),
        (json!({"kinds": ["resident"], "groups": ["winkeliers"]}), 0, 0),
    ] {
        let mut alert = by_code();
        alert["audience"] = audience.clone();
        let preview = room.operator().post("/v1/alerts/preview", &alert).await.ok(200);
        assert_eq!(
            (&preview["recipients"], &preview["businesses"]),
            (&json!(recipients), &json!(businesses)),
            "{audience}"
        );
        let taken = room.operator().post("/v1/incidents", &incident(&alert)).await.ok(201);
        assert_eq!(taken["alerts"][0]["recipients"], recipients, "{audience}");
    }
    room.close().await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn replies_come_under_their_alert_and_the_stream_shows_them(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let room = ControlRoom::open(engine).await;
    registry(&room).await;
    let operator = room.operator();
    let taken = operator.post("/v1/incidents", &incident(&by_code())).await.ok(201);
    let alert = taken["alerts"][0]["id"].as_str().unwrap().to_owned();
    let mut events = operator.watch(&alert, None).await;
    let (_, counts) = events.until("counts", |data| data["messages"][0]["counts"]["delivered"] == 4).await;
    assert_eq!((&counts["state"], &counts["replies"]), (&json!("active"), &json!({"total": 0, "new": 0})));
    let text = "Hij rent door de Twijnstraat!";
    assert_eq!(room.smsc.send_inbound("31611000002", SENDER, text).await.unwrap(), 0);
    let (id, shown) = events.until("reply", |_| true).await;
    assert_eq!(
        (&shown["text"], &shown["state"], &shown["useful"]),
        (&json!(text), &json!("new"), &Value::Null)
    );
    let listed = operator.get(&format!("/v1/alerts/{alert}/replies")).await.ok(200);
    assert_eq!(listed["items"], json!([shown]));
    let phone = shown["phone"].as_str().unwrap();
    assert!(phone.starts_with("+316") && !phone.contains("11000002"), "masked: {phone}");

    let marked =
        operator.patch(&format!("/v1/replies/{id}"), &json!({"state": "read", "useful": true})).await.ok(200);
    assert_eq!((&marked["state"], &marked["useful"]), (&json!("read"), &json!(true)));
    let marked = operator.patch(&format!("/v1/replies/{id}"), &json!({"state": "handled"})).await.ok(200);
    assert_eq!(
        (&marked["state"], &marked["useful"]),
        (&json!("handled"), &json!(true)),
        "what is not named stays"
    );
    events.until("counts", |data| data["replies"] == json!({"total": 1, "new": 0})).await;

    // A client that comes back gets what was missed, and not what was seen.
    room.smsc.send_inbound("31611000004", SENDER, "Nu op het station").await.unwrap();
    let mut again = operator.watch(&alert, Some(&id)).await;
    let (_, next) = again.until("reply", |_| true).await;
    assert_eq!(next["text"], "Nu op het station");
    drop((events, again));
    room.close().await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn the_end_is_for_those_who_were_reached(#[values(Engine::Sqlite, Engine::Postgres)] engine: Engine) {
    let setup = Setup { faults: Faults { undelivered: 0.4, ..Faults::default() }, ..Setup::default() };
    let room = ControlRoom::open_with(engine, setup).await;
    room.enrol(40).await;
    let operator = room.operator();
    let taken = operator.post("/v1/incidents", &incident(&circle(500.0))).await.ok(201);
    let alert = taken["alerts"][0]["id"].as_str().unwrap().to_owned();
    let settled = |a: &Value, n: usize| {
        let counts = &a["messages"][n]["counts"];
        counts["delivered"].as_u64().unwrap_or(0) + counts["undelivered"].as_u64().unwrap_or(0)
    };
    let view = room.until(&alert, |a| settled(a, 0) == 40).await;
    let reached = view["messages"][0]["counts"]["delivered"].as_u64().unwrap();
    assert!((5..35).contains(&reached), "{reached}");
    let started: BTreeSet<String> = room.smsc.ring_counts().into_keys().collect();
    room.smsc.set_faults(Faults::default());
    let end = json!({"text": "Voorbij.", "outcome": "not_found"});
    operator.post(&format!("/v1/alerts/{alert}/end"), &end).await.ok(200);
    room.until(&alert, |a| settled(a, 1) == reached).await;
    let rings = room.smsc.ring_counts();
    assert_eq!(started, rings.keys().cloned().collect());
    assert!(rings.values().all(|rings| *rings == 2), "a start and an end each");
    room.close().await;
}
