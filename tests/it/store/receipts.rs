//! Receipts: early, late, repeated, out of order, of long messages, and without an id that is known.

use klaroen_test_databases::Engine;
use rstest::rstest;
use std::time::Duration;

use klaroen_domain::decide::Decision;
use klaroen_domain::delivery::DeliveryState;
use klaroen_domain::gateway::TestState;
use klaroen_domain::outcome::ProviderId;
use klaroen_domain::outcome::ReceiptStatus::{self, Delivered, Undelivered, Underway};
use klaroen_store::gateway_tests::TestAnswer;
use klaroen_store::receipts::{IncomingReceipt, ReceiptCounts};

use crate::world::{World, channel, keys, phone, provider_id};

const GRACE: Duration = Duration::from_hours(24);

fn receipt(world: &World, id: &str, status: ReceiptStatus) -> IncomingReceipt {
    IncomingReceipt {
        provider_id: ProviderId(id.to_owned()),
        delivery: None,
        status,
        error: (status == ReceiptStatus::Undelivered).then(|| "000013".to_owned()),
        recipient: None,
        raw: format!("id:{id} stat:{}", status.as_str()),
        received_at: world.now(),
    }
}

#[rstest]
#[tokio::test]
async fn a_receipt_moves_its_delivery_and_never_back(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let world = World::new(engine).await;
    world.enrol(1).await;
    let alert = world.alert_all().await;
    let claimed = world.claim(1).await.claimed.remove(0);
    world.store.finish("main", &[world.accepted(&claimed)]).await.unwrap();
    let id = provider_id(&claimed);
    for (status, state) in [
        (Underway, DeliveryState::Sent),
        (Undelivered, DeliveryState::Undelivered),
        (Delivered, DeliveryState::Delivered),
        (Undelivered, DeliveryState::Delivered),
        (Underway, DeliveryState::Delivered),
    ] {
        let counts = world.store.store_receipts("main", &[receipt(&world, &id, status)]).await.unwrap();
        assert_eq!((counts.joined, counts.parked), (1, 0));
        assert_eq!(world.count(alert, 0, state).await, 1, "{status:?}");
    }
}

#[rstest]
#[tokio::test]
async fn a_receipt_before_its_submit_is_joined(#[values(Engine::Sqlite, Engine::Postgres)] engine: Engine) {
    let world = World::new(engine).await;
    world.enrol(1).await;
    let alert = world.alert_all().await;
    let claimed = world.claim(1).await.claimed.remove(0);
    let early = receipt(&world, &provider_id(&claimed), ReceiptStatus::Delivered);
    let counts = world.store.store_receipts("main", &[early]).await.unwrap();
    assert_eq!(counts, ReceiptCounts { joined: 0, parked: 1, moved: 0 });
    let counts = world.store.finish("main", &[world.accepted(&claimed)]).await.unwrap();
    assert_eq!(counts.joined, 1);
    assert_eq!(world.count(alert, 0, DeliveryState::Delivered).await, 1);
    assert_eq!(world.view(alert).await.messages[0].last_sent_at, Some(world.now()));
}

#[rstest]
#[tokio::test]
async fn receipts_of_another_gateway_do_not_join(#[values(Engine::Sqlite, Engine::Postgres)] engine: Engine) {
    let world = World::new(engine).await;
    world.enrol(1).await;
    let alert = world.alert_all().await;
    let claimed = world.claim(1).await.claimed.remove(0);
    world.store.finish("main", &[world.accepted(&claimed)]).await.unwrap();
    let stranger = receipt(&world, &provider_id(&claimed), ReceiptStatus::Delivered);
    assert_eq!(world.store.store_receipts("other", &[stranger]).await.unwrap().parked, 1);
    assert_eq!(world.count(alert, 0, DeliveryState::Sent).await, 1);
}

#[rstest]
#[tokio::test]
async fn a_batch_with_several_receipts_about_one_delivery_is_folded(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let world = World::new(engine).await;
    world.enrol(2).await;
    let alert = world.alert_all().await;
    let claim = world.claim(2).await;
    let finished: Vec<_> = claim.claimed.iter().map(|c| world.accepted(c)).collect();
    world.store.finish("main", &finished).await.unwrap();
    let [a, b] = [provider_id(&claim.claimed[0]), provider_id(&claim.claimed[1])];
    let batch = [
        receipt(&world, &a, ReceiptStatus::Delivered),
        receipt(&world, &b, ReceiptStatus::Underway),
        receipt(&world, &a, ReceiptStatus::Undelivered),
        receipt(&world, &b, ReceiptStatus::Undelivered),
        receipt(&world, &a, ReceiptStatus::Delivered),
        receipt(&world, "nobody", ReceiptStatus::Delivered),
    ];
    let counts = world.store.store_receipts("main", &batch).await.unwrap();
    assert_eq!(counts, ReceiptCounts { joined: 5, parked: 1, moved: 2 });
    assert_eq!(world.count(alert, 0, DeliveryState::Delivered).await, 1);
    assert_eq!(world.count(alert, 0, DeliveryState::Undelivered).await, 1);
}

