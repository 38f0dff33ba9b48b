//! How a `deliver_sm` is read.

use klaroen_domain::outcome::ProviderId;
use proptest::prelude::*;
use rstest::rstest;
use rusmpp::pdus;
use rusmpp::tlvs::MessageDeliveryRequestTlvValue as Tlv;
use rusmpp::tokio_codec::CommandCodec;
use rusmpp::types::{AnyOctetString, COctetString, OctetString};
use rusmpp::values::{
    DataCoding, ErrorCodeNetworkType, EsmClass, MessagePayload, MessageState, NetworkErrorCode, Ton,
};
use rusmpp::{Command, CommandStatus};
use serde_json::json;
use tokio_util::bytes::BytesMut;
use tokio_util::codec::Encoder;

use super::*;
use crate::smpp::config::tests::config;

const RECEIPT: &str =
    "id:77 sub:001 dlvrd:001 submit date:2611231559 done date:2611231600 stat:DELIVRD err:000 text:Ver";

fn deliver(esm_class: u8, body: &[u8], tlvs: Vec<Tlv>) -> pdus::DeliverSm {
    pdus::DeliverSm::builder()
        .source_addr_ton(Ton::International)
        .source_addr(COctetString::from_string("31612345678".into()).unwrap())
        .destination_addr(COctetString::from_string("1000".into()).unwrap())
        .esm_class(EsmClass::from(esm_class))
        .data_coding(DataCoding::Ia5)
        .short_message(OctetString::from_slice(body).unwrap())
        .tlvs(tlvs)
        .build()
}

/// How a PDU is read after it went over the wire.
fn read_with(pdu: &pdus::DeliverSm, config: &SmppConfig) -> Inbound {
    let mut octets = BytesMut::new();
    CommandCodec::new().encode(Command::new(CommandStatus::EsmeRok, 7, pdu.clone()), &mut octets).unwrap();
    read(&DeliverSm::read(&octets[16..]).unwrap(), config, Country::NL)
}

fn read_default(pdu: &pdus::DeliverSm) -> Inbound {
    read_with(pdu, &config(&json!({})))
}

fn receipt(inbound: Inbound) -> Receipt {
    match inbound {
        Inbound::Receipt(receipt) => receipt,
        other => panic!("not a receipt: {other:?}"),
    }
}

#[test]
fn a_receipt_is_read_from_its_text() {
    let receipt = receipt(read_default(&deliver(0x04, RECEIPT.as_bytes(), vec![])));
    assert_eq!(receipt.provider_id, ProviderId("77".into()));
    assert_eq!(receipt.status, ReceiptStatus::Delivered);
    assert_eq!(receipt.error, None);
    assert_eq!(receipt.recipient, PhoneNumber::parse_sender("31612345678", Country::NL));
    assert!(receipt.recipient.is_some());
    assert!(!receipt.raw.contains("text") && !receipt.raw.contains("316123"), "{}", receipt.raw);
}

/// The same from one address to another.
fn between(source: &str, ton: Ton, destination: &str) -> pdus::DeliverSm {
    let address = |text: &str| COctetString::from_string(text.into()).unwrap();
    pdus::DeliverSm::builder()
        .source_addr_ton(ton)
        .source_addr(address(source))
        .destination_addr(COctetString::from_string(destination.into()).unwrap())
        .esm_class(EsmClass::from(0x04))
        .short_message(OctetString::from_slice(RECEIPT.as_bytes()).unwrap())
        .build()
}

#[rstest]
#[case::swapped(json!({}), "31612345678", Ton::International, "1000")]
#[case::swapped_from_a_long_number(json!({"sender": "+3197001234"}), "31612345678", Ton::International, "3197001234")]
#[case::as_it_was_sent(json!({}), "1000", Ton::Unknown, "31612345678")]
#[case::as_it_was_sent_by_a_long_number(json!({"sender": "+3197001234"}), "3197001234", Ton::International, "31612345678")]
#[case::as_it_was_sent_by_a_countrys_sender(json!({"routing": {"senders": {"BE": "8850"}}}), "8850", Ton::Unknown, "31612345678")]
#[case::national(json!({}), "612345678", Ton::National, "1000")]
#[case::national_and_not_said_so(json!({}), "612345678", Ton::Unknown, "1000")]
#[case::with_its_zero(json!({}), "0612345678", Ton::Unknown, "1000")]
fn the_phone_of_a_receipt_is_found_whichever_way_its_addresses_stand(
    #[case] changes: serde_json::Value,
    #[case] source: &str,
    #[case] ton: Ton,
    #[case] destination: &str,
) {
    let receipt = receipt(read_with(&between(source, ton, destination), &config(&changes)));
    assert_eq!(receipt.recipient, PhoneNumber::parse("+31612345678", Country::NL).ok());
    assert!(receipt.recipient.is_some());
}

