//! Wrong input is refused whole, with every wrong field named, and nothing is written.

use klaroen_test_databases::Engine;
use rstest::rstest;
use serde_json::{Value, json};

use crate::control_room::{ControlRoom, circle, incident, rectangle};
use crate::desk::Answer;

const CENTER: &str = "/alert/area/circle/center";

/// A good report with some members replaced (JSON Pointer, value).
fn changed(changes: &[(&str, Value)]) -> Value {
    let mut report = incident(&circle(500.0));
    for (pointer, value) in changes {
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        report.pointer_mut(parent).unwrap()[name] = value.clone();
    }
    report
}

fn ring(points: impl IntoIterator<Item = (f64, f64)>) -> Value {
    json!({"geometry": {"type": "Polygon", "coordinates": [points.into_iter().map(|(x, y)| json!([x, y])).collect::<Vec<_>>()]}})
}

/// A circle of so many positions, the last one equal to the first.
fn round(positions: u32) -> Value {
    let corner = |i: u32| {
        let angle = f64::from(i % (positions - 1)) / f64::from(positions - 1) * std::f64::consts::TAU;
        (5.12 + 0.02 * angle.cos(), 52.09 + 0.01 * angle.sin())
    };
    ring((0..positions).map(corner))
}

async fn report(room: &ControlRoom, body: &Value) -> Answer {
    room.operator().post("/v1/incidents", body).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_wrong_report_is_refused_with_its_pointers_and_writes_nothing() {
    let room = ControlRoom::open(Engine::Sqlite).await;
    let bow_tie = ring([(5.1, 52.0), (5.2, 52.1), (5.2, 52.0), (5.1, 52.1), (5.1, 52.0)]);
    let swapped = ring([(52.0, 5.1), (52.0, 5.2), (52.1, 5.2), (52.0, 5.1)]);
    let open = ring([(5.1, 52.0), (5.2, 52.0), (5.2, 52.1)]);
    let cases: Vec<(&str, Value, &[&str])> = vec![
        ("/location", json!({"latitude": 5.12, "longitude": 52.09}), &["/location"]),
        ("/location", json!({"latitude": 91, "longitude": 5.12}), &["/location/latitude"]),
        (
            "/location",
            json!({"latitude": "52.09", "longitude": null}),
            &["/location/latitude", "/location/longitude"],
        ),
        ("/location", json!({"rd_x": 5.12, "rd_y": 52.09}), &["/location"]),
        ("/location", json!({"latitude": 52.09, "longitude": 5.12, "rd_x": 136_500}), &["/location"]),
        (CENTER, json!({"latitude": 5.12, "longitude": 52.09}), &[CENTER]),
        ("/alert/area/circle/radius_m", json!(0), &["/alert/area/circle/radius_m"]),
        ("/alert/area/circle/radius_m", json!(500_000), &["/alert/area/circle/radius_m"]),
        ("/alert/area/circle/radius_m", json!("1500"), &["/alert/area/circle/radius_m"]),
        ("/alert/area/circle/radius", json!(1500), &["/alert/area/circle/radius"]),
        ("/alert/area/circle/center/height", json!(1), &["/alert/area/circle/center/height"]),
        ("/alert/area", bow_tie, &["/alert/area/geometry/coordinates/0"]),
        ("/alert/area", swapped, &["/alert/area/geometry/coordinates"]),
        ("/alert/area", open, &["/alert/area/geometry/coordinates/0"]),
        ("/alert/area", round(10_002), &["/alert/area/geometry/coordinates"]),
        (
            "/alert/area",
            json!({"geometry": {"type": "Point", "coordinates": [5.1, 52.1]}}),
            &["/alert/area/geometry/type"],
        ),
        ("/alert/area", json!({"areas": ["BU00000000"]}), &["/alert/area/areas/0"]),
        ("/alert/area", json!({"areas": "BU00000000"}), &["/alert/area/areas"]),
        (
            "/alert/area",
            json!({"areas": ["x"], "geometry": rectangle(5.1, 52.0, 5.2, 52.1)}),
            &["/alert/area"],
        ),
        ("/alert/area", Value::Null, &["/alert/area"]),
        (
            "/alert/audience",
            json!({"groups": ["niemand"], "kinds": ["dog"]}),
            &["/alert/audience/groups/0", "/alert/audience/kinds/0"],
        ),
        ("/alert/text", json!(""), &["/alert/text"]),
        ("/alert/text", json!(" \n"), &["/alert/text"]),
        ("/alert/text", json!("x".repeat(460)), &["/alert/text"]),
        ("/alert/text", json!("ж".repeat(202)), &["/alert/text"]),
        ("/alert/text", json!(["Let op"]), &["/alert/text"]),
        ("/alert/priority", json!("high"), &["/alert/priority"]),
        ("/alert/expires_in_s", json!(0), &["/alert/expires_in_s"]),
        ("/alert/expires_in_s", json!(1.5), &["/alert/expires_in_s"]),
        ("/alert/exercise", json!("no"), &["/alert/exercise"]),
        ("/alert/sender", json!("112"), &["/alert/sender"]),
        ("/alert", json!("everybody"), &["/alert"]),
        ("/category", json!("x".repeat(101)), &["/category"]),
        ("/category", Value::Null, &["/category"]),
        ("/description", json!("x".repeat(2_001)), &["/description"]),
        ("/description", json!("a\u{0}b"), &["/description"]),
        ("/reference", json!("x".repeat(101)), &["/reference"]),
        (
            "/subject",
            json!({"kind": "dog", "text": "x".repeat(2_001), "age": 3}),
            &["/subject/age", "/subject/kind", "/subject/text"],
        ),
        ("/occurred_at", json!("2026-11-25T13:00:00+01:00"), &["/occurred_at"]),
        ("/occurred_at", json!("2024-11-25T11:00:00+01:00"), &["/occurred_at"]),
        ("/occurred_at", json!("2026-11-25T11:00:00"), &["/occurred_at"]),
        ("/colour", json!("red"), &["/colour"]),
        ("/a~b", json!(1), &["/a~0b"]),
    ];
    for (pointer, value, wanted) in cases {
        let shown: String = value.to_string().chars().take(80).collect();
        let answer = report(&room, &changed(&[(pointer, value)])).await;
        let named = answer.refused(422);
        let fits =
            |(name, wanted): (&String, &&str)| name == wanted || name.starts_with(&format!("{wanted}/"));
        let all = named.len() == wanted.len() && named.iter().zip(wanted).all(fits);
        assert!(all, "{pointer} = {shown}: {} where {wanted:?} is wanted", answer.text());
    }
    assert_eq!(room.incidents().await, 0);
    room.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_mistakes_of_a_report_are_named_at_once() {
    let room = ControlRoom::open(Engine::Sqlite).await;
    let wrong = changed(&[
        ("/category", json!("")),
        ("/location", json!({"latitude": 5.12, "longitude": 52.09})),
        ("/occurred_at", json!("tomorrow")),
        ("/alert/text", json!("x".repeat(5_000))),
        ("/alert/area", json!({"areas": ["a", "nergens", "b/c"]})),
        ("/alert/audience", json!({"groups": ["niemand"], "ages": [18]})),
        ("/alert/colour", json!("red")),
        ("/colour", json!("red")),
    ]);
    assert_eq!(
        report(&room, &wrong).await.refused(422),
        [
            "/alert/area/areas/2",
            "/alert/audience/ages",
            "/alert/audience/groups/0",
            "/alert/colour",
            "/alert/text",
            "/category",
            "/colour",
            "/location",
            "/occurred_at",
        ]
    );
    // Once the codes are codes, the library is asked, and what it lacks is named with the rest.
    let unknown = changed(&[("/alert/area", json!({"areas": ["a", "b"]})), ("/alert/text", json!(""))]);
    assert_eq!(
        report(&room, &unknown).await.refused(422),
        ["/alert/area/areas/0", "/alert/area/areas/1", "/alert/text"]
    );
    assert_eq!(room.incidents().await, 0);
    room.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_json_is_told_apart_from_what_is_wrong_json() {
    let room = ControlRoom::open(Engine::Sqlite).await;
    let operator = room.operator();
    let send = async |content_type: Option<&str>, body: Vec<u8>| {
        let request = operator.request("POST", "/v1/incidents").body(body);
        let request = match content_type {
            Some(content_type) => request.header("Content-Type", content_type),
            None => request,
        };
        operator.send(request).await
    };
    let good = incident(&circle(500.0)).to_string();
    for malformed in [
        String::new(),
        good[..good.len() - 1].to_owned(),
        good.replace("500.0", "NaN"),
        good.replace("500.0", "1e999"),
        good.replace("500.0", "Infinity"),
        good.replace("500.0", "0x10"),
        good.replacen("{\"alert\"", "{\"category\":\"x\",\"alert\"", 1),
        "[".repeat(10_000),
    ] {
        assert_eq!(
            send(Some("application/json"), malformed.clone().into()).await.refused(400),
            [""],
            "{malformed}"
        );
    }
    send(Some("application/json"), vec![b'"', 0xff, b'"']).await.ok(400);
    for other in ["[]", "\"x\"", "7", "null", "true"] {
        assert_eq!(send(Some("application/json"), other.into()).await.refused(422), [""], "{other}");
    }
    for content_type in [None, Some("text/plain"), Some("application/x-www-form-urlencoded"), Some("json")] {
        send(content_type, good.clone().into()).await.ok(415);
    }
    let too_large = json!({"category": "x".repeat(2 * 1024 * 1024)}).to_string();
    send(Some("application/json"), too_large.into()).await.ok(413);
    assert_eq!(room.incidents().await, 0);
    send(Some("application/json; charset=utf-8"), good.into()).await.ok(201);
    room.close().await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn the_largest_polygon_that_is_allowed_is_taken(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let room = ControlRoom::open(engine).await;
    // Written with all their decimals, as programs do, 10,000 corners are some 400 kB.
    let taken = report(&room, &changed(&[("/alert/area", round(10_001))])).await;
    taken.ok(201);
    room.close().await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn changes_to_an_alert_are_as_strict(#[values(Engine::Sqlite, Engine::Postgres)] engine: Engine) {
    let room = ControlRoom::open(engine).await;
    let operator = room.operator();
    let taken = report(&room, &incident(&circle(500.0))).await.ok(201);
    let path = format!("/v1/alerts/{}", taken["alerts"][0]["id"].as_str().unwrap());
    let before = operator.get(&path).await.ok(200);
    for (verb, body, wanted) in [
        ("end", json!({"text": "", "outcome": "gone"}), vec!["/outcome", "/text"]),
        ("end", json!({"text": "Voorbij."}), vec!["/outcome"]),
        ("update", json!({"text": "x".repeat(460), "outcome": "found"}), vec!["/outcome", "/text"]),
        ("retract", json!({}), vec!["/text"]),
        ("extend", json!({"area": {"areas": ["nergens"]}, "text": "x"}), vec!["/area/areas/0", "/text"]),
        (
            "extend",
            json!({"area": {"circle": {"radius_m": 5}}}),
            vec!["/area/circle/center", "/area/circle/radius_m"],
        ),
    ] {
        assert_eq!(operator.post(&format!("{path}/{verb}"), &body).await.refused(422), wanted, "{verb}");
    }
    assert_eq!(operator.get(&path).await.ok(200), before, "nothing was written");
    let mark = json!({"state": "seen", "useful": "yes", "by": 1});
    let nobody = "/v1/replies/01890000-0000-7000-8000-000000000000";
    assert_eq!(operator.patch(nobody, &mark).await.refused(422), ["/by", "/state", "/useful"]);
    room.close().await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn the_registry_is_as_strict(#[values(Engine::Sqlite, Engine::Postgres)] engine: Engine) {
    let room = ControlRoom::open(engine).await;
    let admin = room.admin();
    let place = json!({"label": "thuis", "location": {"latitude": 52.09, "longitude": 5.12}});
    let registration = json!({
        "kind": "resident", "phone": "0611000001", "places": [place],
        "consent": {"given_at": "2026-01-31T10:00:00+01:00", "method": "web"},
    });
    for (name, value, wanted) in [
        ("phone", json!("0900-8844"), "/phone"),
        ("phone", json!("030-2345678"), "/phone"),
        ("phone", json!("097012345678"), "/phone"),
        ("phone", json!("+32470123456"), "/phone"),
        ("phone", json!(611_000_001), "/phone"),
        ("places", json!(vec![place.clone(); 6]), "/places"),
        ("places", json!([]), "/places"),
        ("name", json!("x".repeat(201)), "/name"),
        ("groups", json!(["niemand"]), "/groups/0"),
        ("consent", json!({"given_at": "2027-01-31T10:00:00+01:00", "method": "web"}), "/consent/given_at"),
        ("consent", Value::Null, "/consent"),
        ("language", json!("fy"), "/language"),
        ("opted_out", json!(false), "/opted_out"),
    ] {
        let mut wrong = registration.clone();
        wrong[name] = value.clone();
        assert_eq!(admin.post("/v1/participants", &wrong).await.refused(422), [wanted], "{name} = {value}");
    }
    let everybody = admin.get("/v1/participants").await.ok(200);
    assert_eq!(everybody["items"], json!([]));
    let key = json!({"role": "chief", "name": "", "expires_at": "2026-11-25T11:00:00+01:00", "secret": "x"});
    assert_eq!(admin.post("/v1/keys", &key).await.refused(422), ["/expires_at", "/name", "/role", "/secret"]);
    assert_eq!(admin.post("/v1/groups", &json!({"code": "a b"})).await.refused(422), ["/code", "/name"]);
    let features = json!({"type": "FeatureCollection", "features": [
        {"type": "Feature", "properties": {"code": "A1", "name": "goed"}, "geometry": rectangle(5.1, 52.0, 5.2, 52.1)},
        {"type": "Feature", "properties": {"code": "A2", "name": "om"}, "geometry": rectangle(52.0, 5.1, 52.1, 5.2)},
    ]});
    let named = admin.put("/v1/areas", &features).await.refused(422);
    assert!(!named.is_empty() && named.iter().all(|p| p.starts_with("/features/1/geometry")), "{named:?}");
    assert_eq!(admin.get("/v1/areas").await.ok(200)["items"], json!([]), "all or none");
    room.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_reaches_who_is_still_sending() {
    let room = ControlRoom::open(Engine::Sqlite).await;
    let large = vec![b'x'; 8 * 1024 * 1024];
    for _ in 0..3 {
        for (desk, content_type, status) in [
            (room.operator(), "application/json", 413),
            (room.operator(), "text/plain", 415),
            (room.stranger(None), "application/json", 401),
            (room.admin(), "application/json", 403),
        ] {
            let request = desk.request("POST", "/v1/incidents").header("Content-Type", content_type);
            desk.send(request.body(large.clone())).await.ok(status);
        }
    }
    room.close().await;
}
