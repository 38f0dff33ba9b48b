//! The files may not grow while alerts run, and then they may again.

use std::process::Command;

use klaroen_simulator::Faults;
use reqwest::StatusCode;
use serde_json::Value;

use super::Stage;
use super::witness::alert_id;
use crate::client::{Client, count, incident};
use crate::program::Program;

const PEOPLE: usize = 60;
const ROUNDS: usize = 3;

/// The program's files may have so many bytes. A write beyond them fails, as it does on a full disk.
fn limit(program: &Program, bytes: &str) {
    let arguments = [format!("--pid={}", program.id()), format!("--fsize={bytes}:")];
    assert!(Command::new("prlimit").args(arguments).status().unwrap().success());
}

async fn report(client: &Client, reference: &str) -> (StatusCode, Value) {
    client.post("/v1/incidents", reference, &incident(reference, 0, "urgent")).await.unwrap()
}

/// Reports incidents until one is refused. Returns the alerts that were taken.
async fn until_refused(client: &Client, round: usize) -> Vec<String> {
    let mut taken = Vec::new();
    for n in 0.. {
        let reference = format!("{round}-{n}");
        let (status, answer) = report(client, &reference).await;
        if status == StatusCode::SERVICE_UNAVAILABLE {
            break;
        }
        assert_eq!(status, StatusCode::CREATED, "{answer}");
        taken.push(alert_id(&answer));
    }
    taken
}

#[tokio::test(flavor = "multi_thread")]
async fn service_comes_back_by_itself_when_a_full_disk_has_space_again() {
    let stage = Stage::set(11, Faults::default(), "", 1, PEOPLE).await;
    let mut program = stage.installation.spawn_limited();
    program.wait_until_it_answers();
    let client = Client::new(&stage.installation, &program);
    client.ready().await;
    for round in 0..ROUNDS {
        let sizes = ["klaroen.db", "klaroen.db-wal"]
            .map(|name| std::fs::metadata(stage.installation.path(name)).map_or(0, |file| file.len()));
        limit(&program, &(sizes.into_iter().max().unwrap() + (round as u64) * 4_096).to_string());
        let taken = until_refused(&client, round).await;
        // The last byte goes to the smallest write.
        while client.status("/readyz").await != Some(StatusCode::SERVICE_UNAVAILABLE) {}
        limit(&program, "unlimited");
        client.ready().await;
        let (status, answer) = report(&client, &format!("{round}-again")).await;
        assert_eq!(status, StatusCode::CREATED, "{answer}");
        for alert in taken.into_iter().chain([alert_id(&answer)]) {
            client
                .until(&alert, "everybody is asked", |alert| {
                    count(alert, 0, &["sent", "delivered", "unknown"]) == PEOPLE as u64
                })
                .await;
        }
    }
    assert_eq!(client.broken_sums().await, 0);
    program.kill();
    stage.smsc.shutdown().await;
}
