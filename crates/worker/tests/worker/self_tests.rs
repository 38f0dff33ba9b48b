//! Test messages of a gateway: each leaves once, beside the queue, and is settled by its own receipt.

use std::time::Duration;

use klaroen_domain::delivery::DeliveryState;
use klaroen_domain::gateway::TestState;
use klaroen_domain::id::GatewayTestId;
use klaroen_domain::outcome::{Scope, SubmitOutcome};
use klaroen_domain::time::{Clock, SystemClock};
use klaroen_gateway::{Ack, ClientReference, GatewayEvent, OutboundSms, ProviderId, Receipt, ReceiptStatus};
use klaroen_store::Actor;
use klaroen_store::gateway_tests::{GatewayTest, TestRequest};

use crate::fixture::{PATIENCE, Running, World, accepted, at_once, failure, gated, phone};

impl World {
    async fn ask(&self) -> GatewayTestId {
        let asked = self.store.request_gateway_test(Actor::System, "main", SystemClock.now());
        match asked.await.unwrap() {
            TestRequest::Made(test) => test.id,
            other => panic!("{other:?}"),
        }
    }

    async fn test_in(&self, id: GatewayTestId, state: TestState) -> GatewayTest {
        let reached = async {
            loop {
                let test = self.store.gateway_test("main", id).await.unwrap().unwrap();
                if test.state == state {
                    return test;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, reached).await.unwrap_or_else(|_| panic!("the test is not {state}"))
    }
}

fn receipt(provider_id: &str, sms: Option<&OutboundSms>) -> GatewayEvent {
    GatewayEvent::Receipt(Receipt {
        provider_id: ProviderId(provider_id.into()),
        reference: sms.map(|sms| ClientReference::of(sms.delivery)),
        status: ReceiptStatus::Delivered,
        error: None,
        recipient: Some(phone(99)),
        raw: String::new(),
    })
}

#[tokio::test]
async fn a_test_leaves_once_and_its_receipt_settles_it_and_no_delivery() {
    let world = World::new(1).await;
    let mut running = Running::testing(&world, at_once(accepted), None);
    let delivery = running.provider.next().await;
    assert!(delivery.delivery.test_number().is_none());
    world.until(DeliveryState::Sent, 1).await;
    let id = world.ask().await;
    let sms = running.provider.next().await;
    assert_eq!((sms.delivery.test_number().is_some(), sms.to.expose()), (true, phone(99).expose()));
    assert!(sms.text.as_str().contains("test"));
    world.test_in(id, TestState::Accepted).await;
    let ack = running.provider.say(receipt("p1", None)).await;
    assert_eq!(ack.await.unwrap(), Ack::Stored);
    let test = world.test_in(id, TestState::Delivered).await;
    assert!(test.submitted_at <= test.answered_at && test.channel.as_deref() == Some("main/0"));
    assert_eq!(world.count(DeliveryState::Sent).await, 1, "the delivery has its own receipt to come");
    assert_eq!(running.stop().await, []);
}

#[tokio::test]
async fn a_receipt_with_our_reference_settles_a_test_whose_answer_was_lost() {
    let world = World::new(0).await;
    let lost = at_once(|_| SubmitOutcome::Unknown(failure(Scope::Gateway)));
    let mut running = Running::testing(&world, lost, None);
    let id = world.ask().await;
    let sms = running.provider.next().await;
    let test = world.test_in(id, TestState::Unknown).await;
    assert_eq!(test.code.as_deref(), Some("scripted"));
    running.provider.say(receipt("somehow", Some(&sms))).await.await.unwrap();
    world.test_in(id, TestState::Delivered).await;
    assert_eq!(running.stop().await, [], "it did not leave again");
}

#[tokio::test]
async fn a_late_answer_settles_a_test() {
    let world = World::new(0).await;
    let lost = at_once(|_| SubmitOutcome::Unknown(failure(Scope::Gateway)));
    let mut running = Running::testing(&world, lost, None);
    let id = world.ask().await;
    let sms = running.provider.next().await;
    world.test_in(id, TestState::Unknown).await;
    let late = |attempt| GatewayEvent::LateAnswer { delivery: sms.delivery, attempt, outcome: accepted(3) };
    // Of another attempt, which the fence keeps out.
    running.provider.say(late(sms.attempt ^ 1)).await.await.unwrap();
    assert_eq!(
        world.test_in(id, TestState::Unknown).await.answered_at,
        world.test_in(id, TestState::Unknown).await.answered_at
    );
    running.provider.say(late(sms.attempt)).await.await.unwrap();
    world.test_in(id, TestState::Accepted).await;
    running.provider.say(receipt("p3", None)).await.await.unwrap();
    world.test_in(id, TestState::Delivered).await;
    running.stop().await;
}

#[tokio::test]
async fn a_gateway_that_is_out_of_use_by_hand_can_be_tested() {
    let world = World::new(0).await;
    let now = SystemClock.now();
    assert!(world.store.pause_gateway(Actor::System, "main", None, now).await.unwrap());
    let mut running = Running::testing(&world, at_once(accepted), None);
    let id = world.ask().await;
    running.provider.next().await;
    world.test_in(id, TestState::Accepted).await;
    running.stop().await;
}

#[tokio::test]
async fn what_the_provider_says_no_to_is_refused_with_its_reason() {
    let world = World::new(0).await;
    let mut running =
        Running::testing(&world, at_once(|_| SubmitOutcome::Rejected(failure(Scope::Gateway))), None);
    let id = world.ask().await;
    running.provider.next().await;
    let test = world.test_in(id, TestState::Refused).await;
    assert_eq!(
        (test.code.as_deref(), test.detail.as_deref()),
        (Some("scripted"), Some("the script says so"))
    );
    running.stop().await;
}

#[tokio::test]
async fn a_worker_that_ends_before_the_answer_leaves_a_test_in_doubt_that_nobody_sends_again() {
    let world = World::new(0).await;
    let (_gate, script) = gated();
    let mut running = Running::testing(&world, script, None);
    let id = world.ask().await;
    let first = running.provider.next().await.delivery.test_number().unwrap();
    // It waits for the answer as long as it may, and goes.
    running.stop().await;
    assert_eq!(world.test_in(id, TestState::Submitting).await.answered_at, None);
    let mut other = Running::testing(&world, at_once(accepted), None);
    world.store.tend_gateway_tests(SystemClock.now().plus(Duration::from_mins(2))).await.unwrap();
    world.test_in(id, TestState::Unknown).await;
    // A second test passes the first by: had the first been sent again, it would have come before.
    let second = world.ask().await;
    assert_eq!(other.provider.next().await.delivery.test_number(), Some(first + 1));
    world.test_in(second, TestState::Accepted).await;
    assert_eq!(other.stop().await, []);
}

#[tokio::test]
async fn the_test_of_the_day_is_made_once_by_all_workers() {
    let world = World::new(0).await;
    let midnight = "00:00".parse().unwrap();
    let mut running = Running::testing(&world, at_once(accepted), Some(midnight));
    let number = running.provider.next().await.delivery.test_number().unwrap();
    let tests = async || {
        let page = klaroen_store::PageRequest { limit: 10, cursor: None };
        world.store.list_gateway_tests("main", &page).await.unwrap().items
    };
    let first = tests().await;
    assert!(first[0].daily && first.len() == 1);
    running.provider.say(receipt("p0", None)).await.await.unwrap();
    world.test_in(first[0].id, TestState::Delivered).await;
    running.stop().await;
    // Another process, on the same day: one asked for by hand shows that it has looked by then.
    let mut other = Running::testing(&world, at_once(accepted), Some(midnight));
    world.ask().await;
    assert_eq!(other.provider.next().await.delivery.test_number(), Some(number + 1));
    other.stop().await;
    let daily = tests().await.into_iter().filter(|test| test.daily).count();
    assert!(daily == 1 || crate::fixture::midnight_passed(first[0].requested_at), "{daily}");
}
