//! Lost submits: written down once, asked about by one at a time, settled once, and counted.

use std::collections::BTreeMap;
use std::time::Duration;

use klaroen_domain::alert::Priority;
use klaroen_domain::decide::Decision;
use klaroen_domain::delivery::DeliveryState as S;
use klaroen_domain::id::AlertId;
use klaroen_domain::outcome::{Failure, ProviderId, ReceiptStatus, Scope};
use klaroen_store::claims::Claimed;
use klaroen_store::deliveries::DeliveryView;
use klaroen_store::doubts::{ASKED_WITHIN, Answered, Because, Doubt, DoubtCounts, Found, Resolution};
use klaroen_store::receipts::IncomingReceipt;
use klaroen_store::{Page, PageRequest};
use klaroen_test_databases::Engine;
use rstest::rstest;
use uuid::Uuid;

use crate::world::{World, channel};

const GRACE: Duration = Duration::from_hours(24);
const WAIT: Duration = Duration::from_secs(30);

/// An alert of which each answer is lost at a gateway that can be asked, or not.
async fn lost(engine: Engine, people: usize, can_be_asked: bool) -> (World, AlertId, Vec<Claimed>) {
    let world = World::new(engine).await;
    world.enrol(people).await;
    let alert = world.alert_all().await;
    hold(&world, can_be_asked).await;
    let claimed = world.claim(100).await.claimed;
    lose(&world, &claimed).await;
    (world, alert, claimed)
}

async fn hold(world: &World, can_be_asked: bool) {
    let until = world.now().plus(Duration::from_hours(1));
    world.store.lease_channel(&channel(0), Uuid::nil(), until, world.now()).await.unwrap();
    world.store.note_can_be_asked("main", can_be_asked).await.unwrap();
}

async fn lose(world: &World, claimed: &[Claimed]) {
    let unknown = Decision::Unknown { settle_at: world.now().plus(WAIT) };
    let finished: Vec<_> = claimed.iter().map(|c| world.finished(c, unknown.clone(), &[])).collect();
    assert_eq!(world.store.finish("main", &finished).await.unwrap().applied, claimed.len() as u64);
}

async fn take(world: &World) -> Vec<Doubt> {
    let until = world.now().plus(WAIT);
    world.store.take_doubts("main", 100, until, world.now()).await.unwrap()
}

async fn answer(world: &World, doubt: &Doubt, found: Found) {
    let answered = vec![Answered { doubt: doubt.clone(), found }];
    world.store.answer_doubts("main", answered, world.now()).await.unwrap();
}

async fn counts(world: &World, alert: AlertId) -> DoubtCounts {
    world.view(alert).await.messages[0].doubts.clone()
}

fn settled(how: &[(Resolution, u64)]) -> DoubtCounts {
    DoubtCounts { open: 0, settled: how.iter().copied().collect() }
}

async fn told(world: &World) -> BTreeMap<(String, Resolution), usize> {
    let mut told = BTreeMap::new();
    for one in world.store.count_settled_doubts().await.unwrap() {
        *told.entry(one).or_default() += 1;
    }
    told
}

async fn deliveries(world: &World, alert: AlertId, state: Option<S>) -> Vec<DeliveryView> {
    let page = PageRequest { limit: 500, cursor: None };
    let found = world.store.list_deliveries(world.organisation, alert, state, &page).await.unwrap();
    let Page { items, .. } = found.unwrap();
    items
}

async fn policy(world: &World) -> (u64, u64) {
    let swept = world.store.sweep(GRACE, world.now()).await.unwrap();
    (swept.resent, swept.held)
}

fn known(status: ReceiptStatus, error: Option<&str>) -> Found {
    let provider_ids = vec![ProviderId("p1".into())];
    Found::Known { provider_ids, segments: 1, status, error: error.map(str::to_owned) }
}

#[rstest]
#[tokio::test]
async fn what_was_never_in_doubt_has_no_doubt(#[values(Engine::Sqlite, Engine::Postgres)] engine: Engine) {
    let world = World::new(engine).await;
    world.enrol(5).await;
    let alert = world.alert_all().await;
    world.send_all().await;
    assert_eq!(counts(&world, alert).await, DoubtCounts::default());
    assert!(deliveries(&world, alert, None).await.iter().all(|d| d.settled_by.is_none()));
    assert!(told(&world).await.is_empty());
}

