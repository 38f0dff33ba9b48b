//! Binding, losing the link, coming back, closing.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use klaroen_domain::id::DeliveryId;
use klaroen_domain::outcome::SubmitOutcome;
use rstest::rstest;
use rusmpp::pdus::BindTransceiverResp;
use rusmpp::values::InterfaceVersion;
use rusmpp::{CommandId, CommandStatus, Pdu};
use serde_json::json;
use tokio::time::Instant;

use super::smsc::*;
use crate::sms::{Ack, ChannelStatus, GatewayEvent};

#[tokio::test(start_paused = true)]
async fn the_bind_is_a_transceiver_of_smpp_3_4() {
    let smsc = Smsc::start().await;
    let _channel = smsc.channel(&json!({"system_type": "SMPP"}));
    let command = smsc.accept().await.next().await;
    let Some(Pdu::BindTransceiver(bind)) = command.pdu() else { panic!("{command:?}") };
    assert_eq!((bind.system_id.as_str(), bind.password.as_str()), ("klaroen", "secret08"));
    assert_eq!((bind.system_type.as_str(), bind.interface_version), ("SMPP", InterfaceVersion::Smpp3_4));
}

#[rstest]
#[case::password(CommandStatus::EsmeRinvpaswd)]
#[case::system_id(CommandStatus::EsmeRinvsysid)]
#[case::bind_failed(CommandStatus::EsmeRbindfail)]
#[tokio::test(start_paused = true)]
async fn a_refused_bind_is_told_and_left_alone_for_a_minute(#[case] status: CommandStatus) {
    let smsc = Smsc::start().await;
    let mut channel = smsc.channel(&json!({}));
    let mut peer = smsc.accept().await;
    let bind = peer.next().await;
    peer.answer(&bind, status, BindTransceiverResp::default()).await;
    let refused_at = Instant::now();
    let refused =
        channel.status.wait_for(|s| matches!(s, ChannelStatus::Refused { .. })).await.unwrap().clone();
    let ChannelStatus::Refused { reason } = refused else { panic!() };
    assert!(reason.contains(&format!("0x{:08X}", u32::from(status))), "{reason}");
    assert!(matches!(channel.gateway.submit(&sms(1, "x")).await, SubmitOutcome::NotTaken(_)));
    let _peer = smsc.bound().await;
    assert!(refused_at.elapsed() >= Duration::from_mins(1), "in the time of the test, which stands still");
    wait_for(&mut channel, &ChannelStatus::Up).await;
}

#[tokio::test(start_paused = true)]
async fn a_bind_that_is_held_is_tried_again_soon_for_a_while_and_then_left_alone() {
    let smsc = Smsc::start().await;
    let mut channel = smsc.channel(&json!({}));
    let mut waits = Vec::new();
    for _ in 0..6 {
        let mut peer = smsc.accept().await;
        waits.push(Instant::now());
        let bind = peer.next().await;
        peer.answer(&bind, CommandStatus::EsmeRalybnd, BindTransceiverResp::default()).await;
        channel.status.wait_for(|s| matches!(s, ChannelStatus::Refused { .. })).await.unwrap();
    }
    let _peer = smsc.bound().await;
    wait_for(&mut channel, &ChannelStatus::Up).await;
    let waits: Vec<_> = waits.windows(2).map(|pair| (pair[1] - pair[0]).as_secs()).collect();
    assert!(
        waits[..4].iter().zip([1, 2, 4, 8]).all(|(wait, least)| (least..=10).contains(wait)),
        "{waits:?}"
    );
    assert!(waits[4] >= 60, "{waits:?}");
}

