//! Messages that a gateway refuses for every recipient.

use std::time::Duration;

use klaroen_domain::decide::Decision;
use klaroen_domain::delivery::DeliveryState as S;
use klaroen_domain::id::AlertId;
use klaroen_domain::outcome::{Failure, Scope};
use klaroen_store::PageRequest;
use klaroen_store::channels::ChannelName;
use klaroen_store::claims::Claimed;
use klaroen_store::refusals::{REASON, Serving};
use klaroen_test_databases::Engine;
use rstest::rstest;

use crate::world::World;

const AGAIN: Duration = Duration::from_secs(1);

fn on(gateway: &str) -> ChannelName {
    ChannelName { gateway: gateway.into(), channel: 3 }
}

fn serving(names: &[&str]) -> Vec<Serving> {
    names.iter().map(|name| Serving { gateway: (*name).to_owned(), ..Serving::default() }).collect()
}

async fn claim(world: &World, gateway: &str, limit: u32) -> Vec<Claimed> {
    world.claim_on(&on(gateway), limit).await.claimed
}

async fn refuse(world: &World, gateway: &str, claimed: &[Claimed]) {
    let failure = Failure { scope: Scope::Message, code: "25".into(), detail: "too long".into() };
    let refused = |c| world.finished(c, Decision::Failed(failure.clone()), &[]);
    let finished: Vec<_> = claimed.iter().map(refused).collect();
    world.store.finish(gateway, &finished).await.unwrap();
}

async fn refused_by(world: &World, alert: AlertId) -> Vec<String> {
    world.view(alert).await.messages[0].refused.iter().map(|refusal| refusal.gateway.clone()).collect()
}

async fn fail(world: &World, names: &[&str]) -> u64 {
    world.store.pass_on_refused_messages(&serving(names), world.now()).await.unwrap().failed
}

/// How many deliveries failed.
async fn pass_on(world: &World, gateways: &[Serving]) -> u64 {
    world.store.pass_on_refused_messages(gateways, world.now()).await.unwrap().failed
}

async fn actions(world: &World) -> Vec<String> {
    let page = PageRequest { limit: 100, cursor: None };
    let entries = world.store.list_audit(world.organisation, &page).await.unwrap().items;
    entries.into_iter().map(|entry| entry.action).filter(|action| action.starts_with("message.")).collect()
}

async fn enrolled(engine: Engine, people: usize) -> (World, AlertId) {
    let world = World::new(engine).await;
    world.enrol(people).await;
    let alert = world.alert_all().await;
    (world, alert)
}

#[rstest]
#[tokio::test]
async fn the_third_refusal_is_believed_and_another_gateway_takes_it(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let (world, alert) = enrolled(engine, 10).await;
    let first = claim(&world, "main", 2).await;
    refuse(&world, "main", &first).await;
    assert_eq!(refused_by(&world, alert).await, [""; 0], "two may be odd");
    refuse(&world, "main", &claim(&world, "main", 1).await).await;
    assert_eq!(refused_by(&world, alert).await, ["main"]);
    assert_eq!(actions(&world).await, ["message.refused"]);
    world.clock.advance(AGAIN);
    let none = world.claim_on(&on("main"), 100).await;
    assert_eq!((none.claimed.len(), none.next_due), (0, None), "it takes no more of it");
    assert_eq!(fail(&world, &["main", "other"]).await, 0, "another may take it");
    let rest = claim(&world, "other", 100).await;
    assert_eq!(rest.len(), 10);
    let finished: Vec<_> = rest.iter().map(|c| world.accepted(c)).collect();
    world.store.finish("other", &finished).await.unwrap();
    assert_eq!(world.count(alert, 0, S::Sent).await, 10);
    assert_eq!(world.count(alert, 0, S::Failed).await, 0);
}

