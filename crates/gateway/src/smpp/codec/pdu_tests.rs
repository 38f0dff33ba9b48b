//! Strange and malformed PDUs, and sound ones by the measure of another codec.

use proptest::collection::vec;
use proptest::prelude::*;
use rstest::rstest;
use rusmpp::tlvs::MessageDeliveryRequestTlvValue as Tlv;
use rusmpp::tokio_codec::CommandCodec;
use rusmpp::types::{AnyOctetString, COctetString, OctetString};
use rusmpp::values::{DataCoding, ErrorCodeNetworkType, EsmClass, MessageState, NetworkErrorCode, Ton};
use rusmpp::{Command, CommandStatus, Pdu, pdus};
use tokio_util::codec::{Decoder, Encoder};

use super::*;

/// A body whose source address and optional parameters are these octets.
fn body(source: &[u8], optional: &[u8]) -> Vec<u8> {
    let text = [4, 0, 0, 0, 0, 0, 0, 0, 0, 2, b'h', b'i'];
    [&[0, 5, 0][..], source, &[0, 1, 1], b"1000\0", &text, optional].concat()
}

/// A receipt as another codec writes it.
fn sound_receipt() -> Vec<u8> {
    let pdu = pdus::DeliverSm::builder()
        .source_addr_ton(Ton::International)
        .source_addr(COctetString::from_string("31612345678".into()).unwrap())
        .destination_addr(COctetString::from_string("1000".into()).unwrap())
        .esm_class(EsmClass::from(4))
        .data_coding(DataCoding::Ia5)
        .short_message(OctetString::from_slice(b"id:77 stat:DELIVRD").unwrap())
        .tlvs(vec![
            Tlv::ReceiptedMessageId(COctetString::from_string("77".into()).unwrap()),
            Tlv::MessageState(MessageState::Delivered),
            Tlv::NetworkErrorCode(NetworkErrorCode::new(ErrorCodeNetworkType::Gsm, 0x0102)),
            Tlv::MessagePayload(rusmpp::values::MessagePayload::new(AnyOctetString::from_slice(b"more"))),
            Tlv::SarMsgRefNum(300),
            Tlv::SarTotalSegments(2),
            Tlv::SarSegmentSeqnum(1),
        ])
        .build();
    let mut octets = BytesMut::new();
    CommandCodec::new().encode(Command::new(CommandStatus::EsmeRok, 7, pdu), &mut octets).unwrap();
    octets.to_vec()
}

#[test]
fn what_another_codec_writes_is_read() {
    let octets = sound_receipt();
    let header = Header { id: CommandId::DELIVER_SM, status: status::OK, sequence_number: 7 };
    assert_eq!(next(&octets), Ok(Some((header, octets.len()))));
    let deliver = DeliverSm::read(&octets[HEADER_LEN..]).unwrap();
    assert_eq!((deliver.source_ton, &*deliver.source, &*deliver.destination), (1, "31612345678", "1000"));
    assert_eq!((deliver.esm_class, deliver.data_coding), (4, 1));
    assert_eq!((deliver.short_message, deliver.payload), (&b"id:77 stat:DELIVRD"[..], Some(&b"more"[..])));
    assert_eq!((deliver.receipted_id.as_deref(), deliver.state), (Some("77"), Some(2)));
    assert_eq!(deliver.network_error, Some((3, 0x0102)));
    assert_eq!(deliver.sar, (Some(300), Some(2), Some(1)));
}

#[rstest]
#[case::deliver_sm_resp(CommandId::DELIVER_SM_RESP, status::COME_AGAIN, b"\0")]
#[case::enquire_link(CommandId::ENQUIRE_LINK, status::OK, b"")]
#[case::enquire_link_resp(CommandId::ENQUIRE_LINK_RESP, status::OK, b"")]
#[case::unbind(CommandId::UNBIND, status::OK, b"")]
#[case::unbind_resp(CommandId::UNBIND_RESP, status::OK, b"")]
#[case::generic_nack(CommandId::GENERIC_NACK, status::INVALID_COMMAND, b"")]
fn what_is_written_another_codec_reads(#[case] id: CommandId, #[case] status: u32, #[case] body: &[u8]) {
    let mut octets = BytesMut::new();
    put(&mut octets, id, status, 41, body);
    let command: Command = CommandCodec::new().decode(&mut octets).unwrap().unwrap();
    assert_eq!(
        (u32::from(command.id()), u32::from(command.status()), command.sequence_number()),
        (id.0, status, 41)
    );
    assert!(!matches!(command.pdu(), Some(Pdu::Other { .. })) && octets.is_empty());
}

