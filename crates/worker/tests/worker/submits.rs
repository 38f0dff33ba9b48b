//! The fate of messages when the provider answers this or that.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use klaroen_domain::delivery::DeliveryState as S;
use klaroen_domain::outcome::{Scope, SubmitOutcome};
use klaroen_gateway::ChannelStatus;

use klaroen_domain::time::{Clock, SystemClock};
use klaroen_store::channels::{ChannelName, Lease};
use uuid::Uuid;

use crate::fixture::{PATIENCE, Running, Script, World, accepted, at_once, failure, gated, in_a_moment};

#[tokio::test]
async fn everybody_gets_it_once() {
    let world = World::new(700).await;
    let running = Running::start(&world, 10, at_once(accepted));
    world.until(S::Sent, 700).await;
    let submitted = running.stop().await;
    let distinct: HashSet<_> = submitted.iter().collect();
    assert_eq!((submitted.len(), distinct.len()), (700, 700));
}

#[tokio::test]
async fn what_was_throttled_is_sent_later_and_nothing_is_lost() {
    let world = World::new(60).await;
    let throttled = |n| if n < 25 { SubmitOutcome::Throttled { retry_after: None } } else { accepted(n) };
    let running = Running::start(&world, 10, at_once(throttled));
    world.until(S::Sent, 60).await;
    assert_eq!(running.stop().await.len(), 60 + 25);
}

#[tokio::test]
async fn a_gateway_that_refuses_us_is_left_alone_and_the_queue_waits() {
    let world = World::new(100).await;
    let refused = |_| SubmitOutcome::Rejected(failure(Scope::Gateway));
    let mut running = Running::start(&world, 5, at_once(refused));
    running.provider.next().await;
    world.until(S::Queued, 100).await;
    running.wake.notify_waiters();
    let others = running.stop().await;
    // At most the window was under way when the first answer came.
    assert!(others.len() < 5, "{}", others.len());
    assert_eq!((world.count(S::Queued).await, world.count(S::Failed).await), (100, 0));
}

#[tokio::test]
async fn a_message_that_is_refused_for_everybody_fails_as_one() {
    let world = World::new(400).await;
    let refused = |_| SubmitOutcome::Rejected(failure(Scope::Message));
    let running = Running::start(&world, 5, in_a_moment(refused));
    world.until(S::Failed, 400).await;
    let submitted = running.stop().await;
    let message =
        world.store.alert(world.organisation, world.alert).await.unwrap().unwrap().messages.remove(0);
    let shown: Vec<_> = message.refused.iter().map(|r| (&*r.gateway, &*r.code)).collect();
    assert_eq!(shown, [("main", "scripted")]);
    // Deliveries that were leased when it was believed are refused once more each, and nothing is leased after it.
    let distinct: HashSet<_> = submitted.iter().collect();
    assert_eq!(distinct.len(), submitted.len());
    assert!(submitted.len() < 400, "{}", submitted.len());
}

#[tokio::test]
async fn one_odd_recipient_does_not_stop_a_message() {
    let world = World::new(30).await;
    let odd = |n| if n == 0 { SubmitOutcome::Rejected(failure(Scope::Message)) } else { accepted(n) };
    let running = Running::start(&world, 1, at_once(odd));
    world.until(S::Sent, 30).await;
    assert_eq!(running.stop().await.len(), 31, "it was tried once more");
}

#[tokio::test]
async fn a_gateway_that_never_answers_holds_its_window_and_no_more() {
    let world = World::new(300).await;
    let (gate, script) = gated();
    let mut stuck = Running::on("stuck", &world, 10, script, PATIENCE);
    for _ in 0..10 {
        stuck.provider.next().await;
    }
    let good = Running::start(&world, 10, at_once(accepted));
    // All but those that nobody can take from it; what it had leased beyond its window went back.
    world.until(S::Sent, 290).await;
    world.until(S::Sending, 10).await;
    gate.add_permits(10);
    world.until(S::Sent, 300).await;
    assert_eq!((stuck.stop().await.len(), good.stop().await.len()), (0, 290));
}

/// The most messages that are under way at once.
async fn most_under_way(window: usize, segments: u8) -> u32 {
    let world = World::new(60).await;
    let (under_way, most) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let seen = Arc::clone(&most);
    let script: Script = Arc::new(move |n| {
        let (under_way, most) = (Arc::clone(&under_way), Arc::clone(&most));
        Box::pin(async move {
            most.fetch_max(under_way.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(10)).await;
            under_way.fetch_sub(1, Ordering::SeqCst);
            accepted(n)
        })
    });
    let running = Running::long(&world, window, segments, script);
    world.until(S::Sent, 60).await;
    running.stop().await;
    seen.load(Ordering::SeqCst)
}

