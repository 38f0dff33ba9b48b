//! One message as `submit_sm` PDUs (SMPP 3.4 §4.4.1), octet by octet: no default of a library decides.
//!
//! Nearly all of it is the same for all recipients of a message, so it is made once; what is left is a copy.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use klaroen_domain::id::DeliveryId;
use klaroen_domain::outcome::{Failure, Scope};
use klaroen_domain::text::MessageText;
use klaroen_domain::time::{Clock, Timestamp};
use tokio_util::bytes::{BufMut, BytesMut};

use crate::settings::{SHORT_CODE_DIGITS_MAX, Senders};
use crate::smpp::codec::coding;
use crate::smpp::codec::command_id::CommandId;
use crate::smpp::codec::pdu::{self, status};
use crate::smpp::config::{LongText, ReceiptFor, SmppConfig, Validity};
use crate::sms::OutboundSms;

/// Longest relative time that is written: a month. `DD` of a relative time goes no further, and no alert lasts as long.
const VALIDITY_MAX: Duration = Duration::from_hours(30 * 24);

/// SMPP 3.4 §4.4.1: an address is at most 21 octets with its terminator.
const ADDRESS_LEN_MAX: usize = 20;

/// SMPP 3.4 §5.2.21: octets of `short_message`.
const SHORT_MESSAGE_LEN_MAX: usize = 254;

/// Texts whose octets are remembered: of the alerts that are being sent.
const TEXTS_MAX: usize = 8;

/// `YYMMDDhhmmss000R`, `YYMMDDhhmmss000+` or nothing, and its terminator.
const VALIDITY_LEN_MAX: usize = 17;

/// User data header with one element: concatenated short message, 8-bit reference (3GPP TS 23.040 §9.2.3.24.1).
const UDH_LEN: usize = 6;

/// TON and NPI of an address (SMPP 3.4 §5.2.5 and §5.2.6).
type Kind = (u8, u8);

/// The optional parameters of a text in several segments (SMPP 3.4 §5.3.2): a tag, the length of its value, and the value.
const SAR_MSG_REF_NUM: [u8; 4] = [0x02, 0x0C, 0, 2];
const SAR_TOTAL_SEGMENTS: [u8; 4] = [0x02, 0x0E, 0, 1];
const SAR_SEGMENT_SEQNUM: [u8; 4] = [0x02, 0x0F, 0, 1];
const SAR_LEN: usize = 4 + 2 + 4 + 1 + 4 + 1;
const MESSAGE_PAYLOAD: [u8; 2] = [0x04, 0x24];

const INTERNATIONAL: Kind = (1, 1);
const SHORT_CODE: Kind = (3, 0);
const ALPHANUMERIC: Kind = (5, 0);

/// Writes the messages of one gateway.
pub(super) struct Composer {
    config: Arc<SmppConfig>,
    /// For a validity in absolute time.
    clock: Arc<dyn Clock>,
    /// `service_type` and the source address; `None` if the sender does not fit.
    sources: Senders<Option<Vec<u8>>>,
    /// The latest texts in octets. All recipients of a message share the text itself, so it is known by its place.
    texts: Mutex<VecDeque<Arc<Text>>>,
}

/// A text in octets.
struct Text {
    /// Held, so that its place is nobody else's.
    original: Arc<MessageText>,
    data_coding: u8,
    /// Each part without its header.
    parts: Vec<Vec<u8>>,
    /// How many segments the text takes on the air.
    segments: u8,
}

/// A message to one recipient.
pub(super) struct Message {
    /// `service_type` to `destination_addr`.
    addresses: Vec<u8>,
    config: Arc<SmppConfig>,
    validity: Vec<u8>,
    /// Ties the parts together.
    reference: u8,
    text: Arc<Text>,
}

impl Composer {
    pub(super) fn new(config: Arc<SmppConfig>, clock: Arc<dyn Clock>) -> Self {
        let sources = Senders::new(&config.sender, &config.routing, |sender| {
            let (address, kind) = source(sender, &config);
            let service_type = config.service_type.as_bytes();
            is_address(address)
                .then(|| [service_type, b"\0", &[kind.0, kind.1], address.as_bytes(), b"\0"].concat())
        });
        Self { config, clock, sources, texts: Mutex::default() }
    }

