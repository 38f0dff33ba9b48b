//! No number, name or text of anybody in a log, a metric or an error: a whole flow with values that are easily recognised.

use klaroen_test_databases::Engine;
use rstest::rstest;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection};
use std::io;
use std::sync::{Arc, Mutex};

use klaroen_domain::role::Role;
use klaroen_simulator::Faults;
use serde_json::{Value, json};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;

use crate::control_room::{ControlRoom, circle, incident};
use crate::desk::Answer;
use crate::service::SENDER;

/// The end of every way to write the number.
const DIGITS: &str = "687654321";
/// In every name and text.
const WORD: &str = "kanarie";

/// The log filter of the program at its most talkative; the directives at the end always hold there.
const FILTER: &str = "trace,rusmpp=off,sqlx=warn";

/// Whether a text gives the canary away: as people write it, as bytes that were printed, or in hexadecimal.
fn sings(text: &str) -> bool {
    let text = text.to_lowercase();
    let squeezed: String = text.chars().filter(|c| !" -.()".contains(*c)).collect();
    [DIGITS, WORD].iter().any(|canary| {
        let bytes: Vec<String> = canary.bytes().map(|b| b.to_string()).collect();
        let hex: Vec<String> = canary.bytes().map(|b| format!("{b:02x}")).collect();
        squeezed.contains(canary) || text.contains(&bytes.join(", ")) || text.contains(&hex.concat())
    })
}

/// Hears every line of the log and keeps those that it should not have heard.
#[derive(Clone, Default)]
struct Ear(Arc<Mutex<Heard>>);

#[derive(Default)]
struct Heard {
    lines: usize,
    ours: usize,
    songs: Vec<String>,
}

