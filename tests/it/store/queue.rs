//! Claiming, finishing, leases and upkeep.

use klaroen_test_databases::Engine;
use rstest::rstest;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

use klaroen_domain::alert::Priority;
use klaroen_domain::decide::Decision;
use klaroen_domain::delivery::DeliveryState;
use klaroen_domain::outcome::{Failure, Scope};
use klaroen_domain::time::Clock as _;
use klaroen_store::channels::Lease;
use uuid::Uuid;

use crate::world::{World, at_metres_east, channel, draft, numbers, sorted};

const GRACE: Duration = Duration::from_hours(24);

#[rstest]
#[tokio::test]
async fn everybody_is_claimed_once_and_sent(#[values(Engine::Sqlite, Engine::Postgres)] engine: Engine) {
    let world = World::new(engine).await;
    let people = world.enrol(25).await;
    let alert = world.alert_all().await;
    assert_eq!(world.count(alert, 0, DeliveryState::Queued).await, 25);
    let rang = world.send_all().await;
    assert_eq!(sorted(rang), numbers(&people));
    assert_eq!(world.count(alert, 0, DeliveryState::Sent).await, 25);
    let message = &world.view(alert).await.messages[0];
    assert_eq!(message.first_sent_at, Some(world.now()));
    assert_eq!(message.counts.values().sum::<u64>(), message.recipients);
}

#[rstest]
#[tokio::test]
async fn claims_at_the_same_time_never_share_a_delivery(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let world = World::new(engine).await;
    world.enrol(200).await;
    world.alert_all().await;
    let claims = futures::future::join_all((0..8).map(|_| world.claim(40))).await;
    let ids: Vec<_> = claims.iter().flat_map(|c| &c.claimed).map(|c| c.id).collect();
    assert_eq!(ids.len(), 200);
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), 200);
}

#[rstest]
#[tokio::test]
async fn a_claim_gives_no_more_than_was_asked_for(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let world = World::new(engine).await;
    world.enrol(20).await;
    for _ in 0..3 {
        world.alert_all().await;
    }
    for limit in [1, 2, 4, 7] {
        assert_eq!(world.claim(limit).await.claimed.len(), limit as usize);
    }
    assert!(world.claim(0).await.claimed.is_empty());
}

#[rstest]
#[tokio::test]
async fn a_small_alert_is_not_held_up_by_a_large_one(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let world = World::new(engine).await;
    world.enrol(100).await;
    let large = world.alert_all().await;
    let mut near = world.alert_draft(10_000.0);
    near.geofence = crate::world::circle(22.0);
    let small = world.take(&near).await;
    assert_eq!(small.recipients, 5);
    let claim = world.claim(10).await;
    let mut by_message: HashMap<_, usize> = HashMap::new();
    for claimed in &claim.claimed {
        *by_message.entry(claimed.message).or_default() += 1;
    }
    let large = world_message(&world, large).await;
    let small = world_message(&world, small.alert.unwrap()).await;
    assert_eq!((by_message[&large], by_message[&small]), (5, 5), "equal shares");
}

async fn world_message(world: &World, alert: klaroen_domain::id::AlertId) -> klaroen_domain::id::MessageId {
    world.view(alert).await.messages[0].id
}

#[rstest]
#[tokio::test]
async fn what_a_small_alert_does_not_need_goes_to_the_large_one(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let world = World::new(engine).await;
    world.enrol(100).await;
    world.alert_all().await;
    let mut near = world.alert_draft(10_000.0);
    near.geofence = crate::world::circle(12.0);
    assert_eq!(world.take(&near).await.recipients, 3);
    assert_eq!(world.claim(50).await.claimed.len(), 50);
}

#[rstest]
#[tokio::test]
async fn life_threatening_goes_first_and_an_end_message_before_any_start(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let world = World::new(engine).await;
    world.enrol(10).await;
    let first = world.alert_all().await;
    world.send_all().await;
    let urgent = world.alert_all().await;
    let mut draft = world.alert_draft(10_000.0);
    draft.priority = Priority::LifeThreatening;
    let life = world.take(&draft).await.alert.unwrap();
    let outcome = klaroen_domain::alert::Outcome::Found;
    world
        .store
        .end_alert(&world.intake(None), first, &crate::world::text("Gevonden, dank u."), outcome)
        .await
        .unwrap()
        .unwrap();
    let end = world.view(first).await.messages[1].id;
    let order: Vec<_> = world.claim(30).await.claimed.iter().map(|c| c.message).collect();
    let (life, urgent) = (world_message(&world, life).await, world_message(&world, urgent).await);
    assert_eq!(order, [[end; 10], [life; 10], [urgent; 10]].concat());
}