#[tokio::test(start_paused = true)]
async fn a_provider_with_a_passing_trouble_is_tried_again_soon() {
    let smsc = Smsc::start().await;
    let mut channel = smsc.channel(&json!({}));
    let mut peer = smsc.accept().await;
    let bind = peer.next().await;
    let start = Instant::now();
    peer.answer(&bind, CommandStatus::EsmeRsyserr, BindTransceiverResp::default()).await;
    let _peer = smsc.bound().await;
    assert!(start.elapsed() < Duration::from_secs(2), "in the time of the test, which stands still");
    wait_for(&mut channel, &ChannelStatus::Up).await;
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_is_not_there_yet_is_found_soon_after_it_came() {
    let smsc = Smsc::start().await;
    let address = smsc.address();
    let mut channel = smsc.channel(&json!({}));
    drop(smsc);
    // Five tries of a quarter of a second, doubled each time, less the jitter.
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(*channel.status.borrow(), ChannelStatus::Connecting);
    let smsc = Smsc::start_at(address).await;
    let came = Instant::now();
    let _peer = smsc.bound().await;
    wait_for(&mut channel, &ChannelStatus::Up).await;
    assert!(came.elapsed() <= Duration::from_secs(8), "in the time of the test");
}

#[tokio::test(start_paused = true)]
async fn a_silent_link_is_probed_twice_and_given_up() {
    let smsc = Smsc::start().await;
    let (mut channel, mut peer) = smsc.up(&json!({"enquire_link_s": 30})).await;
    assert_eq!(peer.next().await.id(), CommandId::EnquireLink);
    assert_eq!(peer.next().await.id(), CommandId::EnquireLink);
    assert!(peer.ended().await);
    wait_for(&mut channel, &ChannelStatus::Connecting).await;
    let _peer = smsc.bound().await;
}

#[tokio::test(start_paused = true)]
async fn a_link_that_answers_its_probes_stays() {
    let smsc = Smsc::start().await;
    let (channel, mut peer) = smsc.up(&json!({"enquire_link_s": 30})).await;
    for _ in 0..10 {
        // One miss, then an answer: never two misses in a row.
        assert_eq!(peer.next().await.id(), CommandId::EnquireLink);
        let enquiry = peer.next().await;
        assert_eq!(enquiry.id(), CommandId::EnquireLink);
        peer.answer(&enquiry, OK, Pdu::EnquireLinkResp).await;
    }
    assert_eq!(*channel.status.borrow(), ChannelStatus::Up);
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_unbinds_is_answered_and_bound_again() {
    let smsc = Smsc::start().await;
    let (mut channel, mut peer) = smsc.up(&json!({})).await;
    peer.send(OK, 8, Pdu::Unbind).await;
    let answer = peer.next().await;
    assert_eq!((answer.id(), answer.sequence_number()), (CommandId::UnbindResp, 8));
    assert!(peer.ended().await);
    let _peer = smsc.bound().await;
    wait_for(&mut channel, &ChannelStatus::Up).await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_framing_is_told_and_ends_the_link() {
    let smsc = Smsc::start().await;
    let (mut channel, mut peer) = smsc.up(&json!({})).await;
    peer.send_octets(&[0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 9]).await;
    let nack = peer.next().await;
    assert_eq!(
        (nack.id(), nack.sequence_number(), nack.status()),
        (CommandId::GenericNack, 9, CommandStatus::EsmeRinvcmdlen)
    );
    assert!(peer.ended().await);
    let _peer = smsc.bound().await;
    wait_for(&mut channel, &ChannelStatus::Up).await;
}

#[tokio::test(start_paused = true)]
async fn a_session_that_may_not_submit_is_bound_anew() {
    let smsc = Smsc::start().await;
    let (channel, mut peer) = smsc.up(&json!({})).await;
    let outcome = submit(&channel, sms(1, "x"));
    let (command, _) = peer.submit().await;
    peer.answer(&command, CommandStatus::EsmeRinvbndsts, submit_resp("")).await;
    assert!(matches!(outcome.await.unwrap(), SubmitOutcome::Rejected(_)));
    assert!(peer.ended().await);
    let _peer = smsc.bound().await;
}

#[tokio::test(start_paused = true)]
async fn closing_lets_the_window_run_empty_and_unbinds() {
    let smsc = Smsc::start().await;
    let (mut channel, mut peer) = smsc.up(&json!({})).await;
    let outcome = submit(&channel, sms(1, "x"));
    let (command, _) = peer.submit().await;
    let gateway = Arc::clone(&channel.gateway);
    let closing = tokio::spawn(async move { gateway.close(Duration::from_secs(20)).await });
    peer.hears_nothing().await;
    assert!(matches!(channel.gateway.submit(&sms(2, "y")).await, SubmitOutcome::NotTaken(_)));
    peer.accept_submit(&command, "1").await;
    assert_eq!(outcome.await.unwrap(), accepted(&["1"]));
    let unbind = peer.next().await;
    assert_eq!(unbind.id(), CommandId::Unbind);
    peer.answer(&unbind, OK, Pdu::UnbindResp).await;
    closing.await.unwrap();
    assert!(peer.ended().await);
    assert_eq!(*channel.status.borrow(), ChannelStatus::Closed);
    assert!(channel.events.recv().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn answers_that_come_while_it_is_drained_are_told() {
    let smsc = Smsc::start().await;
    let (mut channel, mut peer) = smsc.up(&json!({})).await;
    let outcome = submit(&channel, sms(7, "x"));
    let (command, _) = peer.submit().await;
    outcome.abort();
    assert!(outcome.await.unwrap_err().is_cancelled());
    let gateway = Arc::clone(&channel.gateway);
    let draining = tokio::spawn(async move { gateway.drain(Duration::from_secs(20)).await });
    peer.hears_nothing().await;
    assert!(matches!(channel.gateway.submit(&sms(2, "y")).await, SubmitOutcome::NotTaken(_)));
    peer.accept_submit(&command, "1").await;
    let delivered = channel.events.recv().await.unwrap();
    assert!(matches!(delivered.event, GatewayEvent::LateAnswer { delivery: DeliveryId(7), .. }));
    assert!(!draining.is_finished(), "it is not stored yet");
    delivered.ack.send(Ack::Stored).unwrap();
    draining.await.unwrap();
    peer.hears_nothing().await;
    assert_eq!(*channel.status.borrow(), ChannelStatus::Up);
}

#[tokio::test(start_paused = true)]
async fn closing_ends_at_its_deadline() {
    let smsc = Smsc::start().await;
    let (channel, mut peer) = smsc.up(&json!({})).await;
    let outcome = submit(&channel, sms(1, "x"));
    peer.submit().await;
    channel.gateway.close(Duration::from_secs(5)).await;
    assert!(matches!(outcome.await.unwrap(), SubmitOutcome::Unknown(_)));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_gateway_ends_its_connection() {
    let smsc = Smsc::start().await;
    let (channel, mut peer) = smsc.up(&json!({})).await;
    let mut status = channel.status.clone();
    drop(channel);
    assert!(peer.ended().await);
    status.wait_for(|s| *s == ChannelStatus::Closed).await.unwrap();
}

/// A log that is kept.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn no_log_level_shows_password_number_or_text() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let guard = tracing::subscriber::set_default(subscriber);
    // With a single subscriber, a test on another thread could switch a log line off for everybody.
    let _second = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::default());
    let smsc = Smsc::start().await;
    let channel = smsc.channel(&json!({}));
    let (mut stream, _) = smsc.accept_raw().await;
    // The other end must not use the codec here: it would log in its own right.
    raw::bind_and_accept_one(
        &mut stream,
        async { channel.gateway.submit(&sms(1, "Kijk uit")).await },
        &channel,
    )
    .await;
    drop(guard);
    let log = String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned();
    assert!(log.contains("bound"), "it does log: {log}");
    for secret in ["secret08", "31687654321", "Kijk uit", "73, 65, 63, 72"] {
        assert!(!log.contains(secret), "{secret} in {log}");
    }
}

/// Octets, without any codec.
mod raw {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::{ChannelStatus, SubmitOutcome};
    use crate::sms::Channel;

    async fn pdu(stream: &mut TcpStream) -> Vec<u8> {
        let length = stream.read_u32().await.unwrap();
        let mut pdu = vec![0; usize::try_from(length).unwrap() - 4];
        stream.read_exact(&mut pdu).await.unwrap();
        pdu
    }

    async fn answer(stream: &mut TcpStream, id: u32, request: &[u8], body: &[u8]) {
        let length = u32::try_from(16 + body.len()).unwrap();
        let header = [&length.to_be_bytes()[..], &id.to_be_bytes(), &[0; 4], &request[8..12], body].concat();
        stream.write_all(&header).await.unwrap();
    }

    pub(super) async fn bind_and_accept_one(
        stream: &mut TcpStream,
        submit: impl Future<Output = SubmitOutcome>,
        channel: &Channel,
    ) {
        let bind = pdu(stream).await;
        assert!(bind.windows(8).any(|w| w == b"secret08"));
        answer(stream, 0x8000_0009, &bind, b"smsc\0").await;
        channel.status.clone().wait_for(|s| *s == ChannelStatus::Up).await.unwrap();
        let smsc = async {
            let submit = pdu(stream).await;
            answer(stream, 0x8000_0004, &submit, b"1\0").await;
        };
        let (outcome, ()) = futures::join!(submit, smsc);
        assert!(matches!(outcome, SubmitOutcome::Accepted { .. }));
    }
}