    /// The message for one recipient.
    ///
    /// # Errors
    /// A [`Failure`] if the message cannot be written as SMPP at all.
    pub(super) fn message(&self, sms: &OutboundSms) -> Result<Message, Failure> {
        let text = self.text(&sms.text)?;
        let source = self.sources.of(&sms.to).as_ref();
        let source = source.ok_or_else(|| impossible(Scope::Gateway, "the sender does not fit"))?;
        let destination = sms.to.expose_digits();
        if !is_address(destination) {
            return Err(impossible(Scope::Recipient, "the number does not fit"));
        }
        let mut addresses = Vec::with_capacity(source.len() + ADDRESS_LEN_MAX + 3);
        addresses.extend_from_slice(source);
        addresses.extend_from_slice(&[self.config.destination_ton, self.config.destination_npi]);
        addresses.extend_from_slice(destination.as_bytes());
        addresses.push(0);
        let reference = concatenation_reference(sms.delivery);
        let validity = match self.config.validity {
            Validity::Relative => validity_period(sms.validity).to_vec(),
            Validity::Absolute => absolute_time(self.clock.now().plus(sms.validity)),
            Validity::None => vec![0],
        };
        Ok(Message { addresses, config: Arc::clone(&self.config), validity, reference, text })
    }

    fn text(&self, text: &Arc<MessageText>) -> Result<Arc<Text>, Failure> {
        // Nothing panics while holding it.
        let mut texts = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = texts.iter().find(|known| Arc::ptr_eq(&known.original, text)) {
            return Ok(Arc::clone(known));
        }
        let made = Arc::new(Text::new(text, &self.config)?);
        if texts.len() >= TEXTS_MAX {
            texts.pop_back();
        }
        texts.push_front(Arc::clone(&made));
        Ok(made)
    }
}

impl Text {
    fn new(text: &Arc<MessageText>, config: &SmppConfig) -> Result<Self, Failure> {
        let (data_coding, parts) = coding::encode(text, config)
            .ok_or_else(|| impossible(Scope::Message, "the text does not fit its alphabet"))?;
        if u8::try_from(parts.len()).is_err() {
            return Err(impossible(Scope::Message, "too many parts"));
        }
        let segments = octet(parts.len());
        if config.long_text == LongText::Payload && segments > 1 {
            return Ok(Self {
                original: Arc::clone(text),
                data_coding,
                parts: vec![parts.concat()],
                segments,
            });
        }
        let header = if segments > 1 && config.long_text == LongText::Udh { UDH_LEN } else { 0 };
        if parts.iter().any(|part| header + part.len() > SHORT_MESSAGE_LEN_MAX) {
            return Err(impossible(Scope::Message, "a part is longer than 254 octets"));
        }
        Ok(Self { original: Arc::clone(text), data_coding, parts, segments })
    }
}

impl Message {
    /// How many PDUs it takes.
    pub(super) fn parts(&self) -> usize {
        self.text.parts.len()
    }

    /// How many segments the text takes on the air.
    pub(super) fn segments(&self) -> u8 {
        self.text.segments
    }

    /// Which PDUs' receipts are waited for.
    pub(super) fn receipt_for(&self) -> ReceiptFor {
        self.config.receipt_for
    }