#[rstest]
#[tokio::test]
async fn a_look_up_moves_a_delivery_as_its_receipt_would(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
    #[values(
        (ReceiptStatus::Underway, None, S::Sent),
        (ReceiptStatus::Unknown, None, S::Sent),
        (ReceiptStatus::Delivered, None, S::Delivered),
        (ReceiptStatus::Undelivered, Some("30005"), S::Undelivered),
        (ReceiptStatus::Undelivered, Some(Failure::OPTED_OUT), S::Undelivered)
    )]
    case: (ReceiptStatus, Option<&'static str>, S),
) {
    let (status, error, state) = case;
    let (world, alert, claimed) = lost(engine, 1, true).await;
    let lost_at = world.now();
    assert_eq!(counts(&world, alert).await, DoubtCounts { open: 1, ..DoubtCounts::default() });
    assert!(take(&world).await.is_empty(), "it waits for its receipt first");
    world.clock.advance(WAIT);
    let doubt = take(&world).await.remove(0);
    assert_eq!((doubt.id, doubt.lease_token, doubt.may_ring), (claimed[0].id, claimed[0].lease_token, true));
    assert_eq!(doubt.phone, claimed[0].phone);
    assert!(doubt.since <= lost_at && doubt.lost_at == lost_at);
    answer(&world, &doubt, known(status, error)).await;
    let delivery = deliveries(&world, alert, None).await.remove(0);
    assert_eq!((delivery.state, delivery.reason.as_deref()), (state, error));
    assert_eq!((delivery.in_doubt, delivery.sent_at), (false, Some(lost_at)));
    assert_eq!(delivery.settled_by, Some(Resolution::LookupFound));
    assert_eq!(counts(&world, alert).await, settled(&[(Resolution::LookupFound, 1)]));
    assert_eq!(told(&world).await, BTreeMap::from([(("main".to_owned(), Resolution::LookupFound), 1)]));
    assert!(told(&world).await.is_empty(), "each is told once");
    let page = PageRequest { limit: 1, cursor: None };
    let number = claimed[0].phone.as_ref();
    let person = world.store.list_participants(world.organisation, number, &page).await.unwrap();
    assert_eq!(person.items[0].opted_out, error == Some(Failure::OPTED_OUT));
    // Its receipt finds it by the id that the look-up brought.
    if state == S::Sent {
        let receipt = IncomingReceipt {
            provider_id: ProviderId("p1".into()),
            delivery: None,
            status: ReceiptStatus::Delivered,
            error: None,
            recipient: None,
            raw: String::new(),
            received_at: world.now(),
        };
        assert_eq!(world.store.store_receipts("main", &[receipt]).await.unwrap().moved, 1);
    }
    assert_eq!(
        counts(&world, alert).await,
        settled(&[(Resolution::LookupFound, 1)]),
        "it was settled before"
    );
}

#[rstest]
#[tokio::test]
async fn what_the_provider_does_not_know_goes_back_and_is_no_second_ring(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let (world, alert, claimed) = lost(engine, 1, true).await;
    world.clock.advance(WAIT);
    let doubt = take(&world).await.remove(0);
    let again = Found::Again { ask_at: world.now().plus(Duration::from_secs(5)), because: Because::Missed };
    answer(&world, &doubt, again).await;
    assert_eq!(policy(&world).await, (0, 0), "it is still being asked about");
    assert!(take(&world).await.is_empty());
    let missed_at = world.now();
    world.clock.advance(Duration::from_secs(5));
    let doubt = take(&world).await.remove(0);
    assert_eq!((doubt.missed_at, doubt.unanswered), (Some(missed_at), 0));
    answer(&world, &doubt, Found::NotKnown).await;
    let other = klaroen_store::channels::ChannelName { gateway: "other".into(), channel: 0 };
    let reclaimed = world.claim_on(&other, 10).await.claimed;
    assert_eq!((reclaimed[0].id, reclaimed[0].retries), (claimed[0].id, 0));
    let finished = world.finished(&reclaimed[0], Decision::Sent, &["q1"]);
    world.store.finish("other", &[finished]).await.unwrap();
    let delivery = deliveries(&world, alert, None).await.remove(0);
    assert_eq!((delivery.state, delivery.in_doubt), (S::Sent, false));
    assert_eq!(counts(&world, alert).await, settled(&[(Resolution::LookupNotFound, 1)]));
}

