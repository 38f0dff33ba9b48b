//! The bytes of what an SMSC sends. No default of the protocol library is relied on for a field
//! that means something; the tests pin the octets.

use std::fmt::Write as _;
use std::io;

use rusmpp::pdus::{BindReceiverResp, BindTransceiverResp, BindTransmitterResp, DeliverSm, SubmitSmResp};
use rusmpp::tlvs::MessageDeliveryRequestTlvValue as Tlv;
use rusmpp::tokio_codec::CommandCodec;
use rusmpp::types::{AnyOctetString, COctetString, EmptyOrFullCOctetString, OctetString};
use rusmpp::values::{
    DataCoding, EsmClass, InterfaceVersion, MessagePayload, MessageState, Npi, PriorityFlag,
    RegisteredDelivery, ReplaceIfPresentFlag, ServiceType, Ton,
};
use rusmpp::{Command, CommandId, CommandStatus, Pdu};
use tokio_util::bytes::BytesMut;
use tokio_util::codec::Encoder;

use crate::fault_plan::{FinalState, mix};
use crate::faults::{Faults, MessageIdFormat, ReceiptForm, ReceiptIdFormat};
use crate::smsc::bind_account::{Content, Receipt, Stage};
use crate::smsc::validity::receipt_date;
use crate::text;

/// `command_status` values (SMPP 3.4 §5.1.3).
pub(crate) mod status {
    pub(crate) const OK: u32 = 0x00;
    pub(crate) const INVALID_LENGTH: u32 = 0x02;
    pub(crate) const INVALID_COMMAND: u32 = 0x03;
    pub(crate) const WRONG_BIND_STATE: u32 = 0x04;
    pub(crate) const ALREADY_BOUND: u32 = 0x05;
    pub(crate) const INVALID_DESTINATION: u32 = 0x0B;
    pub(crate) const INVALID_PASSWORD: u32 = 0x0E;
    pub(crate) const INVALID_SYSTEM_ID: u32 = 0x0F;
    pub(crate) const QUEUE_FULL: u32 = 0x14;
    pub(crate) const INVALID_ESM_CLASS: u32 = 0x43;
    pub(crate) const THROTTLED: u32 = 0x58;
    pub(crate) const INVALID_EXPIRY: u32 = 0x62;
}

/// The header of a PDU (SMPP 3.4 §3.2), without the status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Octets of the whole PDU, these included.
    pub length: usize,
    pub command_id: CommandId,
    pub sequence: u32,
}

impl Header {
    /// Octets of a header.
    pub(crate) const LENGTH: usize = 16;

    /// The header that `octets` begin with; `None` if they are fewer than [`Self::LENGTH`].
    pub(crate) fn read(octets: &[u8]) -> Option<Self> {
        let (words, _) = octets.get(..Self::LENGTH)?.as_chunks::<4>();
        let &[length, command_id, _, sequence] = words else { return None };
        Some(Self {
            length: usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX),
            command_id: CommandId::from(u32::from_be_bytes(command_id)),
            sequence: u32::from_be_bytes(sequence),
        })
    }
}

const SYSTEM_ID: &[u8] = b"KlaroenSMSC\0";

/// Octets that `short_message` can carry (SMPP 3.4 §4.6.1); what is longer goes into `message_payload`.
const SHORT_MESSAGE_MAX: usize = 254;

/// Appends one PDU to `output`.
pub(crate) fn put(output: &mut BytesMut, command_status: u32, sequence: u32, pdu: Pdu) -> io::Result<()> {
    let command = Command::new(CommandStatus::from(command_status), sequence, pdu);
    CommandCodec::new().encode(&command, output).map_err(io::Error::other)
}

/// A response that is only a header: what SMPP 3.4 prescribes for a response with an error status (§4.4.2, §4.1.2).
pub(crate) const fn header_only(command_id: CommandId, empty: AnyOctetString) -> Pdu {
    Pdu::Other { command_id, body: empty }
}

