//! Killed while an alert goes out.

use std::collections::{HashMap, HashSet};

use klaroen_simulator::Faults;
use reqwest::StatusCode;

use super::Stage;
use super::witness::{Witness, alert_id};
use crate::client::{Client, count, incident, number};
use crate::program::Program;
use crate::sizes::crash::{KILLS, KILLS_OF_LIVES, NEIGHBOURHOODS, PEOPLE};
use crate::sizes::seeds;

/// Digits of everybody's number, by participant.
type People = HashMap<String, String>;
type Witnesses = Vec<Witness>;

#[derive(Clone, Copy)]
struct Urgency {
    priority: &'static str,
    /// How often a phone may ring for one message, where all but the last ring were in doubt.
    rings_max: u32,
}

/// Asks everybody in a neighbourhood.
async fn raise(client: &Client, people: &People, neighbourhood: usize, urgency: Urgency) -> Witness {
    let reference = format!("2026-{neighbourhood}");
    let body = incident(&reference, neighbourhood, urgency.priority);
    let (status, taken) = client.post("/v1/incidents", &reference, &body).await.unwrap();
    assert_eq!(status, StatusCode::CREATED, "{taken}");
    assert_eq!(taken["alerts"][0]["recipients"], PEOPLE);
    let asked: HashSet<String> = (0..PEOPLE).map(|n| number(neighbourhood, n)).collect();
    let mut numbers = people.clone();
    numbers.retain(|_, number| asked.contains(number));
    assert_eq!(numbers.len(), PEOPLE);
    Witness::new(alert_id(&taken), numbers, urgency.rings_max)
}

/// Kills it `kills` times while it sends, and starts it again; when an alert is out, the next neighbourhood is alerted.
async fn kill_while_sending(stage: &mut Stage, urgency: Urgency, kills: u32) -> (Witnesses, Program, Client) {
    let (mut program, mut client) = stage.serve();
    let people = client.numbers().await;
    let mut witnesses = vec![raise(&client, &people, 0, urgency).await];
    for _ in 0..kills {
        stage.moment(500).await;
        program.kill();
        (program, client) = stage.serve_again().await;
        // From the first bind on everything that the kill left is shown to be in doubt.
        client.ready().await;
        for witness in &mut witnesses {
            witness.look(&client, &stage.smsc).await;
        }
        let latest = client.alert(&witnesses[witnesses.len() - 1].alert).await;
        if count(&latest, 0, &["queued"]) == 0 {
            witnesses.push(raise(&client, &people, witnesses.len(), urgency).await);
        }
    }
    (witnesses, program, client)
}

fn nobody_else_rang(stage: &Stage, alerts: usize) {
    let rang = stage.smsc.ring_counts();
    let asked: HashSet<String> = (0..alerts).flat_map(|a| (0..PEOPLE).map(move |n| number(a, n))).collect();
    assert!(rang.keys().all(|number| asked.contains(number)), "somebody rang who is no recipient");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_again_and_again_nobody_is_lost_and_nobody_rings_twice() {
    for seed in seeds(1) {
        kill_urgent(seed).await;
    }
}

async fn kill_urgent(seed: u64) {
    let faults = Faults {
        response_delay_ms: (40, 120),
        receipt_delay_ms: (0, 800),
        undelivered: 0.02,
        duplicate_receipt: 0.05,
        early_receipt: 0.05,
        reordered_receipt: 0.05,
        ..Faults::default()
    };
    let mut stage = Stage::set(seed, faults, "segments_per_second = 400", NEIGHBOURHOODS, PEOPLE).await;
    let urgency = Urgency { priority: "urgent", rings_max: 1 };
    let (mut witnesses, program, client) = kill_while_sending(&mut stage, urgency, KILLS).await;
    for witness in &mut witnesses {
        let open = ["queued", "sending", "sent"];
        let deliveries = witness.until_quiet(&client, &stage.smsc, &open).await;
        assert_eq!(witness.check_rings(&stage.smsc, &deliveries), 0);
        for delivery in &deliveries {
            let settled = ["delivered", "undelivered", "unknown"].contains(&delivery.state.as_str());
            assert!(settled, "{delivery:?}");
            // A delivery that stays in doubt did not ring: the receipt of one that rang waited for the next bind.
            let rang = witness.rang(&stage.smsc, delivery);
            assert_eq!(rang, delivery.state == "delivered", "{delivery:?}");
            assert_eq!(delivery.attempts, 1, "nothing was put back: {delivery:?}");
        }
    }
    assert!(witnesses.iter().any(|w| !w.in_doubt.is_empty()), "no kill came while messages were under way");
    nobody_else_rang(&stage, witnesses.len());
    program.kill();
    stage.smsc.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_life_is_at_stake_only_who_was_in_doubt_rings_again_and_once() {
    for seed in seeds(2) {
        kill_life_threatening(seed).await;
    }
}

async fn kill_life_threatening(seed: u64) {
    // Receipts that never come leave in doubt what rang: only then does the second try ring a second time.
    let faults = Faults {
        response_delay_ms: (40, 120),
        receipt_delay_ms: (0, 300),
        no_receipt: 0.5,
        ..Faults::default()
    };
    let mut stage = Stage::set(seed, faults, "segments_per_second = 400", NEIGHBOURHOODS, PEOPLE).await;
    let urgency = Urgency { priority: "life_threatening", rings_max: 2 };
    let (mut witnesses, program, client) = kill_while_sending(&mut stage, urgency, KILLS_OF_LIVES).await;
    let mut repeated = 0;
    for witness in &mut witnesses {
        let deliveries = witness.until_quiet(&client, &stage.smsc, &["queued", "sending"]).await;
        repeated += witness.check_rings(&stage.smsc, &deliveries);
        for delivery in &deliveries {
            let settled = ["delivered", "sent", "unknown"].contains(&delivery.state.as_str());
            assert!(settled, "{delivery:?}");
            assert!(delivery.attempts <= 2, "once more, not more often: {delivery:?}");
            let rang = witness.rang(&stage.smsc, delivery);
            assert!(rang || delivery.state == "unknown", "nobody asked for nothing: {delivery:?}");
        }
    }
    assert!(repeated > 0, "the policy did not come into play");
    nobody_else_rang(&stage, witnesses.len());
    program.kill();
    stage.smsc.shutdown().await;
}