#[rstest]
#[tokio::test]
async fn one_asks_at_a_time_and_a_dead_one_is_followed(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let (world, alert, _) = lost(engine, 40, true).await;
    world.clock.advance(WAIT);
    let takes = futures::future::join_all((0..4).map(|_| take(&world))).await;
    let mut ids: Vec<_> = takes.iter().flatten().map(|doubt| doubt.id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((ids.len(), takes.iter().map(Vec::len).sum::<usize>()), (40, 40), "none is asked about twice");
    let dead = takes.into_iter().flatten().next().unwrap();
    world.clock.advance(WAIT);
    let next = take(&world).await;
    assert_eq!(next.len(), 40);
    // Too late: what it found out is another's to write down.
    answer(&world, &dead, Found::NotKnown).await;
    assert_eq!(counts(&world, alert).await.open, 40);
    let second = next.iter().find(|doubt| doubt.id == dead.id).unwrap();
    answer(&world, second, known(ReceiptStatus::Underway, None)).await;
    answer(&world, &dead, Found::NotKnown).await;
    assert_eq!(world.count(alert, 0, S::Sent).await, 1);
    assert_eq!(world.count(alert, 0, S::Queued).await, 0);
}

#[rstest]
#[tokio::test]
async fn a_receipt_or_answer_while_it_is_asked_about_wins(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let (world, alert, claimed) = lost(engine, 2, true).await;
    world.clock.advance(WAIT);
    let doubts = take(&world).await;
    let receipt = IncomingReceipt {
        provider_id: ProviderId("x".into()),
        delivery: Some(claimed[0].id),
        status: ReceiptStatus::Delivered,
        error: None,
        recipient: None,
        raw: String::new(),
        received_at: world.now(),
    };
    world.store.store_receipts("main", &[receipt]).await.unwrap();
    world.store.finish("main", &[world.accepted(&claimed[1])]).await.unwrap();
    for doubt in &doubts {
        answer(&world, doubt, Found::NotKnown).await;
    }
    assert_eq!(world.count(alert, 0, S::Delivered).await, 1);
    assert_eq!(world.count(alert, 0, S::Sent).await, 1);
    let expected = settled(&[(Resolution::Receipt, 1), (Resolution::LateAnswer, 1)]);
    assert_eq!(counts(&world, alert).await, expected);
}

#[rstest]
#[tokio::test]
async fn the_policy_waits_for_who_asks_and_not_for_ever(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
    #[values(true, false)] can_be_asked: bool,
) {
    let (world, alert, _) = lost(engine, 3, can_be_asked).await;
    world.clock.advance(WAIT);
    if !can_be_asked {
        assert_eq!(policy(&world).await, (0, 3), "nobody can be asked");
        assert_eq!(counts(&world, alert).await, settled(&[(Resolution::PolicyHold, 3)]));
        return;
    }
    assert_eq!(policy(&world).await, (0, 0));
    // One is asked about in vain; nobody asks about the others.
    let doubts = world.store.take_doubts("main", 1, world.now().plus(WAIT), world.now()).await.unwrap();
    answer(&world, &doubts[0], Found::Nothing).await;
    assert_eq!(policy(&world).await, (0, 1));
    world.clock.advance(ASKED_WITHIN);
    assert_eq!(policy(&world).await, (0, 2));
    assert!(take(&world).await.is_empty(), "what is held is not asked about any more");
    assert_eq!(counts(&world, alert).await, settled(&[(Resolution::PolicyHold, 3)]));
    let unknown = deliveries(&world, alert, Some(S::Unknown)).await;
    assert!(unknown.len() == 3 && unknown.iter().all(|d| d.settled_by == Some(Resolution::PolicyHold)));
}

#[rstest]
#[tokio::test]
async fn a_doubt_knows_its_lease_and_which_messages_at_the_provider_are_others(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let world = World::new(engine).await;
    world.enrol(2).await;
    world.alert_all().await;
    hold(&world, true).await;
    // Long after the message was written.
    world.clock.advance(Duration::from_mins(5));
    let claimed = world.claim(2).await.claimed;
    let leased_until = world.now().plus(Duration::from_mins(1));
    lose(&world, &claimed[..1]).await;
    let sent = world.finished(&claimed[1], Decision::Sent, &["of-the-other"]);
    world.store.finish("main", &[sent]).await.unwrap();
    world.clock.advance(WAIT);
    let doubt = take(&world).await.remove(0);
    assert_eq!((doubt.id, doubt.lease_until), (claimed[0].id, Some(leased_until)));
    let ids = ["of-the-other", "of-nobody"].map(|id| ProviderId(id.into()));
    let held = |gateway: &'static str, but| {
        let (store, ids) = (&world.store, &ids);
        async move { store.held_elsewhere(gateway, ids, but).await.unwrap() }
    };
    assert_eq!(held("main", doubt.id).await, ids[..1]);
    assert_eq!(held("main", claimed[1].id).await, [], "its own");
    assert_eq!(held("another", doubt.id).await, []);
}

