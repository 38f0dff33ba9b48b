//! Files as they come: good rows land, bad ones are named, and a file that is none writes nothing.

use klaroen_test_databases::Engine;
use rstest::rstest;
use serde_json::{Value, json};

use crate::control_room::ControlRoom;

const HEADER: &str = "kind,name,phone,latitude,longitude,consent_at,consent_method";

async fn everybody(room: &ControlRoom) -> Vec<Value> {
    let page = room.admin().get("/v1/participants?limit=500").await.ok(200);
    page["items"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_header_is_refused_whole() {
    let room = ControlRoom::open(Engine::Sqlite).await;
    let row = "resident,,0611000001,52.09,5.12,2026-01-31,web";
    for (header, wanted) in [
        ("kind,achternaam,phone,latitude,longitude,consent_at,consent_method", vec!["/achternaam"]),
        ("kind,name,latitude,longitude,consent_at", vec!["/phone", "/consent_method"]),
        ("kind,kind,phone,latitude,longitude,consent_at,consent_method", vec!["/kind"]),
        ("kind,name,phone,latitude,rd_x,consent_at,consent_method", vec!["/longitude"]),
        ("", vec!["/header"]),
    ] {
        let csv = if header.is_empty() { String::new() } else { format!("{header}\n{row}\n") };
        assert_eq!(room.admin().import("", csv).await.refused(422), wanted, "{header}");
    }
    let request = room.admin().request("POST", "/v1/participants/imports");
    room.admin()
        .send(request.header("Content-Type", "application/json").body(format!("{HEADER}\n{row}\n")))
        .await
        .ok(415);
    assert_eq!(room.admin().import("?dry_run=maybe&x=1", HEADER).await.refused(422), ["/dry_run", "/x"]);
    assert!(everybody(&room).await.is_empty());
    room.close().await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn good_rows_land_and_each_wrong_cell_is_named(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let room = ControlRoom::open(engine).await;
    let csv = format!(
        "{HEADER}\n\
         resident,,0611000001,52.09,5.12,2026-01-31,web\n\
         resident,,0900-8844,52.09,5.12,2026-01-31,web\n\
         resident,,030-2345678,52.09,5.12,2026-01-31,web\n\
         resident,,0611000002,5.12,52.09,2026-01-31,web\n\
         resident,,0611000003,NaN,5.12,2026-01-31,web\n\
         dog,,0611000004,52.09,5.12,2026-01-31,\n\
         resident,,0611000005,52.09,5.12\n\
         \n\
         business,\"Winkel, oost\",0611000006,52.09,5.12,2026-01-31,web\n\
         resident,{},0611000007,52.09,5.12,2031-01-31,web\n",
        "x".repeat(201)
    );
    let report = room.admin().import("", csv).await.ok(200);
    assert_eq!((&report["rows"], &report["created"], &report["rejected"]), (&json!(9), &json!(2), &json!(7)));
    let errors = report["errors"].as_array().unwrap();
    let named: Vec<_> =
        errors.iter().map(|e| (e["row"].as_u64().unwrap(), e["column"].as_str().unwrap())).collect();
    assert_eq!(
        named,
        [
            (3, "phone"),
            (4, "phone"),
            (5, "latitude"),
            (6, "latitude"),
            (7, "kind"),
            (7, "consent_method"),
            (8, ""),
            (11, "name"),
            (11, "consent_at"),
        ]
    );
    assert_eq!(
        (&errors[0]["value"], &errors[3]["value"], &errors[4]["value"]),
        (&json!("0900-8844"), &json!("NaN"), &json!("dog"))
    );
    assert!(errors.iter().all(|e| e["reason"].as_str().unwrap().len() > 5));
    let there = everybody(&room).await;
    let landed: Vec<_> = there.iter().map(|p| (&p["phone"], &p["name"])).collect();
    assert_eq!(
        landed,
        [(&json!("+31611000001"), &Value::Null), (&json!("+31611000006"), &json!("Winkel, oost"))]
    );
    room.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sixth_place_is_refused_and_five_stand() {
    let room = ControlRoom::open(Engine::Sqlite).await;
    let header = "kind,phone,label,latitude,longitude,consent_at,consent_method".to_owned();
    let row = |n| format!("resident,0611000001,plek {n},52.09,5.1{n},2026-01-31,web");
    let csv: Vec<_> = [header].into_iter().chain((1..=6).map(row)).collect();
    let report = room.admin().import("", csv.join("\n")).await.ok(200);
    assert_eq!((&report["rows"], &report["created"], &report["rejected"]), (&json!(6), &json!(1), &json!(1)));
    assert_eq!(report["errors"][0]["row"], 7);
    assert_eq!(everybody(&room).await[0]["places"].as_array().unwrap().len(), 5);
    room.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_spreadsheets_are_read_as_they_are() {
    let room = ControlRoom::open(Engine::Sqlite).await;
    let text = "kind;name;phone;latitude;longitude;consent_at;consent_method\r\n\
                resident;Zoë;0611000001;52,09;5,12;2026-01-31;web\r\n";
    let latin_1: Vec<u8> = text.chars().map(|c| u8::try_from(c).unwrap()).collect();
    let with_mark = [b"\xef\xbb\xbf", text.as_bytes()].concat();
    let utf_16: Vec<u8> =
        [0xfeff].into_iter().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    for (name, file) in [("Latin-1", latin_1), ("a mark", with_mark), ("UTF-16", utf_16)] {
        let report = room.admin().import("", file).await.ok(200);
        assert_eq!((&report["rows"], &report["rejected"]), (&json!(1), &json!(0)), "{name}: {report}");
        let there = everybody(&room).await;
        assert_eq!(there.len(), 1);
        assert_eq!(there[0]["name"], "Zoë", "{name}");
        assert_eq!(there[0]["places"][0]["location"], json!({"latitude": 52.09, "longitude": 5.12}));
    }
    room.close().await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_says_the_same_and_writes_nothing(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let room = ControlRoom::open(engine).await;
    let csv = format!(
        "{HEADER}\nresident,,0611000001,52.09,5.12,2026-01-31,web\nresident,,x,52.09,5.12,2026-01-31,web\n\
         resident,,0611000002,52.09,5.12,2026-01-31,web\n"
    );
    let dry = room.admin().import("?dry_run=true", csv.clone()).await.ok(200);
    assert!(everybody(&room).await.is_empty());
    assert_eq!(room.admin().import("?dry_run=false", csv.clone()).await.ok(200), dry);
    assert_eq!(everybody(&room).await.len(), 2);
    let update = csv.replace("0611000002,52.09", "0611000002,52.10");
    let dry = room.admin().import("?dry_run=true", update.clone()).await.ok(200);
    assert_eq!((&dry["updated"], &dry["unchanged"], &dry["created"]), (&json!(1), &json!(1), &json!(0)));
    assert_eq!(room.admin().import("", update).await.ok(200), dry);
    room.close().await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_is_exported_can_be_imported(#[values(Engine::Sqlite, Engine::Postgres)] engine: Engine) {
    let room = ControlRoom::open(engine).await;
    let csv = format!(
        "{HEADER}\nbusiness,=SUM(1),0611000001,52.09,5.12,2026-01-31,web\nresident,,0611000002,52.09,5.12,2026-01-31,web\n"
    );
    room.admin().import("", csv).await.ok(200);
    let exported = room.admin().get("/v1/participants/export").await;
    assert_eq!(exported.status, 200);
    assert!(!exported.text().contains(",=SUM"), "no formula for a spreadsheet: {}", exported.text());
    let report = room.admin().import("", exported.body).await.ok(200);
    assert_eq!((&report["unchanged"], &report["rejected"]), (&json!(2), &json!(0)), "{report}");
    let admin = room.admin();
    let lines = admin
        .send(admin.request("GET", "/v1/participants/export").header("Accept", "application/x-ndjson"))
        .await;
    let lines: Vec<Value> = lines.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines, everybody(&room).await);
    room.close().await;
}
