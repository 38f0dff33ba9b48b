//! Binds, states, and what cannot be understood.

use std::time::Duration;

use klaroen_simulator::{Faults, Smsc, SmscConfig};
use rstest::rstest;
use rusmpp::{CommandId, Pdu};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::client::{Client, message, number, smsc};

#[tokio::test(start_paused = true)]
async fn only_the_right_system_id_and_password_bind() {
    let config = SmscConfig {
        system_id: Some("klaroen".to_owned()),
        password: Some("secret".to_owned()),
        ..SmscConfig::default()
    };
    let smsc = Smsc::start(config).await.unwrap();
    let mut client = Client::connect(&smsc).await;
    assert_eq!(client.bind(CommandId::BindTransmitter, "other", "secret").await, 0x0F);
    assert_eq!(client.bind(CommandId::BindReceiver, "klaroen", "wrong").await, 0x0E);
    assert_eq!(client.bind(CommandId::BindTransceiver, "klaroen", "secret").await, 0);
    assert_eq!(client.bind(CommandId::BindTransceiver, "klaroen", "secret").await, 0x05);
    let stats = smsc.stats();
    assert_eq!((stats.binds, stats.binds_refused), (1, 3));
}

#[rstest]
#[case::unbound(None)]
#[case::receiver(Some(CommandId::BindReceiver))]
#[tokio::test(start_paused = true)]
async fn a_submit_needs_a_bind_that_sends(#[case] bind: Option<CommandId>) {
    let smsc = smsc(Faults::default()).await;
    let mut client = Client::connect(&smsc).await;
    if let Some(kind) = bind {
        assert_eq!(client.bind(kind, "klaroen", "").await, 0);
    }
    assert_eq!(client.submit(message(&number(1), b"x")).await, 0x04);
    assert_eq!(smsc.total_rings(), 0);
}

#[tokio::test(start_paused = true)]
async fn enquire_link_and_unbind_are_answered() {
    let smsc = smsc(Faults::default()).await;
    let mut client = Client::bound(&smsc).await;
    let sequence = client.send(Pdu::EnquireLink).await;
    let answer = client.next().await.unwrap();
    assert_eq!((answer.id(), answer.sequence_number()), (CommandId::EnquireLinkResp, sequence));
    client.send(Pdu::Unbind).await;
    assert_eq!(client.next().await.unwrap().id(), CommandId::UnbindResp);
    assert!(client.framed.get_mut().read_u8().await.is_err(), "the connection is closed");
}

#[tokio::test(start_paused = true)]
async fn the_smsc_enquires_where_told_to() {
    let config = SmscConfig { enquire_link_ms: 30_000, ..SmscConfig::default() };
    let smsc = Smsc::start(config).await.unwrap();
    let mut client = Client::bound(&smsc).await;
    assert!(client.is_quiet_for(Duration::from_secs(29)).await);
    assert_eq!(client.next().await.unwrap().id(), CommandId::EnquireLink);
    assert_eq!(client.next().await.unwrap().id(), CommandId::EnquireLink);
}

/// A `submit_sm` whose body is cut off, one without, a command that does not exist, one that is not offered (`query_sm`).
#[rstest]
#[case::unreadable(&[0, 0, 0, 18, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 77, 1, 1], 0x02)]
#[case::no_body(&[0, 0, 0, 16, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 77], 0x02)]
#[case::unknown(&[0, 0, 0, 17, 0, 0, 9, 9, 0, 0, 0, 0, 0, 0, 0, 77, 1], 0x03)]
#[case::not_offered(&[0, 0, 0, 21, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 77, b'1', 0, 0, 0, 0], 0x03)]
#[tokio::test(start_paused = true)]
async fn what_is_not_understood_is_nacked_and_the_connection_lives(
    #[case] octets: &[u8],
    #[case] status: u32,
) {
    let smsc = smsc(Faults::default()).await;
    let mut client = Client::bound(&smsc).await;
    client.framed.get_mut().write_all(octets).await.unwrap();
    let nack = client.next().await.unwrap();
    assert_eq!((nack.id(), nack.sequence_number()), (CommandId::GenericNack, 77));
    assert_eq!(u32::from(nack.status()), status);
    client.send(Pdu::EnquireLink).await;
    assert_eq!(client.next().await.unwrap().id(), CommandId::EnquireLinkResp);
}

#[rstest]
#[case::too_short(15)]
#[case::too_long(0x7FFF_FFFF)]
#[tokio::test(start_paused = true)]
async fn a_length_that_cannot_be_ends_the_connection(#[case] length: u32) {
    let smsc = smsc(Faults::default()).await;
    let mut client = Client::bound(&smsc).await;
    let mut octets = length.to_be_bytes().to_vec();
    octets.extend([0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 78]);
    client.framed.get_mut().write_all(&octets).await.unwrap();
    let nack = client.next().await.unwrap();
    assert_eq!((nack.id(), nack.sequence_number()), (CommandId::GenericNack, 78));
    assert!(client.framed.get_mut().read_u8().await.is_err(), "the connection is closed");
}

#[tokio::test(start_paused = true)]
async fn a_pdu_may_come_octet_by_octet() {
    let smsc = smsc(Faults::default()).await;
    let mut client = Client::connect(&smsc).await;
    let bind = b"\0\0\0\x1E\0\0\0\x09\0\0\0\0\0\0\0\x05klaroen\0\0\0\x34\0\0\0";
    for octet in bind {
        client.framed.get_mut().write_u8(*octet).await.unwrap();
        tokio::task::yield_now().await;
    }
    let answer = client.next().await.unwrap();
    assert_eq!((answer.id(), answer.sequence_number()), (CommandId::BindTransceiverResp, 5));
}

#[tokio::test(start_paused = true)]
async fn all_connections_can_be_dropped_and_made_again() {
    let smsc = smsc(Faults::default()).await;
    let mut clients = [Client::bound(&smsc).await, Client::bound(&smsc).await];
    smsc.disconnect_all().await;
    for client in &mut clients {
        assert!(client.next().await.is_none());
    }
    let mut again = Client::bound(&smsc).await;
    let seen = again.run(0..1).await;
    assert_eq!(seen.answers[&0].0, 0);
    smsc.shutdown().await;
    assert!(again.next().await.is_none());
    assert!(tokio::net::TcpStream::connect(smsc.addr()).await.is_err());
    assert_eq!(smsc.total_rings(), 1, "what was counted stays");
}

#[tokio::test(start_paused = true)]
async fn it_goes_away_after_so_many_messages_and_comes_back_where_it_was() {
    let smsc = smsc(Faults::default()).await;
    let mut client = Client::bound(&smsc).await;
    client.run(0..3).await;
    smsc.until_taken(3).await;
    smsc.stop_listening().await;
    assert!(client.next().await.is_none(), "its connections drop");
    assert!(tokio::net::TcpStream::connect(smsc.addr()).await.is_err(), "refused");
    smsc.listen_again().await.unwrap();
    smsc.listen_again().await.unwrap();
    let mut again = Client::bound(&smsc).await;
    assert_eq!(again.run(3..4).await.answers.len(), 1);
    assert_eq!((smsc.total_rings(), smsc.stats().binds), (4, 2), "it remembers");
}
