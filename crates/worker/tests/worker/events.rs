//! The events that the provider tells us by itself.

use std::sync::Arc;

use klaroen_domain::delivery::DeliveryState as S;
use klaroen_domain::outcome::{ProviderId, ReceiptStatus, Scope, SubmitOutcome};
use klaroen_domain::time::{Clock, SystemClock};
use klaroen_gateway::{Ack, ChannelStatus, ClientReference, GatewayEvent, InboundSms, Receipt};
use tokio::sync::oneshot::error::TryRecvError;

use crate::fixture::{Running, Script, World, accepted, at_once, failure, gated, phone};

fn stop_from(number: &str, key: &str) -> GatewayEvent {
    GatewayEvent::Inbound(InboundSms {
        dedupe_key: key.into(),
        from: number.into(),
        to: "1000".into(),
        text: "Stop".into(),
        keyword: None,
        received_at: SystemClock.now(),
    })
}

#[tokio::test]
async fn a_lost_answer_is_unknown_until_it_comes_late() {
    let world = World::new(3).await;
    let answers = |n| if n == 0 { SubmitOutcome::Unknown(failure(Scope::Recipient)) } else { accepted(n) };
    let mut running = Running::start(&world, 1, at_once(answers));
    let lost = running.provider.next().await;
    world.until(S::Sent, 2).await;
    world.until(S::Unknown, 1).await;
    let late =
        |attempt, n| GatewayEvent::LateAnswer { delivery: lost.delivery, attempt, outcome: accepted(n) };
    for answer in [Ack::Retry, Ack::Stored] {
        assert_eq!(running.provider.say(late(lost.attempt - 1, 76)).await.await, Ok(answer));
    }
    assert_eq!(world.count(S::Unknown).await, 1, "the answer to another attempt settles nothing");
    assert_eq!(running.provider.say(late(lost.attempt, 77)).await.await, Ok(Ack::Stored));
    world.until(S::Sent, 3).await;
    assert_eq!(running.stop().await.len(), 2);
}

#[tokio::test]
async fn a_receipt_is_acknowledged_when_it_is_stored() {
    let world = World::new(1).await;
    let mut running = Running::start(&world, 1, at_once(accepted));
    let delivery = running.provider.next().await.delivery;
    world.until(S::Sent, 1).await;
    let receipt = Receipt {
        provider_id: ProviderId("p0".into()),
        reference: Some(ClientReference::of(delivery)),
        status: ReceiptStatus::Delivered,
        error: None,
        recipient: None,
        raw: "id:p0 stat:DELIVRD".into(),
    };
    assert_eq!(running.provider.say(GatewayEvent::Receipt(receipt)).await.await, Ok(Ack::Stored));
    // No waiting here: the acknowledgement came after the commit.
    assert_eq!(world.count(S::Delivered).await, 1);
    running.stop().await;
}

#[tokio::test]
async fn a_stop_is_acknowledged_when_nothing_can_leave_any_more() {
    let world = World::new(1).await;
    let (gate, script) = gated();
    let mut running = Running::start(&world, 2, script);
    let sms = running.provider.next().await;
    let mut ack = running.provider.say(stop_from(sms.to.expose(), "k1")).await;
    // The confirmation is the second submit, so the STOP is stored by now; the first is still under way.
    running.provider.next().await;
    assert_eq!(ack.try_recv(), Err(TryRecvError::Empty));
    gate.add_permits(2);
    assert_eq!(ack.await, Ok(Ack::Stored));
    assert_eq!(world.count(S::Sent).await, 1);
    // A repetition is known, and acknowledged at once.
    assert_eq!(running.provider.say(stop_from(sms.to.expose(), "k1")).await.await, Ok(Ack::Stored));
    assert!(running.stop().await.is_empty());
}

#[tokio::test]
async fn a_stop_holds_for_what_is_queued() {
    let world = World::new(10).await;
    let (gate, script) = gated();
    let mut running = Running::start(&world, 1, script);
    let first = running.provider.next().await.to;
    running.provider.status.send_replace(ChannelStatus::Connecting);
    let number = if first == phone(0) { phone(1) } else { phone(0) };
    assert_eq!(running.provider.say(stop_from(number.expose(), "k1")).await.await, Ok(Ack::Stored));
    running.provider.status.send_replace(ChannelStatus::Up);
    gate.add_permits(100);
    world.until(S::Sent, 9).await;
    assert_eq!(world.count(S::Suppressed).await, 1);
    running.stop().await;
}

#[tokio::test]
async fn a_late_answer_that_comes_before_the_attempt_is_given_up_settles_it_when_it_comes_again() {
    let world = World::new(1).await;
    let (gate, gated) = gated();
    let script: Script = Arc::new(move |n| {
        let taken = gated(n);
        Box::pin(async move {
            taken.await;
            SubmitOutcome::Unknown(failure(Scope::Recipient))
        })
    });
    let mut running = Running::start(&world, 1, script);
    let sms = running.provider.next().await;
    let late = || GatewayEvent::LateAnswer {
        delivery: sms.delivery,
        attempt: sms.attempt,
        outcome: SubmitOutcome::NotTaken(failure(Scope::Gateway)),
    };
    assert_eq!(running.provider.say(late()).await.await, Ok(Ack::Retry));
    gate.add_permits(1);
    world.until(S::Unknown, 1).await;
    assert_eq!(running.provider.say(late()).await.await, Ok(Ack::Stored));
    world.until(S::Queued, 1).await;
    running.stop().await;
}
