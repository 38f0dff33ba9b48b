//! The other end: accepts connections and says what the test tells it to.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use klaroen_domain::id::DeliveryId;
use klaroen_domain::outcome::{ProviderId, SubmitOutcome};
use klaroen_domain::phone::{Country, PhoneNumber};
use klaroen_domain::text::MessageText;
use klaroen_domain::time::{ManualClock, Timestamp};
use rusmpp::pdus::{BindTransceiverResp, DeliverSm, SubmitSm, SubmitSmResp};
use rusmpp::tokio_codec::CommandCodec;
use rusmpp::types::{COctetString, OctetString};
use rusmpp::values::{DataCoding, EsmClass, Ton};
use rusmpp::{Command, CommandId, CommandStatus, Pdu};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::codec::Framed;

use crate::smpp::config::tests::config;
use crate::smpp::inbound::budget::EventBudget;
use crate::sms::{Channel, ChannelStatus, OutboundSms};

pub(super) const OK: CommandStatus = CommandStatus::EsmeRok;

pub(super) struct Smsc(TcpListener);

impl Smsc {
    pub(super) async fn start() -> Self {
        Self(TcpListener::bind(("127.0.0.1", 0)).await.unwrap())
    }

    pub(super) async fn start_at(address: std::net::SocketAddr) -> Self {
        Self(TcpListener::bind(address).await.unwrap())
    }

    pub(super) fn address(&self) -> std::net::SocketAddr {
        self.0.local_addr().unwrap()
    }

    /// Our side, with a link that is not probed unless the test wants it.
    pub(super) fn channel(&self, changes: &Value) -> Channel {
        self.channel_at(changes, Arc::new(ManualClock::new(Timestamp::from_millis(1_700_000_000_000))))
    }

    fn channel_at(&self, changes: &Value, clock: Arc<ManualClock>) -> Channel {
        self.channel_within(changes, clock, EventBudget::of_process())
    }

    fn channel_within(&self, changes: &Value, clock: Arc<ManualClock>, budget: Arc<EventBudget>) -> Channel {
        let mut config = config(changes);
        config.port = self.0.local_addr().unwrap().port();
        if changes.get("enquire_link_s").is_none() {
            config.enquire_link_s = 1_000_000;
        }
        crate::smpp::connect_within(&config, 0, Country::NL, clock, budget).unwrap()
    }

    pub(super) async fn accept(&self) -> Peer {
        let (stream, _) = self.0.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        Peer(Framed::new(stream, CommandCodec::new()))
    }

    /// Accepts, and leaves the octets to the test.
    pub(super) async fn accept_raw(&self) -> (TcpStream, std::net::SocketAddr) {
        self.0.accept().await.unwrap()
    }

    /// Accepts and takes the bind.
    pub(super) async fn bound(&self) -> Peer {
        let mut peer = self.accept().await;
        let bind = peer.next().await;
        assert_eq!(bind.id(), CommandId::BindTransceiver);
        peer.answer(&bind, OK, BindTransceiverResp::default()).await;
        peer
    }

    /// Both ends of a link that is up.
    pub(super) async fn up(&self, changes: &Value) -> (Channel, Peer) {
        self.up_at(changes, Arc::new(ManualClock::new(Timestamp::from_millis(1_700_000_000_000)))).await
    }

    /// The same, where so many events may wait, of so many bytes.
    pub(super) async fn up_within(&self, events_max: usize, bytes_max: usize) -> (Channel, Peer) {
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_700_000_000_000)));
        let budget = Arc::new(EventBudget::new(events_max, bytes_max));
        let mut channel = self.channel_within(&json!({}), clock, budget);
        let peer = self.bound().await;
        wait_for(&mut channel, &ChannelStatus::Up).await;
        (channel, peer)
    }

    /// The same by the clock of the test.
    pub(super) async fn up_at(&self, changes: &Value, clock: Arc<ManualClock>) -> (Channel, Peer) {
        let mut channel = self.channel_at(changes, clock);
        let peer = self.bound().await;
        wait_for(&mut channel, &ChannelStatus::Up).await;
        (channel, peer)
    }
}

pub(super) async fn wait_for(channel: &mut Channel, status: &ChannelStatus) {
    channel.status.wait_for(|now| now == status).await.unwrap();
}

pub(super) struct Peer(Framed<TcpStream, CommandCodec>);

impl Peer {
    pub(super) async fn next(&mut self) -> Command {
        self.0.next().await.expect("the connection ended").unwrap()
    }

