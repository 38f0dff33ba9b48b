//! Outcomes of a submit.

use std::time::Duration;

use klaroen_domain::id::DeliveryId;
use klaroen_domain::outcome::SubmitOutcome;
use rusmpp::{CommandStatus, Pdu};
use serde_json::json;
use tokio::time::Instant;

use super::smsc::*;
use crate::sms::{Ack, ChannelStatus, GatewayEvent, OutboundSms};

#[tokio::test(start_paused = true)]
async fn an_accepted_submit_has_the_id_of_the_provider() {
    let smsc = Smsc::start().await;
    let (channel, mut peer) = smsc.up(&json!({"message_id_format": "hex_decimal"})).await;
    let outcome = submit(&channel, sms(1, "Kijk uit"));
    let (command, pdu) = peer.submit().await;
    assert_eq!(pdu.destination_addr.as_str(), "31687654321");
    peer.accept_submit(&command, "00FF").await;
    assert_eq!(outcome.await.unwrap(), accepted(&["255"]));
}

#[tokio::test(start_paused = true)]
async fn a_taken_message_without_id_is_taken() {
    let smsc = Smsc::start().await;
    let (channel, mut peer) = smsc.up(&json!({})).await;
    let outcome = submit(&channel, sms(1, "Kijk uit"));
    let (command, _) = peer.submit().await;
    peer.accept_submit(&command, "").await;
    assert_eq!(outcome.await.unwrap(), SubmitOutcome::Accepted { provider_ids: vec![], segments: 1 });
}

