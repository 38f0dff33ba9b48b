//! The reasons on which `serve` refuses to start, and how it ends when it is asked to.

use std::collections::HashMap;
use std::process::Output;

use klaroen_simulator::{Faults, Smsc, SmscConfig};
use sqlx::Connection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};

use crate::client::{Client, count, incident, registry, text};
use crate::program::{Installation, configuration};

async fn installation(faults: Faults, gateway: &str) -> (Smsc, Installation) {
    let smsc = Smsc::start(SmscConfig { seed: 5, faults, ..SmscConfig::default() }).await.unwrap();
    let installation = Installation::new(&smsc, gateway);
    (smsc, installation)
}

/// It did not start, and says why in one line.
fn assert_refused(output: &Output, why: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.lines().last().is_some_and(|line| line.contains(why)), "{said}");
    assert!(output.stdout.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn asked_to_end_it_finishes_what_is_under_way_and_the_next_one_goes_on() {
    const PEOPLE: u64 = 4_000;
    let faults = Faults { response_delay_ms: (5, 60), ..Faults::default() };
    let (smsc, installation) = installation(faults, "segments_per_second = 500").await;
    installation.import(&registry(1, 4_000));
    let program = installation.serve();
    let client = Client::new(&installation, &program);
    client.ready().await;
    let (_, taken) = client.post("/v1/incidents", "k", &incident("r", 0, "urgent")).await.unwrap();
    let alert = text(&taken["alerts"][0]["id"]);
    client.until(&alert, "the first", |alert| count(alert, 0, &["sent", "delivered"]) > 100).await;
    let status = program.terminate();
    assert_eq!(status.code(), Some(0));
    assert!(smsc.total_rings() < PEOPLE, "it was in the middle");

    let program = installation.serve();
    let client = Client::new(&installation, &program);
    assert_eq!(count(&client.alert(&alert).await, 0, &["unknown"]), 0, "nothing is in doubt");
    let done = |alert: &serde_json::Value| count(alert, 0, &["delivered"]) == PEOPLE;
    client.until(&alert, "the rest", done).await;
    let mut by_count: HashMap<u32, u64> = HashMap::new();
    for times in smsc.ring_counts().into_values() {
        *by_count.entry(times).or_default() += 1;
    }
    assert_eq!(by_count, HashMap::from([(1, PEOPLE)]));
    assert_eq!(program.terminate().code(), Some(0));
    smsc.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_one_on_the_same_database_is_refused() {
    let (smsc, installation) = installation(Faults::default(), "").await;
    let program = installation.serve();
    let second = installation.output("klaroen.toml", &["serve"]);
    assert_refused(&second, "another `klaroen serve` runs on this database");
    Client::new(&installation, &program).ready().await;
    program.kill();
    installation.serve().kill();
    smsc.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_a_newer_version_is_refused() {
    let (smsc, installation) = installation(Faults::default(), "").await;
    let options = SqliteConnectOptions::new().filename(installation.path("klaroen.db"));
    let mut database = SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (999999, 'later', TRUE, x'00', 0)",
    )
    .execute(&mut database)
    .await
    .unwrap();
    database.close().await.unwrap();
    for command in ["serve", "migrate"] {
        let output = installation.output("klaroen.toml", &[command]);
        assert_refused(&output, "migrated by a newer version of Klaroen (migration 999999)");
    }
    smsc.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_file_of_another_installation_is_refused() {
    let (smsc, installation) = installation(Faults::default(), "").await;
    installation.write("other.toml", &configuration(smsc.addr().port(), "", "other.key"));
    assert!(installation.output("other.toml", &["secrets", "init"]).status.success());
    assert_refused(&installation.output("other.toml", &["serve"]), "the key file does not fit this database");
    installation.serve().kill();
    smsc.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dispatcher_or_a_worker_on_a_file_is_refused() {
    let (smsc, installation) = installation(Faults::default(), "").await;
    for part in ["dispatcher", "worker"] {
        let output = installation.output("klaroen.toml", &[part]);
        assert_refused(&output, "a SQLite file serves one process");
    }
    installation.serve().kill();
    smsc.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_ends_the_start_and_its_password_is_not_told() {
    let (smsc, installation) = installation(Faults::default(), "").await;
    let away = configuration(smsc.addr().port(), "", "klaroen.key")
        .replace("sqlite:klaroen.db", "postgres://klaroen:g3he1m@127.0.0.1:1/klaroen");
    installation.write("away.toml", &away);
    let checked = installation.output("away.toml", &["check-config"]);
    assert!(checked.status.success());
    assert!(!String::from_utf8_lossy(&checked.stdout).contains("g3he1m"));
    for command in ["serve", "dispatcher", "worker", "migrate"] {
        let output = installation.output("away.toml", &[command]);
        assert_refused(&output, "postgres://klaroen@127.0.0.1:1/klaroen: the database is not available");
        assert!(!String::from_utf8_lossy(&output.stderr).contains("g3he1m"), "{command}");
    }
    smsc.shutdown().await;
}