    /// Appends the PDU of a part, counted from 0.
    pub(super) fn write(&self, out: &mut BytesMut, sequence_number: u32, part: usize) {
        let body = &self.text.parts[part];
        let config = &self.config;
        let long = (self.text.segments > 1).then_some(config.long_text);
        let (header_len, tail_len) = match long {
            Some(LongText::Udh) => (UDH_LEN, 0),
            Some(LongText::Sar) => (0, SAR_LEN),
            Some(LongText::Payload) => (0, MESSAGE_PAYLOAD.len() + 2),
            None => (0, 0),
        };
        let fixed_len = 4 + self.validity.len() + 5;
        let body_len = self.addresses.len() + fixed_len + header_len + body.len() + tail_len;
        pdu::put_header(out, CommandId::SUBMIT_SM, status::OK, sequence_number, body_len);
        out.put_slice(&self.addresses);
        // 0x40 (UDHI) for a part with a header; schedule_delivery_time is empty.
        let esm_class = if long == Some(LongText::Udh) { 0x40 } else { 0x00 };
        out.put_slice(&[esm_class, config.protocol_id, config.priority_flag, 0]);
        out.put_slice(&self.validity);
        // Nothing is replaced, and no canned message is meant.
        let short = if long == Some(LongText::Payload) { 0 } else { octet(header_len + body.len()) };
        out.put_slice(&[config.registered_delivery, 0, self.text.data_coding, 0, short]);
        let (total, number) = (octet(self.parts()), octet(part + 1));
        match long {
            Some(LongText::Udh) => out.put_slice(&[5, 0x00, 3, self.reference, total, number]),
            Some(LongText::Payload) => {
                out.put_slice(&MESSAGE_PAYLOAD);
                // The parts of a text are fewer than 256, of fewer than 255 octets each.
                out.put_u16(u16::try_from(body.len()).unwrap_or(u16::MAX));
            }
            Some(LongText::Sar) | None => {}
        }
        out.put_slice(body);
        if long == Some(LongText::Sar) {
            out.put_slice(&SAR_MSG_REF_NUM);
            out.put_slice(&[0, self.reference]);
            out.put_slice(&SAR_TOTAL_SEGMENTS);
            out.put_u8(total);
            out.put_slice(&SAR_SEGMENT_SEQNUM);
            out.put_u8(number);
        }
    }
}

/// A number that was checked to fit one octet.
fn octet(number: usize) -> u8 {
    u8::try_from(number).unwrap_or(u8::MAX)
}

fn impossible(scope: Scope, detail: &str) -> Failure {
    Failure { scope, code: "unencodable".to_owned(), detail: detail.to_owned() }
}

fn is_address(text: &str) -> bool {
    text.len() <= ADDRESS_LEN_MAX && text.is_ascii() && !text.contains('\0')
}

/// The source address as it goes on the wire, and its kind. What the configuration says of the kind is about senders like
/// `sender`: a name does not become a number because the short code is to be sent as one.
fn source<'a>(sender: &'a str, config: &SmppConfig) -> (&'a str, Kind) {
    let digits = sender.strip_prefix('+').unwrap_or(sender);
    let (ton, npi) = kind_of(sender);
    if (ton, npi) != kind_of(&config.sender) {
        return (digits, (ton, npi));
    }
    (digits, (config.sender_ton.unwrap_or(ton), config.sender_npi.unwrap_or(npi)))
}

fn kind_of(sender: &str) -> Kind {
    let digits = sender.strip_prefix('+').unwrap_or(sender);
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        ALPHANUMERIC
    } else if sender.starts_with('+') || digits.len() > SHORT_CODE_DIGITS_MAX {
        INTERNATIONAL
    } else {
        SHORT_CODE
    }
}

/// The 8-bit reference that ties the parts together (3GPP TS 23.040 §9.2.3.24.1). Made from the delivery, so that it
/// differs between the messages that one handset gets, and that a second attempt at the same delivery has the same: the
/// handset then drops the parts that it has, instead of showing two halves.
const fn concatenation_reference(delivery: DeliveryId) -> u8 {
    let bytes = delivery.0.to_be_bytes();
    let mut reference = 0;
    let mut i = 0;
    while i < bytes.len() {
        reference ^= bytes[i];
        i += 1;
    }
    reference
}

/// Relative time `YYMMDDhhmmss000R` (SMPP 3.4 §7.1.1.2). At least one second: all zeros would mean the provider's default,
/// which is days.
fn validity_period(validity: Duration) -> [u8; VALIDITY_LEN_MAX] {
    let seconds = validity.min(VALIDITY_MAX).as_secs().max(1);
    let mut text = *b"000000000000000R\0";
    let fields = [seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60];
    for (pair, value) in text[4..12].chunks_exact_mut(2).zip(fields) {
        // Below 100, each of them.
        let value = u8::try_from(value).unwrap_or(0);
        pair.copy_from_slice(&[b'0' + value / 10, b'0' + value % 10]);
    }
    text
}

