//! A clock that was set back, with a restart after it or without: what waits for a time waits no longer than it would have.

use std::time::Duration;

use klaroen_domain::decide::{Decision, LONGEST_WAIT};
use klaroen_domain::delivery::DeliveryState as S;
use klaroen_store::channels::Lease;
use klaroen_test_databases::Engine;
use rstest::rstest;
use uuid::Uuid;

use crate::world::{World, channel};

const HOUR: Duration = Duration::from_hours(1);
const SETTLE_AFTER: Duration = Duration::from_secs(30);

#[rstest]
#[tokio::test]
async fn what_is_queued_leased_or_in_doubt_does_not_wait_for_the_time_that_was(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let world = World::new(engine).await;
    world.enrol(10).await;
    let alert = world.alert_all().await;
    let claimed = world.claim(4).await.claimed;
    let lost = Decision::Unknown { settle_at: world.now().plus(SETTLE_AFTER) };
    let soon = Decision::PutBack { due_at: world.now().plus(LONGEST_WAIT), spent: true };
    let finished = [world.finished(&claimed[0], lost, &[]), world.finished(&claimed[1], soon, &[])];
    world.store.finish("main", &finished).await.unwrap();
    let (owner, next) = (Uuid::new_v4(), Uuid::new_v4());
    world.store.lease_channel(&channel(1), owner, world.now().plus(SETTLE_AFTER), world.now()).await.unwrap();
    let pull_in = async || world.store.pull_in_far_times(SETTLE_AFTER, world.now()).await.unwrap();
    assert_eq!(pull_in().await, 0, "nothing is wrong yet");

    world.clock.set_back(HOUR);
    assert!(world.claim(9).await.claimed.is_empty(), "they are due in an hour");
    assert_eq!(pull_in().await, 7, "six that were never taken, and one that was put back");
    assert_eq!(pull_in().await, 0);
    assert_eq!(world.claim(9).await.claimed.len(), 7);

    // The two that nobody answers, the doubt, and the channel of a process that is gone: each within a minute.
    let lease = async || {
        world.store.lease_channel(&channel(1), next, world.now().plus(SETTLE_AFTER), world.now()).await
    };
    assert_eq!(lease().await.unwrap(), Lease::Held);
    world.clock.advance(Duration::from_secs(61));
    let swept = world.store.sweep(HOUR, world.now()).await.unwrap();
    assert_eq!((swept.leases_lost, swept.held), (9, 1), "the seven were claimed for a minute as well");
    assert_eq!(world.count(alert, 0, S::Sending).await, 0);
    assert!(matches!(lease().await.unwrap(), Lease::Taken { .. }));
}
