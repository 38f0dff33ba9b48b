//! Receipts, SMS from handsets, and long messages.

use std::str::FromStr;
use std::time::Duration;

use klaroen_simulator::{AutoReply, Faults, InboundError, Smsc, SmscConfig};
use rstest::rstest;
use rusmpp::CommandId;
use rusmpp::pdus::SubmitSm;
use rusmpp::tlvs::MessageSubmissionRequestTlvValue as Tlv;
use rusmpp::types::{AnyOctetString, EmptyOrFullCOctetString};
use rusmpp::values::{EsmClass, MessagePayload, MessageState};
use tokio::time::Instant;

use crate::client::{Client, message, number, silent, smsc, text_of};

#[tokio::test(start_paused = true)]
async fn a_refused_receipt_comes_again_after_the_delay() {
    let smsc = smsc(Faults::default()).await;
    let mut client = Client::bound(&smsc).await;
    client.send(message(&number(1), b"x")).await;
    let (sequence, first) = client.delivery().await;
    let refused = Instant::now();
    client.acknowledge(sequence, 0x64).await;
    let (sequence, second) = client.delivery().await;
    assert_eq!(first, second);
    assert!(refused.elapsed() >= Duration::from_millis(500));
    client.acknowledge(sequence, 0).await;
    assert!(client.is_quiet_for(Duration::from_mins(1)).await);
    let stats = smsc.stats();
    assert_eq!((stats.deliveries_sent, stats.deliveries_refused, stats.deliveries_acknowledged), (2, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn receipts_that_were_held_leave_at_once_and_are_not_sent_again() {
    let config = SmscConfig { deliver_window: usize::MAX, deliver_attempts_max: 1, ..SmscConfig::default() };
    let smsc = Smsc::start(config).await.unwrap();
    smsc.set_faults(Faults { hold_deliveries: true, ..Faults::default() });
    let mut client = Client::bound(&smsc).await;
    for n in 0..200 {
        assert_eq!(client.submit(message(&number(n), b"x")).await, 0);
    }
    assert!(client.is_quiet_for(Duration::from_mins(1)).await);
    smsc.set_faults(Faults::default());
    let mut sequences = Vec::new();
    for _ in 0..200 {
        sequences.push(client.delivery().await.0);
    }
    for sequence in sequences {
        client.acknowledge(sequence, 0x64).await;
    }
    assert!(client.is_quiet_for(Duration::from_mins(1)).await);
    assert_eq!((smsc.stats().deliveries_sent, smsc.stats().deliveries_dropped), (200, 200));
}

#[tokio::test(start_paused = true)]
async fn a_receipt_that_is_always_refused_is_given_up() {
    let config = SmscConfig { deliver_attempts_max: 3, ..SmscConfig::default() };
    let smsc = Smsc::start(config).await.unwrap();
    let mut client = Client::bound(&smsc).await;
    client.send(message(&number(1), b"x")).await;
    for _ in 0..3 {
        let (sequence, _) = client.delivery().await;
        client.acknowledge(sequence, 0x64).await;
    }
    assert!(client.is_quiet_for(Duration::from_mins(1)).await);
    assert_eq!(smsc.stats().deliveries_dropped, 1);
}

#[tokio::test(start_paused = true)]
async fn receipts_wait_for_the_next_receiver_of_the_same_account() {
    let smsc = smsc(Faults { receipt_delay_ms: (1_000, 1_000), ..Faults::default() }).await;
    let mut client = Client::bound(&smsc).await;
    for i in 0..3 {
        assert_eq!(client.submit(message(&number(i), b"x")).await, 0);
    }
    drop(client);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!((smsc.total_rings(), smsc.stats().pending), (3, 3));

    let mut stranger = Client::connect(&smsc).await;
    assert_eq!(stranger.bind(CommandId::BindReceiver, "stranger", "").await, 0);
    assert!(stranger.is_quiet_for(Duration::from_secs(10)).await);

    // An SMS that one connection leaves unanswered goes to the next, and first.
    let mut receiver = Client::connect(&smsc).await;
    assert_eq!(receiver.bind(CommandId::BindReceiver, "klaroen", "").await, 0);
    let (sequence, first) = receiver.delivery().await;
    receiver.acknowledge(sequence, 0).await;
    let (_, second) = receiver.delivery().await;
    drop(receiver);
    let mut receiver = Client::connect(&smsc).await;
    assert_eq!(receiver.bind(CommandId::BindReceiver, "klaroen", "").await, 0);
    assert_eq!(receiver.delivery().await.1, second);
    let (_, third) = receiver.delivery().await;
    assert!(first != second && second != third && first != third);
}

#[tokio::test(start_paused = true)]
async fn receipts_find_the_receiver_beside_a_transmitter() {
    let smsc = smsc(Faults::default()).await;
    let mut receiver = Client::connect(&smsc).await;
    assert_eq!(receiver.bind(CommandId::BindReceiver, "klaroen", "").await, 0);
    let mut sender = Client::connect(&smsc).await;
    assert_eq!(sender.bind(CommandId::BindTransmitter, "klaroen", "").await, 0);
    assert_eq!(sender.submit(message(&number(1), b"x")).await, 0);
    let (_, receipt) = receiver.delivery().await;
    assert_eq!(receipt.source_addr.as_str(), number(1));
    assert_eq!(receipt.destination_addr.as_str(), "1000");
    assert_eq!(u8::from(receipt.esm_class), 0x04);
}

#[tokio::test(start_paused = true)]
async fn no_more_than_the_window_is_left_unanswered() {
    let config = SmscConfig { deliver_window: 5, ..SmscConfig::default() };
    let smsc = Smsc::start(config).await.unwrap();
    let mut receiver = Client::connect(&smsc).await;
    assert_eq!(receiver.bind(CommandId::BindReceiver, "klaroen", "").await, 0);
    let mut sender = Client::connect(&smsc).await;
    assert_eq!(sender.bind(CommandId::BindTransmitter, "klaroen", "").await, 0);
    for i in 0..20 {
        assert_eq!(sender.submit(message(&number(i), b"x")).await, 0);
    }
    let mut last = 0;
    for _ in 0..5 {
        last = receiver.delivery().await.0;
    }
    assert!(receiver.is_quiet_for(Duration::from_mins(1)).await);
    receiver.acknowledge(last, 0).await;
    receiver.delivery().await;
    assert!(receiver.is_quiet_for(Duration::from_mins(1)).await);
}

#[tokio::test(start_paused = true)]
async fn no_receipt_comes_where_none_is_asked_for() {
    let smsc = smsc(Faults::default()).await;
    let mut client = Client::bound(&smsc).await;
    assert_eq!(client.submit(silent(message(&number(1), b"x"))).await, 0);
    assert!(client.is_quiet_for(Duration::from_mins(1)).await);
    assert_eq!(smsc.total_rings(), 1);
}

#[tokio::test(start_paused = true)]
async fn nothing_rings_after_its_validity() {
    let smsc = smsc(Faults { receipt_delay_ms: (10_000, 10_000), ..Faults::default() }).await;
    let mut client = Client::bound(&smsc).await;
    let valid_for = |period| {
        let mut submit = message(&number(1), b"x");
        submit.validity_period = EmptyOrFullCOctetString::from_str(period).unwrap();
        submit
    };
    let start = Instant::now();
    assert_eq!(client.submit(valid_for("000000000005000R")).await, 0);
    let (sequence, receipt) = client.delivery().await;
    client.acknowledge(sequence, 0).await;
    assert!(text_of(&receipt).contains("stat:EXPIRED"));
    assert!((5..6).contains(&start.elapsed().as_secs()), "at the end of its validity");
    assert_eq!(smsc.total_rings(), 0);

    assert_eq!(client.submit(valid_for("000000000011000R")).await, 0);
    let (_, receipt) = client.delivery().await;
    assert!(text_of(&receipt).contains("stat:DELIVRD"));
    assert_eq!(smsc.rings_of(&number(1))[0].validity, Some(Duration::from_secs(11)));
}

fn by_header_8(part: u8, text: &[u8]) -> SubmitSm {
    let octets = [&[5, 0, 3, 200, 2, part], text].concat();
    let mut submit = message(&number(1), &octets);
    submit.esm_class = EsmClass::from(0x40);
    submit
}

fn by_header_16(part: u8, text: &[u8]) -> SubmitSm {
    let octets = [&[6, 8, 4, 1, 200, 2, part], text].concat();
    let mut submit = message(&number(1), &octets);
    submit.esm_class = EsmClass::from(0x40);
    submit
}

fn by_tlv(part: u8, text: &[u8]) -> SubmitSm {
    let mut submit = message(&number(1), text);
    submit.set_tlvs(vec![Tlv::SarMsgRefNum(900), Tlv::SarTotalSegments(2), Tlv::SarSegmentSeqnum(part)]);
    submit
}

#[rstest]
#[case::header_with_8_bits(by_header_8)]
#[case::header_with_16_bits(by_header_16)]
#[case::tlv(by_tlv)]
#[tokio::test(start_paused = true)]
async fn a_long_message_rings_once(#[case] part: fn(u8, &[u8]) -> SubmitSm) {
    let smsc = smsc(Faults::default()).await;
    let mut client = Client::bound(&smsc).await;
    assert_eq!(client.submit(silent(part(2, b"een rode auto"))).await, 0);
    assert_eq!(smsc.total_rings(), 0);
    assert_eq!(client.submit(silent(part(1, b"Gezocht: "))).await, 0);
    let rings = smsc.rings_of(&number(1));
    assert_eq!(rings.iter().map(|ring| &*ring.text).collect::<Vec<_>>(), ["Gezocht: een rode auto"]);
    assert_eq!(&*rings[0].sender, "1000");
}

#[tokio::test(start_paused = true)]
async fn a_payload_rings_once() {
    let smsc = smsc(Faults::default()).await;
    let mut client = Client::bound(&smsc).await;
    let mut submit = silent(message(&number(1), b""));
    let payload = AnyOctetString::from_slice(&[b'y'; 2_000]);
    submit.set_tlvs(vec![Tlv::MessagePayload(MessagePayload::new(payload))]);
    assert_eq!(client.submit(submit).await, 0);
    assert_eq!(*smsc.rings_of(&number(1))[0].text, *"y".repeat(2_000));
}

#[tokio::test(start_paused = true)]
async fn an_sms_from_a_handset_resolves_with_its_answer() {
    let smsc = smsc(Faults::default()).await;
    let mut client = Client::bound(&smsc).await;
    let stop = smsc.send_inbound("+31612345678", "1000", "STOP");
    let answer = async {
        let (sequence, sms) = client.delivery().await;
        assert_eq!(sms.source_addr.as_str(), "31612345678");
        assert_eq!((text_of(&sms), u8::from(sms.esm_class)), ("STOP".to_owned(), 0));
        client.acknowledge(sequence, 0x64).await;
    };
    assert_eq!(tokio::join!(stop, answer).0, Ok(0x64));
    let (sequence, again) = client.delivery().await;
    assert_eq!(text_of(&again), "STOP");
    client.acknowledge(sequence, 0).await;
}

#[tokio::test(start_paused = true)]
async fn an_sms_from_a_handset_waits_for_a_receiver_but_not_for_ever() {
    let smsc = smsc(Faults::default()).await;
    assert_eq!(smsc.send_inbound("31612345678", "1000", "Hallo").await, Err(InboundError::NobodyBound));
    let too_long = "1".repeat(21);
    assert_eq!(smsc.send_inbound(&too_long, "1000", "Hallo").await, Err(InboundError::Address));

    let sms = smsc.send_inbound("31612345678", "1000", "Hallo");
    let client = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        let mut client = Client::bound(&smsc).await;
        let (sequence, _) = client.delivery().await;
        client.acknowledge(sequence, 0).await;
    };
    assert_eq!(tokio::join!(sms, client).0, Ok(0));

    // That client is gone; the next one is there and says nothing.
    smsc.disconnect_all().await;
    assert_eq!(smsc.send_inbound("31612345678", "1000", "Hallo").await, Err(InboundError::NobodyBound));
    let _silent_client = Client::bound(&smsc).await;
    assert_eq!(smsc.send_inbound("31612345678", "1000", "Hallo").await, Err(InboundError::NotAnswered));
}

#[tokio::test(start_paused = true)]
async fn handsets_reply_as_told() {
    let reply = |share, text: &str, delay_ms| AutoReply { share, text: text.to_owned(), delay_ms };
    let config = SmscConfig {
        auto_replies: vec![
            reply(0.5, "Gezien! Hij loopt richting station", 2_000),
            reply(0.5, "STOP", 4_000),
        ],
        ..SmscConfig::default()
    };
    let smsc = Smsc::start(config).await.unwrap();
    let mut client = Client::bound(&smsc).await;
    let seen = client.run(0..100).await;
    let count = |text: &str| seen.receipts.iter().filter(|receipt| receipt.2 == text).count();
    let (sightings, stops) = (count("Gezien! Hij loopt richting station"), count("STOP"));
    assert_eq!(sightings + stops, 100, "every ring is answered");
    assert!((25..=75).contains(&stops), "{stops}");
    let receipts = seen.receipts.iter().filter(|receipt| receipt.1 == MessageState::Delivered);
    assert_eq!(receipts.count(), 100);
}
