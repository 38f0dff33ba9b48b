//! The calls as clients make them, against a real database.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, StatusCode, header};
use futures::StreamExt;
use klaroen_domain::decide::Decision;
use klaroen_domain::participant::Language;
use klaroen_domain::phone::PhoneNumber;
use klaroen_domain::role::Role::{Admin, Auditor, Operator};
use klaroen_domain::text::MessageText;
use klaroen_store::channels::ChannelName;
use klaroen_store::claims::ClaimRequest;
use klaroen_store::outcomes::Finished;
use klaroen_store::replies::{AutoReply, AutoReplyTexts, IncomingReply, ReplyStored};
use serde_json::{Value, json};

use crate::fixture::{Fixture, NOW, alert, incident};

#[tokio::test]
async fn an_incident_with_an_alert_is_taken_and_followed() {
    let fixture = Fixture::new().await;
    fixture.enrol(3).await;
    let taken = fixture.post(Operator, "/v1/incidents", &incident()).await;
    assert_eq!(taken.status, StatusCode::CREATED, "{}", taken.text);
    let made = taken.json();
    assert_eq!(taken.headers[header::LOCATION], format!("/v1/incidents/{}", made["id"].as_str().unwrap()));
    let alert = &made["alerts"][0];
    assert_eq!((&alert["state"], &alert["recipients"]), (&json!("active"), &json!(3)));
    assert_eq!(alert["messages"][0]["counts"]["queued"], 3);
    assert_eq!(alert["messages"][0]["counts"].as_object().unwrap().len(), 11);
    assert_eq!(alert["replies"], json!({"total": 0, "new": 0}));
    // The worker was told.
    tokio::time::timeout(Duration::from_secs(5), fixture.wake.notified()).await.unwrap();

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
    let request = ClaimRequest { channel: &name, limit: 10, lease_until: until, now: NOW };
    for claimed in fixture.store.claim(&request).await.unwrap().claimed {
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
    let phone = PhoneNumber::from_sealed("+31610000000".into());
    let reply = IncomingReply {
        gateway: "main".into(),
        dedupe_key: text.into(),
        from: "+31610000000".into(),
        phone: Some(phone),
        text: text.into(),
        keyword: None,
        received_at: NOW,
    };
    let stored = fixture.store.store_reply(&reply, &NoTexts).await.unwrap();
    assert!(matches!(stored, ReplyStored::ForAlert(_)), "{stored:?}");
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

#[tokio::test]
async fn participants_are_kept() {
    let fixture = Fixture::new().await;
    let group = json!({"code": "honden", "name": "Hondenuitlaters"});
    assert_eq!(fixture.post(Admin, "/v1/groups", &group).await.status, StatusCode::CREATED);
    assert_eq!(fixture.post(Admin, "/v1/groups", &group).await.pointers(409), ["/code"]);
    let mut body = json!({
        "kind": "business", "name": "Bakker", "phone": "06 12345678", "groups": ["honden"], "external_id": "b-1",
        "places": [{"label": "winkel", "location": {"rd_x": 136_500, "rd_y": 455_900}, "hours": "Mo-Sa 08:00-18:00"}],
        "consent": {"given_at": "2026-01-31T10:00:00+01:00", "method": "form"},
    });
    let made = fixture.post(Admin, "/v1/participants", &body).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let location = made.headers[header::LOCATION].to_str().unwrap().to_owned();
    assert_eq!(made.json()["phone"], "+31612345678");
    assert_eq!(fixture.get(Admin, &location).await.json(), made.json());
    for query in ["%2B31612345678", "+31612345678", "0612345678"] {
        let found = fixture.get(Admin, &format!("/v1/participants?phone={query}")).await.json();
        assert_eq!(found["items"].as_array().unwrap().len(), 1, "{query}");
    }
    assert_eq!(fixture.get(Admin, "/v1/participants?phone=112").await.pointers(422), ["/phone"]);
    body["phone"] = json!("0687654321");
    assert_eq!(fixture.post(Admin, "/v1/participants", &body).await.pointers(409), ["/external_id"]);
    let patch = json!({"name": null, "paused_until": "2026-12-24T00:00:00+01:00"});
    let changed = fixture.call(Admin, Method::PATCH, &location, &patch).await.json();
    assert_eq!(
        (&changed["name"], &changed["paused_until"]),
        (&Value::Null, &json!("2026-12-23T23:00:00.000Z"))
    );
    let wrong = json!({"groups": ["honden", "katten"], "places": []});
    assert_eq!(fixture.call(Admin, Method::PATCH, &location, &wrong).await.pointers(422), ["/places"]);
    let unknown = json!({"groups": ["katten"]});
    assert_eq!(fixture.call(Admin, Method::PATCH, &location, &unknown).await.pointers(422), ["/groups/0"]);
    assert_eq!(
        fixture.call(Admin, Method::DELETE, &location, &Value::Null).await.status,
        StatusCode::NO_CONTENT
    );
    assert_eq!(fixture.get(Admin, &location).await.status, StatusCode::NOT_FOUND);
}

const HEADER: &str =
    "external_id;kind;name;phone;label;latitude;longitude;groups;hours;consent_at;consent_method\r\n";

#[tokio::test]
async fn good_rows_of_a_file_land_and_bad_ones_are_named() {
    let fixture = Fixture::new().await;
    let csv = format!(
        "{HEADER}\
         1;resident;Zo\u{eb};0612345678;thuis;52,09;5,12;;;2026-01-31;form\r\n\
         2;resident;;0301234567;thuis;52,09;5,12;;;2026-01-31;form\r\n\
         3;resident;;0612345679;thuis;5,12;52,09;;;2026-01-31;form\r\n\
         1;resident;;0612345678;werk;52,08;5,13;;Mo-Fr 09:00-17:00;2026-01-31;form\r\n\
         4;resident;;0612345670;thuis;52,09;5,12;honden;;2026-01-31;form\r\n\
         5;business\r\n"
    );
    let latin1: Vec<u8> = csv.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
    let expected_rows = [(3, "phone"), (4, "latitude"), (6, "groups"), (7, "")];
    for (query, created) in [("?dry_run=true", 1), ("", 1), ("?dry_run=true", 0)] {
        let report = fixture.import(query, latin1.clone()).await.json();
        let counts = ["rows", "created", "unchanged", "rejected"].map(|n| report[n].as_u64().unwrap());
        assert_eq!(counts, [6, created, 1 - created, 4], "{query}: {report}");
        let mut rows: Vec<(u64, String)> = report["errors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|e| (e["row"].as_u64().unwrap(), e["column"].as_str().unwrap().to_owned()))
            .collect();
        rows.sort();
        assert_eq!(rows, expected_rows.map(|(row, column)| (row, column.to_owned())), "{report}");
    }
    let all = fixture.get(Admin, "/v1/participants").await.json();
    assert_eq!(all["items"].as_array().unwrap().len(), 1);
    assert_eq!(all["items"][0]["name"], "Zoë");
    let labels: Vec<&str> =
        all["items"][0]["places"].as_array().unwrap().iter().map(|p| p["label"].as_str().unwrap()).collect();
    assert_eq!(labels, ["thuis", "werk"]);
}

#[tokio::test]
async fn a_wrong_header_imports_nothing() {
    let fixture = Fixture::new().await;
    let answer = fixture.import("", "kind,telefoon,latitude\nresident,0612345678,52.09\n").await;
    assert_eq!(answer.pointers(422), ["/telefoon", "/phone", "/consent_at", "/consent_method", "/longitude"]);
    assert_eq!(fixture.import("", "").await.pointers(422), ["/header"]);
    assert_eq!(fixture.import("?dryrun=true", HEADER).await.pointers(422), ["/dryrun"]);
    let only_header = fixture.import("", HEADER).await.json();
    assert_eq!(only_header["rows"], 0);
}

/// More participants than one transaction writes, every one with two places, in the worst order.
#[tokio::test]
async fn a_shuffled_file_gives_everybody_all_their_places() {
    let fixture = Fixture::new().await;
    let header = "external_id,kind,phone,label,latitude,longitude,consent_at,consent_method\n".to_owned();
    let row = |label: &str, i: u32| {
        format!("{i},resident,+316{:08},{label},52.09,5.12,2026-01-31,form\n", 10_000_000 + i)
    };
    let rows = ["home", "work"].into_iter().flat_map(|label| (0..1_500).map(move |i| row(label, i)));
    let csv = std::iter::once(header).chain(rows).collect::<String>();
    let report = fixture.import("", csv).await.json();
    assert_eq!(
        (&report["rows"], &report["created"], &report["rejected"]),
        (&json!(3000), &json!(1500), &json!(0))
    );
    let mut path = "/v1/participants?limit=500".to_owned();
    let mut seen = 0;
    loop {
        let page = fixture.get(Admin, &path).await.json();
        for participant in page["items"].as_array().unwrap() {
            assert_eq!(participant["places"].as_array().unwrap().len(), 2, "{participant}");
            seen += 1;
        }
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/v1/participants?limit=500&cursor={cursor}");
    }
    assert_eq!(seen, 1_500);
}

#[tokio::test]
async fn an_export_is_safe_to_open_and_can_be_imported_again() {
    let fixture = Fixture::new().await;
    let csv = "\u{feff}kind,name,phone,external_id,label,latitude,longitude,hours,language,consent_at,consent_method\n\
        business,'=cmd|x,+31612345678,=1,\"a, \"\"b\"\"\",52.0907,5.1214,Mo-Fr 08:00-18:00,en,2026-01-31,form\n\
        business,,+31612345678,=1,c,52.1,5.2,,en,2026-01-31,form\n";
    assert_eq!(fixture.import("", csv).await.json()["created"], 1);
    let export = fixture.get(Admin, "/v1/participants/export").await;
    assert_eq!(export.headers[header::CONTENT_TYPE], "text/csv; charset=utf-8");
    assert!(export.text.contains("'=cmd|x") && export.text.contains("'=1"), "{}", export.text);
    assert!(export.text.contains(",+31612345678,"), "{}", export.text);
    let again = fixture.import("", export.text.clone()).await.json();
    assert_eq!((&again["unchanged"], &again["rejected"]), (&json!(1), &json!(0)), "{again}");
    let ndjson = fixture.request(Admin, &Method::GET, "/v1/participants/export");
    let ndjson = ndjson.header(header::ACCEPT, "application/x-ndjson").body(Body::empty()).unwrap();
    let ndjson = fixture.send(ndjson).await;
    let line: Value = serde_json::from_str(ndjson.text.trim_end()).unwrap();
    assert_eq!((&line["name"], &line["external_id"]), (&json!("=cmd|x"), &json!("=1")));
    let log = fixture.get(Auditor, "/v1/audit").await.json();
    assert!(
        log["items"].as_array().unwrap().iter().any(|e| e["action"].as_str().unwrap().contains("export"))
    );
}

#[tokio::test]
async fn areas_are_put_all_or_none_and_used_by_alerts() {
    let fixture = Fixture::new().await;
    fixture.enrol(2).await;
    let shape = json!({"type": "Polygon", "coordinates": [[[5.1, 52.0], [5.2, 52.0], [5.2, 52.1], [5.1, 52.1], [5.1, 52.0]]]});
    let feature = |code: &str| json!({"type": "Feature", "properties": {"code": code, "name": "Oost"}, "geometry": shape});
    let mut collection = json!({"type": "FeatureCollection", "features": [feature("BU1"), feature("BU2")]});
    collection["features"][1]["geometry"]["type"] = json!("Point");
    let pointers = fixture.call(Admin, Method::PUT, "/v1/areas", &collection).await.pointers(422);
    assert_eq!(pointers, ["/features/1/geometry/type"]);
    assert_eq!(fixture.get(Admin, "/v1/areas").await.json()["items"], json!([]));
    collection["features"][1] = feature("BU2");
    let put = fixture.call(Admin, Method::PUT, "/v1/areas", &collection).await;
    assert_eq!(put.json(), json!({"areas": 2, "created": 2, "updated": 0}));
    let one = fixture.call(Admin, Method::PUT, "/v1/areas/BU1", &feature("BU1")).await;
    assert_eq!(one.status, StatusCode::OK);
    let new = fixture.call(Admin, Method::PUT, "/v1/areas/BU3", &feature("BU3")).await;
    assert_eq!(
        (new.status, new.headers[header::LOCATION].as_bytes()),
        (StatusCode::CREATED, &b"/v1/areas/BU3"[..])
    );
    assert_eq!(fixture.get(Admin, "/v1/areas/BU3").await.json()["geometry"], shape);
    assert_eq!(fixture.get(Admin, "/v1/areas/BU9").await.status, StatusCode::NOT_FOUND);
    let mut asked = alert();
    asked["area"] = json!({"areas": ["BU1", "BU2"]});
    assert_eq!(fixture.post(Operator, "/v1/alerts/preview", &asked).await.json()["recipients"], 2);
}

#[tokio::test]
async fn keys_are_shown_once_and_expire() {
    let fixture = Fixture::new().await;
    let wrong = json!({"role": "boss", "name": "", "expires_at": "2026-11-23T15:59:59Z"});
    let pointers = fixture.post(Admin, "/v1/keys", &wrong).await.pointers(422);
    assert_eq!(pointers, ["/expires_at", "/name", "/role"]);
    let body = json!({"role": "operator", "name": "desk", "expires_at": "2026-11-23T17:00:00Z"});
    let made = fixture.post(Admin, "/v1/keys", &body).await;
    let token = made.json()["key"].as_str().unwrap().to_owned();
    let ask = || {
        let request = axum::http::Request::get("/v1/incidents");
        let request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        fixture.send(request.body(Body::empty()).unwrap())
    };
    assert_eq!(ask().await.status, StatusCode::OK);
    assert!(!fixture.get(Admin, "/v1/keys").await.text.contains(&token));
    fixture.clock.advance(Duration::from_hours(1));
    let answer = ask().await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert!(answer.json()["detail"].as_str().unwrap().contains("expired"));
}

#[tokio::test]
async fn lists_refuse_what_they_do_not_know() {
    let fixture = Fixture::new().await;
    for (path, pointer) in [
        ("/v1/incidents?limit=0", "/limit"),
        ("/v1/alerts?limit=501", "/limit"),
        ("/v1/alerts?state=running", "/state"),
        ("/v1/alerts?stat=active", "/stat"),
        ("/v1/alerts?cursor=rubbish", "/cursor"),
    ] {
        assert_eq!(fixture.get(Operator, path).await.pointers(422), [pointer], "{path}");
    }
}

#[tokio::test]
async fn a_key_that_asks_too_often_is_told_to_wait() {
    let fixture = Fixture::new().await;
    let mut limited = None;
    for _ in 0..2_000 {
        let answer = fixture.get(Operator, "/v1/nothing/such").await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND);
        let answer = fixture.get(Operator, "/v1/incidents/x").await;
        if answer.status == StatusCode::TOO_MANY_REQUESTS {
            limited = Some(answer);
            break;
        }
    }
    let limited = limited.expect("the burst is 1,000 requests");
    assert_eq!(limited.headers[header::RETRY_AFTER], "1");
    assert_eq!(fixture.get(Admin, "/v1/groups").await.status, StatusCode::OK);
    assert_eq!(fixture.store.broken_sums().await.unwrap(), 0);
    assert!(
        fixture
            .store
            .organisation_by_code("utrecht")
            .await
            .unwrap()
            .is_some_and(|o| o.id == fixture.organisation)
    );
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