#[rstest]
#[tokio::test]
async fn a_write_with_an_old_lease_changes_nothing(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let world = World::new(engine).await;
    world.enrol(1).await;
    let alert = world.alert_all().await;
    let claimed = world.claim(1).await.claimed.remove(0);
    let mut stranger = world.accepted(&claimed);
    stranger.lease_token ^= 1;
    let counts = world.store.finish("main", &[stranger]).await.unwrap();
    assert_eq!((counts.applied, counts.fenced), (0, 1));
    assert_eq!(world.count(alert, 0, DeliveryState::Sending).await, 1);
    world.store.finish("main", &[world.accepted(&claimed)]).await.unwrap();
    assert_eq!(world.count(alert, 0, DeliveryState::Sent).await, 1);
    // A repetition is fenced by the state.
    let again = world.finished(&claimed, Decision::Unknown { settle_at: world.now() }, &[]);
    world.store.finish("main", &[again]).await.unwrap();
    assert_eq!(world.count(alert, 0, DeliveryState::Sent).await, 1);
}

#[rstest]
#[tokio::test]
async fn what_was_put_back_waits_for_its_time(#[values(Engine::Sqlite, Engine::Postgres)] engine: Engine) {
    let world = World::new(engine).await;
    world.enrol(1).await;
    world.alert_all().await;
    let claimed = world.claim(1).await.claimed.remove(0);
    let due_at = world.now().plus(Duration::from_secs(3));
    let put_back = world.finished(&claimed, Decision::PutBack { due_at, spent: true }, &[]);
    world.store.finish("main", &[put_back]).await.unwrap();
    let claim = world.claim(1).await;
    assert!(claim.claimed.is_empty());
    assert_eq!(claim.next_due, Some(due_at));
    world.clock.advance(Duration::from_secs(3));
    let again = world.claim(1).await.claimed.remove(0);
    assert_eq!(again.retries, 1);
    assert_ne!(again.lease_token, claimed.lease_token);
}

#[rstest]
#[tokio::test]
async fn a_refused_number_fails_with_its_reason(#[values(Engine::Sqlite, Engine::Postgres)] engine: Engine) {
    let world = World::new(engine).await;
    world.enrol(1).await;
    let alert = world.alert_all().await;
    let claimed = world.claim(1).await.claimed.remove(0);
    let failure = Failure { scope: Scope::Recipient, code: "0x0B".into(), detail: "invalid address".into() };
    let failed = world.finished(&claimed, Decision::Failed(failure), &[]);
    world.store.finish("main", &[failed]).await.unwrap();
    let page = klaroen_store::PageRequest { limit: 10, cursor: None };
    let list = world.store.list_deliveries(world.organisation, alert, None, &page).await.unwrap().unwrap();
    assert_eq!(list.items[0].state, DeliveryState::Failed);
    assert_eq!(list.items[0].reason.as_deref(), Some("0x0B"));
}

#[rstest]
#[tokio::test]
async fn nothing_leaves_after_the_alerts_time(#[values(Engine::Sqlite, Engine::Postgres)] engine: Engine) {
    let world = World::new(engine).await;
    world.enrol(3).await;
    let alert = world.alert_all().await;
    world.clock.advance(Duration::from_hours(1));
    assert!(world.claim(10).await.claimed.is_empty());
    let swept = world.store.sweep(GRACE, world.now()).await.unwrap();
    assert_eq!((swept.expired, swept.alerts_expired), (3, 1));
    let view = world.view(alert).await;
    assert_eq!(view.state, klaroen_domain::alert::AlertState::Expired);
    assert_eq!(view.messages[0].counts[&DeliveryState::Expired], 3);
    assert_eq!(world.store.sweep(GRACE, world.now()).await.unwrap().expired, 0);
}