#[rstest]
#[tokio::test]
async fn a_lost_lease_is_a_doubt_too_and_a_second_loss_is_a_second_one(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let world = World::new(engine).await;
    world.enrol(1).await;
    let mut draft = world.alert_draft(10_000.0);
    draft.priority = Priority::LifeThreatening;
    let alert = world.take(&draft).await.alert.unwrap();
    world.claim(1).await;
    world.clock.advance(Duration::from_mins(1));
    assert_eq!(world.store.sweep(GRACE, world.now()).await.unwrap().leases_lost, 1);
    assert_eq!(counts(&world, alert).await.open, 1);
    world.clock.advance(Duration::from_secs(10));
    assert_eq!(policy(&world).await, (1, 0));
    assert_eq!(counts(&world, alert).await, settled(&[(Resolution::PolicyResend, 1)]));
    let again = world.claim(1).await.claimed;
    lose(&world, &again).await;
    assert_eq!(counts(&world, alert).await.open, 1);
    world.clock.advance(WAIT);
    assert_eq!(policy(&world).await, (0, 1));
    let expected = settled(&[(Resolution::PolicyResend, 1), (Resolution::PolicyHold, 1)]);
    assert_eq!(counts(&world, alert).await, expected);
    let delivery = deliveries(&world, alert, None).await.remove(0);
    assert_eq!((delivery.in_doubt, delivery.settled_by), (true, Some(Resolution::PolicyHold)));
    assert_eq!(told(&world).await.values().sum::<usize>(), 2);
    // A delivery that is held and then heard of is settled by its receipt.
    let receipt = IncomingReceipt {
        provider_id: ProviderId("x".into()),
        delivery: Some(delivery.id),
        status: ReceiptStatus::Delivered,
        error: None,
        recipient: None,
        raw: String::new(),
        received_at: world.now(),
    };
    world.store.store_receipts("main", &[receipt]).await.unwrap();
    let expected = settled(&[(Resolution::PolicyResend, 1), (Resolution::Receipt, 1)]);
    assert_eq!(counts(&world, alert).await, expected);
}

#[rstest]
#[tokio::test]
async fn what_was_to_be_sent_again_and_was_stopped_is_held(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let world = World::new(engine).await;
    world.enrol(1).await;
    let mut draft = world.alert_draft(10_000.0);
    draft.priority = Priority::LifeThreatening;
    let alert = world.take(&draft).await.alert.unwrap();
    lose(&world, &world.claim(1).await.claimed).await;
    world.clock.advance(WAIT);
    assert_eq!(policy(&world).await, (1, 0));
    world.store.cancel_alert(&world.intake(None), alert).await.unwrap().unwrap();
    assert_eq!(world.count(alert, 0, S::Unknown).await, 1);
    assert_eq!(counts(&world, alert).await, settled(&[(Resolution::PolicyHold, 1)]));
    let delivery = deliveries(&world, alert, None).await.remove(0);
    assert_eq!(delivery.settled_by, Some(Resolution::PolicyHold));
}

#[rstest]
#[tokio::test]
async fn a_repetition_settles_without_a_second_ring(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let (world, alert, claimed) = lost(engine, 3, true).await;
    world.clock.advance(WAIT);
    let doubts = take(&world).await;
    answer(&world, &doubts[0], Found::Taken { provider_ids: vec![ProviderId("r".into())], segments: 1 })
        .await;
    let stopped =
        Failure { scope: Scope::Recipient, code: Failure::OPTED_OUT.into(), detail: "stopped".into() };
    answer(&world, &doubts[1], Found::Refused(stopped)).await;
    let again = Found::Again { ask_at: world.now(), because: Because::NotTaken };
    answer(&world, &doubts[2], again).await;
    assert_eq!(take(&world).await[0].resent, 1);
    let all = deliveries(&world, alert, None).await;
    let states: Vec<S> = all.iter().map(|d| d.state).collect();
    assert_eq!(states, [S::Sent, S::Failed, S::Unknown]);
    assert!(all.iter().all(|d| !d.in_doubt));
    let found = counts(&world, alert).await;
    assert_eq!((found.open, found.settled), (1, BTreeMap::from([(Resolution::IdempotentResend, 2)])));
    // The stop that the provider told of is ours now.
    let page = PageRequest { limit: 1, cursor: None };
    let number = claimed[1].phone.as_ref();
    let person = world.store.list_participants(world.organisation, number, &page).await.unwrap();
    assert!(person.items[0].opted_out);
}

#[rstest]
#[tokio::test]
async fn nobody_who_stopped_and_nothing_that_is_over_may_ring(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let (world, alert, claimed) = lost(engine, 2, true).await;
    let stop = IncomingReceipt {
        provider_id: ProviderId("x".into()),
        delivery: None,
        status: ReceiptStatus::Undelivered,
        error: Some(Failure::OPTED_OUT.into()),
        recipient: claimed[0].phone.as_ref().map(|phone| crate::world::keys().recipient(phone)),
        raw: String::new(),
        received_at: world.now(),
    };
    world.store.store_receipts("elsewhere", &[stop]).await.unwrap();
    world.clock.advance(WAIT);
    let may = |doubts: Vec<Doubt>| doubts.iter().map(|doubt| doubt.may_ring).collect::<Vec<_>>();
    assert_eq!(may(take(&world).await), [false, true]);
    world.store.cancel_alert(&world.intake(None), alert).await.unwrap().unwrap();
    world.clock.advance(WAIT);
    assert_eq!(may(take(&world).await), [false, false]);
}