#[test]
fn a_pdu_is_taken_when_it_is_whole() {
    let octets = sound_receipt();
    for cut in 0..octets.len() {
        assert_eq!(next(&octets[..cut]), Ok(None), "{cut}");
    }
}

#[rstest]
#[case::too_short(15)]
#[case::too_long(PDU_LEN_MAX + 1)]
#[case::of_another_protocol(0x4854_5450)]
fn an_impossible_length_is_known_by_itself(#[case] length: usize) {
    let octets = [&u32::try_from(length).unwrap().to_be_bytes()[..], &[0; 11], &[9]].concat();
    assert_eq!(next(&octets), Err(Unframed { sequence_number: 9 }));
    assert_eq!(next(&octets[..4]), Err(Unframed { sequence_number: 0 }));
}

#[rstest]
#[case::not_ascii(b"Caf\xE9", "Caf?")]
#[case::too_long(&[b'9'; 40], "99999999999999999999")]
#[case::empty(b"", "")]
fn an_odd_sender_is_read_as_well_as_can_be(#[case] source: &[u8], #[case] expected: &str) {
    let octets = body(source, b"");
    let deliver = DeliverSm::read(&octets).unwrap();
    assert_eq!((&*deliver.source, &*deliver.destination, deliver.esm_class), (expected, "1000", 4));
}

#[test]
fn parameters_of_a_wrong_length_are_left_out_and_the_others_stay() {
    // An id without its terminator, a state of two octets, an unknown tag, a state, and half a parameter.
    let optional = b"\0\x1E\0\x02ab\x04\x27\0\x02\x01\x01\x14\0\0\x01x\x04\x27\0\x01\x05\x04\x24\0\x09cut";
    let octets = body(b"31612345678", optional);
    let deliver = DeliverSm::read(&octets).unwrap();
    assert_eq!(
        (deliver.receipted_id.as_deref(), deliver.state, deliver.payload),
        (Some("ab"), Some(5), None)
    );
}

#[test]
fn a_body_that_ends_before_its_text_is_none() {
    let octets = body(b"31612345678", b"");
    assert!((0..octets.len()).all(|cut| DeliverSm::read(&octets[..cut]).is_none()));
    assert!(DeliverSm::read(&octets).is_some());
}

#[rstest]
#[case::usual(b"4711\0", "4711")]
#[case::without_terminator(b"4711", "4711")]
#[case::with_parameters(b"4711\0\x04\x28\0\x01\x02", "4711")]
#[case::line_end_stays(b"4711\r\0", "4711\r")]
#[case::none(b"", "")]
fn the_id_of_a_submit_answer(#[case] body: &[u8], #[case] expected: &str) {
    assert_eq!(message_id(body), expected);
}

/// Takes PDUs off a stream as a connection does.
fn read_all(octets: &[u8]) -> (usize, usize) {
    let (mut at, mut readable) = (0, 0);
    while let Ok(Some((_, length))) = next(&octets[at..]) {
        let body = &octets[at + HEADER_LEN..at + length];
        if let Some(deliver) = DeliverSm::read(body) {
            readable += 1;
            assert!(deliver.source.len() <= 20 && deliver.destination.len() <= 20);
            assert!(deliver.short_message.len() <= 255);
        }
        assert!(message_id(body).len() <= 64);
        at += length;
    }
    (at, readable)
}

proptest! {
    #[test]
    fn no_octets_panic(octets in vec(any::<u8>(), 0..400), framed: bool) {
        let stream = if framed { [&sound_receipt(), &octets[..]].concat() } else { octets };
        prop_assert!(read_all(&stream).0 <= stream.len());
    }

    #[test]
    fn no_body_loses_the_framing(bodies in vec(vec(any::<u8>(), 0..300), 1..5), id: u32) {
        let mut stream = BytesMut::new();
        for body in &bodies {
            put(&mut stream, CommandId(id), status::OK, 9, body);
        }
        stream.extend_from_slice(&sound_receipt());
        let (taken, readable) = read_all(&stream);
        prop_assert_eq!(taken, stream.len());
        prop_assert!(readable >= 1, "the sound one after them");
    }

    #[test]
    fn no_mutation_panics(changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..8), cut: prop::sample::Index) {
        let mut octets = sound_receipt();
        for (place, value) in changes {
            let place = place.index(octets.len());
            octets[place] = value;
        }
        octets.truncate(cut.index(octets.len()) + 1);
        read_all(&octets);
        if let Some(body) = octets.get(HEADER_LEN..) {
            let _: Option<DeliverSm<'_>> = DeliverSm::read(body);
        }
    }
}
