//! One message as `submit_sm` PDUs (SMPP 3.4 §4.4.1). Every field is set here: no default of a library decides.

use std::time::Duration;

use klaroen_domain::id::DeliveryId;
use klaroen_domain::outcome::{Failure, Scope};
use rusmpp::pdus::SubmitSm;
use rusmpp::types::{COctetString, EmptyOrFullCOctetString, OctetString};
use rusmpp::values::{
    Ansi41Specific, DataCoding, EsmClass, GsmFeatures, IntermediateNotification, MCDeliveryReceipt,
    MessageType, MessagingMode, Npi, PriorityFlag, RegisteredDelivery, ReplaceIfPresentFlag, ServiceType,
    SmeOriginatedAcknowledgement, Ton,
};

use super::coding;
use crate::OutboundSms;
use crate::config::{SHORT_CODE_DIGITS_MAX, SmppConfig};

/// Longest relative time that is written: a month. `DD` of a relative time goes no further, and no alert lasts as long.
const VALIDITY_MAX: Duration = Duration::from_hours(30 * 24);

/// TON and NPI of an address (SMPP 3.4 §5.2.5 and §5.2.6).
type Kind = (u8, u8);

const INTERNATIONAL: Kind = (1, 1);
const SHORT_CODE: Kind = (3, 0);
const ALPHANUMERIC: Kind = (5, 0);

/// The PDUs of one message, a part each, in order.
///
/// # Errors
/// Where it cannot be written as SMPP at all.
pub(super) fn build(sms: &OutboundSms, config: &SmppConfig) -> Result<Vec<SubmitSm>, Failure> {
    let (data_coding, bodies) = coding::encode(&sms.text, config)
        .ok_or_else(|| impossible(Scope::Message, "the text does not fit its alphabet"))?;
    let total = u8::try_from(bodies.len()).map_err(|_| impossible(Scope::Message, "too many parts"))?;
    let reference = concatenation_reference(sms.delivery);
    let (source, source_kind) = source(config);
    let source = c_string(&source).ok_or_else(|| impossible(Scope::Gateway, "the sender does not fit"))?;
    let destination = c_string(sms.to.expose_digits())
        .ok_or_else(|| impossible(Scope::Recipient, "the number does not fit"))?;
    let validity = EmptyOrFullCOctetString::from_string(validity_period(sms.validity))
        .map_err(|_| impossible(Scope::Message, "the validity does not fit"))?;

    let mut pdus = Vec::with_capacity(bodies.len());
    for (number, body) in (1..=total).zip(bodies) {
        let long = total > 1;
        let octets = if long { [&udh(reference, total, number)[..], &body].concat() } else { body };
        let short_message = OctetString::from_vec(octets)
            .map_err(|_| impossible(Scope::Message, "a part is longer than 255 octets"))?;
        pdus.push(
            SubmitSm::builder()
                .service_type(ServiceType::default())
                .source_addr_ton(Ton::from(source_kind.0))
                .source_addr_npi(Npi::from(source_kind.1))
                .source_addr(source.clone())
                .dest_addr_ton(Ton::from(INTERNATIONAL.0))
                .dest_addr_npi(Npi::from(INTERNATIONAL.1))
                .destination_addr(destination.clone())
                .esm_class(esm_class(long))
                .protocol_id(0)
                .priority_flag(PriorityFlag::from(0u8))
                .schedule_delivery_time(EmptyOrFullCOctetString::empty())
                .validity_period(validity.clone())
                .registered_delivery(every_receipt())
                .replace_if_present_flag(ReplaceIfPresentFlag::default())
                .data_coding(DataCoding::from(data_coding))
                .sm_default_msg_id(0)
                .short_message(short_message)
                .build(),
        );
    }
    Ok(pdus)
}

fn impossible(scope: Scope, detail: &str) -> Failure {
    Failure { scope, code: "unencodable".to_owned(), detail: detail.to_owned() }
}

fn c_string(text: &str) -> Option<COctetString<1, 21>> {
    COctetString::from_string(text.to_owned()).ok()
}