#[rstest]
#[tokio::test]
async fn a_long_message_is_delivered_when_all_its_parts_are(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let world = World::new(engine).await;
    world.enrol(1).await;
    let alert = world.alert_all().await;
    let claimed = world.claim(1).await.claimed.remove(0);
    let sent = world.finished(&claimed, Decision::Sent, &["p1", "p2", "p3"]);
    // One part's receipt comes before the answer.
    world.store.store_receipts("main", &[receipt(&world, "p3", ReceiptStatus::Delivered)]).await.unwrap();
    world.store.finish("main", &[sent]).await.unwrap();
    assert_eq!(world.count(alert, 0, DeliveryState::Sent).await, 1);
    for (id, state) in
        [("p1", DeliveryState::Sent), ("p1", DeliveryState::Sent), ("p2", DeliveryState::Delivered)]
    {
        world.store.store_receipts("main", &[receipt(&world, id, ReceiptStatus::Delivered)]).await.unwrap();
        assert_eq!(world.count(alert, 0, state).await, 1, "{id}");
    }
}

#[rstest]
#[tokio::test]
async fn an_id_that_the_provider_uses_again_means_the_newest_submit(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let world = World::new(engine).await;
    world.enrol(2).await;
    let alert = world.alert_all().await;
    let claim = world.claim(2).await;
    world.store.finish("main", &[world.finished(&claim.claimed[0], Decision::Sent, &["7"])]).await.unwrap();
    world.clock.advance(Duration::from_mins(1));
    world.store.finish("main", &[world.finished(&claim.claimed[1], Decision::Sent, &["7"])]).await.unwrap();
    world.store.store_receipts("main", &[receipt(&world, "7", ReceiptStatus::Delivered)]).await.unwrap();
    let page = klaroen_store::PageRequest { limit: 10, cursor: None };
    let state = Some(DeliveryState::Delivered);
    let list = world.store.list_deliveries(world.organisation, alert, state, &page).await.unwrap().unwrap();
    assert_eq!(list.items.iter().map(|d| d.id).collect::<Vec<_>>(), [claim.claimed[1].id]);
}

#[rstest]
#[tokio::test]
async fn a_receipt_that_names_another_phone_is_not_ours(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let world = World::new(engine).await;
    world.enrol(1).await;
    let alert = world.alert_all().await;
    let claimed = world.claim(1).await.claimed.remove(0);
    let mut foreign = receipt(&world, &provider_id(&claimed), ReceiptStatus::Delivered);
    foreign.recipient = Some(keys().recipient(&phone(99)));
    world.store.store_receipts("main", &[foreign.clone()]).await.unwrap();
    world.store.finish("main", &[world.accepted(&claimed)]).await.unwrap();
    world.store.store_receipts("main", &[foreign]).await.unwrap();
    world.store.sweep(GRACE, world.now()).await.unwrap();
    assert_eq!(world.count(alert, 0, DeliveryState::Sent).await, 1);
    let mut ours = receipt(&world, &provider_id(&claimed), ReceiptStatus::Delivered);
    ours.recipient = Some(keys().recipient(&phone(0)));
    world.store.store_receipts("main", &[ours]).await.unwrap();
    assert_eq!(world.count(alert, 0, DeliveryState::Delivered).await, 1);
}

#[rstest]
#[tokio::test]
async fn a_receipt_from_long_before_the_submit_is_about_another_message(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let world = World::new(engine).await;
    world.enrol(1).await;
    let old = receipt(&world, "7", ReceiptStatus::Delivered);
    world.store.store_receipts("main", &[old]).await.unwrap();
    world.clock.advance(Duration::from_hours(24));
    let alert = world.alert_all().await;
    let claimed = world.claim(1).await.claimed.remove(0);
    world.store.finish("main", &[world.finished(&claimed, Decision::Sent, &["7"])]).await.unwrap();
    world.store.sweep(GRACE, world.now()).await.unwrap();
    assert_eq!(world.count(alert, 0, DeliveryState::Sent).await, 1);
}

