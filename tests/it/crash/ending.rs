//! Killed while an alert is ended.

use std::collections::{HashMap, HashSet};

use klaroen_simulator::{Faults, Smsc};
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::Stage;
use super::witness::alert_id;
use crate::client::{Client, Delivery, count, incident, text};
use crate::sizes::crash::{ALERTS_ENDED as ALERTS, PEOPLE_OF_ENDED as PEOPLE};
use crate::sizes::seeds;

const END: &str = "Voorbij, dank u.";

/// Raises an alert and ends it half-way, with kills around the end and after it.
async fn raise_and_end(stage: &mut Stage, neighbourhood: usize) -> String {
    let (program, client) = stage.serve();
    client.ready().await;
    let reference = format!("2026-{neighbourhood}");
    let body = incident(&reference, neighbourhood, "urgent");
    let (status, taken) = client.post("/v1/incidents", &reference, &body).await.unwrap();
    assert_eq!(status, StatusCode::CREATED, "{taken}");
    let alert = alert_id(&taken);
    client.until(&alert, "the first", |alert| count(alert, 0, &["sent", "delivered"]) > 100).await;
    stage.moment(1_000).await;
    let ending = tokio::spawn(end(client, alert.clone()));
    stage.moment(60).await;
    program.kill();
    let answered = ending.await.unwrap();

    let (program, client) = stage.serve_again().await;
    let found = text(&client.alert(&alert).await["state"]);
    assert!(found == "ended" || (!answered && found == "active"), "{found}");
    assert!(end(client.clone(), alert.clone()).await, "the second try is answered");
    stage.moment(1_000).await;
    program.kill();
    alert
}

/// Ends an alert; whether that was answered.
async fn end(client: Client, alert: String) -> bool {
    let body = json!({ "text": END, "outcome": "found" });
    let path = format!("/v1/alerts/{alert}/end");
    let Ok((status, ended)) = client.post(&path, &format!("end-{alert}"), &body).await else { return false };
    assert_eq!(status, StatusCode::OK, "{ended}");
    assert_eq!(ended["state"], "ended");
    true
}

/// The start and the end for one person.
#[derive(Default)]
struct Pair {
    start: Option<Delivery>,
    end: Option<Delivery>,
}

async fn until_quiet(client: &Client, alert: &str) -> HashMap<String, Pair> {
    let open = ["queued", "sending", "sent"];
    let deadline = tokio::time::Instant::now() + crate::program::PATIENCE;
    let alert_view = loop {
        let view = client.alert(alert).await;
        let doubts = client.deliveries_in(alert, "unknown").await;
        let settled = doubts.iter().all(|d| d.reason.as_deref() == Some("policy_hold"));
        let reached = count(&view, 0, &["delivered", "unknown"]);
        if settled
            && count(&view, 0, &open) + count(&view, 1, &open) == 0
            && view["messages"][1]["recipients"] == reached
        {
            break view;
        }
        assert!(tokio::time::Instant::now() < deadline, "it does not get quiet: {view:#}");
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    };
    let messages = alert_view["messages"].as_array().unwrap();
    let kinds: Vec<&Value> = messages.iter().map(|m| &m["kind"]).collect();
    assert_eq!(kinds, ["start", "end"], "one end");
    let mut pairs: HashMap<String, Pair> = HashMap::new();
    for delivery in client.deliveries(alert).await {
        let pair = pairs.entry(delivery.participant.clone()).or_default();
        let slot = if messages[0]["id"] == delivery.message { &mut pair.start } else { &mut pair.end };
        assert!(slot.replace(delivery).is_none(), "one of each");
    }
    assert_eq!(pairs.len(), PEOPLE);
    pairs
}

/// Checks which messages rang, and what is told about them.
fn check(pair: &Pair, number: &str, smsc: &Smsc) {
    let rings = smsc.rings_of(number);
    let rang: Vec<&str> = rings.iter().map(|ring| if &*ring.text == END { "end" } else { "start" }).collect();
    let start = pair.start.as_ref().expect("a start for everybody").state.as_str();
    let end = pair.end.as_ref().map(|end| end.state.as_str());
    let told = format!("start {start}, end {end:?}, rang {rang:?}");
    match start {
        "cancelled" => assert!(end.is_none() && rang.is_empty(), "{told}"),
        "delivered" => {
            assert!(matches!(end, Some("delivered" | "unknown")), "{told}");
            assert_eq!(rang.first(), Some(&"start"), "{told}");
        }
        // It may have rung, so the end goes there, too.
        "unknown" => assert!(matches!(end, Some("delivered" | "unknown")), "{told}"),
        _ => panic!("{told}"),
    }
    let starts = rang.iter().filter(|kind| **kind == "start").count();
    assert!(starts <= 1 && rang.len() - starts <= 1, "{told}");
    assert!(rang != ["end", "start"], "a start after the end: {told}");
    // Two messages to one phone that are both in doubt cannot be told apart by a receipt that names the phone.
    if !(start == "unknown" && end == Some("unknown")) {
        assert_eq!(rang.contains(&"start"), start == "delivered", "{told}");
        assert_eq!(rang.contains(&"end"), end == Some("delivered"), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_around_the_end_everybody_reached_gets_one_end_after_their_start() {
    for seed in seeds(4) {
        kill_around_the_end(seed).await;
    }
}

async fn kill_around_the_end(seed: u64) {
    // The same delay for all: a network may overtake itself, and then the order of rings says nothing about ours.
    let faults = Faults { response_delay_ms: (5, 30), receipt_delay_ms: (250, 250), ..Faults::default() };
    let mut stage = Stage::set(seed, faults, "segments_per_second = 800", ALERTS, PEOPLE).await;
    let mut alerts = Vec::new();
    for neighbourhood in 0..ALERTS {
        alerts.push(raise_and_end(&mut stage, neighbourhood).await);
    }
    let (program, client) = stage.serve();
    let numbers = client.numbers().await;
    let mut asked = HashSet::new();
    for alert in &alerts {
        for (participant, pair) in until_quiet(&client, alert).await {
            let number = &numbers[&participant];
            assert!(asked.insert(number.clone()), "in one alert only");
            check(&pair, number, &stage.smsc);
        }
    }
    assert!(stage.smsc.ring_counts().keys().all(|number| asked.contains(number)));
    assert_eq!(client.broken_sums().await, 0);
    program.kill();
    stage.smsc.shutdown().await;
}