/// The answer to a bind that was accepted.
pub(crate) fn bound(response: CommandId) -> Option<Pdu> {
    let system_id = COctetString::from_static_slice(SYSTEM_ID).unwrap_or_default();
    let version = Some(InterfaceVersion::Smpp3_4);
    match response {
        CommandId::BindReceiverResp => Some(BindReceiverResp::new(system_id, version).into()),
        CommandId::BindTransmitterResp => Some(BindTransmitterResp::new(system_id, version).into()),
        CommandId::BindTransceiverResp => Some(BindTransceiverResp::new(system_id, version).into()),
        _ => None,
    }
}

/// The answer to a submit that was taken.
pub(crate) fn taken(message_id: u64, format: MessageIdFormat) -> Pdu {
    let id = COctetString::from_string(submitted_id(message_id, format)).unwrap_or_default();
    SubmitSmResp::new(id, Vec::new()).into()
}

fn submitted_id(id: u64, format: MessageIdFormat) -> String {
    match format {
        MessageIdFormat::Decimal => id.to_string(),
        MessageIdFormat::HexUpper => format!("{id:X}"),
        MessageIdFormat::HexLower => format!("{id:x}"),
        MessageIdFormat::ZeroPadded => format!("{id:010}"),
        MessageIdFormat::Uuid => {
            let (high, low) = (mix(id), mix(mix(id)));
            format!(
                "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
                high >> 32,
                (high >> 16) & 0xFFFF,
                high & 0x0FFF,
                low >> 52,
                low & 0xFFFF_FFFF_FFFF
            )
        }
    }
}

fn receipt_id(id: u64, faults: &Faults) -> String {
    match (faults.receipt_id, faults.message_id) {
        (_, MessageIdFormat::Uuid) | (ReceiptIdFormat::AsSubmitted, _) => submitted_id(id, faults.message_id),
        (ReceiptIdFormat::Decimal, _) => id.to_string(),
        (ReceiptIdFormat::HexUpper, _) => format!("{id:X}"),
    }
}

/// The `deliver_sm` of something that waits for a receiver; `None` if an address has more than 20 characters.
pub(crate) fn deliver(content: &Content, faults: &Faults) -> Option<Pdu> {
    let mut deliver = match content {
        Content::Receipt(receipt) => receipt_pdu(receipt, faults),
        Content::Text { text, .. } => text_pdu(text),
    };
    let (from, to) = match content {
        Content::Receipt(receipt) => (&receipt.from, &receipt.to),
        Content::Text { from, to, .. } => (from, to),
    };
    (deliver.source_addr_ton, deliver.source_addr_npi) = kind_of(from);
    (deliver.dest_addr_ton, deliver.dest_addr_npi) = kind_of(to);
    deliver.source_addr = address(from)?;
    deliver.destination_addr = address(to)?;
    Some(deliver.into())
}

/// An address as it stands in a PDU; `None` if it has more than 20 characters or one that is not ASCII.
pub(crate) fn address(text: &str) -> Option<COctetString<1, 21>> {
    COctetString::from_string(text.to_owned()).ok()
}

/// Type of number and numbering plan (SMPP 3.4 §5.2.5, §5.2.6).
fn kind_of(address: &str) -> (Ton, Npi) {
    let address = address.trim_start_matches('+');
    if !address.bytes().all(|byte| byte.is_ascii_digit()) {
        (Ton::Alphanumeric, Npi::Unknown)
    } else if address.len() > 6 {
        (Ton::International, Npi::Isdn)
    } else {
        (Ton::NetworkSpecific, Npi::Isdn)
    }
}

/// A `deliver_sm` without addresses.
fn blank(esm_class: u8, data_coding: u8) -> DeliverSm {
    let mut deliver = DeliverSm::default();
    deliver.service_type = ServiceType::null();
    deliver.esm_class = EsmClass::from(esm_class);
    deliver.protocol_id = 0;
    deliver.priority_flag = PriorityFlag::from(0);
    deliver.schedule_delivery_time = EmptyOrFullCOctetString::empty();
    deliver.validity_period = EmptyOrFullCOctetString::empty();
    deliver.registered_delivery = RegisteredDelivery::from(0);
    deliver.replace_if_present_flag = ReplaceIfPresentFlag::from(0);
    deliver.data_coding = DataCoding::from(data_coding);
    deliver.sm_default_msg_id = 0;
    deliver
}