/// Absolute time in UTC, `YYMMDDhhmmss000+` (SMPP 3.4 §7.1.1.1), which is read off RFC 3339: `2026-11-23T16:00:00.000Z`.
fn absolute_time(at: Timestamp) -> Vec<u8> {
    // Never before it is over: up to the next second.
    let text = at.plus(Duration::from_millis(999)).to_string();
    let digits = text.bytes().filter(u8::is_ascii_digit).skip(2).take(12);
    digits.chain(*b"000+\0").collect()
}

#[cfg(test)]
mod tests {
    use klaroen_domain::phone::PhoneNumber;
    use klaroen_domain::text::MessageText;
    use klaroen_domain::time::ManualClock;
    use rstest::rstest;
    use rusmpp::tokio_codec::CommandCodec;
    use rusmpp::{Command, Pdu};
    use serde_json::{Value, json};
    use tokio_util::bytes::BytesMut;
    use tokio_util::codec::Decoder;

    use super::*;
    use crate::smpp::config::tests::config as config_of;

    fn sms(text: &str) -> OutboundSms {
        OutboundSms {
            delivery: DeliveryId(0x0102),
            attempt: 1,
            to: PhoneNumber::from_sealed("+31612345678".into()),
            text: Arc::new(MessageText::parse(text, 8).unwrap()),
            validity: Duration::from_secs(3_661),
        }
    }

    const NOW: Timestamp = Timestamp::from_millis(1_795_449_600_000);

    /// The PDUs of a message.
    fn wire(text: &str, config: &Value) -> Vec<Vec<u8>> {
        let message = Composer::new(Arc::new(config_of(config)), Arc::new(ManualClock::new(NOW)))
            .message(&sms(text))
            .unwrap();
        let pdu = |part| {
            let mut octets = BytesMut::new();
            message.write(&mut octets, 7, part);
            octets.to_vec()
        };
        (0..message.parts()).map(pdu).collect()
    }