#[test]
fn parameters_win_and_the_text_fills_gaps() {
    let id = Tlv::ReceiptedMessageId(COctetString::from_string("88".into()).unwrap());
    let state = Tlv::MessageState(MessageState::Expired);
    let error = Tlv::NetworkErrorCode(NetworkErrorCode::new(ErrorCodeNetworkType::Gsm, 27));
    let all =
        receipt(read_default(&deliver(0x04, RECEIPT.as_bytes(), vec![id.clone(), state.clone(), error])));
    assert_eq!((all.provider_id.0.as_str(), all.status), ("88", ReceiptStatus::Undelivered));
    assert_eq!(all.error.as_deref(), Some("3:27"));
    assert!(
        all.raw.ends_with("receipted_message_id:88 message_state:3 network_error_code:3:27"),
        "{}",
        all.raw
    );
    let only_id = receipt(read_default(&deliver(0x04, RECEIPT.as_bytes(), vec![id.clone()])));
    assert_eq!((only_id.provider_id.0.as_str(), only_id.status), ("88", ReceiptStatus::Delivered));
    let no_text = receipt(read_default(&deliver(0x04, b"", vec![id, state])));
    assert_eq!((no_text.provider_id.0.as_str(), no_text.status), ("88", ReceiptStatus::Undelivered));
}

#[test]
fn a_receipt_may_be_in_the_payload() {
    let payload = Tlv::MessagePayload(MessagePayload::new(AnyOctetString::from_slice(RECEIPT.as_bytes())));
    assert_eq!(receipt(read_default(&deliver(0x04, b"", vec![payload]))).provider_id.0, "77");
}

#[rstest]
#[case::plain(0x00)]
#[case::handset_acknowledgement(0x08)]
#[case::no_defined_type(0x24)]
fn a_citizen_who_texts_a_receipt_stays_a_reply(#[case] esm_class: u8) {
    let inbound = read_default(&deliver(esm_class, b"id:1 stat:DELIVRD", vec![]));
    let Inbound::Sms(sms) = inbound else { panic!("{inbound:?}") };
    assert_eq!(
        (sms.from.as_str(), sms.to.as_str(), sms.text.as_str()),
        ("31612345678", "1000", "id:1 stat:DELIVRD")
    );
}

#[test]
fn receipts_without_their_type_need_the_key_in_the_configuration() {
    let config = config(&json!({"receipts_without_esm_class": true}));
    assert!(matches!(read_with(&deliver(0, RECEIPT.as_bytes(), vec![]), &config), Inbound::Receipt(_)));
    assert!(matches!(read_with(&deliver(0, b"id: ik weet het niet", vec![]), &config), Inbound::Sms(_)));
}

#[test]
fn an_intermediate_failure_is_not_the_end() {
    let body = b"id:77 stat:UNDELIV err:00C";
    assert_eq!(receipt(read_default(&deliver(0x20, body, vec![]))).status, ReceiptStatus::Underway);
    assert_eq!(receipt(read_default(&deliver(0x04, body, vec![]))).status, ReceiptStatus::Undelivered);
}

#[test]
fn only_bits_2_to_5_of_the_esm_class_say_what_it_is() {
    for esm_class in 0..=u8::MAX {
        let body: &[u8] = match esm_class & 0x40 {
            0 => b"id:77 stat:UNDELIV",
            _ => b"\x03\x70\x01\x01id:77 stat:UNDELIV",
        };
        let expected = match esm_class & 0x3C {
            0x04 => Some(ReceiptStatus::Undelivered),
            0x20 => Some(ReceiptStatus::Underway),
            _ => None,
        };
        let (status, text) = match read_default(&deliver(esm_class, body, vec![])) {
            Inbound::Receipt(receipt) => (Some(receipt.status), None),
            Inbound::Sms(sms) => (None, Some(sms.text)),
            other => panic!("{other:?}"),
        };
        assert_eq!(status, expected, "{esm_class:#04x}");
        assert!(text.is_none_or(|text| text == "id:77 stat:UNDELIV"), "{esm_class:#04x}");
    }
}

