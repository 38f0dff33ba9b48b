//! Participants, groups and areas.

use axum::body::Body;
use axum::http::{Method, StatusCode, header};
use klaroen_domain::participant::{Language, ParticipantKind};
use klaroen_domain::phone::{Country, PhoneNumber};
use klaroen_domain::point::Point;
use klaroen_domain::role::Role::{Admin, Auditor, Operator};
use klaroen_store::Actor;
use klaroen_store::participants::{Consent, ParticipantDraft, Place};
use serde_json::{Value, json};

use crate::tests::fixture::{Fixture, NOW, alert};

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

/// An import leaves a participant who moves like this until it has read its whole file.
#[tokio::test]
async fn whoever_has_more_places_than_may_be_sent_can_be_changed_and_keeps_them() {
    let fixture = Fixture::new().await;
    let place = |n: u32| Place {
        label: format!("{n}"),
        location: Point::wgs84(52.0 + f64::from(n) / 100.0, 5.12).unwrap(),
        hours: None,
    };
    let draft = ParticipantDraft {
        kind: ParticipantKind::Resident,
        name: None,
        phone: PhoneNumber::parse("0612345678", Country::NL).unwrap(),
        language: Language::Nl,
        places: (0..8).map(place).collect(),
        groups: vec![],
        external_id: None,
        paused_until: None,
        consent: Consent { given_at: NOW, method: "form".into() },
    };
    let created =
        fixture.store.create_participant(fixture.organisation, &draft, Actor::System, NOW).await.unwrap();
    let path = format!("/v1/participants/{}", created.unwrap().id);
    let changed = fixture.call(Admin, Method::PATCH, &path, &json!({"name": "A"})).await;
    assert_eq!(changed.status, StatusCode::OK, "{}", changed.text);
    let labels: Vec<String> = (0..8).map(|n| n.to_string()).collect();
    let kept = changed.json()["places"].as_array().unwrap().clone();
    assert_eq!(kept.iter().map(|place| place["label"].as_str().unwrap()).collect::<Vec<_>>(), labels);
    let all = json!({ "places": kept });
    assert_eq!(fixture.call(Admin, Method::PATCH, &path, &all).await.pointers(422), ["/places"]);
    let none = json!({ "places": null });
    assert_eq!(fixture.call(Admin, Method::PATCH, &path, &none).await.pointers(422), ["/places"]);
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
    let answer = fixture.import("", "kind,achternaam,latitude\nresident,0612345678,52.09\n").await;
    assert_eq!(
        answer.pointers(422),
        ["/achternaam", "/phone", "/consent_at", "/consent_method", "/longitude"]
    );
    assert_eq!(fixture.import("", "").await.pointers(422), ["/header"]);
    assert_eq!(fixture.import("?dryrun=true", HEADER).await.pointers(422), ["/dryrun"]);
    let only_header = fixture.import("", HEADER).await.json();
    assert_eq!(only_header["rows"], 0);
}

#[tokio::test]
async fn a_file_that_breaks_off_is_told_with_what_was_done() {
    let fixture = Fixture::new().await;
    let row = "1;resident;0612345678;52,09;5,12;2026-01-31;form\r\n";
    let start = format!("external_id;kind;phone;latitude;longitude;consent_at;consent_method\r\n{row}");
    let wrong = row.replace("06", "06x").replace("1;res", "2;res");
    let chunks = [Ok(start), Ok(wrong), Err(std::io::Error::other("gone"))];
    let answer = fixture.import("", Body::from_stream(futures::stream::iter(chunks))).await;
    assert_eq!(answer.pointers(400), ["/phone"]);
    assert!(answer.text.contains("2 rows, 1 created, 0 updated, 0 unchanged, 1 rejected"), "{}", answer.text);
    let log = fixture.get(Auditor, "/v1/audit").await.json();
    assert_eq!(log["items"][0]["detail"], json!({"rows": 2, "rejected": 1}));
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
        business,'=cmd|x;=1,+31612345678,=1,\"a, \"\"b\"\"\",52.0907,5.1214,Mo-Fr 08:00-18:00,en,2026-01-31,form\n\
        business,,+31612345678,=1,c,52.1,5.2,,en,2026-01-31,form\n";
    assert_eq!(fixture.import("", csv).await.json()["created"], 1);
    let export = fixture.get(Admin, "/v1/participants/export").await;
    assert_eq!(export.headers[header::CONTENT_TYPE], "text/csv; charset=utf-8");
    assert!(export.text.starts_with("\u{feff}kind,"), "a double click must keep Zoë: {}", export.text);
    assert!(export.text.contains("'=cmd|x;'=1") && export.text.contains("'=1"), "{}", export.text);
    assert!(export.text.contains(",+31612345678,"), "{}", export.text);
    let again = fixture.import("", export.text.clone()).await.json();
    assert_eq!((&again["unchanged"], &again["rejected"]), (&json!(1), &json!(0)), "{again}");
    let ndjson = fixture.request(Admin, &Method::GET, "/v1/participants/export");
    let ndjson = ndjson.header(header::ACCEPT, "application/x-ndjson").body(Body::empty()).unwrap();
    let ndjson = fixture.send(ndjson).await;
    let line: Value = serde_json::from_str(ndjson.text.trim_end()).unwrap();
    assert_eq!((&line["name"], &line["external_id"]), (&json!("=cmd|x;=1"), &json!("=1")));
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
    assert_eq!(put.json(), json!({"areas": 2, "created": 2, "updated": 0, "mended": []}));
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

/// A ring around Utrecht with this many corners.
fn ring(corners: u32) -> Value {
    let at = |i: u32| {
        let (y, x) = (f64::from(i % corners) * std::f64::consts::TAU / f64::from(corners)).sin_cos();
        json!([5.12 + x * 0.1, 52.09 + y * 0.1])
    };
    json!({"type": "Polygon", "coordinates": [(0..=corners).map(at).collect::<Vec<_>>()]})
}

#[tokio::test]
async fn areas_of_an_alert_have_a_limit_of_corners_together() {
    let fixture = Fixture::new().await;
    let area = |i: u32| klaroen_store::areas::Area {
        code: format!("WK{i}"),
        name: "Oost".into(),
        kind: "wijk".into(),
        geometry: ring(10_000).to_string(),
        updated_at: NOW,
    };
    let areas: Vec<_> = (0..11).map(area).collect();
    fixture.store.put_areas(fixture.organisation, &areas, klaroen_store::Actor::System, NOW).await.unwrap();
    let codes: Vec<_> = areas.iter().map(|area| area.code.as_str()).collect();
    let asked = |codes: &[&str]| {
        let mut asked = alert();
        asked["area"] = json!({"areas": codes});
        asked
    };
    let refused = fixture.post(Operator, "/v1/alerts/preview", &asked(&codes)).await;
    assert_eq!(refused.pointers(422), ["/area/areas"]);
    assert!(refused.text.contains("100000 corners"), "{}", refused.text);
    let unknown = fixture.post(Operator, "/v1/alerts/preview", &asked(&["WK0", "WK99"])).await;
    assert_eq!(unknown.pointers(422), ["/area/areas/1"]);
    let none = fixture.post(Operator, "/v1/alerts/preview", &asked(&["WK99"])).await;
    assert_eq!(none.pointers(422), ["/area/areas/0"]);
    let taken = fixture.post(Operator, "/v1/alerts/preview", &asked(&codes[..1])).await;
    assert_eq!(taken.status, StatusCode::OK, "{}", taken.text);
}
