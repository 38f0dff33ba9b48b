//! Many messages in one request: few requests, and to each message its own outcome.

use std::sync::Arc;

use klaroen_domain::alert::Priority;
use klaroen_domain::delivery::DeliveryState as S;
use klaroen_domain::time::SystemClock;
use klaroen_simulator::{Contract, HttpFaults, Mishap};
use klaroen_store::alerts::AlertView;
use klaroen_test_databases::Engine;
use rstest::rstest;
use serde_json::{Value, json};

use super::digits;
use super::site::Site;
use crate::service::{in_states, until};

/// Of all three contracts.
const BATCH: u64 = 100;
/// Claims do not end where batches do, and the first message of an alert may leave before the others are there.
const UNFILLED: u64 = 5;

fn keys(contract: Contract) -> Value {
    if contract != Contract::Http {
        return json!({});
    }
    json!({
        "body": r#"{"messages":[{items}]}"#,
        "item": r#"{"from":"{from}","to":"{to}","text":"{text}","reference":"{reference}","callback":"{receipts_url}","validity_seconds":{validity_s}}"#,
        "batch_max": BATCH,
        "answer": {"items": "/messages", "code": "/error/code", "throttled": ["throttled"],
            "temporary": ["internal"], "recipient": ["invalid_number"], "opted_out": ["opted_out"],
            "message": ["invalid_text"]},
    })
}

async fn open(engine: Engine, contract: Contract, people: usize, faults: HttpFaults, more: Value) -> Site {
    let mut keys = keys(contract);
    keys.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Site::open_with(engine, contract, people, faults, Arc::new(SystemClock), &keys).await
}

/// An alert to everybody, until all of `states` add up to them.
async fn alert(site: &Site, people: usize, states: &[S]) -> AlertView {
    let alert = site.world.alert_all().await;
    site.service.wake.notify_waiters();
    until(&site.world, alert, |v| in_states(v, 0, states) == people as u64).await
}

fn rings(site: &Site, people: usize) -> Vec<usize> {
    (0..people).map(|n| site.provider.rings_of(&digits(n)).len()).collect()
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_people_are_a_few_requests_and_each_phone_rings_once(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
    #[values(Contract::Infobip, Contract::Http)] contract: Contract,
) {
    let people = 1_000;
    let site = open(engine, contract, people, HttpFaults::default(), json!({})).await;
    alert(&site, people, &[S::Delivered]).await;
    assert_eq!(rings(&site, people), vec![1; people]);
    let submits = site.provider.stats().submits;
    assert!(submits <= people as u64 / BATCH + UNFILLED, "{submits} requests");
    site.close().await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn refused_numbers_fail_and_the_others_of_their_batch_do_not(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
    #[values(Contract::Infobip, Contract::Http)] contract: Contract,
) {
    let people = 200;
    // The contract of `http` refuses all of a batch for one of them.
    let faults = HttpFaults { reject_number: 0.03, ..HttpFaults::default() };
    let site = open(engine, contract, people, faults, json!({})).await;
    let view = alert(&site, people, &[S::Delivered, S::Failed]).await;
    let failed = in_states(&view, 0, &[S::Failed]);
    assert!((1..20).contains(&failed), "{view:#?}");
    let rings = rings(&site, people);
    assert_eq!(rings.iter().filter(|rung| **rung == 0).count() as u64, failed);
    assert!(rings.iter().all(|rung| *rung <= 1));
    let submits = site.provider.stats().submits;
    assert!(submits < people as u64, "{submits} requests");
    site.close().await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_leaves_its_batch_in_doubt_and_receipts_settle_it(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
    #[values(Contract::Infobip, Contract::Http)] contract: Contract,
) {
    let people = 100;
    let faults = HttpFaults { receipt_delay_ms: (2_500, 2_500), ..HttpFaults::default() };
    let site = open(engine, contract, people, faults, json!({})).await;
    site.provider.order(Mishap::CloseAfterTaking, 1);
    let mut draft = site.world.alert_draft(10_000.0);
    draft.priority = Priority::Urgent;
    let alert = site.world.take(&draft).await.alert.unwrap();
    site.service.wake.notify_waiters();
    let sent = until(&site.world, alert, |v| in_states(v, 0, &[S::Queued, S::Sending]) == 0).await;
    let lost = in_states(&sent, 0, &[S::Unknown]);
    assert!(lost > 1, "a batch: {sent:#?}");
    assert_eq!((sent.messages[0].doubts.open, in_states(&sent, 0, &[S::Failed])), (lost, 0));
    let view = until(&site.world, alert, |v| in_states(v, 0, &[S::Delivered]) == people as u64).await;
    assert_eq!((view.messages[0].doubts.open, view.messages[0].in_doubt), (0, 0));
    assert_eq!(rings(&site, people), vec![1; people]);
    site.close().await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_paced_gateway_keeps_its_rate_in_every_second(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
    #[values(Contract::Infobip, Contract::Http)] contract: Contract,
) {
    let (people, rate) = (300, 100);
    // Slow answers, so that a full window lets tokens gather for a batch.
    let faults = HttpFaults { response_delay_ms: (60, 60), ..HttpFaults::default() };
    let site =
        open(engine, contract, people, faults, json!({"segments_per_second": rate, "window": 2})).await;
    alert(&site, people, &[S::Delivered]).await;
    let mut at: Vec<_> =
        (0..people).flat_map(|n| site.provider.rings_of(&digits(n))).map(|ring| ring.at).collect();
    at.sort_unstable();
    assert_eq!(at.len(), people);
    let second = std::time::Duration::from_secs(1);
    // The rate and what may be saved up, which is also the longest request here; two of these may have been late. Of the first
    // and the last token of a second some part lies outside it.
    let most = rate + 10 + 2 * 10 + 1;
    for (first, begin) in at.iter().enumerate() {
        let within = at[first..].iter().take_while(|ring| ring.duration_since(*begin) < second).count();
        assert!(within <= most, "{within} within a second");
    }
    assert!(site.provider.stats().submits < people as u64, "there were batches");
    site.close().await;
}