impl io::Write for Ear {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        let mut heard = self.0.lock().unwrap();
        heard.lines += 1;
        heard.ours += usize::from(text.contains(" klaroen_"));
        if sings(&text) {
            heard.songs.push(text.into_owned());
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn listen() -> Ear {
    let ear = Ear::default();
    let writer = ear.clone();
    let layer = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .with_span_events(tracing_subscriber::fmt::format::FmtSpan::FULL)
        .with_writer(move || writer.clone());
    let all = tracing_subscriber::registry().with(EnvFilter::new(FILTER)).with(layer);
    // For the whole process: databases and connections have threads of their own.
    tracing::subscriber::set_global_default(all).unwrap();
    ear
}

#[test]
fn the_canary_is_recognised_however_it_is_written() {
    for number in [
        "+31687654321",
        "0031687654321",
        "0687654321",
        "31687654321",
        "+31 6 8765 4321",
        "06-87654321",
        "(06) 87.65.43.21",
    ] {
        assert!(sings(&format!("to {number} sent")), "{number}");
    }
    assert!(
        sings(&format!("{:?}", b"+31687654321")) && sings("sms=363837363534333231") && sings("Kanariegeel")
    );
    assert!(!sings("+316•••••21"));
}

fn registration() -> Value {
    json!({
        "kind": "business", "name": "Kanarie Vogelhandel", "phone": "06-87654321", "external_id": "kanarie-1",
        "places": [{"label": "kanariekooi", "location": {"latitude": 52.0907, "longitude": 5.1214}}],
        "consent": {"given_at": "2026-01-31T10:00:00+01:00", "method": "kanarie"},
    })
}

fn report() -> Value {
    let mut report = incident(&circle(500.0));
    report["alert"]["text"] = json!("Kanarie ontsnapt, geel");
    report["description"] = json!("kanarie gestolen");
    report["reference"] = json!("kanarie-4711");
    report["subject"]["text"] = json!("man met kanarie");
    report
}

/// An alert under each kind of trouble with the provider; the last one is ended.
async fn alerts(room: &ControlRoom) {
    let settled = |a: &Value| {
        let counts = &a["messages"][0]["counts"];
        ["delivered", "undelivered", "failed"].iter().any(|state| counts[state] == 1)
    };
    let operator = room.operator();
    for faults in [
        Faults { undelivered: 1.0, ..Faults::default() },
        Faults { reject_number: 1.0, ..Faults::default() },
        Faults { duplicate_receipt: 1.0, early_receipt: 1.0, reordered_receipt: 1.0, ..Faults::default() },
    ] {
        room.smsc.set_faults(faults);
        let taken = operator
            .post_once("/v1/incidents", &format!("k{}", room.incidents().await), &report())
            .await
            .ok(201);
        room.until(taken["alerts"][0]["id"].as_str().unwrap(), settled).await;
    }
    room.smsc.set_faults(Faults::default());
    room.smsc.disconnect_all().await;
    let taken = operator.post("/v1/incidents", &report()).await.ok(201);
    let alert = taken["alerts"][0]["id"].as_str().unwrap().to_owned();
    room.until(&alert, settled).await;
    for text in
        ["kanarie gezien bij het station", "id:1 sub:001 dlvrd:001 stat:DELIVRD err:000 text:kanarie", "HELP"]
    {
        assert_eq!(room.smsc.send_inbound("+31687654321", SENDER, text).await.unwrap(), 0);
    }
    let end = json!({"text": "Kanarie gevangen", "outcome": "found"});
    operator.post(&format!("/v1/alerts/{alert}/end"), &end).await.ok(200);
    room.until(&alert, |a| a["messages"][1]["counts"]["delivered"] == 1).await;
    assert_eq!(room.smsc.send_inbound("+31687654321", SENDER, "Kanarie?").await.unwrap(), 0);
    assert_eq!(room.smsc.send_inbound("+31687654321", SENDER, "STOP").await.unwrap(), 0);
    let opt_out = json!({"phone": "0687654321", "note": "kanarie belde"});
    let path = operator.post_once("/v1/opt_outs", "stop-1", &opt_out).await.header("location").to_owned();
    let lift = operator.request("DELETE", &path).json(&json!({"reason": "kanarie wil terug"}));
    assert_eq!(operator.send(lift).await.status, 204);
    operator.post("/v1/opt_outs", &opt_out).await.ok(201);
}

/// Requests that are refused although, or because, the canary is in them.
async fn refusals(room: &ControlRoom) -> Vec<Answer> {
    let (admin, operator) = (room.admin(), room.operator());
    let mut wrong = registration();
    wrong["phone"] = json!("06876543219");
    wrong["places"][0]["hours"] = json!("geen tijd");
    let mut asked = report();
    asked["alert"]["text"] = json!("kanarie ".repeat(100));
    asked["description"] = json!("kanarie ".repeat(500));
    asked["occurred_at"] = json!("kanarie");
    asked["alert"]["priority"] = json!("kanarie");
    vec![
        admin.post("/v1/participants", &wrong).await,
        admin.post("/v1/participants", &registration()).await,
        admin.get("/v1/participants?phone=06876543219").await,
        admin.get("/v1/participants/0687654321").await,
        admin.get("/v1/participants/0687654321/kanarie").await,
        admin.get("/v1/participants?cursor=kanarie&limit=0687654321").await,
        operator.post("/v1/incidents", &asked).await,
        operator.post("/v1/incidents", &json!("kanarie 0687654321")).await,
        operator.post_once("/v1/incidents", "k0", &asked).await,
        operator.get("/v1/alerts?state=kanarie").await,
        operator
            .send(
                operator
                    .request("POST", "/v1/incidents")
                    .header("Content-Type", "application/json")
                    .body("{\"a\": kanarie 0687654321"),
            )
            .await,
        operator
            .send(
                operator
                    .request("POST", "/v1/incidents")
                    .header("Content-Type", "text/kanarie")
                    .body("0687654321"),
            )
            .await,
        room.stranger(Some("klr_kanarie_0687654321")).get("/v1/incidents").await,
        operator.send(operator.request("DELETE", "/v1/incidents/0687654321")).await,
    ]
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn no_number_name_or_text_gets_out_of_the_registry(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let ear = listen();
    let room = ControlRoom::open(engine).await;
    let admin = room.admin();
    let made = admin.post("/v1/participants", &registration()).await;
    let path = made.header("location").to_owned();
    made.ok(201);
    let csv = "kind,name,phone,external_id,label,latitude,longitude,consent_at,consent_method\n\
               business,Kanarie Vogelhandel,0687654321,kanarie-1,kanariekooi,52.0907,5.1214,2026-01-31,kanarie\n\
               resident,Kanarie,06876543219,,,52.0907,5.1214,2026-01-31,web\n\
               resident,\"Kanarie,0687654321,,,,\n";
    assert_eq!(admin.import("", csv).await.ok(200)["rejected"], 2);
    assert_eq!(
        admin.get("/v1/participants?phone=%2B31687654321").await.ok(200)["items"].as_array().unwrap().len(),
        1
    );
    assert!(sings(admin.get("/v1/participants/export").await.text()), "the registry itself shows it");
    alerts(&room).await;
    for answer in refusals(&room).await {
        assert!(answer.status >= 400, "{}", answer.text());
        assert!(!sings(answer.text()), "an error repeats what it refuses: {}", answer.text());
    }
    let audit = room.desk(Role::Auditor).get("/v1/audit?limit=500").await;
    assert!(!sings(audit.text()), "{}", audit.text());
    admin.patch(&path, &json!({"name": "Kanarie Twee"})).await.ok(200);
    at_rest(&room).await;
    admin.delete(&path).await.ok(204);
    let metrics = room.stranger(None).get("/metrics").await;
    assert!(metrics.status == 200 && !sings(metrics.text()));
    room.close().await;
    // Others go on logging: a lock that is held when an assertion fails would fail them, too.
    let heard = std::mem::take(&mut *ear.0.lock().unwrap());
    assert!(heard.lines > 1_000 && heard.ours > 50, "{} lines, {} of ours", heard.lines, heard.ours);
    assert!(heard.songs.is_empty(), "{:#?}", heard.songs);
}

/// Numbers and names are sealed in the database: in SQLite's files, and in the rows of PostgreSQL's tables.
async fn at_rest(room: &ControlRoom) {
    let kept = match room.world.engine {
        Engine::Sqlite => std::fs::read_dir(room.world.directory.path())
            .unwrap()
            .map(|entry| std::fs::read(entry.unwrap().path()).unwrap())
            .collect(),
        Engine::Postgres => rows(&room.world.url).await,
    };
    let mut read = 0;
    for bytes in kept {
        read += bytes.len();
        for secret in [
            DIGITS,
            "Kanarie Vogelhandel",
            "Kanarie Twee",
            "kanarie gezien bij het station",
            "kanarie belde",
            "kanarie wil terug",
        ] {
            let hex = secret.bytes().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
            for shape in [secret, &hex] {
                let found = bytes.windows(shape.len()).any(|window| window == shape.as_bytes());
                assert!(!found, "{secret} is there to be read");
            }
        }
    }
    assert!(read > 4_000, "the database was looked at: {read} bytes");
}

/// Every row of every table, as PostgreSQL writes it out.
async fn rows(url: &str) -> Vec<Vec<u8>> {
    let mut connection = PgConnection::connect(url).await.unwrap();
    let tables: Vec<String> =
        sqlx::query_scalar("SELECT tablename::text FROM pg_tables WHERE schemaname = current_schema()")
            .fetch_all(&mut connection)
            .await
            .unwrap();
    let mut rows = Vec::new();
    for table in tables {
        let all = AssertSqlSafe(format!("SELECT {table}::text FROM {table}"));
        let texts: Vec<String> = sqlx::query_scalar(all).fetch_all(&mut connection).await.unwrap();
        rows.extend(texts.into_iter().map(String::into_bytes));
    }
    rows
}
