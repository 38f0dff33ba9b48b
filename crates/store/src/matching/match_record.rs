//! All that a match asks of a place, as bytes in one column (`places.record`), so that the match index answers alone and a whole
//! answer travels as one value: a row each would cost ten times what finding it costs.
//!
//! Layout, big-endian: cell (8 bytes), latitude and longitude (8 each, IEEE 754), participant (16), recipient (16), kind (1),
//! paused until (8, epoch milliseconds; the smallest number means never), length of the hours (2), the hours (UTF-8; none
//! means always).

use klaroen_domain::participant::ParticipantKind;
use uuid::Uuid;

use crate::{Result, StoreError};

/// Bytes of a record without hours.
const FIXED: usize = 67;
const NEVER: i64 = i64::MIN;
const RESIDENT: u8 = b'r';
const BUSINESS: u8 = b'b';

/// A place as a match sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Record<'a> {
    /// H3, resolution 9.
    pub(crate) cell: i64,
    /// Degrees.
    pub(crate) latitude: f64,
    /// Degrees.
    pub(crate) longitude: f64,
    /// Whose it is.
    pub(crate) participant: Uuid,
    /// Who rings.
    pub(crate) recipient: [u8; 16],
    /// Resident or business.
    pub(crate) kind: ParticipantKind,
    /// No alerts before this moment, in epoch milliseconds.
    pub(crate) paused_until: Option<i64>,
    /// When alerts are wanted; none means always.
    pub(crate) hours: Option<&'a str>,
}

impl<'a> Record<'a> {
    /// The bytes to store.
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let hours = self.hours.unwrap_or_default();
        let mut bytes = Vec::with_capacity(FIXED + hours.len());
        bytes.extend(self.cell.to_be_bytes());
        bytes.extend(self.latitude.to_be_bytes());
        bytes.extend(self.longitude.to_be_bytes());
        bytes.extend(self.participant.as_bytes());
        bytes.extend(self.recipient);
        bytes.push(match self.kind {
            ParticipantKind::Resident => RESIDENT,
            ParticipantKind::Business => BUSINESS,
        });
        bytes.extend(self.paused_until.unwrap_or(NEVER).to_be_bytes());
        // Hours are parsed before they come here, and a week of them is some hundred bytes.
        bytes.extend(u16::try_from(hours.len()).unwrap_or(u16::MAX).to_be_bytes());
        bytes.extend(hours.as_bytes());
        bytes
    }

    /// How many bytes it takes.
    pub(crate) fn len(&self) -> usize {
        FIXED + self.hours.map_or(0, str::len)
    }

    /// Takes the first record off what the database joined together.
    fn split_off(bytes: &mut &'a [u8]) -> Option<Self> {
        let (fixed, rest) = bytes.split_first_chunk::<FIXED>()?;
        let mut fixed = &fixed[..];
        let record = Self {
            cell: i64::from_be_bytes(*take(&mut fixed)?),
            latitude: f64::from_be_bytes(*take(&mut fixed)?),
            longitude: f64::from_be_bytes(*take(&mut fixed)?),
            participant: Uuid::from_bytes(*take(&mut fixed)?),
            recipient: *take(&mut fixed)?,
            kind: match take::<1>(&mut fixed)? {
                [RESIDENT] => ParticipantKind::Resident,
                [BUSINESS] => ParticipantKind::Business,
                _ => return None,
            },
            paused_until: Some(i64::from_be_bytes(*take(&mut fixed)?)).filter(|until| *until != NEVER),
            hours: None,
        };
        let length = usize::from(u16::from_be_bytes(*take(&mut fixed)?));
        let (hours, rest) = rest.split_at_checked(length)?;
        *bytes = rest;
        let hours = std::str::from_utf8(hours).ok()?;
        Some(Self { hours: Some(hours).filter(|hours| !hours.is_empty()), ..record })
    }
}

fn take<'a, const N: usize>(bytes: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (head, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(head)
}

/// The records that the database joined together.
pub(crate) fn records(mut bytes: &[u8]) -> impl Iterator<Item = Result<Record<'_>>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let record = Record::split_off(&mut bytes);
        if record.is_none() {
            bytes = &[];
        }
        Some(record.ok_or(StoreError::Corrupt { table: "places", column: "record" }))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_record() -> impl Strategy<Value = (Record<'static>, Option<String>)> {
        let kind = prop_oneof![Just(ParticipantKind::Resident), Just(ParticipantKind::Business)];
        let place = (any::<i64>(), -90.0..90.0, -180.0..180.0, any::<u128>(), any::<[u8; 16]>(), kind);
        (place, proptest::option::of(0..i64::MAX), proptest::option::of("[A-Za-zé :,-]{1,40}")).prop_map(
            |((cell, latitude, longitude, participant, recipient, kind), paused_until, hours)| {
                let participant = Uuid::from_u128(participant);
                let record = Record {
                    cell,
                    latitude,
                    longitude,
                    participant,
                    recipient,
                    kind,
                    paused_until,
                    hours: None,
                };
                (record, hours)
            },
        )
    }

    proptest! {
        #[test]
        fn records_joined_together_come_apart_again(all in proptest::collection::vec(any_record(), 0..20)) {
            let with_hours = |(record, hours): &'_ (Record<'static>, Option<String>)| {
                Record { hours: hours.as_deref(), ..*record }.to_bytes()
            };
            let joined = all.iter().map(with_hours).collect::<Vec<_>>().concat();
            let read = records(&joined).collect::<Result<Vec<_>>>().unwrap();
            prop_assert_eq!(read.len(), all.len());
            for (read, (record, hours)) in read.iter().zip(&all) {
                prop_assert_eq!(read, &Record { hours: hours.as_deref(), ..*record });
            }
        }

        #[test]
        fn damage_is_an_error_and_not_a_place(record in any_record(), cut in 1..FIXED) {
            let bytes = record.0.to_bytes();
            let read = records(&bytes[..bytes.len() - cut]).collect::<Vec<_>>();
            let damaged = matches!(read[..], [Err(StoreError::Corrupt { column: "record", .. })]);
            prop_assert!(damaged);
        }
    }
}