#[rstest]
#[tokio::test]
async fn a_reference_of_ours_outranks_the_providers_id(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let world = World::new(engine).await;
    world.enrol(2).await;
    world.alert_all().await;
    let claim = world.claim(2).await;
    for claimed in &claim.claimed {
        world.store.finish("main", &[world.finished(claimed, Decision::Sent, &["7"])]).await.unwrap();
    }
    let mut referred = receipt(&world, "7", ReceiptStatus::Delivered);
    referred.delivery = Some(claim.claimed[0].id);
    let mut invented = receipt(&world, "unheard-of", ReceiptStatus::Delivered);
    invented.delivery = Some(klaroen_domain::id::DeliveryId(i64::MAX));
    let counts = world.store.store_receipts("main", &[referred, invented]).await.unwrap();
    assert_eq!(counts, ReceiptCounts { joined: 1, parked: 1, moved: 1 });
}

#[rstest]
#[tokio::test]
async fn why_it_did_not_arrive_outlives_the_answer_that_comes_after_the_receipt(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let world = World::new(engine).await;
    world.enrol(1).await;
    let alert = world.alert_all().await;
    let claimed = world.claim(1).await.claimed.remove(0);
    let mut first = receipt(&world, "7", ReceiptStatus::Undelivered);
    (first.delivery, first.error) = (Some(claimed.id), Some("opted_out".into()));
    world.store.store_receipts("main", &[first]).await.unwrap();
    world.store.finish("main", &[world.finished(&claimed, Decision::Sent, &["7"])]).await.unwrap();
    let page = klaroen_store::PageRequest { limit: 1, cursor: None };
    let kept = world.store.list_deliveries(world.organisation, alert, None, &page).await.unwrap().unwrap();
    let kept = kept.items.first().unwrap();
    assert_eq!((kept.state, kept.reason.as_deref()), (DeliveryState::Undelivered, Some("opted_out")));
}

#[rstest]
#[tokio::test]
async fn a_doubt_that_was_held_and_proves_sent_is_watched_again(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let world = World::new(engine).await;
    world.enrol(1).await;
    let alert = world.alert_all().await;
    let lost = world.claim(1).await.claimed.remove(0);
    world.clock.advance(Duration::from_secs(61));
    world.store.sweep(GRACE, world.now()).await.unwrap();
    world.clock.advance(Duration::from_secs(31));
    let swept = world.store.sweep(GRACE, world.now()).await.unwrap();
    assert_eq!((swept.held, swept.messages_settled), (1, 1));
    world.store.finish("main", &[world.accepted(&lost)]).await.unwrap();
    assert_eq!(world.count(alert, 0, DeliveryState::Sent).await, 1);
    world.clock.advance(Duration::from_hours(1) + GRACE);
    assert_eq!(world.store.sweep(GRACE, world.now()).await.unwrap().no_receipt, 1);
}

#[rstest]
#[tokio::test]
async fn a_receipt_about_the_phone_settles_an_answer_that_was_lost(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let world = World::new(engine).await;
    world.enrol(2).await;
    let alert = world.alert_all().await;
    world.claim(2).await;
    world.clock.advance(Duration::from_secs(61));
    world.store.sweep(GRACE, world.now()).await.unwrap();
    assert_eq!(world.count(alert, 0, DeliveryState::Unknown).await, 2);
    let mut about = receipt(&world, "never-seen", ReceiptStatus::Delivered);
    about.recipient = Some(keys().recipient(&phone(0)));
    world.store.store_receipts("main", &[about]).await.unwrap();
    assert_eq!(
        world.store.sweep(GRACE, world.now()).await.unwrap().receipts_joined,
        0,
        "its answer may come yet"
    );
    world.clock.advance(Duration::from_secs(3));
    assert_eq!(world.store.sweep(GRACE, world.now()).await.unwrap().receipts_joined, 1);
    assert_eq!(world.count(alert, 0, DeliveryState::Delivered).await, 1);
    assert_eq!(world.count(alert, 0, DeliveryState::Unknown).await, 1);
}

#[rstest]
#[tokio::test]
async fn a_receipt_about_the_phone_settles_nothing_where_two_answers_were_lost(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let world = World::new(engine).await;
    world.enrol(1).await;
    world.alert_all().await;
    let alert = world.alert_all().await;
    assert_eq!(world.claim(2).await.claimed.len(), 2);
    world.clock.advance(Duration::from_secs(61));
    world.store.sweep(GRACE, world.now()).await.unwrap();
    let mut about = receipt(&world, "never-seen", ReceiptStatus::Delivered);
    about.recipient = Some(keys().recipient(&phone(0)));
    world.store.store_receipts("main", &[about]).await.unwrap();
    world.clock.advance(Duration::from_secs(3));
    assert_eq!(world.store.sweep(GRACE, world.now()).await.unwrap().receipts_joined, 0);
    assert_eq!(world.count(alert, 0, DeliveryState::Unknown).await, 1);
}