#[tokio::test]
async fn each_segment_of_what_is_under_way_has_its_place_in_the_window() {
    assert_eq!(most_under_way(7, 3).await, 2);
    assert_eq!(most_under_way(2, 3).await, 1, "longer than the window: it has it for itself");
}

#[tokio::test]
async fn a_refused_number_fails_alone() {
    let world = World::new(20).await;
    let answers = |n| if n == 3 { SubmitOutcome::Rejected(failure(Scope::Recipient)) } else { accepted(n) };
    let running = Running::start(&world, 4, at_once(answers));
    world.until(S::Sent, 19).await;
    world.until(S::Failed, 1).await;
    assert_eq!(running.stop().await.len(), 20);
}

#[tokio::test]
async fn a_panic_in_the_adapter_leaves_one_in_doubt_and_the_window_whole() {
    let world = World::new(10).await;
    let answers = |n| if n == 0 { panic!("scripted panic") } else { accepted(n) };
    // A window of one: a permit that was lost would stop everything.
    let running = Running::start(&world, 1, at_once(answers));
    world.until(S::Sent, 9).await;
    world.until(S::Unknown, 1).await;
    running.stop().await;
}

#[tokio::test]
async fn at_shutdown_what_has_not_left_goes_back_and_the_rest_is_waited_for() {
    let world = World::new(50).await;
    let (gate, script) = gated();
    let mut running = Running::start(&world, 2, script);
    running.provider.next().await;
    running.provider.next().await;
    running.ask_to_stop();
    // More than are under way: none of the others may use them.
    gate.add_permits(50);
    assert!(running.stop().await.is_empty());
    assert_eq!((world.count(S::Sent).await, world.count(S::Queued).await), (2, 48));
}

#[tokio::test]
async fn what_a_shutdown_abandons_is_in_doubt_at_once() {
    let world = World::new(5).await;
    let (_gate, script) = gated();
    let mut running = Running::with_drain(&world, 2, script, Duration::from_millis(500));
    running.provider.next().await;
    running.provider.next().await;
    running.stop().await;
    assert_eq!((world.count(S::Unknown).await, world.count(S::Queued).await), (2, 3));
}

#[tokio::test]
async fn nothing_is_held_for_a_connection_that_is_down() {
    let world = World::new(30).await;
    let (gate, script) = gated();
    let mut running = Running::start(&world, 2, script);
    running.provider.next().await;
    running.provider.next().await;
    running.provider.status.send_replace(ChannelStatus::Connecting);
    world.until(S::Queued, 28).await;
    assert_eq!((running.health)()[0].status, ChannelStatus::Connecting);
    running.provider.status.send_replace(ChannelStatus::Up);
    gate.add_permits(100);
    world.until(S::Sent, 30).await;
    running.stop().await;
}

#[tokio::test]
async fn a_second_worker_takes_over_where_the_first_left() {
    let world = World::new(40).await;
    let (gate, script) = gated();
    gate.add_permits(15);
    let first = Running::with_drain(&world, 1, script, Duration::from_millis(10));
    world.until(S::Sent, 15).await;
    first.stop().await;
    let second = Running::start(&world, 10, at_once(|n| accepted(n + 1_000)));
    // One may have been under way when the first was stopped.
    let doubt = world.count(S::Unknown).await;
    assert!(doubt <= 1);
    world.until(S::Sent, 40 - doubt).await;
    second.stop().await;
}

#[tokio::test]
async fn a_worker_whose_channel_was_taken_stops_submitting() {
    let world = World::new(10).await;
    let (gate, script) = gated();
    let mut running = Running::with_drain(&world, 1, script, Duration::from_millis(10));
    running.provider.next().await;
    let now = SystemClock.now();
    let name = ChannelName { gateway: "main".into(), channel: 0 };
    world.store.release_all_channels().await.unwrap();
    let taken =
        world.store.lease_channel(&name, Uuid::new_v4(), now.plus(Duration::from_hours(1)), now).await;
    assert!(matches!(taken, Ok(Lease::Taken { .. })), "{taken:?}");
    running.until_given_up().await;
    gate.add_permits(10);
    assert!(running.stop().await.is_empty());
    // The one that was under way is in doubt; what had not left is not.
    assert_eq!((world.count(S::Unknown).await, world.count(S::Queued).await), (1, 9));
}