fn put_octets(deliver: &mut DeliverSm, octets: Vec<u8>) {
    if octets.len() > SHORT_MESSAGE_MAX {
        deliver.push_tlv(Tlv::MessagePayload(MessagePayload::new(AnyOctetString::from_vec(octets))));
    } else if let Ok(short) = OctetString::from_vec(octets) {
        deliver.set_short_message(short);
    }
}

fn text_pdu(text: &str) -> DeliverSm {
    let (octets, data_coding) = text::encode(text);
    let mut deliver = blank(0x00, data_coding);
    put_octets(&mut deliver, octets);
    deliver
}

fn receipt_pdu(receipt: &Receipt, faults: &Faults) -> DeliverSm {
    // 0x04: the short message contains a delivery receipt (SMPP 3.4 §5.2.12).
    let mut deliver = blank(0x04, 0x00);
    let id = receipt_id(receipt.message_id, faults);
    if faults.receipt_form != ReceiptForm::Tlv {
        put_octets(&mut deliver, receipt_text(receipt, &id));
    }
    if faults.receipt_form != ReceiptForm::Text {
        if let Ok(id) = COctetString::from_string(id) {
            deliver.push_tlv(Tlv::ReceiptedMessageId(id));
        }
        deliver.push_tlv(Tlv::MessageState(receipt.stage.state()));
    }
    deliver
}

/// SMPP 3.4 Appendix B.
fn receipt_text(receipt: &Receipt, id: &str) -> Vec<u8> {
    let (word, error) = receipt.stage.words();
    let delivered = u8::from(receipt.stage == Stage::Final(FinalState::Delivered));
    let mut text = String::with_capacity(160);
    // Writing into a String cannot fail.
    let _ = write!(
        text,
        "id:{id} sub:001 dlvrd:{delivered:03} submit date:{} done date:{} stat:{word} err:{error} text:",
        receipt_date(receipt.submitted_ms),
        receipt_date(receipt.done_ms),
    );
    let mut octets = text.into_bytes();
    octets.extend_from_slice(&receipt.excerpt);
    octets
}