#[tokio::test(start_paused = true)]
async fn refusals_are_told_apart() {
    let smsc = Smsc::start().await;
    let (channel, mut peer) = smsc.up(&json!({})).await;
    let mut refuse = async |status: CommandStatus, with_body: bool| {
        let outcome = submit(&channel, sms(1, "Kijk uit"));
        let (command, _) = peer.submit().await;
        if with_body {
            peer.answer(&command, status, submit_resp("")).await;
        } else {
            peer.answer(&command, status, Pdu::GenericNack).await;
        }
        outcome.await.unwrap()
    };
    assert!(matches!(refuse(CommandStatus::EsmeRthrottled, true).await, SubmitOutcome::Throttled { .. }));
    assert!(matches!(refuse(CommandStatus::EsmeRinvdstadr, true).await, SubmitOutcome::Rejected(_)));
    assert!(matches!(refuse(CommandStatus::Other(0x500), true).await, SubmitOutcome::NotTaken(_)));
    assert!(matches!(refuse(CommandStatus::EsmeRinvcmdlen, false).await, SubmitOutcome::Rejected(_)));
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_unknown_and_a_late_one_settles_it() {
    let smsc = Smsc::start().await;
    let (mut channel, mut peer) = smsc.up(&json!({"response_timeout_s": 2})).await;
    let outcome = submit(&channel, OutboundSms { attempt: 99, ..sms(7, "Kijk uit") });
    let (command, _) = peer.submit().await;
    assert_eq!(unknown_code(&outcome.await.unwrap()), "timeout");
    peer.accept_submit(&command, "4711").await;
    let delivered = channel.events.recv().await.unwrap();
    let GatewayEvent::LateAnswer { delivery, attempt, outcome } = delivered.event else { panic!() };
    assert_eq!((delivery, attempt, outcome), (DeliveryId(7), 99, accepted(&["4711"])));
    // It is nobody's but ours: not stored, it comes again.
    delivered.ack.send(Ack::Retry).unwrap();
    assert!(matches!(channel.events.recv().await.unwrap().event, GatewayEvent::LateAnswer { .. }));
}

#[tokio::test(start_paused = true)]
async fn an_answer_after_the_caller_gave_up_settles_it_too() {
    let smsc = Smsc::start().await;
    let (mut channel, mut peer) = smsc.up(&json!({})).await;
    let outcome = submit(&channel, sms(7, "Kijk uit"));
    let (command, _) = peer.submit().await;
    outcome.abort();
    assert!(outcome.await.unwrap_err().is_cancelled());
    peer.accept_submit(&command, "4711").await;
    let GatewayEvent::LateAnswer { outcome, .. } = channel.events.recv().await.unwrap().event else {
        panic!()
    };
    assert_eq!(outcome, accepted(&["4711"]));
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_the_window_is_not_sent_once_its_caller_gave_up() {
    let smsc = Smsc::start().await;
    let (mut channel, mut peer) = smsc.up(&json!({"window": 1})).await;
    let first = submit(&channel, sms(1, "een"));
    let (command, _) = peer.submit().await;
    let second = submit(&channel, sms(2, "twee"));
    peer.hears_nothing().await;
    second.abort();
    assert!(second.await.unwrap_err().is_cancelled());
    let third = submit(&channel, sms(3, "drie"));
    peer.accept_submit(&command, "1").await;
    assert_eq!(first.await.unwrap(), accepted(&["1"]));
    let (command, pdu) = peer.submit().await;
    assert_eq!(pdu.short_message().as_ref(), b"drie");
    peer.accept_submit(&command, "3").await;
    assert_eq!(third.await.unwrap(), accepted(&["3"]));
    let GatewayEvent::LateAnswer { delivery, outcome, .. } = channel.events.recv().await.unwrap().event
    else {
        panic!()
    };
    assert_eq!(delivery, DeliveryId(2));
    assert!(matches!(outcome, SubmitOutcome::NotTaken(_)), "certain, so it can be sent again");
}

#[tokio::test(start_paused = true)]
async fn the_window_is_what_the_configuration_says() {
    let smsc = Smsc::start().await;
    let (channel, mut peer) = smsc.up(&json!({"window": 2})).await;
    let outcomes: Vec<_> = (1..=3).map(|id| submit(&channel, sms(id, "Kijk uit"))).collect();
    let (first, _) = peer.submit().await;
    let (second, _) = peer.submit().await;
    peer.hears_nothing().await;
    peer.accept_submit(&second, "b").await;
    let (third, _) = peer.submit().await;
    peer.accept_submit(&third, "c").await;
    peer.accept_submit(&first, "a").await;
    let mut ids = Vec::new();
    for outcome in outcomes {
        let SubmitOutcome::Accepted { provider_ids, .. } = outcome.await.unwrap() else { panic!() };
        ids.push(provider_ids[0].0.clone());
    }
    ids.sort();
    assert_eq!(ids, ["a", "b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn a_lost_connection_leaves_the_window_in_doubt_and_the_queue_not_taken() {
    let smsc = Smsc::start().await;
    let (mut channel, mut peer) = smsc.up(&json!({"window": 1})).await;
    let written = submit(&channel, sms(1, "een"));
    peer.submit().await;
    let waiting = submit(&channel, sms(2, "twee"));
    peer.hears_nothing().await;
    drop(peer);
    assert_eq!(unknown_code(&written.await.unwrap()), "disconnected");
    assert!(matches!(waiting.await.unwrap(), SubmitOutcome::NotTaken(_)));
    wait_for(&mut channel, &ChannelStatus::Connecting).await;
    assert!(matches!(channel.gateway.submit(&sms(3, "drie")).await, SubmitOutcome::NotTaken(_)), "not bound");

    let mut peer = smsc.bound().await;
    wait_for(&mut channel, &ChannelStatus::Up).await;
    let outcome = submit(&channel, sms(4, "vier"));
    let (command, _) = peer.submit().await;
    peer.accept_submit(&command, "4").await;
    assert_eq!(outcome.await.unwrap(), accepted(&["4"]));
}

#[tokio::test(start_paused = true)]
async fn a_nack_that_may_be_to_an_answer_of_ours_refuses_nothing() {
    let smsc = Smsc::start().await;
    let (channel, mut peer) = smsc.up(&json!({"response_timeout_s": 2})).await;
    for accept in [true, false] {
        let outcome = submit(&channel, sms(1, "een"));
        let (command, _) = peer.submit().await;
        // A receipt without an id is answered at once.
        peer.answer(&command, OK, deliver(4, b"stat:DELIVRD")).await;
        assert_eq!(peer.deliver_answer().await, (command.sequence_number(), OK));
        peer.answer(&command, CommandStatus::EsmeRinvcmdid, Pdu::GenericNack).await;
        if accept {
            peer.accept_submit(&command, "1").await;
            assert_eq!(outcome.await.unwrap(), accepted(&["1"]));
        } else {
            assert_eq!(unknown_code(&outcome.await.unwrap()), "timeout");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_came_before_the_link_ended_counts() {
    let smsc = Smsc::start().await;
    let (channel, mut peer) = smsc.up(&json!({})).await;
    let answered = submit(&channel, sms(1, "een"));
    let (command, _) = peer.submit().await;
    let open = submit(&channel, sms(2, "twee"));
    peer.submit().await;
    peer.unbind_and_accept(&command, "1").await;
    assert_eq!(answered.await.unwrap(), accepted(&["1"]));
    assert_eq!(unknown_code(&open.await.unwrap()), "disconnected");
}

#[tokio::test(start_paused = true)]
async fn parts_go_out_in_order_and_count_as_one() {
    let smsc = Smsc::start().await;
    let (channel, mut peer) = smsc.up(&json!({})).await;
    let text = "a".repeat(400);
    let outcome = submit(&channel, sms(1, &text));
    let mut commands = Vec::new();
    for number in 1..=3 {
        let (command, pdu) = peer.submit().await;
        assert_eq!((u8::from(pdu.esm_class), &pdu.short_message()[4..6]), (0x40, &[3, number][..]));
        commands.push(command);
    }
    for (command, id) in commands.iter().zip(["x", "y", "z"]).rev() {
        peer.accept_submit(command, id).await;
    }
    assert_eq!(outcome.await.unwrap(), accepted(&["x", "y", "z"]));

    let outcome = submit(&channel, sms(1, &text));
    for number in 1..=3 {
        let (command, _) = peer.submit().await;
        if number == 2 {
            peer.answer(&command, CommandStatus::EsmeRthrottled, submit_resp("")).await;
        } else {
            peer.accept_submit(&command, "x").await;
        }
    }
    // Nothing rang, and the same parts again complete it: it is not in doubt.
    assert_eq!(outcome.await.unwrap(), SubmitOutcome::Throttled { retry_after: None });
}

#[tokio::test(start_paused = true)]
async fn a_burst_leaves_at_once_although_nothing_comes_back() {
    let smsc = Smsc::start().await;
    let (channel, mut peer) = smsc.up(&json!({})).await;
    let start = Instant::now();
    let outcomes: Vec<_> = (1..=43).map(|id| submit(&channel, sms(id, "Kijk uit"))).collect();
    for _ in 0..outcomes.len() {
        peer.submit().await;
    }
    assert_eq!(
        start.elapsed(),
        Duration::ZERO,
        "in the time of the test, which moves only when everything waits"
    );
}