    /// Field by field after SMPP 3.4 §4.4.1.
    fn expected(source: &[u8], esm_class: u8, data_coding: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 7];
        bytes.push(0); // service_type
        bytes.extend_from_slice(source);
        bytes.extend_from_slice(b"\x01\x0131612345678\0");
        bytes.extend_from_slice(&[esm_class, 0, 0, 0]); // protocol_id, priority_flag, schedule_delivery_time
        bytes.extend_from_slice(b"000000010101000R\0");
        bytes.extend_from_slice(&[0x01, 0, data_coding, 0, u8::try_from(body.len()).unwrap()]);
        bytes.extend_from_slice(body);
        let length = u32::try_from(bytes.len() + 4).unwrap();
        [&length.to_be_bytes()[..], &bytes].concat()
    }

    #[rstest]
    #[case::short_code(json!({}), b"\x03\x001000\0")]
    #[case::name(json!({"sender": "Burgernet"}), b"\x05\x00Burgernet\0")]
    #[case::number(json!({"sender": "31612340000"}), b"\x01\x0131612340000\0")]
    #[case::number_with_plus(json!({"sender": "+3197001"}), b"\x01\x013197001\0")]
    #[case::overridden(json!({"sender_ton": 0, "sender_npi": 1}), b"\x00\x011000\0")]
    fn a_short_text_is_these_bytes(#[case] changes: Value, #[case] source: &[u8]) {
        assert_eq!(wire("Hi @", &changes), [expected(source, 0x00, 0, b"Hi \0")]);
    }

    #[rstest]
    #[case::short_code("8850", json!({}), b"\x03\x008850\0")]
    #[case::name("Politie", json!({}), b"\x05\x00Politie\0")]
    #[case::number("+3197001", json!({}), b"\x01\x013197001\0")]
    #[case::overridden("8850", json!({"sender_ton": 0, "sender_npi": 1}), b"\x00\x018850\0")]
    #[case::overridden_for_another_kind("Politie", json!({"sender_ton": 0, "sender_npi": 1}), b"\x05\x00Politie\0")]
    fn a_country_has_its_sender_of_its_kind(
        #[case] own: &str,
        #[case] mut changes: Value,
        #[case] source: &[u8],
    ) {
        changes["routing"] = json!({"senders": {"NL": own}});
        assert_eq!(wire("Hi @", &changes), [expected(source, 0x00, 0, b"Hi \0")]);
        changes["routing"] = json!({"senders": {"BE": own}});
        assert_ne!(wire("Hi @", &changes), [expected(source, 0x00, 0, b"Hi \0")], "for others it is not");
    }

    #[test]
    fn ucs2_is_big_endian() {
        let pdus = wire("жé", &json!({}));
        assert_eq!(pdus, [expected(b"\x03\x001000\0", 0x00, 8, &[0x04, 0x36, 0x00, 0xE9])]);
    }

    #[test]
    fn the_parts_of_a_long_text_have_one_reference_and_their_number() {
        let text = "a".repeat(153) + &"b".repeat(153) + "c";
        let pdus = wire(&text, &json!({}));
        let reference = 0x01 ^ 0x02;
        let part = |number: u8, body: &[u8]| {
            let body = [&[5, 0, 3, reference, 3, number][..], body].concat();
            expected(b"\x03\x001000\0", 0x40, 0, &body)
        };
        assert_eq!(pdus, [part(1, &[b'a'; 153]), part(2, &[b'b'; 153]), part(3, b"c")]);
        assert_eq!(wire(&text, &json!({})), pdus, "a second attempt has the same reference");
    }

    /// The PDU of a short text from `service_type` on, with the fields that a setting changes.
    fn with(service_type: &[u8], kind: [u8; 2], flags: [u8; 2], validity: &[u8], receipts: u8) -> Vec<u8> {
        let mut bytes = vec![0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 7];
        bytes.extend_from_slice(service_type);
        bytes.extend_from_slice(b"\x03\x001000\0");
        bytes.extend_from_slice(&kind);
        bytes.extend_from_slice(b"31612345678\0");
        bytes.extend_from_slice(&[0, flags[0], flags[1], 0]);
        bytes.extend_from_slice(validity);
        bytes.extend_from_slice(&[receipts, 0, 0, 0, 2]);
        bytes.extend_from_slice(b"Hi");
        let length = u32::try_from(bytes.len() + 4).unwrap();
        [&length.to_be_bytes()[..], &bytes].concat()
    }

    const RELATIVE: &[u8] = b"000000010101000R\0";

    #[rstest]
    #[case::no_validity(json!({"validity": "none"}), with(b"\0", [1, 1], [0, 0], b"\0", 1))]
    #[case::a_time_in_utc(json!({"validity": "absolute"}), with(b"\0", [1, 1], [0, 0], b"261123170101000+\0", 1))]
    #[case::no_receipts(json!({"registered_delivery": 0}), with(b"\0", [1, 1], [0, 0], RELATIVE, 0))]
    #[case::flags(json!({"protocol_id": 0x41, "priority_flag": 3}), with(b"\0", [1, 1], [0x41, 3], RELATIVE, 1))]
    #[case::destination(json!({"destination_ton": 0, "destination_npi": 0}), with(b"\0", [0, 0], [0, 0], RELATIVE, 1))]
    #[case::service_type(json!({"service_type": "CMT"}), with(b"CMT\0", [1, 1], [0, 0], RELATIVE, 1))]
    #[case::only_for_long_texts(json!({"long_text": "payload", "receipt_for": "each"}), with(b"\0", [1, 1], [0, 0], RELATIVE, 1))]
    fn every_field_that_centres_refuse_can_be_set(#[case] changes: Value, #[case] expected: Vec<u8>) {
        assert_eq!(wire("Hi", &changes), [expected]);
    }

    #[test]
    fn a_long_text_goes_as_parameters_or_whole() {
        let text = "a".repeat(153) + &"b".repeat(8);
        let long = |length: u8, tail: &[u8]| {
            let mut bytes = expected(b"\x03\x001000\0", 0x00, 0, &[]);
            let last = bytes.len() - 1;
            bytes[last] = length;
            bytes.extend_from_slice(tail);
            let length = u32::try_from(bytes.len()).unwrap();
            bytes[..4].copy_from_slice(&length.to_be_bytes());
            bytes
        };
        let reference = 0x01 ^ 0x02;
        let sar = |number: u8, body: &[u8]| {
            let parameters = [0x02, 0x0C, 0, 2, 0, reference, 0x02, 0x0E, 0, 1, 2, 0x02, 0x0F, 0, 1, number];
            long(octet(body.len()), &[body, &parameters].concat())
        };
        assert_eq!(wire(&text, &json!({"long_text": "sar"})), [sar(1, &[b'a'; 153]), sar(2, &[b'b'; 8])]);
        // A text of one segment more than the first: 161 characters.
        let text = "a".repeat(160) + "b";
        let whole = [&[0x04, 0x24, 0, 161][..], text.as_bytes()].concat();
        assert_eq!(wire(&text, &json!({"long_text": "payload"})), [long(0, &whole)]);
    }

    #[test]
    fn another_codec_reads_the_same() {
        let mut octets = BytesMut::from(&wire("Kijk uit", &json!({}))[0][..]);
        let command: Command = CommandCodec::new().decode(&mut octets).unwrap().unwrap();
        let Some(Pdu::SubmitSm(submit)) = command.pdu() else { panic!("{command:?}") };
        assert_eq!(submit.destination_addr.as_str(), "31612345678");
        assert_eq!(submit.validity_period.as_str(), "000000010101000R");
        assert_eq!(
            (submit.short_message().as_ref(), u8::from(submit.registered_delivery)),
            (&b"Kijk uit"[..], 1)
        );
        assert!(octets.is_empty());
    }

    #[test]
    fn a_text_is_encoded_once_and_the_oldest_is_forgotten() {
        let composer = Composer::new(Arc::new(config_of(&json!({}))), Arc::new(ManualClock::new(NOW)));
        let texts: Vec<_> = (0..=TEXTS_MAX).map(|n| sms(&format!("tekst {n}"))).collect();
        for (n, sms) in texts.iter().enumerate() {
            let [first, second] = [(); 2].map(|()| composer.message(sms).unwrap().text);
            assert!(Arc::ptr_eq(&first, &second));
            assert_eq!(first.parts, [format!("tekst {n}").into_bytes()]);
        }
        let remembered = composer.texts.lock().unwrap();
        assert_eq!(remembered.len(), TEXTS_MAX);
        assert!(remembered.iter().all(|known| !Arc::ptr_eq(&known.original, &texts[0].text)));
    }

    #[test]
    fn a_number_that_is_too_long_is_the_recipients_fault() {
        let composer = Composer::new(Arc::new(config_of(&json!({}))), Arc::new(ManualClock::new(NOW)));
        let to = PhoneNumber::from_sealed("+123456789012345678901".into());
        let refused = composer.message(&OutboundSms { to, ..sms("x") });
        assert_eq!(refused.err().map(|failure| failure.scope), Some(Scope::Recipient));
    }

    #[rstest]
    #[case(0, "000000000001000R")]
    #[case(59, "000000000059000R")]
    #[case(3_600, "000000010000000R")]
    #[case(90_061, "000001010101000R")]
    #[case(10_000_000, "000030000000000R")]
    fn validity_is_relative(#[case] seconds: u64, #[case] expected: &str) {
        assert_eq!(validity_period(Duration::from_secs(seconds))[..], [expected.as_bytes(), b"\0"].concat());
    }

    #[test]
    fn consecutive_deliveries_have_different_references() {
        let references: std::collections::HashSet<u8> =
            (0..256).map(|id| concatenation_reference(DeliveryId(id))).collect();
        assert_eq!(references.len(), 256);
    }
}
