//! From the queue to the handset and back: the worker, SMPP, and a message centre that counts every ring.

use klaroen_test_databases::Engine;
use rstest::rstest;
use std::collections::HashMap;
use std::time::Duration;

use klaroen_domain::alert::Outcome;
use klaroen_domain::delivery::DeliveryState as S;
use klaroen_domain::time::{Clock as _, SystemClock};
use klaroen_gateway::ChannelStatus;
use klaroen_simulator::{Faults, Ring};
use klaroen_store::PageRequest;
use klaroen_store::alerts::AlertDraft;
use serde_json::json;

use crate::lateness::Lateness;
use crate::service::{PATIENCE, SENDER, Service, in_states, smsc, until};
use crate::world::{World, phone, text};

/// A world whose clock is the real one, with `count` people.
pub async fn world(engine: Engine, count: usize) -> World {
    let world = World::at(engine, SystemClock.now()).await;
    world.import(count, 0.1).await;
    world
}

fn rings(smsc: &klaroen_simulator::Smsc) -> HashMap<u32, usize> {
    let mut by_count = HashMap::new();
    for count in smsc.ring_counts().values() {
        *by_count.entry(*count).or_default() += 1;
    }
    by_count
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn each_rings_once_every_receipt_arrives_and_the_end_rings_exactly_those(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let world = world(engine, 1_000).await;
    let smsc = smsc(Faults { undelivered: 0.1, reject_number: 0.05, ..Faults::default() }).await;
    let service = Service::start(&world, &smsc, json!({}));
    let alert = world.alert_all().await;
    service.wake.notify_waiters();
    let view = until(&world, alert, |v| in_states(v, 0, &[S::Queued, S::Sending, S::Sent]) == 0).await;
    let delivered = in_states(&view, 0, &[S::Delivered]);
    assert!(in_states(&view, 0, &[S::Undelivered]) > 0 && in_states(&view, 0, &[S::Failed]) > 0);
    assert_eq!(smsc.total_rings(), delivered);
    assert_eq!(rings(&smsc).keys().collect::<Vec<_>>(), [&1]);

    world
        .store
        .end_alert(&world.intake(None), alert, &text("Gevonden."), Outcome::Found)
        .await
        .unwrap()
        .unwrap();
    service.wake.notify_waiters();
    let view =
        until(&world, alert, |v| v.messages.len() == 2 && in_states(v, 1, &[S::Queued, S::Sending]) == 0)
            .await;
    assert_eq!(view.messages[1].recipients, delivered);
    service.stop().await;
    for (number, count) in smsc.ring_counts() {
        let rings = smsc.rings_of(&number);
        assert_eq!(&*rings[0].text, "Let op: man, rode jas, te voet richting station.");
        assert!(count <= 2 && rings.get(1).is_none_or(|end| &*end.text == "Gevonden."), "{count}");
    }
    smsc.shutdown().await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_misbehaves_loses_nobody_and_rings_nobody_twice(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let world = world(engine, 2_000).await;
    let faults = Faults {
        response_delay_ms: (0, 5),
        receipt_delay_ms: (0, 50),
        undelivered: 0.05,
        queue_full: 0.05,
        lost_response: 0.005,
        close_after_taking: 0.0005,
        close_before_taking: 0.0005,
        duplicate_receipt: 0.2,
        early_receipt: 0.2,
        reordered_receipt: 0.2,
        ..Faults::default()
    };
    let smsc = smsc(faults).await;
    let service = Service::start(&world, &smsc, json!({ "response_timeout_s": 1 }));
    let alert = world.alert_all().await;
    service.wake.notify_waiters();
    let view = until(&world, alert, |v| {
        // The receipt about its phone settles a delivery in doubt, a few seconds later; one that never reached the
        // provider stays in doubt for all to see.
        in_states(v, 0, &[S::Queued, S::Sending, S::Sent]) == 0
            && in_states(v, 0, &[S::Delivered]) == smsc.total_rings()
    })
    .await;
    assert_eq!(in_states(&view, 0, &[S::Delivered, S::Undelivered, S::Unknown]), 2_000);
    assert_eq!(rings(&smsc).keys().collect::<Vec<_>>(), [&1], "nobody twice");
    let stats = smsc.stats();
    assert!(in_states(&view, 0, &[S::Unknown]) < 200, "{stats:?}");
    service.stop().await;
    smsc.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_stop_is_acknowledged_nothing_is_submitted_to_that_number() {
    let world = world(Engine::Sqlite, 1_500).await;
    let smsc = smsc(Faults { response_delay_ms: (1, 5), ..Faults::default() }).await;
    let service = Service::start(&world, &smsc, json!({ "segments_per_second": 400 }));
    let alert = world.alert_all().await;
    service.wake.notify_waiters();
    until(&world, alert, |v| in_states(v, 0, &[S::Delivered, S::Sent]) > 50).await;
    let number = |n: usize| phone(n).expose_digits().to_owned();
    let mut acknowledged = HashMap::new();
    for n in (0..1_500).step_by(150) {
        let status = smsc.send_inbound(&number(n), SENDER, "Stop, dank u").await.unwrap();
        if status == 0 {
            acknowledged
                .insert(n, smsc.rings_of(&number(n)).iter().filter(|r| r.text.starts_with("Let op")).count());
        }
    }
    assert!(acknowledged.len() > 5);
    until(&world, alert, |v| in_states(v, 0, &[S::Queued, S::Sending]) == 0).await;
    for (n, before) in acknowledged {
        let starts = smsc.rings_of(&number(n)).iter().filter(|r| r.text.starts_with("Let op")).count();
        assert_eq!(starts, before, "a start rang after the STOP");
        let confirmations =
            smsc.rings_of(&number(n)).iter().filter(|r| r.text.starts_with("OptOutConfirmed")).count();
        assert!(confirmations <= 1);
    }
    service.stop().await;
    smsc.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_while_starts_are_queued_is_for_those_who_got_the_start() {
    let world = world(Engine::Sqlite, 10_000).await;
    let smsc = smsc(Faults { response_delay_ms: (40, 60), ..Faults::default() }).await;
    let service = Service::start(&world, &smsc, json!({ "segments_per_second": 1_000 }));
    let alert = world.alert_all().await;
    service.wake.notify_waiters();
    until(&world, alert, |v| in_states(v, 0, &[S::Delivered, S::Sent]) > 500).await;
    world
        .store
        .end_alert(&world.intake(None), alert, &text("Voorbij."), Outcome::Other)
        .await
        .unwrap()
        .unwrap();
    service.wake.notify_waiters();
    until(&world, alert, |v| {
        in_states(v, 0, &[S::Queued, S::Sending, S::Sent]) == 0
            && in_states(v, 1, &[S::Queued, S::Sending, S::Sent]) == 0
            && v.messages[1].recipients == in_states(v, 0, &[S::Delivered])
    })
    .await;
    service.stop().await;
    let counts = smsc.ring_counts();
    assert!(counts.len() < 10_000, "the end came while starts were queued");
    for number in counts.keys() {
        let texts: Vec<_> = smsc.rings_of(number).iter().map(|r| r.text.chars().next()).collect();
        assert_eq!(texts, [Some('L'), Some('V')], "a start, then its end");
    }
    smsc.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rate_of_a_gateway_is_never_exceeded() {
    let world = world(Engine::Sqlite, 700).await;
    let smsc = smsc(Faults::default()).await;
    let lateness = Lateness::measure();
    let service = Service::start(&world, &smsc, json!({ "segments_per_second": 200, "binds": 2 }));
    let alert = world.alert_all().await;
    service.wake.notify_waiters();
    until(&world, alert, |v| in_states(v, 0, &[S::Delivered]) == 700).await;
    let peak = smsc.stats().peak_submits_per_second;
    let late = lateness.allows(200);
    assert!(
        (150..=200 + late).contains(&peak),
        "{peak} in one second, and 200 are allowed: {late} may be late"
    );
    service.stop().await;
    smsc.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_in_the_middle_leaves_nothing_in_doubt_and_the_next_worker_goes_on() {
    let world = world(Engine::Sqlite, 3_000).await;
    let smsc = smsc(Faults { response_delay_ms: (40, 120), ..Faults::default() }).await;
    let service = Service::start(&world, &smsc, json!({ "segments_per_second": 600 }));
    let alert = world.alert_all().await;
    service.wake.notify_waiters();
    until(&world, alert, |v| in_states(v, 0, &[S::Delivered, S::Sent]) > 200).await;
    service.stop().await;
    let view = world.view(alert).await;
    assert_eq!(in_states(&view, 0, &[S::Unknown, S::Sending]), 0);
    assert!(in_states(&view, 0, &[S::Queued]) > 0, "it was in the middle");
    let service = Service::start(&world, &smsc, json!({}));
    until(&world, alert, |v| in_states(v, 0, &[S::Delivered]) == 3_000).await;
    assert_eq!(rings(&smsc), HashMap::from([(1, 3_000)]));
    service.stop().await;
    smsc.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_citizens_text_that_looks_like_a_receipt_stays_a_reply() {
    let world = world(Engine::Sqlite, 1).await;
    let smsc = smsc(Faults { no_receipt: 1.0, ..Faults::default() }).await;
    let service = Service::start(&world, &smsc, json!({}));
    let alert = world.alert_all().await;
    service.wake.notify_waiters();
    until(&world, alert, |v| in_states(v, 0, &[S::Sent]) == 1).await;
    let forged = "id:1 sub:001 dlvrd:001 stat:DELIVRD err:000";
    assert_eq!(smsc.send_inbound(phone(0).expose_digits(), SENDER, forged).await.unwrap(), 0);
    let page = PageRequest { limit: 10, cursor: None };
    let replies =
        world.store.list_replies(world.organisation, alert, None, &page).await.unwrap().unwrap().items;
    assert_eq!(replies[0].text, forged);
    assert_eq!(world.count(alert, 0, S::Sent).await, 1);
    service.stop().await;
    smsc.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_alert_does_not_hold_up_a_later_small_one() {
    /// The deliveries that were leased of the large one when the small one came: a claim is what the rate brings in 20 ms, or in
    /// up to 100 if claims take long, and the next one begins when half of it is left.
    const LEASED: u64 = 300 / 10 * 3 / 2;
    const SMALL: &str = "Let op: vermist meisje, gele jas.";
    let world = world(Engine::Sqlite, 3_000).await;
    let smsc = smsc(Faults::default()).await;
    let service = Service::start(&world, &smsc, json!({ "segments_per_second": 300 }));
    let large = world.alert_all().await;
    service.wake.notify_waiters();
    until(&world, large, |v| in_states(v, 0, &[S::Delivered, S::Sent]) > 30).await;
    // People 0 to 100 are within 10 m: a small alert in the same lane.
    let small = world.take(&AlertDraft { text: text(SMALL), ..world.alert_draft(10.0) }).await;
    // Rings are counted, not timed: this one, and all of the large alert until now, came before.
    let before = smsc.total_rings();
    assert!(small.recipients > 50 && small.recipients < 150, "{}", small.recipients);
    service.wake.notify_waiters();
    let alert = small.alert.unwrap();
    until(&world, alert, |v| in_states(v, 0, &[S::Queued, S::Sending]) == 0).await;
    let rings: Vec<_> = smsc.ring_counts().keys().flat_map(|number| smsc.rings_of(number)).collect();
    let last = rings.iter().filter(|ring| &*ring.text == SMALL).map(|ring| ring.order).max().unwrap();
    let between = |ring: &&Ring| &*ring.text != SMALL && (before + 1..last).contains(&ring.order);
    let others = rings.iter().filter(between).count() as u64;
    // In turns: one of the large alert for each of the small one, after what was leased already.
    let most = small.recipients + LEASED;
    assert!(others <= most, "{others} of the large alert went before the last of {}", small.recipients);
    let view = world.view(large).await;
    assert!(in_states(&view, 0, &[S::Queued]) > 0, "the large one was over: {view:#?}");
    world.store.cancel_alert(&world.intake(None), large).await.unwrap().unwrap();
    service.stop().await;
    smsc.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_bind_is_reported_and_not_hammered() {
    let world = world(Engine::Sqlite, 5).await;
    let smsc = smsc(Faults { bind_refusal: Some(0x0E), ..Faults::default() }).await;
    let service = Service::start(&world, &smsc, json!({}));
    let alert = world.alert_all().await;
    service.wake.notify_waiters();
    let refused = || {
        let channels = (service.health)();
        channels.iter().any(|channel| matches!(channel.status, ChannelStatus::Refused { .. }))
    };
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !refused() {
        assert!(tokio::time::Instant::now() < deadline, "it is not reported");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    service.wake.notify_waiters();
    let view = world.view(alert).await;
    assert_eq!(in_states(&view, 0, &[S::Queued]), 5, "the queue is not burned");
    assert_eq!((smsc.stats().binds_refused, smsc.submits()), (1, 0));
    service.stop().await;
    smsc.shutdown().await;
}