    /// The connection was ended by our side.
    pub(super) async fn ended(&mut self) -> bool {
        // A reset is an end, too.
        !matches!(self.0.next().await, Some(Ok(_)))
    }

    pub(super) async fn send(&mut self, status: CommandStatus, sequence_number: u32, pdu: impl Into<Pdu>) {
        self.0.send(Command::new(status, sequence_number, pdu)).await.unwrap();
    }

    /// Puts a PDU behind others, to be written with them.
    pub(super) async fn feed(&mut self, status: CommandStatus, sequence_number: u32, pdu: impl Into<Pdu>) {
        self.0.feed(Command::new(status, sequence_number, pdu)).await.unwrap();
    }

    pub(super) async fn flush(&mut self) {
        futures::SinkExt::<Command>::flush(&mut self.0).await.unwrap();
    }

    /// Takes a submit behind an `unbind`, both at once.
    pub(super) async fn unbind_and_accept(&mut self, command: &Command, id: &str) {
        self.0.feed(Command::new(OK, 1, Pdu::Unbind)).await.unwrap();
        self.accept_submit(command, id).await;
    }

    /// Sends octets that no codec would write.
    pub(super) async fn send_octets(&mut self, octets: &[u8]) {
        self.0.get_mut().write_all(octets).await.unwrap();
    }

    pub(super) async fn answer(&mut self, to: &Command, status: CommandStatus, pdu: impl Into<Pdu>) {
        self.send(status, to.sequence_number(), pdu).await;
    }

    /// The next PDU, which has to be a submit.
    pub(super) async fn submit(&mut self) -> (Command, SubmitSm) {
        let command = self.next().await;
        let Some(Pdu::SubmitSm(submit)) = command.pdu() else { panic!("{command:?}") };
        let submit = submit.clone();
        (command, submit)
    }

    pub(super) async fn accept_submit(&mut self, command: &Command, id: &str) {
        self.answer(command, OK, submit_resp(id)).await;
    }

    /// Nothing is on its way to us: an enquiry is answered before anything else.
    pub(super) async fn hears_nothing(&mut self) {
        self.send(OK, 999_999, Pdu::EnquireLink).await;
        let command = self.next().await;
        assert_eq!((command.id(), command.sequence_number()), (CommandId::EnquireLinkResp, 999_999));
    }

    /// The answer to a `deliver_sm`.
    pub(super) async fn deliver_answer(&mut self) -> (u32, CommandStatus) {
        let command = self.next().await;
        assert_eq!(command.id(), CommandId::DeliverSmResp);
        (command.sequence_number(), command.status())
    }
}

pub(super) fn submit_resp(id: &str) -> SubmitSmResp {
    SubmitSmResp::builder().message_id(COctetString::from_str(id).unwrap()).build()
}

pub(super) fn deliver(esm_class: u8, body: &[u8]) -> DeliverSm {
    DeliverSm::builder()
        .source_addr_ton(Ton::International)
        .source_addr(COctetString::from_str("31612345678").unwrap())
        .destination_addr(COctetString::from_str("1000").unwrap())
        .esm_class(EsmClass::from(esm_class))
        .data_coding(DataCoding::Ia5)
        .short_message(OctetString::from_slice(body).unwrap())
        .build()
}

pub(in crate::smpp) fn sms(id: i64, text: &str) -> OutboundSms {
    OutboundSms {
        delivery: DeliveryId(id),
        attempt: 1,
        to: PhoneNumber::from_sealed("+31687654321".into()),
        text: Arc::new(MessageText::parse(text, 5).unwrap()),
        validity: Duration::from_mins(30),
    }
}

pub(super) fn accepted(ids: &[&str]) -> SubmitOutcome {
    SubmitOutcome::Accepted {
        provider_ids: ids.iter().map(|id| ProviderId((*id).into())).collect(),
        segments: u8::try_from(ids.len()).unwrap(),
    }
}

/// Submits in the background.
pub(super) fn submit(channel: &Channel, sms: OutboundSms) -> tokio::task::JoinHandle<SubmitOutcome> {
    let gateway = Arc::clone(&channel.gateway);
    tokio::spawn(async move { gateway.submit(&sms).await })
}

/// The code of an outcome that is in doubt.
pub(super) fn unknown_code(outcome: &SubmitOutcome) -> &str {
    match outcome {
        SubmitOutcome::Unknown(failure) => &failure.code,
        other => panic!("not unknown: {other:?}"),
    }
}
