//! Events of a `deliver_sm`, and when it is answered.

use std::sync::Arc;
use std::time::Duration;

use klaroen_domain::outcome::ReceiptStatus;
use klaroen_domain::time::{ManualClock, Timestamp};
use rstest::rstest;
use rusmpp::{CommandId, CommandStatus};
use serde_json::json;
use tokio::time::Instant;

use super::smsc::*;
use crate::sms::{Ack, GatewayEvent, InboundSms};

const LATER: CommandStatus = CommandStatus::EsmeRxTAppn;

fn inbound(event: GatewayEvent) -> InboundSms {
    match event {
        GatewayEvent::Inbound(sms) => sms,
        other => panic!("not an inbound SMS: {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_delivery_is_answered_when_it_is_stored_and_not_before() {
    let smsc = Smsc::start().await;
    let (mut channel, mut peer) = smsc.up(&json!({})).await;
    peer.send(OK, 41, deliver(4, b"id:77 stat:DELIVRD err:000")).await;
    let delivered = channel.events.recv().await.unwrap();
    let GatewayEvent::Receipt(receipt) = delivered.event else { panic!() };
    assert_eq!((receipt.provider_id.0.as_str(), receipt.status), ("77", ReceiptStatus::Delivered));
    peer.hears_nothing().await;
    delivered.ack.send(Ack::Stored).unwrap();
    assert_eq!(peer.deliver_answer().await, (41, OK));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_stored_is_to_come_again_in_whatever_order() {
    let smsc = Smsc::start().await;
    let (mut channel, mut peer) = smsc.up(&json!({})).await;
    for sequence_number in 1..=3 {
        peer.send(OK, sequence_number, deliver(0, format!("tekst {sequence_number}").as_bytes())).await;
    }
    let mut delivered = Vec::new();
    for number in 1..=3 {
        let next = channel.events.recv().await.unwrap();
        assert_eq!(inbound(next.event.clone()).text, format!("tekst {number}"), "in the order of arrival");
        delivered.push(next);
    }
    delivered.pop().unwrap().ack.send(Ack::Stored).unwrap();
    assert_eq!(peer.deliver_answer().await, (3, OK));
    delivered.pop().unwrap().ack.send(Ack::Retry).unwrap();
    assert_eq!(peer.deliver_answer().await, (2, LATER));
    drop(delivered);
    assert_eq!(peer.deliver_answer().await, (1, LATER));
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_looks_like_a_receipt_is_a_reply_and_its_repetition_is_known() {
    let smsc = Smsc::start().await;
    let (mut channel, mut peer) = smsc.up(&json!({})).await;
    peer.send(OK, 1, deliver(0, b"id:1 stat:DELIVRD")).await;
    let first = inbound(channel.events.recv().await.unwrap().event);
    assert_eq!(
        (first.from.as_str(), first.to.as_str(), first.text.as_str()),
        ("31612345678", "1000", "id:1 stat:DELIVRD")
    );
    assert_eq!(first.received_at.as_millis(), 1_700_000_000_000);
    assert_eq!(peer.deliver_answer().await, (1, LATER));
    peer.send(OK, 2, deliver(0, b"id:1 stat:DELIVRD")).await;
    assert_eq!(inbound(channel.events.recv().await.unwrap().event).dedupe_key, first.dedupe_key);
}

#[tokio::test(start_paused = true)]
async fn a_second_stop_after_the_first_was_stored_is_a_message_of_its_own() {
    let smsc = Smsc::start().await;
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_700_000_000_000)));
    let (mut channel, mut peer) = smsc.up_at(&json!({}), Arc::clone(&clock)).await;
    let mut keys = Vec::new();
    for (sequence_number, ack) in [(1, Ack::Retry), (2, Ack::Stored), (3, Ack::Stored)] {
        peer.send(OK, sequence_number, deliver(0, b"STOP")).await;
        let delivered = channel.events.recv().await.unwrap();
        keys.push(inbound(delivered.event).dedupe_key);
        delivered.ack.send(ack).unwrap();
        assert_eq!(peer.deliver_answer().await.0, sequence_number);
        clock.advance(Duration::from_mins(2));
    }
    assert_eq!(keys[1], keys[0], "it was to come again");
    assert_ne!(keys[2], keys[1]);
}

#[tokio::test(start_paused = true)]
async fn the_parts_of_a_reply_are_answered_with_the_whole() {
    let smsc = Smsc::start().await;
    let (mut channel, mut peer) = smsc.up(&json!({})).await;
    peer.send(OK, 1, deliver(0x40, b"\x05\x00\x03\x2A\x02\x02de brug")).await;
    peer.send(OK, 2, deliver(0x40, b"\x05\x00\x03\x2A\x02\x01ik zag hem bij ")).await;
    let delivered = channel.events.recv().await.unwrap();
    assert_eq!(inbound(delivered.event).text, "ik zag hem bij de brug");
    peer.hears_nothing().await;
    delivered.ack.send(Ack::Stored).unwrap();
    assert_eq!([peer.deliver_answer().await, peer.deliver_answer().await], [(1, OK), (2, OK)]);
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_sends_one_at_a_time_gets_its_answer() {
    let smsc = Smsc::start().await;
    let (mut channel, mut peer) = smsc.up(&json!({})).await;
    peer.send(OK, 1, deliver(0x40, b"\x05\x00\x03\x2A\x02\x01een ")).await;
    assert_eq!(peer.deliver_answer().await, (1, OK), "although the whole is not there");
    peer.send(OK, 2, deliver(0x40, b"\x05\x00\x03\x2A\x02\x02twee")).await;
    let delivered = channel.events.recv().await.unwrap();
    assert_eq!(inbound(delivered.event).text, "een twee");
    delivered.ack.send(Ack::Retry).unwrap();
    // The provider cannot send the first part again, so it is offered again from here.
    assert_eq!(peer.deliver_answer().await, (2, OK));
    assert_eq!(inbound(channel.events.recv().await.unwrap().event).text, "een twee");
}

#[tokio::test(start_paused = true)]
async fn a_reply_whose_rest_never_comes_is_delivered_as_it_is() {
    let smsc = Smsc::start().await;
    let (mut channel, mut peer) = smsc.up(&json!({})).await;
    peer.send(OK, 1, deliver(0x40, b"\x05\x00\x03\x2A\x02\x01ik zag hem bij ")).await;
    assert_eq!(inbound(channel.events.recv().await.unwrap().event).text, "ik zag hem bij […]");
}

#[tokio::test(start_paused = true)]
async fn what_only_we_have_of_a_reply_is_stored_before_the_end() {
    let smsc = Smsc::start().await;
    let (mut channel, mut peer) = smsc.up(&json!({})).await;
    peer.send(OK, 1, deliver(0x40, b"\x05\x00\x03\x2A\x02\x01een ")).await;
    assert_eq!(peer.deliver_answer().await, (1, OK));
    let gateway = Arc::clone(&channel.gateway);
    let draining = tokio::spawn(async move { gateway.drain(Duration::from_secs(20)).await });
    for ack in [Ack::Retry, Ack::Stored] {
        let delivered = channel.events.recv().await.unwrap();
        assert_eq!(inbound(delivered.event).text, "een […]");
        assert!(!draining.is_finished());
        delivered.ack.send(ack).unwrap();
    }
    draining.await.unwrap();
    // An SMS that begins now is not answered before it is whole: the session would not wait for the rest.
    peer.send(OK, 2, deliver(0x40, b"\x05\x00\x03\x2B\x02\x01een ")).await;
    tokio::time::sleep(Duration::from_mins(1)).await;
    peer.hears_nothing().await;
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_is_behind_slows_the_provider() {
    let smsc = Smsc::start().await;
    let (channel, mut peer) = smsc.up_within(10, usize::MAX).await;
    for sequence_number in 1..=11 {
        peer.send(OK, sequence_number, deliver(0, b"hallo")).await;
    }
    assert_eq!(peer.deliver_answer().await, (11, LATER));
    let start = Instant::now();
    drop(channel.events);
    for _ in 1..=10 {
        assert_eq!(peer.deliver_answer().await.1, LATER);
    }
    assert_eq!(
        start.elapsed(),
        Duration::ZERO,
        "in the time of the test, which moves only when everything waits"
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_stored_makes_room_for_the_next() {
    let smsc = Smsc::start().await;
    let (mut channel, mut peer) = smsc.up_within(2, usize::MAX).await;
    for sequence_number in 1..=3 {
        peer.send(OK, sequence_number, deliver(4, b"id:77 stat:DELIVRD")).await;
    }
    assert_eq!(peer.deliver_answer().await, (3, LATER));
    channel.events.recv().await.unwrap().ack.send(Ack::Stored).unwrap();
    assert_eq!(peer.deliver_answer().await, (1, OK));
    peer.send(OK, 4, deliver(4, b"id:78 stat:DELIVRD")).await;
    peer.send(OK, 5, deliver(4, b"id:79 stat:DELIVRD")).await;
    assert_eq!(peer.deliver_answer().await, (5, LATER));
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_bounded_by_its_weight_too() {
    let smsc = Smsc::start().await;
    let (_channel, mut peer) = smsc.up_within(usize::MAX >> 4, 10_000).await;
    let mut answered = 0;
    for sequence_number in 1..=30 {
        peer.send(OK, sequence_number, deliver(0, &[b'x'; 200])).await;
    }
    while peer.deliver_answer().await != (30, LATER) {
        answered += 1;
    }
    assert!((10..25).contains(&answered), "{answered} of 30 found no room");
}

#[tokio::test(start_paused = true)]
async fn events_of_a_lost_connection_keep_their_room_until_they_are_judged() {
    let smsc = Smsc::start().await;
    let (mut channel, mut peer) = smsc.up_within(2, usize::MAX).await;
    for sequence_number in 1..=3 {
        peer.send(OK, sequence_number, deliver(4, b"id:77 stat:DELIVRD")).await;
    }
    assert_eq!(peer.deliver_answer().await, (3, LATER));
    drop(peer);
    let mut peer = smsc.bound().await;
    peer.send(OK, 1, deliver(4, b"id:77 stat:DELIVRD")).await;
    assert_eq!(peer.deliver_answer().await, (1, LATER), "both are still in our memory");
    for _ in 0..2 {
        channel.events.recv().await.unwrap().ack.send(Ack::Stored).unwrap();
    }
    peer.send(OK, 2, deliver(4, b"id:78 stat:DELIVRD")).await;
    let delivered = channel.events.recv().await.unwrap();
    delivered.ack.send(Ack::Stored).unwrap();
    assert_eq!(peer.deliver_answer().await, (2, OK));
}

/// A message centre that sends all receipts of an alert at once, and looks at the answers when it is done.
#[tokio::test]
async fn sixty_thousand_receipts_at_once_are_all_taken() {
    const RECEIPTS: u32 = 60_000;
    let smsc = Smsc::start().await;
    let (mut channel, mut peer) = smsc.up(&json!({})).await;
    let flood = async {
        for sequence_number in 1..=RECEIPTS {
            peer.feed(OK, sequence_number, deliver(4, b"id:77 stat:DELIVRD err:000")).await;
        }
        peer.flush().await;
    };
    // Nothing is judged before the last one has come.
    let all = async {
        let mut waiting = Vec::new();
        while waiting.len() < usize::try_from(RECEIPTS).unwrap() {
            waiting.push(channel.events.recv().await.unwrap());
        }
        waiting
    };
    let ((), waiting) = futures::join!(flood, all);
    for delivered in waiting {
        delivered.ack.send(Ack::Stored).unwrap();
    }
    for _ in 0..RECEIPTS {
        assert_eq!(peer.deliver_answer().await.1, OK);
    }
}

/// A PDU as octets, for what the other codec does not write.
fn pdu(id: u32, sequence_number: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(16 + body.len()).unwrap();
    [&[length, id, 0, sequence_number].map(u32::to_be_bytes).concat()[..], body].concat()
}

#[rstest]
#[case::bind_receiver(0x01)]
#[case::query_sm(0x03)]
#[case::submit_sm(0x04)]
#[case::replace_sm(0x07)]
#[case::cancel_sm(0x08)]
#[case::outbind(0x0B)]
#[case::submit_multi(0x21)]
#[case::broadcast_sm(0x0111)]
#[case::of_the_vendor(0x0001_0200)]
#[case::reserved(0x7FFF_FFFF)]
#[tokio::test(start_paused = true)]
async fn what_we_do_not_speak_is_refused_by_number(#[case] id: u32) {
    let smsc = Smsc::start().await;
    let (_channel, mut peer) = smsc.up(&json!({})).await;
    peer.send_octets(&pdu(id, 5, b"")).await;
    let nack = peer.next().await;
    assert_eq!(
        (nack.id(), nack.sequence_number(), nack.status()),
        (CommandId::GenericNack, 5, CommandStatus::EsmeRinvcmdid)
    );
}

#[rstest]
#[case::alert_notification(0x0102, b"\x01\x0131612345678\0\x01\x011000\0\x04\x22\0\x01\0")]
#[case::answer_to_nothing(0x8000_0003, b"")]
#[case::answer_of_the_vendor(0x8001_0200, b"x")]
#[tokio::test(start_paused = true)]
async fn what_wants_no_answer_gets_none(#[case] id: u32, #[case] body: &[u8]) {
    let smsc = Smsc::start().await;
    let (_channel, mut peer) = smsc.up(&json!({})).await;
    peer.send_octets(&pdu(id, 5, body)).await;
    peer.hears_nothing().await;
}

/// A `data_sm` from a handset (SMPP 3.4 §4.7.1).
fn data_sm(sequence_number: u32, esm_class: u8, tlvs: &[u8]) -> Vec<u8> {
    let mandatory = [&b"\0\x01\x0131612345678\0\x01\x011000\0"[..], &[esm_class, 0, 0x01], tlvs].concat();
    pdu(0x0103, sequence_number, &mandatory)
}

#[rstest]
#[case::parameters_alone(b"\0\x1E\0\x0377\0\x04\x27\0\x01\x02")]
#[case::text_in_the_payload(b"\x04\x24\0\x12id:77 stat:DELIVRD")]
#[tokio::test(start_paused = true)]
async fn a_receipt_may_come_by_data_sm(#[case] tlvs: &[u8]) {
    let smsc = Smsc::start().await;
    let (mut channel, mut peer) = smsc.up(&json!({})).await;
    peer.send_octets(&data_sm(41, 4, tlvs)).await;
    let delivered = channel.events.recv().await.unwrap();
    let GatewayEvent::Receipt(receipt) = delivered.event else { panic!() };
    assert_eq!((receipt.provider_id.0.as_str(), receipt.status), ("77", ReceiptStatus::Delivered));
    assert!(receipt.recipient.is_some());
    delivered.ack.send(Ack::Stored).unwrap();
    let answer = peer.next().await;
    assert_eq!((answer.id(), answer.sequence_number(), answer.status()), (CommandId::DataSmResp, 41, OK));
}

#[tokio::test(start_paused = true)]
async fn a_reply_may_come_by_data_sm_and_each_part_gets_the_answer_of_its_kind() {
    let smsc = Smsc::start().await;
    let (mut channel, mut peer) = smsc.up(&json!({})).await;
    let part = b"\x02\x0C\0\x02\0\x2A\x02\x0E\0\x01\x02\x02\x0F\0\x01\x01\x04\x24\0\x03een";
    peer.send_octets(&data_sm(1, 0, part)).await;
    peer.send(OK, 2, deliver(0x40, b"\x05\x00\x03\x2A\x02\x02 twee")).await;
    let delivered = channel.events.recv().await.unwrap();
    assert_eq!(inbound(delivered.event).text, "een twee");
    delivered.ack.send(Ack::Retry).unwrap();
    let answers = [peer.next().await, peer.next().await];
    assert_eq!(
        answers.map(|answer| (answer.id(), answer.sequence_number(), answer.status())),
        [(CommandId::DataSmResp, 1, LATER), (CommandId::DeliverSmResp, 2, LATER)]
    );
}

#[tokio::test(start_paused = true)]
async fn a_data_sm_that_cannot_be_read_is_refused_and_its_number_used_again() {
    let smsc = Smsc::start().await;
    let (mut channel, mut peer) = smsc.up(&json!({})).await;
    peer.send_octets(&pdu(0x0103, 5, b"\0\x01")).await;
    let answer = peer.next().await;
    assert_eq!(
        (answer.id(), answer.sequence_number(), answer.status()),
        (CommandId::DataSmResp, 5, CommandStatus::EsmeRinvcmdlen)
    );
    peer.send(OK, 5, deliver(0, b"STOP")).await;
    channel.events.recv().await.unwrap().ack.send(Ack::Stored).unwrap();
    assert_eq!(peer.deliver_answer().await, (5, OK));
}

#[tokio::test(start_paused = true)]
async fn a_receipt_without_id_is_taken_off_the_provider() {
    let smsc = Smsc::start().await;
    let (_channel, mut peer) = smsc.up(&json!({})).await;
    peer.send(OK, 5, deliver(4, b"stat:DELIVRD")).await;
    assert_eq!(peer.deliver_answer().await, (5, OK));
}

#[tokio::test(start_paused = true)]
async fn a_sender_that_the_codec_refuses_does_not_end_the_link() {
    let smsc = Smsc::start().await;
    let (mut channel, mut peer) = smsc.up(&json!({})).await;
    let body = b"\0\x05\0Caf\xE9\0\0\x01\x011000\0\0\0\0\0\0\0\0\x01\0\x02hi";
    let length = u32::try_from(16 + body.len()).unwrap();
    peer.send_octets(&[&length.to_be_bytes()[..], &[0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 9], body].concat())
        .await;
    let delivered = channel.events.recv().await.unwrap();
    let sms = inbound(delivered.event);
    assert_eq!((sms.from.as_str(), sms.text.as_str()), ("Caf?", "hi"));
    delivered.ack.send(Ack::Stored).unwrap();
    assert_eq!(peer.deliver_answer().await, (9, OK));
}

#[tokio::test(start_paused = true)]
async fn a_delivery_that_cannot_be_read_is_refused_and_the_next_one_is_taken() {
    let smsc = Smsc::start().await;
    let (mut channel, mut peer) = smsc.up(&json!({})).await;
    let cut = [&18_u32.to_be_bytes()[..], &[0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 9], b"\0\x05"].concat();
    peer.send_octets(&cut).await;
    assert_eq!(peer.deliver_answer().await, (9, CommandStatus::EsmeRinvcmdlen));
    peer.send(OK, 10, deliver(0, b"hallo")).await;
    assert_eq!(inbound(channel.events.recv().await.unwrap().event).text, "hallo");
}

#[tokio::test(start_paused = true)]
async fn each_verdict_of_a_batch_is_answered_once() {
    let smsc = Smsc::start().await;
    let (mut channel, mut peer) = smsc.up(&json!({})).await;
    for sequence_number in 1..=500 {
        peer.send(OK, sequence_number, deliver(4, format!("id:{sequence_number} stat:DELIVRD").as_bytes()))
            .await;
    }
    let mut batch = Vec::new();
    while batch.len() < 500 {
        channel.events.recv_many(&mut batch, 500).await;
    }
    for delivered in batch {
        delivered.ack.send(Ack::Stored).unwrap();
    }
    let mut answered = std::collections::BTreeSet::new();
    for _ in 0..500 {
        let (sequence_number, status) = peer.deliver_answer().await;
        assert!(status == OK && answered.insert(sequence_number), "{sequence_number}");
    }
    peer.hears_nothing().await;
}
