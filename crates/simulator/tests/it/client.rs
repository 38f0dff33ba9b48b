//! A scripted client: it says what a test tells it to, and nothing by itself.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use klaroen_simulator::{Faults, Smsc, SmscConfig};
use rusmpp::pdus::{BindReceiver, BindTransceiver, BindTransmitter, DeliverSm, DeliverSmResp, SubmitSm};
use rusmpp::tlvs::TlvValue;
use rusmpp::tokio_codec::CommandCodec;
use rusmpp::types::{COctetString, EmptyOrFullCOctetString, OctetString};
use rusmpp::values::{DataCoding, EsmClass, MessageState, RegisteredDelivery};
use rusmpp::{Command, CommandId, CommandStatus, Pdu};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::codec::Framed;

/// Longer than anything here takes; under paused time it is over at once when nothing happens any more.
const QUIET: Duration = Duration::from_hours(1);

pub struct Client {
    pub framed: Framed<TcpStream, CommandCodec>,
    sequence: u32,
}

/// The PDUs that a client saw in a run.
#[derive(Default)]
pub struct Seen {
    /// Number of the message to its status and message id.
    pub answers: BTreeMap<u32, (u32, String)>,
    /// The receipts in their order: message id by TLV, state, text.
    pub receipts: Vec<(String, MessageState, String)>,
    /// Message ids in the order in which receipts (`true`) and answers (`false`) named them.
    pub order: Vec<(bool, String)>,
}

pub async fn smsc(faults: Faults) -> Smsc {
    Smsc::start(SmscConfig { faults, ..SmscConfig::default() }).await.unwrap()
}

/// The number of the `i`th handset.
pub fn number(i: u32) -> String {
    format!("3161{i:07}")
}

/// A message in Latin-1 that asks for a receipt.
pub fn message(to: &str, octets: &[u8]) -> SubmitSm {
    let mut submit = SubmitSm::default();
    submit.source_addr = COctetString::from_str("1000").unwrap();
    submit.destination_addr = COctetString::from_str(to).unwrap();
    submit.esm_class = EsmClass::from(0x00);
    submit.data_coding = DataCoding::from(0x03);
    submit.registered_delivery = RegisteredDelivery::from(0x01);
    submit.validity_period = EmptyOrFullCOctetString::empty();
    submit.set_short_message(OctetString::from_slice(octets).unwrap());
    submit
}

/// The same, asking for no receipt.
pub fn silent(mut submit: SubmitSm) -> SubmitSm {
    submit.registered_delivery = RegisteredDelivery::from(0x00);
    submit
}

pub fn text_of(deliver: &DeliverSm) -> String {
    String::from_utf8_lossy(deliver.short_message().as_ref()).into_owned()
}

impl Client {
    pub async fn connect(smsc: &Smsc) -> Self {
        let stream = TcpStream::connect(smsc.addr()).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { framed: Framed::new(stream, CommandCodec::new()), sequence: 0 }
    }

    /// Bound as a transceiver.
    pub async fn bound(smsc: &Smsc) -> Self {
        let mut client = Self::connect(smsc).await;
        assert_eq!(client.bind(CommandId::BindTransceiver, "klaroen", "secret").await, 0);
        client
    }

    /// The status that the bind was answered with.
    pub async fn bind(&mut self, kind: CommandId, system_id: &str, password: &str) -> u32 {
        let system_id = COctetString::from_str(system_id).unwrap();
        let password = COctetString::from_str(password).unwrap();
        let pdu: Pdu = match kind {
            CommandId::BindReceiver => BindReceiver { system_id, password, ..Default::default() }.into(),
            CommandId::BindTransmitter => {
                BindTransmitter { system_id, password, ..Default::default() }.into()
            }
            _ => BindTransceiver { system_id, password, ..Default::default() }.into(),
        };
        self.send(pdu).await;
        let answer = self.next().await.unwrap();
        assert_eq!(answer.id(), kind.matching_response());
        answer.status().into()
    }