/// The source address as it goes on the wire, and its kind.
fn source(config: &SmppConfig) -> (String, Kind) {
    let digits = config.sender.strip_prefix('+').unwrap_or(&config.sender);
    let derived = if !digits.bytes().all(|b| b.is_ascii_digit()) {
        ALPHANUMERIC
    } else if config.sender.starts_with('+') || digits.len() > SHORT_CODE_DIGITS_MAX {
        INTERNATIONAL
    } else {
        SHORT_CODE
    };
    (digits.to_owned(), (config.sender_ton.unwrap_or(derived.0), config.sender_npi.unwrap_or(derived.1)))
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

/// User data header with one element: concatenated short message, 8-bit reference.
const fn udh(reference: u8, total: u8, number: u8) -> [u8; 6] {
    [5, 0x00, 3, reference, total, number]
}

/// 0x00, or 0x40 (UDHI) for a part with a header. Every field is set: the library's default is 0x08.
fn esm_class(with_udh: bool) -> EsmClass {
    EsmClass::new(
        MessagingMode::Default,
        MessageType::Default,
        Ansi41Specific::Other(0),
        if with_udh { GsmFeatures::UdhiIndicator } else { GsmFeatures::NotSelected },
    )
}

/// 0x01: a receipt for success and failure, no acknowledgement, no intermediate notification.
fn every_receipt() -> RegisteredDelivery {
    RegisteredDelivery::new(
        MCDeliveryReceipt::McDeliveryReceiptRequestedWhereFinalDeliveryOutcomeIsSuccessOrFailure,
        SmeOriginatedAcknowledgement::NoReceiptSmeAcknowledgementRequested,
        IntermediateNotification::NoIntermediaryNotificationRequested,
        0,
    )
}

/// Relative time `YYMMDDhhmmss000R` (SMPP 3.4 §7.1.1.2). At least one second: all zeros would mean the provider's default,
/// which is days.
fn validity_period(validity: Duration) -> String {
    let seconds = validity.min(VALIDITY_MAX).as_secs().max(1);
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    format!("0000{days:02}{:02}{:02}{:02}000R", rest / 3_600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use klaroen_domain::phone::PhoneNumber;
    use klaroen_domain::text::MessageText;
    use rstest::rstest;
    use rusmpp::tokio_codec::CommandCodec;
    use rusmpp::{Command, CommandStatus};
    use serde_json::{Value, json};
    use tokio_util::bytes::BytesMut;
    use tokio_util::codec::Encoder;

    use super::*;
    use crate::config::smpp_tests::config;

    fn sms(text: &str) -> OutboundSms {
        OutboundSms {
            delivery: DeliveryId(0x0102),
            attempt: 1,
            to: PhoneNumber::from_sealed("+31612345678".into()),
            text: Arc::new(MessageText::parse(text, 8).unwrap()),
            validity: Duration::from_secs(3_661),
        }
    }

    fn wire(pdu: SubmitSm) -> Vec<u8> {
        let mut bytes = BytesMut::new();
        CommandCodec::new().encode(Command::new(CommandStatus::EsmeRok, 7, pdu), &mut bytes).unwrap();
        bytes.to_vec()
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
        let pdus = build(&sms("Hi @"), &config(&changes)).unwrap();
        assert_eq!(pdus.len(), 1);
        assert_eq!(wire(pdus[0].clone()), expected(source, 0x00, 0, b"Hi \0"));
    }

    #[test]
    fn ucs2_is_big_endian() {
        let pdus = build(&sms("жé"), &config(&json!({}))).unwrap();
        assert_eq!(wire(pdus[0].clone()), expected(b"\x03\x001000\0", 0x00, 8, &[0x04, 0x36, 0x00, 0xE9]));
    }

    #[test]
    fn the_parts_of_a_long_text_have_one_reference_and_their_number() {
        let text = "a".repeat(153) + &"b".repeat(153) + "c";
        let build = || build(&sms(&text), &config(&json!({}))).unwrap();
        let pdus = build();
        let bodies: Vec<_> = pdus.iter().map(|pdu| pdu.short_message().to_vec()).collect();
        let reference = 0x01 ^ 0x02;
        assert_eq!(bodies[0], [&[5, 0, 3, reference, 3, 1][..], &[b'a'; 153]].concat());
        assert_eq!(bodies[1], [&[5, 0, 3, reference, 3, 2][..], &[b'b'; 153]].concat());
        assert_eq!(bodies[2], [5, 0, 3, reference, 3, 3, b'c']);
        assert_eq!(wire(pdus[2].clone()), expected(b"\x03\x001000\0", 0x40, 0, &bodies[2]));
        assert_eq!(build(), pdus, "a second attempt has the same reference");
    }

    #[rstest]
    #[case(0, "000000000001000R")]
    #[case(59, "000000000059000R")]
    #[case(3_600, "000000010000000R")]
    #[case(90_061, "000001010101000R")]
    #[case(10_000_000, "000030000000000R")]
    fn validity_is_relative(#[case] seconds: u64, #[case] expected: &str) {
        assert_eq!(validity_period(Duration::from_secs(seconds)), expected);
    }

    #[test]
    fn consecutive_deliveries_have_different_references() {
        let references: std::collections::HashSet<u8> =
            (0..256).map(|id| concatenation_reference(DeliveryId(id))).collect();
        assert_eq!(references.len(), 256);
    }
}