#[rstest]
#[tokio::test]
async fn a_receipt_that_may_be_of_a_test_message_settles_nobodys_alert(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let world = World::new(engine).await;
    world.enrol(2).await;
    let alert = world.alert_all().await;
    world.claim(2).await;
    // The phone that tests go to is that of a participant, and both answers are lost.
    let (now, store) = (world.now(), &world.store);
    store.request_daily_test("main", "2026-11-23", now).await.unwrap();
    let lease_until = now.plus(Duration::from_mins(1));
    let test = store.claim_gateway_test(&channel(0), lease_until, now).await.unwrap().unwrap();
    assert!(store.begin_gateway_test(&test, &phone(0), now).await.unwrap());
    world.clock.advance(Duration::from_secs(61));
    store.tend_gateway_tests(world.now()).await.unwrap();
    store.sweep(GRACE, world.now()).await.unwrap();
    let about = |n| IncomingReceipt {
        recipient: Some(keys().recipient(&phone(n))),
        ..receipt(&world, &format!("never-seen-{n}"), ReceiptStatus::Delivered)
    };
    store.store_receipts("main", &[about(0), about(1)]).await.unwrap();
    world.clock.advance(Duration::from_secs(3));
    assert_eq!(store.sweep(GRACE, world.now()).await.unwrap().receipts_joined, 1, "only of the other phone");
    assert_eq!(world.count(alert, 0, DeliveryState::Delivered).await, 1);
    assert_eq!(world.count(alert, 0, DeliveryState::Unknown).await, 1);
    // Once the test is known at the provider, the receipt is known to be none of its own.
    let accepted = TestAnswer {
        state: TestState::Accepted,
        provider_id: Some(ProviderId("of-the-test".into())),
        awaits_receipt: true,
        failure: None,
    };
    assert!(store.finish_gateway_test(test.number, test.lease_token, &accepted, world.now()).await.unwrap());
    assert_eq!(store.sweep(GRACE, world.now()).await.unwrap().receipts_joined, 1);
    assert_eq!(world.count(alert, 0, DeliveryState::Delivered).await, 2);
}

#[rstest]
#[tokio::test]
async fn sent_without_a_receipt_in_time_is_no_receipt_and_a_late_one_still_counts(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let world = World::new(engine).await;
    world.enrol(1).await;
    let alert = world.alert_all().await;
    let claimed = world.claim(1).await.claimed.remove(0);
    world.store.finish("main", &[world.accepted(&claimed)]).await.unwrap();
    world.clock.advance(Duration::from_hours(1) + GRACE);
    let swept = world.store.sweep(GRACE, world.now()).await.unwrap();
    assert_eq!((swept.no_receipt, swept.messages_settled), (1, 1));
    assert_eq!(world.count(alert, 0, DeliveryState::NoReceipt).await, 1);
    let late = receipt(&world, &provider_id(&claimed), ReceiptStatus::Delivered);
    world.store.store_receipts("main", &[late]).await.unwrap();
    assert_eq!(world.count(alert, 0, DeliveryState::Delivered).await, 1);
}

#[rstest]
#[tokio::test]
async fn the_newest_receipts_say_how_a_gateway_does(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let world = World::new(engine).await;
    world.enrol(4).await;
    world.alert_all().await;
    let claimed = world.claim(4).await.claimed;
    let sent: Vec<_> = claimed.iter().map(|claimed| world.accepted(claimed)).collect();
    world.store.finish("main", &sent).await.unwrap();
    for (claimed, status) in claimed.iter().zip([Delivered, Underway, Undelivered, Delivered]) {
        world.clock.advance(Duration::from_secs(2));
        let receipt = receipt(&world, &provider_id(claimed), status);
        world.store.store_receipts("main", &[receipt]).await.unwrap();
    }
    let times = world.store.receipt_times(world.now()).await.unwrap();
    assert_eq!((times["main"].delivered, times["main"].undelivered), (2, 1));
    assert!((times["main"].median_s - 6.0).abs() < 1e-9, "of 2, 6 and 8 s");
    world.clock.advance(Duration::from_mins(15));
    assert!(world.store.receipt_times(world.now()).await.unwrap().is_empty());
}