#[rstest]
#[tokio::test]
async fn what_every_gateway_refused_fails_at_once_and_is_told_once(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let (world, alert) = enrolled(engine, 50).await;
    for gateway in ["main", "other"] {
        assert_eq!(fail(&world, &["main", "other"]).await, 0);
        world.clock.advance(AGAIN);
        refuse(&world, gateway, &claim(&world, gateway, 20).await).await;
    }
    assert_eq!(world.count(alert, 0, S::Failed).await, 0);
    assert_eq!(fail(&world, &["main", "other"]).await, 50);
    assert_eq!(fail(&world, &["main", "other"]).await, 0);
    assert_eq!(world.count(alert, 0, S::Failed).await, 50);
    let refused = world.view(alert).await.messages.remove(0).refused;
    let shown: Vec<_> = refused.iter().map(|r| (&*r.gateway, &*r.code, &*r.detail)).collect();
    assert_eq!(shown, [("main", "25", "too long"), ("other", "25", "too long")]);
    assert_eq!(actions(&world).await, ["message.failed", "message.refused", "message.refused"]);
    let page = PageRequest { limit: 500, cursor: None };
    let all = world.store.list_deliveries(world.organisation, alert, None, &page).await.unwrap().unwrap();
    assert!(all.items.iter().all(|d| d.reason.as_deref() == Some(REASON)));
    let swept = world.store.sweep(Duration::from_hours(24), world.now()).await.unwrap();
    assert_eq!(swept.messages_settled, 1, "nothing is left of it");
}

#[rstest]
#[tokio::test]
async fn a_gateway_for_another_priority_is_not_waited_for(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let (world, alert) = enrolled(engine, 5).await;
    refuse(&world, "main", &claim(&world, "main", 5).await).await;
    let mut gateways = serving(&["main", "lives"]);
    gateways[1].priorities = vec![klaroen_domain::alert::Priority::LifeThreatening];
    assert_eq!(pass_on(&world, &gateways[1..]).await, 0);
    assert_eq!(pass_on(&world, &gateways).await, 5);
    assert_eq!(world.count(alert, 0, S::Failed).await, 5);
}

#[rstest]
#[tokio::test]
async fn one_odd_recipient_stops_nothing_and_fails_the_second_time(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let (world, alert) = enrolled(engine, 6).await;
    // The first one is odd, so nothing was taken before it; of the next four, three are.
    let odd = claim(&world, "main", 1).await;
    refuse(&world, "main", &odd).await;
    let mut next = claim(&world, "main", 5).await;
    let taken = next.pop().unwrap();
    world.store.finish("main", &[world.accepted(&taken)]).await.unwrap();
    refuse(&world, "main", &next).await;
    assert_eq!(refused_by(&world, alert).await, [""; 0], "it took the message once");
    assert_eq!(world.count(alert, 0, S::Queued).await, 5, "each is tried once more");
    world.clock.advance(AGAIN);
    let again = claim(&world, "main", 5).await;
    refuse(&world, "main", &again[..2]).await;
    let finished: Vec<_> = again[2..].iter().map(|c| world.accepted(c)).collect();
    world.store.finish("main", &finished).await.unwrap();
    assert_eq!(world.count(alert, 0, S::Failed).await, 2);
    assert_eq!(world.count(alert, 0, S::Sent).await, 4);
    assert_eq!((refused_by(&world, alert).await.len(), actions(&world).await.len()), (0, 0));
}

#[rstest]
#[tokio::test]
async fn one_refusal_is_enough_where_there_is_one_recipient(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let (world, alert) = enrolled(engine, 1).await;
    refuse(&world, "main", &claim(&world, "main", 1).await).await;
    assert_eq!(refused_by(&world, alert).await, ["main"]);
    assert!(claim(&world, "main", 1).await.is_empty());
    assert_eq!(claim(&world, "other", 1).await.len(), 1);
}

#[rstest]
#[tokio::test]
async fn another_message_of_the_alert_is_not_refused(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let (world, first) = enrolled(engine, 3).await;
    refuse(&world, "main", &claim(&world, "main", 3).await).await;
    let second = world.alert_all().await;
    assert_eq!(claim(&world, "main", 9).await.len(), 3);
    assert_eq!(fail(&world, &["main"]).await, 3);
    assert_eq!(world.count(first, 0, S::Failed).await, 3);
    assert_eq!(world.count(second, 0, S::Sending).await, 3);
}