#[rstest]
#[tokio::test]
async fn a_lost_lease_is_in_doubt_and_then_held_for_all_to_see(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let world = World::new(engine).await;
    world.enrol(1).await;
    let alert = world.alert_all().await;
    world.claim(1).await;
    world.clock.advance(Duration::from_secs(61));
    assert_eq!(world.store.sweep(GRACE, world.now()).await.unwrap().leases_lost, 1);
    assert_eq!(world.count(alert, 0, DeliveryState::Unknown).await, 1);
    assert_eq!(world.store.sweep(GRACE, world.now()).await.unwrap().held, 0, "it waits to be settled");
    world.clock.advance(Duration::from_secs(31));
    let swept = world.store.sweep(GRACE, world.now()).await.unwrap();
    assert_eq!((swept.held, swept.resent), (1, 0));
    assert!(world.claim(1).await.claimed.is_empty());
    assert_eq!(world.count(alert, 0, DeliveryState::Unknown).await, 1);
}

#[rstest]
#[tokio::test]
async fn where_a_life_depends_on_it_a_lost_submit_is_sent_once_more_and_not_twice(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let world = World::new(engine).await;
    world.enrol(1).await;
    let mut draft = world.alert_draft(10_000.0);
    draft.priority = Priority::LifeThreatening;
    let alert = world.take(&draft).await.alert.unwrap();
    for round in 0..2 {
        assert_eq!(world.claim(1).await.claimed.len(), 1, "round {round}");
        world.clock.advance(Duration::from_secs(61));
        world.store.sweep(GRACE, world.now()).await.unwrap();
        world.clock.advance(Duration::from_secs(11));
        let swept = world.store.sweep(GRACE, world.now()).await.unwrap();
        assert_eq!((swept.resent, swept.held), if round == 0 { (1, 0) } else { (0, 1) });
    }
    assert!(world.claim(1).await.claimed.is_empty());
    assert_eq!(world.count(alert, 0, DeliveryState::Unknown).await, 1);
}

/// One person whose first submit was lost and who waits to be asked again.
async fn to_be_sent_again(world: &World) -> (klaroen_domain::id::AlertId, klaroen_store::claims::Claimed) {
    world.enrol(1).await;
    let mut draft = world.alert_draft(10_000.0);
    draft.priority = Priority::LifeThreatening;
    let alert = world.take(&draft).await.alert.unwrap();
    let lost = world.claim(1).await.claimed.remove(0);
    world.clock.advance(Duration::from_secs(61));
    world.store.sweep(GRACE, world.now()).await.unwrap();
    world.clock.advance(Duration::from_secs(11));
    assert_eq!(world.store.sweep(GRACE, world.now()).await.unwrap().resent, 1);
    (alert, lost)
}

#[rstest]
#[tokio::test]
async fn what_turns_out_to_have_rung_is_not_sent_again(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let world = World::new(engine).await;
    let (alert, lost) = to_be_sent_again(&world).await;
    world.store.finish("main", &[world.accepted(&lost)]).await.unwrap();
    assert_eq!(world.count(alert, 0, DeliveryState::Sent).await, 1);
    assert!(world.claim(1).await.claimed.is_empty());
}

#[rstest]
#[tokio::test]
async fn what_was_sent_twice_is_shown_as_in_doubt_whatever_became_of_it(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let world = World::new(engine).await;
    let (alert, _) = to_be_sent_again(&world).await;
    let again = world.claim(1).await.claimed.remove(0);
    world.store.finish("main", &[world.accepted(&again)]).await.unwrap();
    assert_eq!(world.view(alert).await.messages[0].in_doubt, 1);
    let page = klaroen_store::PageRequest { limit: 10, cursor: None };
    let list = world.store.list_deliveries(world.organisation, alert, None, &page).await.unwrap().unwrap();
    assert_eq!((list.items[0].state, list.items[0].in_doubt), (DeliveryState::Sent, true));
}

#[rstest]
#[tokio::test]
async fn what_may_have_rung_is_not_called_failed(#[values(Engine::Sqlite, Engine::Postgres)] engine: Engine) {
    let world = World::new(engine).await;
    let (alert, _) = to_be_sent_again(&world).await;
    let again = world.claim(1).await.claimed.remove(0);
    let failure = Failure { scope: Scope::Recipient, code: "0x0B".into(), detail: String::new() };
    world.store.finish("main", &[world.finished(&again, Decision::Failed(failure), &[])]).await.unwrap();
    assert_eq!(world.count(alert, 0, DeliveryState::Unknown).await, 1);
}

