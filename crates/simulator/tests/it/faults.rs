//! Every fault does what it says, as often as it says.

use std::collections::BTreeMap;
use std::time::Duration;

use klaroen_simulator::{Faults, MessageIdFormat, ReceiptIdFormat, Smsc, SmscConfig};
use rstest::rstest;
use rusmpp::values::MessageState;
use tokio::time::Instant;

use crate::client::{Client, Seen, message, number, silent, smsc};

const SUBMITS: u32 = 2_000;

/// A fifth of the submits, within five standard deviations (18).
fn is_a_fifth(hits: usize) -> bool {
    (310..=490).contains(&hits)
}

async fn run(faults: Faults) -> (Smsc, Seen) {
    let smsc = smsc(faults).await;
    let seen = Client::bound(&smsc).await.run(0..SUBMITS).await;
    (smsc, seen)
}

fn with_status(seen: &Seen, status: u32) -> Vec<u32> {
    seen.answers.iter().filter(|(_, (s, _))| *s == status).map(|(i, _)| *i).collect()
}

fn in_state(seen: &Seen, state: MessageState) -> usize {
    seen.receipts.iter().filter(|receipt| receipt.1 == state).count()
}

#[tokio::test(start_paused = true)]
async fn without_faults_everything_rings_once_and_is_reported_once() {
    let (smsc, seen) = run(Faults::default()).await;
    assert_eq!(with_status(&seen, 0).len(), 2_000);
    assert_eq!(in_state(&seen, MessageState::Delivered), 2_000);
    let counts = smsc.ring_counts();
    assert!((0..SUBMITS).all(|i| counts[&number(i)] == 1));
    assert_eq!(&*smsc.rings_of(&number(7))[0].text, "Let op");
    let mut ids: Vec<&String> = seen.answers.values().map(|(_, id)| id).collect();
    let mut reported: Vec<&String> = seen.receipts.iter().map(|(id, ..)| id).collect();
    ids.sort();
    reported.sort();
    assert_eq!(ids, reported);
    ids.dedup();
    assert_eq!(ids.len(), 2_000, "message ids are unique");
    let stats = smsc.stats();
    assert_eq!((stats.submits, stats.taken, stats.rings, stats.pending), (2_000, 2_000, 2_000, 0));
    assert_eq!((stats.deliveries_sent, stats.deliveries_acknowledged), (2_000, 2_000));
}

#[rstest]
#[case(Faults { queue_full: 0.2, ..Faults::default() }, 0x14)]
#[case(Faults { reject_number: 0.2, ..Faults::default() }, 0x0B)]
#[tokio::test(start_paused = true)]
async fn a_refused_submit_does_not_ring(#[case] faults: Faults, #[case] status: u32) {
    let (smsc, seen) = run(faults).await;
    let refused = with_status(&seen, status);
    assert!(is_a_fifth(refused.len()), "{}", refused.len());
    assert!(refused.iter().all(|i| smsc.rings_of(&number(*i)).is_empty()));
    assert_eq!(smsc.total_rings(), u64::from(SUBMITS) - refused.len() as u64);
}

#[rstest]
#[case(Faults { undelivered: 0.2, ..Faults::default() }, MessageState::Undeliverable)]
#[case(Faults { expired: 0.2, ..Faults::default() }, MessageState::Expired)]
#[case(Faults { rejected: 0.2, ..Faults::default() }, MessageState::Rejected)]
#[tokio::test(start_paused = true)]
async fn a_message_that_fails_does_not_ring(#[case] faults: Faults, #[case] state: MessageState) {
    let (smsc, seen) = run(faults).await;
    let failed = in_state(&seen, state);
    assert!(is_a_fifth(failed), "{failed}");
    assert_eq!(in_state(&seen, MessageState::Delivered) + failed, 2_000);
    assert_eq!(smsc.total_rings(), 2_000 - failed as u64);
}

