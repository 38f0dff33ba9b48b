//! Alerts of more than one page: nothing about them takes longer than a page at a time, and nobody is left out.

use std::time::Duration;

use klaroen_domain::alert::{AlertState, Outcome};
use klaroen_domain::delivery::DeliveryState as S;
use klaroen_domain::id::AlertId;
use klaroen_store::PageRequest;
use klaroen_store::alerts::{Changed, Taken};
use klaroen_store::fanout::PAGE;
use klaroen_store::idempotency::Once;
use klaroen_test_databases::Engine;
use rstest::rstest;
use serde_json::{Value, json};
use sqlx::Connection;
use sqlx::postgres::PgConnection;
use tokio::sync::Notify;

use crate::world::{World, at_metres_east, circle, draft, text};

const GRACE: Duration = Duration::from_hours(24);
/// More than a page.
const MANY: usize = PAGE + 500;

/// A world of `count` people, 10 cm apart.
async fn crowd(engine: Engine, count: usize) -> World {
    let world = World::new(engine).await;
    let people: Vec<_> = (0..count).map(|n| draft(n, at_metres_east(n as f64 * 0.1))).collect();
    world.store.import_participants(world.organisation, &people, false, world.now()).await.unwrap();
    world
}

fn done<T, E: std::fmt::Debug>(once: Result<Once<T>, E>) -> T {
    match once.unwrap() {
        Once::Done(done) => done,
        _ => panic!("it was not done before"),
    }
}

async fn end(world: &World, alert: AlertId) -> Changed {
    done(world.store.end_alert(&world.intake(None), alert, &text("Voorbij."), Outcome::Found).await.unwrap())
}

async fn go_on(world: &World, alert: AlertId, changed: &Changed) {
    world.store.continue_change(alert, changed, world.now(), || {}).await.unwrap();
}

/// The detail in the audit log of the newest `action`.
async fn audited(world: &World, action: &str) -> Option<Value> {
    let page = PageRequest { limit: 100, cursor: None };
    let log = world.store.list_audit(world.organisation, &page).await.unwrap().items;
    log.into_iter().find(|entry| entry.action == action).map(|entry| entry.detail)
}

#[rstest]
#[tokio::test]
async fn a_large_alert_is_stopped_with_its_first_page_and_cancelled_to_the_last(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let world = crowd(engine, MANY).await;
    let alert = world.alert_all().await;
    let changed = done(world.store.cancel_alert(&world.intake(None), alert).await.unwrap());
    assert_eq!(changed, Changed { follow_up: None, unsent: true });
    let view = world.view(alert).await;
    assert_eq!(view.state, AlertState::Cancelled);
    let counts = &view.messages[0].counts;
    assert_eq!((counts[&S::Cancelled], counts[&S::Queued]), (PAGE as u64, 500));
    assert!(world.claim(10).await.claimed.is_empty(), "what is behind the page does not leave");
    assert_eq!(audited(&world, "alert.cancelled").await.unwrap(), json!({ "unsent": null }));
    // The process died here: the sweep of a worker does the rest, and the request tells, if it comes to it.
    assert_eq!(world.store.sweep(GRACE, world.now()).await.unwrap().cancelled, 500);
    assert_eq!(world.count(alert, 0, S::Cancelled).await, MANY as u64);
    go_on(&world, alert, &changed).await;
    assert_eq!(audited(&world, "alert.stopped").await.unwrap(), json!({ "cancelled": MANY }));
}

#[rstest]
#[tokio::test]
async fn whoever_was_reached_gets_a_follow_up_of_many_pages_once(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let world = crowd(engine, MANY).await;
    let alert = world.alert_all().await;
    assert_eq!(world.send_all().await.len(), MANY);
    let update = world.store.update_alert(&world.intake(None), alert, &text("Jas is blauw.")).await;
    let changed = done(update.unwrap());
    assert_eq!(changed.follow_up, Some(world.view(alert).await.messages[1].id));
    assert_eq!(world.view(alert).await.messages[1].recipients, PAGE as u64);
    go_on(&world, alert, &changed).await;
    assert_eq!(world.view(alert).await.messages[1].recipients, MANY as u64);
    // After the end the process dies: the sweep of a worker goes on.
    let changed = end(&world, alert).await;
    assert!(changed.follow_up.is_some() && changed.unsent, "the update has a page and a half in the queue");
    assert_eq!(world.store.sweep(GRACE, world.now()).await.unwrap().followed_up, 500);
    go_on(&world, alert, &changed).await;
    let view = world.view(alert).await;
    assert_eq!(view.messages[1].counts[&S::Cancelled], MANY as u64);
    assert_eq!(view.messages[2].recipients, MANY as u64);
    let swept = world.store.sweep(GRACE, world.now()).await.unwrap();
    assert_eq!((swept.followed_up, world.store.broken_sums().await.unwrap()), (0, 0));
}