impl Stage {
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Enroute => ("ENROUTE", "000"),
            Self::Final(FinalState::Delivered) => ("DELIVRD", "000"),
            Self::Final(FinalState::Undelivered) => ("UNDELIV", "001"),
            Self::Final(FinalState::Expired) => ("EXPIRED", "027"),
            Self::Final(FinalState::Rejected) => ("REJECTD", "008"),
        }
    }

    fn state(self) -> MessageState {
        match self {
            Self::Enroute => MessageState::Enroute,
            Self::Final(FinalState::Delivered) => MessageState::Delivered,
            Self::Final(FinalState::Undelivered) => MessageState::Undeliverable,
            Self::Final(FinalState::Expired) => MessageState::Expired,
            Self::Final(FinalState::Rejected) => MessageState::Rejected,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receipt(state: FinalState) -> Content {
        Content::Receipt(Receipt {
            message_id: 0x1A2B_3C4D,
            from: "31612345678".into(),
            to: "1000".into(),
            stage: Stage::Final(state),
            submitted_ms: 1_795_449_600_000,
            done_ms: 1_795_449_660_000,
            excerpt: b"Gezocht: een man".as_slice().into(),
        })
    }

    fn bytes(content: &Content, faults: &Faults) -> Vec<u8> {
        let mut output = BytesMut::new();
        put(&mut output, status::OK, 7, deliver(content, faults).unwrap()).unwrap();
        output.to_vec()
    }

    #[test]
    fn the_octets_of_a_receipt() {
        let bytes = bytes(&receipt(FinalState::Delivered), &Faults::default());
        let text = b"id:439041101 sub:001 dlvrd:001 submit date:2611231600 done date:2611231601 stat:DELIVRD err:000 text:Gezocht: een man";
        let mut expected = vec![0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 7];
        expected.extend(b"\0\x01\x0131612345678\0\x03\x011000\0");
        // esm_class 0x04, protocol, priority, two empty times, registered, replace, coding, canned, length
        expected.extend([0x04, 0, 0, 0, 0, 0, 0, 0, 0, u8::try_from(text.len()).unwrap()]);
        expected.extend(text);
        expected.extend(b"\x00\x1E\x00\x0A439041101\0\x04\x27\x00\x01\x02");
        expected[3] = u8::try_from(expected.len()).unwrap();
        assert_eq!(bytes, expected);
    }

    #[test]
    fn the_octets_of_an_sms_from_a_handset() {
        let long = "x".repeat(300);
        let sms =
            |text: &str| Content::Text { from: "31612345678".into(), to: "1000".into(), text: text.into() };
        let bytes_of = |text: &str| bytes(&sms(text), &Faults::default());
        let short = bytes_of("Ж");
        assert_eq!(short[38..], [0x00, 0, 0, 0, 0, 0, 0, 0x08, 0, 2, 0x04, 0x16]);
        let payload = bytes_of(&long);
        assert_eq!(payload[38..48], [0x00, 0, 0, 0, 0, 0, 0, 0x00, 0, 0]);
        assert_eq!(payload[48..52], [0x04, 0x24, 0x01, 0x2C]);
    }

    #[test]
    fn a_receipt_takes_the_form_and_the_id_that_is_set() {
        let form = |receipt_form| Faults { receipt_form, ..Faults::default() };
        let has = |bytes: &[u8], part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
        let delivered = receipt(FinalState::Delivered);
        let (tlv, text) = (b"\x00\x1E\x00\x0A", b"stat:DELIVRD");
        let by_tlv = bytes(&delivered, &form(ReceiptForm::Tlv));
        assert!(has(&by_tlv, tlv) && !has(&by_tlv, text));
        let by_text = bytes(&delivered, &form(ReceiptForm::Text));
        assert!(!has(&by_text, tlv) && has(&by_text, text));

        let mismatch = Faults {
            message_id: MessageIdFormat::HexUpper,
            receipt_id: ReceiptIdFormat::Decimal,
            ..Faults::default()
        };
        assert_eq!(submitted_id(0x1A2B_3C4D, mismatch.message_id), "1A2B3C4D");
        assert!(has(&bytes(&delivered, &mismatch), b"id:439041101 "));
        let padded = Faults { message_id: MessageIdFormat::ZeroPadded, ..Faults::default() };
        assert!(has(&bytes(&delivered, &padded), b"id:0439041101 "));
        let uuid = submitted_id(1, MessageIdFormat::Uuid);
        assert_eq!(uuid.len(), 36);
        assert_ne!(uuid, submitted_id(2, MessageIdFormat::Uuid));
    }

    #[test]
    fn a_failure_says_so_in_text_and_tlv() {
        for (state, text, tlv) in [
            (FinalState::Undelivered, &b"dlvrd:000"[..], 5),
            (FinalState::Expired, b"stat:EXPIRED err:027", 3),
            (FinalState::Rejected, b"stat:REJECTD err:008", 8),
        ] {
            let bytes = bytes(&receipt(state), &Faults::default());
            assert!(bytes.windows(text.len()).any(|window| window == text));
            assert!(bytes.ends_with(&[0x04, 0x27, 0, 1, tlv]), "{state:?}");
        }
    }

    #[test]
    fn a_header_is_read_as_soon_as_it_is_whole() {
        let octets = [0, 0, 1, 0, 0x80, 0, 0, 4, 0, 0, 0, 0, 0, 0, 2, 1, 99];
        let header = Header { length: 256, command_id: CommandId::SubmitSmResp, sequence: 513 };
        assert_eq!(Header::read(&octets), Some(header));
        assert_eq!(Header::read(&octets[..15]), None);
    }

    #[test]
    fn an_error_is_a_header_and_nothing_else() {
        let mut output = BytesMut::new();
        let pdu = header_only(CommandId::SubmitSmResp, AnyOctetString::empty());
        put(&mut output, status::THROTTLED, 9, pdu).unwrap();
        assert_eq!(output.to_vec(), [0, 0, 0, 16, 0x80, 0, 0, 4, 0, 0, 0, 0x58, 0, 0, 0, 9]);
    }

    #[test]
    fn a_bind_response_names_the_smsc_and_its_version() {
        let mut output = BytesMut::new();
        put(&mut output, status::OK, 1, bound(CommandId::BindTransceiverResp).unwrap()).unwrap();
        assert_eq!(output[16..], *b"KlaroenSMSC\0\x02\x10\x00\x01\x34");
    }
}