#[rstest]
#[case::national(Ton::National)]
#[case::unknown(Ton::Unknown)]
fn a_receipt_is_about_the_phone_whose_number_is_written_nationally(#[case] ton: Ton) {
    let mut pdu = deliver(4, b"id:1 stat:DELIVRD", vec![]);
    pdu.source_addr_ton = ton;
    pdu.source_addr = COctetString::from_string("612345678".into()).unwrap();
    assert_eq!(receipt(read_default(&pdu)).recipient, PhoneNumber::parse_sender("+31612345678", Country::NL));
}

#[test]
fn a_receipt_without_id_is_useless() {
    assert!(matches!(read_default(&deliver(0x04, b"stat:DELIVRD", vec![])), Inbound::UselessReceipt));
}

#[rstest]
#[case::eight_bit(0x40, b"\x05\x00\x03\x2A\x02\x01abc", vec![], 0x2A)]
#[case::sixteen_bit(0x40, b"\x06\x08\x04\x01\x2A\x02\x01abc", vec![], 0x012A)]
#[case::after_another_element(0x40, b"\x08\x24\x01\x01\x00\x03\x2A\x02\x01abc", vec![], 0x2A)]
#[case::parameters(0x00, b"abc",
    vec![Tlv::SarMsgRefNum(300), Tlv::SarTotalSegments(2), Tlv::SarSegmentSeqnum(1)], 300)]
fn parts_are_known(
    #[case] esm_class: u8,
    #[case] body: &[u8],
    #[case] tlvs: Vec<Tlv>,
    #[case] reference: u16,
) {
    let inbound = read_default(&deliver(esm_class, body, tlvs));
    let Inbound::Part(part) = inbound else { panic!("{inbound:?}") };
    assert_eq!(
        (part.reference, part.total, part.number, part.octets.as_slice()),
        (reference, 2, 1, &b"abc"[..])
    );
}

#[rstest]
#[case::one_of_one(b"\x05\x00\x03\x2A\x01\x01abc", "abc")]
#[case::part_zero(b"\x05\x00\x03\x2A\x02\x00abc", "abc")]
#[case::beyond_the_total(b"\x05\x00\x03\x2A\x02\x03abc", "abc")]
#[case::other_header(b"\x03\x24\x01\x01abc", "abc")]
#[case::header_longer_than_the_text(b"\x7Fabc", "\u{7F}abc")]
fn strange_headers_make_a_whole_sms(#[case] body: &[u8], #[case] text: &str) {
    let inbound = read_default(&deliver(0x40, body, vec![]));
    let Inbound::Sms(sms) = inbound else { panic!("{inbound:?}") };
    assert_eq!(sms.text, text);
}

#[rstest]
#[case::turkish_single_shift(0, b"\x03\x24\x01\x01ye\x1B\x73il", "yeşil")]
#[case::turkish_locking(0, b"\x03\x25\x01\x01ye\x1Dil", "yeşil")]
#[case::turkish_both(0, b"\x06\x24\x01\x01\x25\x01\x01ye\x1Dil \x1B\x63ocuk", "yeşil çocuk")]
#[case::spanish_single_shift(0, b"\x03\x24\x01\x02Jos\x05 est\x1B\x61 aqu\x1B\x69", "José está aquí")]
#[case::portuguese_single_shift(0, b"\x03\x24\x01\x03n\x1B\x7Bo", "não")]
#[case::portuguese_locking(0, b"\x03\x25\x01\x03n\x7Bo", "não")]
#[case::with_a_message_class(0xF1, b"\x03\x25\x01\x03n\x7Bo", "não")]
#[case::a_language_that_is_not_known(0, b"\x03\x24\x01\x0Ea\x1B\x65", "a€")]
#[case::ucs2_has_no_tables(8, b"\x03\x25\x01\x03\0n\0\xE3\0o", "não")]
fn a_text_is_read_with_the_tables_that_its_header_names(
    #[case] data_coding: u8,
    #[case] body: &[u8],
    #[case] text: &str,
) {
    let mut pdu = deliver(0x40, body, vec![]);
    pdu.data_coding = DataCoding::from(data_coding);
    let inbound = read_default(&pdu);
    let Inbound::Sms(sms) = inbound else { panic!("{inbound:?}") };
    assert_eq!(sms.text, text);
}