#[rstest]
#[tokio::test]
async fn a_fan_out_is_cut_off_when_its_last_page_is_old_not_when_its_alert_is(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let world = crowd(engine, MANY).await;
    let taken = world.take(&world.alert_draft(10_000.0)).await;
    let alert = taken.alert.unwrap();
    assert!(taken.more);
    let later = world.now().plus(Duration::from_mins(1));
    assert_eq!(world.store.open_fanouts(later).await.unwrap(), [alert]);
    // One page is written a minute after the alert was taken; then the process dies.
    let page = Notify::new();
    tokio::select! {
        biased;
        () = page.notified() => {}
        _ = world.store.continue_fanout(alert, &world.rules, later, || page.notify_one()) => {
            panic!("there was more than a page");
        }
    }
    let just_before = later.minus(Duration::from_millis(1));
    assert!(world.store.open_fanouts(just_before).await.unwrap().is_empty());
    let written = world.view(alert).await.messages[0].recipients;
    assert!((taken.recipients + 1..MANY as u64).contains(&written), "{written}");
    // The process that goes on begins where it was left, and ends with all.
    let much_later = later.plus(Duration::from_mins(1));
    assert_eq!(world.store.open_fanouts(much_later).await.unwrap(), [alert]);
    world.store.continue_fanout(alert, &world.rules, much_later, || {}).await.unwrap();
    assert_eq!(world.view(alert).await.messages[0].recipients, MANY as u64);
    assert_eq!(world.store.broken_sums().await.unwrap(), 0);
}

#[rstest]
#[tokio::test]
async fn an_extension_is_written_page_by_page_to_those_not_yet_asked(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    const COUNT: u64 = 6_000;
    let world = crowd(engine, 6_000).await;
    let alert = world.raise(&world.alert_draft(50.0)).await;
    let before = world.view(alert).await.messages[0].recipients;
    assert!((1..COUNT / 2).contains(&before), "{before}");
    let area = json!({ "circle": { "radius_m": 10_000 } });
    let intake = world.intake(None);
    let extended = world.store.extend_alert(&intake, alert, &circle(10_000.0), &area).await.unwrap();
    let Taken { recipients, more, .. } = done(extended);
    assert!(more);
    assert_eq!(world.view(alert).await.messages[0].recipients, before + recipients, "those that are new");
    assert_eq!(audited(&world, "alert.extended").await.unwrap()["recipients"], Value::Null);
    world.store.continue_fanout(alert, &world.rules, world.now(), || {}).await.unwrap();
    assert_eq!(world.view(alert).await.messages[0].recipients, COUNT);
    assert_eq!(audited(&world, "alert.written_out").await.unwrap(), json!({ "recipients": COUNT }));
    assert_eq!(world.store.broken_sums().await.unwrap(), 0);
}

#[rstest]
#[tokio::test]
async fn an_update_waits_for_those_whom_a_fan_out_has_not_written_yet(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let world = crowd(engine, 3_000).await;
    let taken = world.take(&world.alert_draft(10_000.0)).await;
    let alert = taken.alert.unwrap();
    assert!(taken.more);
    world.send_all().await;
    world.store.update_alert(&world.intake(None), alert, &text("Jas is blauw.")).await.unwrap().unwrap();
    world.store.sweep(GRACE, world.now()).await.unwrap();
    world.store.continue_fanout(alert, &world.rules, world.now(), || {}).await.unwrap();
    world.send_all().await;
    world.store.sweep(GRACE, world.now()).await.unwrap();
    assert_eq!(world.view(alert).await.messages[1].recipients, 3_000);
}

/// SQLite has one writer: there is nobody to wait for.
#[tokio::test]
async fn upkeep_passes_over_what_another_process_holds() {
    let world = World::new(Engine::Postgres).await;
    world.enrol(3).await;
    let alert = world.alert_all().await;
    let mut other = PgConnection::connect(&world.url).await.unwrap();
    let mut held = other.begin().await.unwrap();
    sqlx::raw_sql("SELECT id FROM deliveries ORDER BY id LIMIT 1 FOR UPDATE")
        .execute(&mut *held)
        .await
        .unwrap();
    world.clock.advance(Duration::from_hours(1));
    assert_eq!(world.store.sweep(GRACE, world.now()).await.unwrap().expired, 2);
    held.rollback().await.unwrap();
    assert_eq!(world.store.sweep(GRACE, world.now()).await.unwrap().expired, 1);
    assert_eq!(world.count(alert, 0, S::Expired).await, 3);
}

#[tokio::test]
async fn upkeep_leaves_a_follow_up_to_the_process_that_writes_it() {
    let world = World::new(Engine::Postgres).await;
    world.enrol(1).await;
    let alert = world.alert_all().await;
    let claimed = world.claim(1).await.claimed.remove(0);
    assert!(end(&world, alert).await.is_whole());
    world.store.finish("main", &[world.accepted(&claimed)]).await.unwrap();
    let mut other = PgConnection::connect(&world.url).await.unwrap();
    let mut held = other.begin().await.unwrap();
    sqlx::raw_sql("SELECT id FROM messages WHERE kind = 'end' FOR UPDATE").execute(&mut *held).await.unwrap();
    assert_eq!(world.store.sweep(GRACE, world.now()).await.unwrap().followed_up, 0);
    held.rollback().await.unwrap();
    assert_eq!(world.store.sweep(GRACE, world.now()).await.unwrap().followed_up, 1);
}
