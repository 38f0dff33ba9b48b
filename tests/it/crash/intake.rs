//! Killed while an alert is taken.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use klaroen_simulator::Faults;
use klaroen_testkit::api::ApiError;
use reqwest::StatusCode;
use serde_json::Value;
use tokio::task::JoinHandle;

use super::Stage;
use super::witness::alert_id;
use crate::client::{Client, incident};
use crate::program::{PATIENCE, Program};
use crate::sizes::crash::{PEOPLE_OF_INTAKE as PEOPLE, ROUNDS};
use crate::sizes::seeds;

type Answer = JoinHandle<Result<(StatusCode, Value), ApiError>>;

fn report(client: &Client, reference: &str) -> Answer {
    let (client, reference) = (client.clone(), reference.to_owned());
    tokio::spawn(
        async move { client.post("/v1/incidents", &reference, &incident(&reference, 0, "urgent")).await },
    )
}

fn is_partly_written(incidents: &[Value]) -> bool {
    let recipients = |incident: &Value| incident["alerts"][0]["recipients"].as_u64().unwrap();
    incidents.iter().any(|incident| (1..PEOPLE as u64).contains(&recipients(incident)))
}

/// Waits until the first page of deliveries is there and the last is not, or the answer has come.
async fn between_pages(client: &Client, reference: &str, answer: &Answer) {
    let deadline = Instant::now() + PATIENCE;
    while !answer.is_finished() && !is_partly_written(&client.incidents(reference).await) {
        assert!(Instant::now() < deadline, "neither pages nor an answer");
    }
}

/// Does what a client does that got no answer: the same request again, with the same key.
async fn report_again(client: &Client, reference: &str) -> Value {
    let (status, taken) = report(client, reference).await.unwrap().unwrap();
    assert_eq!(status, StatusCode::CREATED, "{taken}");
    taken
}

/// Waits until everybody is asked, and stops the alert: the next one has the line to itself.
async fn until_written(client: &Client, alert: &str) {
    client.until(alert, "the whole alert", |alert| alert["recipients"] == PEOPLE).await;
    client.cancel(alert).await;
}

/// How long an intake takes that nobody disturbs.
async fn undisturbed(client: &Client) -> Duration {
    let begin = Instant::now();
    let taken = report_again(client, "undisturbed").await;
    let took = begin.elapsed();
    assert_eq!(taken["alerts"][0]["recipients"], PEOPLE);
    until_written(client, &alert_id(&taken)).await;
    took
}

/// One alert that is killed while it is taken, and once more while it is written out.
async fn round(stage: &mut Stage, running: (Program, Client), n: usize, moments: u64) -> (Program, Client) {
    let (program, client) = running;
    let reference = format!("2026-{n}");
    let answer = report(&client, &reference);
    if n.is_multiple_of(2) {
        between_pages(&client, &reference, &answer).await;
    } else {
        stage.moment(moments).await;
    }
    program.kill();
    let answer = answer.await.unwrap();
    let (mut program, mut client) = stage.serve_again().await;
    let before = client.incidents(&reference).await;
    let alert = if let Ok((status, taken)) = answer {
        assert_eq!(status, StatusCode::CREATED, "{taken}");
        assert_eq!(before.len(), 1, "what was answered is there");
        assert_eq!(before[0]["alerts"][0]["recipients"], PEOPLE, "all of it");
        alert_id(&taken)
    } else {
        alert_id(&report_again(&client, &reference).await)
    };
    if is_partly_written(&client.incidents(&reference).await) {
        stage.moment(6_000).await;
        program.kill();
        (program, client) = stage.serve();
    }
    let incidents = client.incidents(&reference).await;
    assert_eq!(incidents.len(), 1, "one incident");
    assert_eq!(incidents[0]["alerts"].as_array().unwrap().len(), 1, "one alert");
    assert_eq!(alert_id(&incidents[0]), alert);
    until_written(&client, &alert).await;
    (program, client)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_that_is_cut_off_is_written_out_and_made_once() {
    for seed in seeds(3) {
        cut_off(seed).await;
    }
}

async fn cut_off(seed: u64) {
    let mut stage = Stage::set(seed, Faults::default(), "segments_per_second = 50", 1, PEOPLE).await;
    let mut running = stage.serve();
    running.1.ready().await;
    let took = undisturbed(&running.1).await;
    let moments = u64::try_from(took.as_millis()).unwrap() * 5 / 4;
    for n in 0..ROUNDS {
        running = round(&mut stage, running, n, moments).await;
    }
    running.0.kill();
    let mut rings: HashMap<(String, String), u32> = HashMap::new();
    for number in stage.smsc.ring_counts().into_keys() {
        for ring in stage.smsc.rings_of(&number) {
            *rings.entry((number.clone(), ring.text.to_string())).or_default() += 1;
        }
    }
    assert!(!rings.is_empty() && rings.values().all(|times| *times == 1), "an alert rings a phone once");
    stage.smsc.shutdown().await;
}