#[rstest]
#[tokio::test]
async fn a_late_answer_settles_what_was_in_doubt(#[values(Engine::Sqlite, Engine::Postgres)] engine: Engine) {
    let world = World::new(engine).await;
    world.enrol(1).await;
    let alert = world.alert_all().await;
    let claimed = world.claim(1).await.claimed.remove(0);
    world.clock.advance(Duration::from_secs(61));
    world.store.sweep(GRACE, world.now()).await.unwrap();
    world.store.finish("main", &[world.accepted(&claimed)]).await.unwrap();
    assert_eq!(world.count(alert, 0, DeliveryState::Sent).await, 1);
    world.clock.advance(Duration::from_secs(31));
    assert_eq!(world.store.sweep(GRACE, world.now()).await.unwrap().held, 0);
}

#[rstest]
#[tokio::test]
async fn a_channel_has_one_owner_and_a_takeover_puts_its_flights_in_doubt(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let world = World::new(engine).await;
    world.enrol(4).await;
    let alert = world.alert_all().await;
    let (one, two) = (Uuid::now_v7(), Uuid::now_v7());
    let until = || world.now().plus(Duration::from_secs(5));
    let lease = |owner| world.store.lease_channel(&CHANNEL, owner, until(), world.now());
    assert_eq!(lease(one).await.unwrap(), Lease::Taken { lost: 0 });
    assert_eq!(lease(one).await.unwrap(), Lease::Renewed);
    assert_eq!(lease(two).await.unwrap(), Lease::Held);
    world.claim_on(&channel(0), 2).await;
    world.claim_on(&channel(1), 1).await;
    world.clock.advance(Duration::from_secs(5));
    assert_eq!(lease(two).await.unwrap(), Lease::Taken { lost: 2 }, "the other channel's flight is its own");
    assert_eq!(lease(one).await.unwrap(), Lease::Held);
    assert_eq!(world.count(alert, 0, DeliveryState::Unknown).await, 2);
    world.store.release_channel(&CHANNEL, two).await.unwrap();
    assert_eq!(lease(one).await.unwrap(), Lease::Taken { lost: 0 });
}

static CHANNEL: std::sync::LazyLock<klaroen_store::channels::ChannelName> =
    std::sync::LazyLock::new(|| channel(0));

#[rstest]
#[tokio::test]
async fn the_queue_survives_a_restart(#[values(Engine::Sqlite, Engine::Postgres)] engine: Engine) {
    let world = World::new(engine).await;
    let people = world.enrol(30).await;
    let alert = world.alert_all().await;
    world.claim(10).await;
    world.store.close().await;
    let options = klaroen_store::StoreOptions::new(&world.url, crate::world::keys());
    let world = World { store: klaroen_store::Store::open(&options).await.unwrap(), ..world };
    world.store.release_all_channels().await.unwrap();
    let owner = Uuid::now_v7();
    let until = world.now().plus(Duration::from_secs(5));
    let lease = world.store.lease_channel(&CHANNEL, owner, until, world.clock.now()).await.unwrap();
    assert_eq!(lease, Lease::Taken { lost: 10 });
    let rang = world.send_all().await;
    assert_eq!(rang.len(), 20);
    let view = world.view(alert).await;
    assert_eq!(view.messages[0].counts[&DeliveryState::Sent], 20);
    assert_eq!(view.messages[0].counts[&DeliveryState::Unknown], 10);
    assert_eq!(view.messages[0].recipients, people.len() as u64);
}

#[rstest]
#[tokio::test]
async fn an_erased_participant_gets_nothing_more(#[values(Engine::Sqlite, Engine::Postgres)] engine: Engine) {
    let world = World::new(engine).await;
    let people = world.enrol(2).await;
    let alert = world.alert_all().await;
    let actor = klaroen_store::Actor::CommandLine;
    assert!(
        world.store.erase_participant(world.organisation, people[0].id, actor, world.now()).await.unwrap()
    );
    assert_eq!(world.send_all().await, [people[1].draft.phone.clone()]);
    assert_eq!(world.count(alert, 0, DeliveryState::Suppressed).await, 1);
    assert_eq!(world.store.broken_sums().await.unwrap(), 0);
}

#[rstest]
#[tokio::test]
async fn one_number_on_two_registrations_rings_once(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let world = World::new(engine).await;
    world.enrol_one(&draft(1, at_metres_east(10.0))).await;
    world.enrol_one(&draft(1, at_metres_east(20.0))).await;
    world.alert_all().await;
    assert_eq!(world.send_all().await.len(), 1);
}