#[rstest]
#[case::national("612345678", "0612345678")]
#[case::with_its_prefix("0612345678", "0612345678")]
#[case::international_by_mistake("31612345678", "31612345678")]
#[case::from_abroad_by_mistake("32470123456", "32470123456")]
fn a_number_of_national_or_unknown_type_gets_its_trunk_prefix(
    #[case] address: &str,
    #[case] expected: &str,
    #[values(Ton::National, Ton::Unknown)] ton: Ton,
) {
    let mut pdu = deliver(0, b"STOP", vec![]);
    pdu.source_addr_ton = ton;
    pdu.source_addr = COctetString::from_string(address.into()).unwrap();
    let Inbound::Sms(sms) = read_default(&pdu) else { panic!() };
    assert_eq!(sms.from, expected);
    assert!(PhoneNumber::parse_sender(&sms.from, Country::NL).is_some(), "a STOP is somebody's");
}

#[rstest]
#[case::plus("+31612345678")]
#[case::international_prefix("0031612345678")]
#[case::short_code("4422")]
#[case::name("KLAROEN")]
fn an_address_of_unknown_type_that_is_no_national_number_stays(#[case] address: &str) {
    let mut pdu = deliver(0, b"STOP", vec![]);
    pdu.source_addr_ton = Ton::Unknown;
    pdu.source_addr = COctetString::from_string(address.into()).unwrap();
    let Inbound::Sms(sms) = read_default(&pdu) else { panic!() };
    assert_eq!(sms.from, address);
}

#[rstest]
#[case::plain("31612345678")]
#[case::belgian("32470123456")]
#[case::trunk_prefix_by_mistake("310612345678")]
#[case::leading_zero("2250123456789")]
#[case::north_america("12015550123")]
#[case::international_prefix("0031612345678")]
#[case::home_written("0612345678")]
#[case::short_code("4422")]
#[case::name("KLAROEN")]
fn the_phone_of_a_receipt_is_what_the_parser_says(#[case] address: &str) {
    let mut pdu = deliver(4, b"id:1 stat:DELIVRD", vec![]);
    pdu.source_addr = COctetString::from_string(address.into()).unwrap();
    assert_eq!(receipt(read_default(&pdu)).recipient, PhoneNumber::parse_sender(address, Country::NL));
}

proptest! {
    #[test]
    fn the_phone_of_a_receipt_is_as_the_parser_writes_it(address in "(31|32|49|44|33)[1-9][1-9][0-9]{6,11}") {
        let pdu = DeliverSm { source_ton: INTERNATIONAL, source: Cow::Borrowed(&address), ..DeliverSm::default() };
        // Text that is no number at all has no sender, whatever its type of number.
        if let Some(parsed) = PhoneNumber::parse_sender(&address, Country::NL) {
            prop_assert_eq!(recipient(&pdu, Country::NL), Some(parsed));
        }
    }

    #[test]
    fn no_deliver_sm_panics(
        esm_class: u8,
        data_coding: u8,
        sniff: bool,
        body in proptest::collection::vec(any::<u8>(), 0..255),
        payload in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..300)),
        sar in proptest::option::of((any::<u16>(), any::<u8>(), any::<u8>())),
    ) {
        let mut tlvs = vec![];
        tlvs.extend(payload.map(|p| Tlv::MessagePayload(MessagePayload::new(AnyOctetString::from_vec(p)))));
        if let Some((reference, total, number)) = sar {
            tlvs.extend([Tlv::SarMsgRefNum(reference), Tlv::SarTotalSegments(total), Tlv::SarSegmentSeqnum(number)]);
        }
        let mut pdu = deliver(esm_class, &body, tlvs);
        pdu.data_coding = DataCoding::from(data_coding);
        let inbound = read_with(&pdu, &config(&json!({"receipts_without_esm_class": sniff})));
        if let Inbound::Part(part) = inbound {
            prop_assert!(part.total > 1 && part.number >= 1 && part.number <= part.total);
        }
    }
}
