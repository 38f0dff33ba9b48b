//! Reading a `submit_sm` (SMPP 3.4 §4.4.1).

use std::time::Duration;

use rusmpp::pdus::SubmitSm;
use rusmpp::tlvs::TlvValue;

use crate::smsc::validity::validity;
use crate::smsc::wire::status;
use crate::text::{Alphabet, Part, split_header};

/// A `submit_sm`, read.
pub(crate) struct Submission<'a> {
    pub sender: &'a str,
    pub number: &'a str,
    /// The short message without its header.
    pub octets: &'a [u8],
    pub alphabet: Alphabet,
    pub data_coding: u8,
    pub part: Option<Part>,
    pub validity: Option<Duration>,
    pub receipt: Wanted,
}

/// When a receipt is asked for (`registered_delivery`, SMPP 3.4 §5.2.17).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Never,
    Always,
    OnFailure,
    /// Of SMPP 5.0, and asked for by some.
    OnSuccess,
}

impl<'a> Submission<'a> {
    /// Reads a `submit_sm` that came at `now_ms` (milliseconds since the epoch), or says with which `command_status` it
    /// is refused.
    pub(crate) fn read(submit: &'a SubmitSm, now_ms: i64) -> Result<Self, u32> {
        let number = submit.destination_addr.as_str();
        if number.is_empty() {
            return Err(status::INVALID_DESTINATION);
        }
        let validity =
            validity(submit.validity_period.as_str(), now_ms).map_err(|_| status::INVALID_EXPIRY)?;
        let mut octets: &[u8] = submit.short_message().as_ref();
        let (mut reference, mut total, mut sequence) = (None, None, None);
        for tlv in submit.tlvs() {
            match tlv.value() {
                Some(TlvValue::MessagePayload(payload)) => octets = payload.value.as_ref(),
                Some(TlvValue::SarMsgRefNum(value)) => reference = Some(*value),
                Some(TlvValue::SarTotalSegments(value)) => total = Some(*value),
                Some(TlvValue::SarSegmentSeqnum(value)) => sequence = Some(*value),
                _ => {}
            }
        }
        let mut part = match (reference, total, sequence) {
            (Some(reference), Some(total), Some(number)) if (1..=total).contains(&number) => {
                Some(Part { reference, total, number })
            }
            _ => None,
        };
        if u8::from(submit.esm_class) & 0x40 != 0 {
            let (in_header, body) = split_header(octets).ok_or(status::INVALID_ESM_CLASS)?;
            part = in_header.or(part);
            octets = body;
        }
        let data_coding = u8::from(submit.data_coding);
        Ok(Self {
            sender: submit.source_addr.as_str(),
            number,
            octets,
            alphabet: Alphabet::of(data_coding),
            data_coding,
            part,
            validity,
            receipt: Wanted::of(u8::from(submit.registered_delivery)),
        })
    }
}

impl Wanted {
    const fn of(registered_delivery: u8) -> Self {
        match registered_delivery & 0x03 {
            0x01 => Self::Always,
            0x02 => Self::OnFailure,
            0x03 => Self::OnSuccess,
            _ => Self::Never,
        }
    }

    /// Whether a message that ended so gets a receipt.
    pub(crate) const fn after(self, delivered: bool) -> bool {
        match self {
            Self::Never => false,
            Self::Always => true,
            Self::OnFailure => !delivered,
            Self::OnSuccess => delivered,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use rusmpp::tlvs::MessageSubmissionRequestTlvValue as Tlv;
    use rusmpp::types::{AnyOctetString, COctetString, EmptyOrFullCOctetString, OctetString};
    use rusmpp::values::{DataCoding, EsmClass, MessagePayload, RegisteredDelivery};

    use super::*;

    fn submit(octets: &[u8], esm_class: u8) -> SubmitSm {
        let mut submit = SubmitSm::default();
        submit.destination_addr = COctetString::from_str("31612345678").unwrap();
        submit.esm_class = EsmClass::from(esm_class);
        submit.data_coding = DataCoding::from(0x03);
        submit.registered_delivery = RegisteredDelivery::from(0x01);
        submit.set_short_message(OctetString::from_slice(octets).unwrap());
        submit
    }

    #[test]
    fn parts_are_known_by_header_and_by_tlv() {
        let by_header = submit(&[5, 0, 3, 7, 2, 1, b'x'], 0x40);
        let read = Submission::read(&by_header, 0).ok().unwrap();
        assert_eq!((read.octets, read.part), (&b"x"[..], Some(Part { reference: 7, total: 2, number: 1 })));

        let mut by_tlv = submit(b"x", 0);
        by_tlv.set_tlvs(vec![Tlv::SarMsgRefNum(300), Tlv::SarTotalSegments(2), Tlv::SarSegmentSeqnum(2)]);
        let read = Submission::read(&by_tlv, 0).ok().unwrap();
        assert_eq!((read.octets, read.part), (&b"x"[..], Some(Part { reference: 300, total: 2, number: 2 })));
    }

    #[test]
    fn a_payload_stands_in_for_the_short_message() {
        let mut long = submit(b"", 0);
        let payload = AnyOctetString::from_slice(&[b'y'; 300]);
        long.set_tlvs(vec![Tlv::MessagePayload(MessagePayload::new(payload))]);
        assert_eq!(Submission::read(&long, 0).ok().unwrap().octets, [b'y'; 300]);
    }

    #[test]
    fn what_cannot_be_read_is_refused_with_its_status() {
        let mut late = submit(b"x", 0);
        late.validity_period = EmptyOrFullCOctetString::from_str("99999999999999XR").unwrap();
        assert_eq!(Submission::read(&late, 0).err(), Some(0x62));
        assert_eq!(Submission::read(&submit(&[9, 0], 0x40), 0).err(), Some(0x43));
        let mut nowhere = submit(b"x", 0);
        nowhere.destination_addr = COctetString::empty();
        assert_eq!(Submission::read(&nowhere, 0).err(), Some(0x0B));
    }

    #[test]
    fn receipts_come_only_where_asked_for() {
        let outcomes = |bits| [Wanted::of(bits).after(true), Wanted::of(bits).after(false)];
        assert_eq!(outcomes(0x00), [false, false]);
        assert_eq!(outcomes(0x01), [true, true]);
        assert_eq!(outcomes(0x02), [false, true]);
        assert_eq!(outcomes(0x03), [true, false]);
        assert_eq!(outcomes(0x10), [false, false], "an intermediate notification is no receipt");
    }
}
