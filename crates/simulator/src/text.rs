//! The content of a short message: its alphabet, its user data header and its text (3GPP TS 23.038
//! §4 and §6, TS 23.040 §9.2.3.24).

use klaroen_domain::text::gsm7;

/// How the octets of a short message are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Alphabet {
    /// GSM 7-bit, one septet an octet, as SMPP carries it.
    Gsm7,
    /// One octet a character: Latin-1, IA5, and data of which nothing better is known.
    Latin1,
    /// UCS-2, big endian.
    Ucs2,
}

impl Alphabet {
    /// The alphabet of a `data_coding` (SMPP 3.4 §5.2.19, TS 23.038 §4).
    pub(crate) const fn of(data_coding: u8) -> Self {
        match data_coding {
            0x00 => Self::Gsm7,
            0x08 => Self::Ucs2,
            // General data coding group with a message class: bits 3 and 2 are the alphabet.
            0x10..=0x1F => match data_coding & 0x0C {
                0x00 => Self::Gsm7,
                0x08 => Self::Ucs2,
                _ => Self::Latin1,
            },
            // Data coding and message class: bit 2 is 8-bit data.
            0xF0..=0xFF if data_coding & 0x04 == 0 => Self::Gsm7,
            _ => Self::Latin1,
        }
    }

    /// The text of `octets`; what is not well formed shows as the replacement character.
    pub(crate) fn decode(self, octets: &[u8]) -> String {
        match self {
            Self::Gsm7 => gsm7::decode(octets),
            Self::Latin1 => octets.iter().copied().map(char::from).collect(),
            Self::Ucs2 => {
                let units = octets.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
                char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
            }
        }
    }
}

/// The octets and `data_coding` of a text: GSM 7-bit where it fits that, else UCS-2.
pub(crate) fn encode(text: &str) -> (Vec<u8>, u8) {
    match gsm7::encode(text) {
        Some(octets) => (octets, 0x00),
        None => (text.encode_utf16().flat_map(u16::to_be_bytes).collect(), 0x08),
    }
}

/// The part of a long message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Part {
    pub reference: u16,
    pub total: u8,
    /// From 1.
    pub number: u8,
}

/// The header of a short message with one, and what follows it; `None` if the header is longer than the message.
pub(crate) fn split_header(message: &[u8]) -> Option<(Option<Part>, &[u8])> {
    let (&length, rest) = message.split_first()?;
    let (mut header, body) = rest.split_at_checked(usize::from(length))?;
    let mut part = None;
    while let [identifier, length, tail @ ..] = header {
        let (data, next) = tail.split_at_checked(usize::from(*length))?;
        match (identifier, data) {
            (0x00, &[reference, total, number]) => {
                part = Some(Part { reference: u16::from(reference), total, number });
            }
            (0x08, &[high, low, total, number]) => {
                part = Some(Part { reference: u16::from_be_bytes([high, low]), total, number });
            }
            _ => {}
        }
        header = next;
    }
    // TS 23.040 §9.2.3.24.1: a part 0, or beyond the total, means that the element is ignored.
    Some((part.filter(|p| p.number >= 1 && p.number <= p.total), body))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(0x00, Alphabet::Gsm7)]
    #[case(0x01, Alphabet::Latin1)]
    #[case(0x03, Alphabet::Latin1)]
    #[case(0x08, Alphabet::Ucs2)]
    #[case(0x10, Alphabet::Gsm7)]
    #[case(0x18, Alphabet::Ucs2)]
    #[case(0xF0, Alphabet::Gsm7)]
    #[case(0xF4, Alphabet::Latin1)]
    fn data_codings(#[case] coding: u8, #[case] alphabet: Alphabet) {
        assert_eq!(Alphabet::of(coding), alphabet);
    }

    #[test]
    fn a_text_is_read_back_as_it_was_written() {
        for (text, coding) in [("Gezocht: één man, €50 [auto]", 0x00), ("Жёлтый \u{1F600}", 0x08)] {
            let (octets, data_coding) = encode(text);
            assert_eq!(data_coding, coding);
            assert_eq!(Alphabet::of(data_coding).decode(&octets), text);
        }
    }

    #[test]
    fn ucs2_and_latin1_are_read() {
        assert_eq!(Alphabet::Ucs2.decode(&[0x00, 0x41, 0xD8, 0x3D, 0xDE, 0x00]), "A\u{1F600}");
        assert_eq!(Alphabet::Ucs2.decode(&[0xD8, 0x3D]), "\u{FFFD}");
        assert_eq!(Alphabet::Latin1.decode(&[0xE9]), "é");
    }

    #[rstest]
    #[case::eight_bits(&[5, 0x00, 3, 0xAA, 2, 1, b'x'], Some(Part { reference: 0xAA, total: 2, number: 1 }))]
    #[case::sixteen_bits(&[6, 0x08, 4, 1, 2, 3, 3, b'x'], Some(Part { reference: 0x0102, total: 3, number: 3 }))]
    #[case::after_another_element(&[9, 0x24, 2, 0, 0, 0x00, 3, 7, 2, 2, b'x'], Some(Part { reference: 7, total: 2, number: 2 }))]
    #[case::part_zero(&[5, 0x00, 3, 0xAA, 2, 0, b'x'], None)]
    #[case::beyond_the_total(&[5, 0x00, 3, 0xAA, 2, 3, b'x'], None)]
    fn headers(#[case] message: &[u8], #[case] part: Option<Part>) {
        assert_eq!(split_header(message), Some((part, &b"x"[..])));
    }

    #[test]
    fn a_header_longer_than_the_message_is_none() {
        assert_eq!(split_header(&[200, 0, 3]), None);
        assert_eq!(split_header(&[]), None);
        assert_eq!(split_header(&[3, 0x00, 9, 1]), None);
    }
}