#[tokio::test(start_paused = true)]
async fn a_lost_response_rings_all_the_same() {
    let (smsc, seen) = run(Faults { lost_response: 0.2, ..Faults::default() }).await;
    assert!(is_a_fifth(2_000 - seen.answers.len()));
    assert_eq!(smsc.stats().responses_lost, 2_000 - seen.answers.len() as u64);
    assert_eq!((smsc.total_rings(), seen.receipts.len()), (2_000, 2_000));
}

#[tokio::test(start_paused = true)]
async fn a_late_response_comes_after_its_delay() {
    let faults = Faults { late_response: 1.0, late_response_delay_ms: (5_000, 5_000), ..Faults::default() };
    let smsc = smsc(faults).await;
    let mut client = Client::bound(&smsc).await;
    let start = Instant::now();
    client.send(message(&number(1), b"x")).await;
    let (sequence, _) = client.delivery().await;
    client.acknowledge(sequence, 0).await;
    assert!(client.is_quiet_for(Duration::from_millis(4_900)).await);
    assert_eq!(u32::from(client.next().await.unwrap().status()), 0);
    assert!(start.elapsed() >= Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn receipts_go_missing_while_the_phone_rings() {
    let (smsc, seen) = run(Faults { no_receipt: 0.2, ..Faults::default() }).await;
    assert!(is_a_fifth(2_000 - seen.receipts.len()));
    assert_eq!(smsc.total_rings(), 2_000);
}

#[tokio::test(start_paused = true)]
async fn receipts_come_twice() {
    let (smsc, seen) = run(Faults { duplicate_receipt: 0.2, ..Faults::default() }).await;
    let mut counts = BTreeMap::new();
    for (id, ..) in &seen.receipts {
        *counts.entry(id).or_insert(0) += 1;
    }
    assert!(is_a_fifth(counts.values().filter(|count| **count == 2).count()));
    assert_eq!((counts.len(), smsc.total_rings()), (2_000, 2_000));
}

#[tokio::test(start_paused = true)]
async fn an_older_receipt_follows() {
    let (_smsc, seen) = run(Faults { reordered_receipt: 0.2, ..Faults::default() }).await;
    assert!(is_a_fifth(in_state(&seen, MessageState::Enroute)));
    for (at, (id, ..)) in seen.receipts.iter().enumerate().filter(|(_, r)| r.1 == MessageState::Enroute) {
        let delivered = |r: &(String, MessageState, String)| r.0 == *id && r.1 == MessageState::Delivered;
        assert!(seen.receipts[..at].iter().any(delivered), "ENROUTE after DELIVRD");
    }
}

#[tokio::test(start_paused = true)]
async fn receipts_come_before_the_answer() {
    let faults = Faults { early_receipt: 0.2, receipt_delay_ms: (200, 400), ..Faults::default() };
    let (_smsc, seen) = run(faults).await;
    let place = |is_receipt: bool| -> BTreeMap<&String, usize> {
        let named = seen.order.iter().enumerate().filter(move |(_, (receipt, _))| *receipt == is_receipt);
        named.map(|(at, (_, id))| (id, at)).collect()
    };
    let (receipts, answers) = (place(true), place(false));
    assert_eq!((receipts.len(), answers.len()), (2_000, 2_000));
    assert!(is_a_fifth(receipts.iter().filter(|(id, at)| **at < answers[*id]).count()));
}

#[rstest]
#[case(Faults { close_before_taking: 0.2, ..Faults::default() }, 0)]
#[case(Faults { close_after_taking: 0.2, ..Faults::default() }, 1)]
#[tokio::test(start_paused = true)]
async fn the_connection_drops_before_or_after_the_ring(#[case] faults: Faults, #[case] rings: usize) {
    let smsc = smsc(faults).await;
    let mut client = Client::bound(&smsc).await;
    let mut dropped = 0;
    for i in 0..500 {
        client.send(silent(message(&number(i), b"x"))).await;
        if client.next().await.is_some() {
            assert_eq!(smsc.rings_of(&number(i)).len(), 1);
        } else {
            assert_eq!(smsc.rings_of(&number(i)).len(), rings);
            dropped += 1;
            client = Client::bound(&smsc).await;
        }
    }
    // A fifth of 500, within five standard deviations (9).
    assert!((55..=145).contains(&dropped), "{dropped}");
    assert_eq!(smsc.stats().connections_dropped, dropped);
}

#[tokio::test(start_paused = true)]
async fn the_order_of_arrival_does_not_matter() {
    let faults = || Faults { queue_full: 0.2, undelivered: 0.2, lost_response: 0.1, ..Faults::default() };
    let forward = smsc(faults()).await;
    Client::bound(&forward).await.run(0..500).await;
    let backward = smsc(faults()).await;
    let (mut one, mut two) = (Client::bound(&backward).await, Client::bound(&backward).await);
    tokio::join!(one.run((0..250).rev()), two.run((250..500).rev()));
    assert_eq!(forward.ring_counts(), backward.ring_counts());

    let other = Smsc::start(SmscConfig { seed: 2, faults: faults(), ..SmscConfig::default() }).await.unwrap();
    Client::bound(&other).await.run(0..500).await;
    assert_ne!(forward.ring_counts(), other.ring_counts());
}

#[tokio::test(start_paused = true)]
async fn the_throttle_takes_its_share_of_every_second() {
    let smsc = smsc(Faults { throttle_above_per_second: Some(30), ..Faults::default() }).await;
    let mut client = Client::bound(&smsc).await;
    let first = client.run(0..100).await;
    // The run waits until all is quiet: seconds later by now.
    assert_eq!((with_status(&first, 0).len(), with_status(&first, 0x58).len()), (30, 70));
    let second = client.run(100..200).await;
    assert_eq!(with_status(&second, 0).len(), 30);
    assert_eq!(smsc.total_rings(), 60);
    let stats = smsc.stats();
    assert_eq!((stats.throttled, stats.peak_submits_per_second), (140, 100));
    assert!(stats.first_submit.unwrap() < stats.last_submit.unwrap());
}

#[tokio::test(start_paused = true)]
async fn faults_change_at_run_time() {
    let smsc = smsc(Faults::default()).await;
    let mut client = Client::bound(&smsc).await;
    assert_eq!(with_status(&client.run(0..10).await, 0).len(), 10);
    smsc.set_faults(Faults { queue_full: 1.0, ..Faults::default() });
    assert_eq!(with_status(&client.run(0..10).await, 0x14).len(), 10);
    smsc.set_faults(Faults { bind_refusal: Some(0x0D), ..Faults::default() });
    let mut refused = Client::connect(&smsc).await;
    assert_eq!(refused.bind(rusmpp::CommandId::BindTransceiver, "klaroen", "").await, 0x0D);
}

#[tokio::test(start_paused = true)]
async fn ids_are_hexadecimal_in_the_answer_and_decimal_in_the_receipt() {
    let faults = Faults {
        message_id: MessageIdFormat::HexUpper,
        receipt_id: ReceiptIdFormat::Decimal,
        ..Faults::default()
    };
    let smsc = smsc(faults).await;
    let seen = Client::bound(&smsc).await.run(0..1).await;
    assert_eq!(seen.answers[&0].1, "1A2B3C4D");
    assert_eq!(seen.receipts[0].0, "439041101");
    assert!(seen.receipts[0].2.starts_with("id:439041101 sub:001 dlvrd:001 submit date:"));
}

#[tokio::test]
async fn faults_that_cannot_be_do_not_start() {
    let faults = Faults { undelivered: 1.5, ..Faults::default() };
    let error = Smsc::start(SmscConfig { faults, ..SmscConfig::default() }).await.err().unwrap();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
}