    /// Sends a request; its sequence number.
    pub async fn send(&mut self, pdu: impl Into<Pdu>) -> u32 {
        self.sequence += 1;
        self.put(0, self.sequence, pdu.into()).await;
        self.sequence
    }

    async fn put(&mut self, status: u32, sequence: u32, pdu: Pdu) {
        let command = Command::new(CommandStatus::from(status), sequence, pdu);
        self.framed.send(command).await.unwrap();
    }

    /// The next PDU; `None` if the connection ends, or nothing comes any more.
    pub async fn next(&mut self) -> Option<Command> {
        timeout(QUIET, self.framed.next()).await.ok().flatten().and_then(Result::ok)
    }

    /// Whether nothing comes for `wait`, the end of the connection included.
    pub async fn is_quiet_for(&mut self, wait: Duration) -> bool {
        timeout(wait, self.framed.next()).await.is_err()
    }

    /// Submits and waits for the answer; its status. Anything else that comes is a failure.
    pub async fn submit(&mut self, submit: SubmitSm) -> u32 {
        let sequence = self.send(submit).await;
        let answer = self.next().await.unwrap();
        assert_eq!((answer.id(), answer.sequence_number()), (CommandId::SubmitSmResp, sequence));
        answer.status().into()
    }

    /// The next `deliver_sm`, unanswered.
    pub async fn delivery(&mut self) -> (u32, DeliverSm) {
        loop {
            let command = self.next().await.expect("a deliver_sm");
            if let Some(Pdu::DeliverSm(deliver)) = command.pdu() {
                return (command.sequence_number(), deliver.clone());
            }
        }
    }

    pub async fn acknowledge(&mut self, sequence: u32, status: u32) {
        self.put(status, sequence, DeliverSmResp::default().into()).await;
    }

    /// Submits one message to each of the numbers `messages`, at most 50 without an answer, and acknowledges every
    /// receipt, until nothing comes any more.
    pub async fn run(&mut self, messages: impl IntoIterator<Item = u32>) -> Seen {
        let mut seen = Seen::default();
        let mut by_sequence = BTreeMap::new();
        let mut left = messages.into_iter();
        let mut unanswered = 0;
        loop {
            while unanswered < 50 {
                let Some(i) = left.next() else { break };
                let sequence = self.send(message(&number(i), b"Let op")).await;
                by_sequence.insert(sequence, i);
                unanswered += 1;
            }
            let Some(command) = self.next().await else {
                // Answers that never come no longer block the window.
                if unanswered < 50 {
                    return seen;
                }
                unanswered = 0;
                continue;
            };
            let sequence = command.sequence_number();
            match (command.id(), command.pdu()) {
                (CommandId::SubmitSmResp, pdu) => {
                    unanswered -= i32::from(unanswered > 0);
                    let id = match pdu {
                        Some(Pdu::SubmitSmResp(resp)) => resp.message_id().as_str().to_owned(),
                        _ => String::new(),
                    };
                    seen.order.push((false, id.clone()));
                    seen.answers.insert(by_sequence[&sequence], (command.status().into(), id));
                }
                (_, Some(Pdu::DeliverSm(deliver))) => {
                    let receipt = receipt(deliver);
                    seen.order.push((true, receipt.0.clone()));
                    seen.receipts.push(receipt);
                    self.acknowledge(sequence, 0).await;
                }
                (id, _) => panic!("unexpected {id:?}"),
            }
        }
    }
}

fn receipt(deliver: &DeliverSm) -> (String, MessageState, String) {
    let mut id = String::new();
    let mut state = MessageState::Unknown;
    for tlv in deliver.tlvs() {
        match tlv.value() {
            Some(TlvValue::ReceiptedMessageId(value)) => value.as_str().clone_into(&mut id),
            Some(TlvValue::MessageState(value)) => state = *value,
            _ => {}
        }
    }
    (id, state, text_of(deliver))
}
