//! Octets of a text for a `data_coding`, and back (SMPP 3.4 §5.2.19, 3GPP TS 23.038 §4).

use std::borrow::Cow;

use klaroen_domain::text::national::Tables;
use klaroen_domain::text::{Encoding, MessageText, gsm7, ucs2_parts};

use crate::smpp::config::{Alphabet, SmppConfig};

/// ISO 8859-1.
const LATIN1: u8 = 0x03;
/// UCS-2, big endian.
const UCS2: u8 = 0x08;

/// The `data_coding` and octets of each part, in order; `None` if a character is not in the alphabet that the text
/// claims, which a parsed text cannot have.
///
/// If the provider's default alphabet is Latin-1, a text that Latin-1 lacks a character of (the euro sign, Greek capitals)
/// takes more parts than it counts: it can only go as UCS-2.
pub(in crate::smpp) fn encode(text: &MessageText, config: &SmppConfig) -> Option<(u8, Vec<Vec<u8>>)> {
    let parts = text.parts();
    match (text.encoding(), config.alphabet) {
        (Encoding::Ucs2, _) => Some((config.data_coding_ucs2, parts.into_iter().map(ucs2).collect())),
        (Encoding::Gsm7, Alphabet::Gsm7) => {
            let octets = parts.into_iter().map(gsm7::encode).collect::<Option<_>>()?;
            Some((config.data_coding_gsm7, octets))
        }
        (Encoding::Gsm7, Alphabet::Latin1) => Some(match parts.into_iter().map(latin1).collect() {
            Some(octets) => (LATIN1, octets),
            None => (config.data_coding_ucs2, ucs2_parts(text.as_str()).into_iter().map(ucs2).collect()),
        }),
    }
}

/// How many parts [`encode`] makes of a text.
pub(in crate::smpp) fn segments(text: &MessageText, alphabet: Alphabet) -> u8 {
    let fits = |text: &str| text.chars().all(|c| u8::try_from(u32::from(c)).is_ok());
    if alphabet == Alphabet::Latin1 && text.encoding() == Encoding::Gsm7 && !fits(text.as_str()) {
        return u8::try_from(ucs2_parts(text.as_str()).len()).unwrap_or(u8::MAX);
    }
    text.segments()
}

fn latin1(text: &str) -> Option<Vec<u8>> {
    text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect()
}

fn ucs2(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_be_bytes).collect()
}

/// What an inbound text is written in. The parts of one text may differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::smpp) struct Coding {
    /// `data_coding` (SMPP 3.4 §5.2.19).
    pub data_coding: u8,
    /// The national language tables that the user data header names. They mean something to GSM 7-bit only.
    pub tables: Tables,
}

/// The text of inbound octets. Never fails: what cannot be read becomes a replacement character.
pub(in crate::smpp) fn decode(octets: &[u8], coding: Coding, alphabet: Alphabet) -> String {
    let latin1 = || octets.iter().copied().map(char::from).collect();
    match charset(coding.data_coding) {
        Charset::Default if alphabet == Alphabet::Gsm7 => gsm7::decode_with(octets, coding.tables),
        Charset::Default | Charset::Latin1 => latin1(),
        Charset::Cyrillic => octets.iter().copied().map(cyrillic).collect(),
        Charset::Hebrew => octets.iter().copied().map(hebrew).collect(),
        Charset::Ucs2 => decode_ucs2(octets),
    }
}

/// A character set that a `data_coding` names.
enum Charset {
    Default,
    Latin1,
    Cyrillic,
    Hebrew,
    Ucs2,
}

/// The character set of a `data_coding` (SMPP 3.4 §5.2.19; from 0x10 on by 3GPP TS 23.038 §4).
const fn charset(data_coding: u8) -> Charset {
    match data_coding {
        // 0xC0 and 0xD0: message waiting.
        0x00 | 0xC0..=0xDF => Charset::Default,
        // Message classes, with bit 2 for data of eight bits.
        0xF0..=0xFF if data_coding & 0x04 == 0 => Charset::Default,
        0x06 => Charset::Cyrillic,
        0x07 => Charset::Hebrew,
        // With a message class, or to be deleted by itself: bits 3 and 2 name the alphabet. 0x20 stands for compressed text.
        0x10..=0x1F | 0x40..=0x5F => match data_coding & 0x0C {
            0x00 => Charset::Default,
            0x08 => Charset::Ucs2,
            _ => Charset::Latin1,
        },
        // 0xE0: message waiting in UCS-2.
        UCS2 | 0xE0..=0xEF => Charset::Ucs2,
        // IA5 (1) and Latin-1 (3); the 8-bit codings are shown as Latin-1, so that an operator sees something.
        _ => Charset::Latin1,
    }
}

/// ISO 8859-5: the order of Unicode, with three exceptions.
fn cyrillic(octet: u8) -> char {
    match octet {
        0xF0 => '№',
        0xFD => '§',
        0xA1..=0xAC | 0xAE.. => {
            char::from_u32(u32::from(octet) + 0x0360).unwrap_or(char::REPLACEMENT_CHARACTER)
        }
        _ => char::from(octet),
    }
}

/// ISO 8859-8: the letters.
fn hebrew(octet: u8) -> char {
    match octet {
        0xE0..=0xFA => char::from_u32(u32::from(octet) + 0x04F0).unwrap_or(char::REPLACEMENT_CHARACTER),
        _ => char::from(octet),
    }
}

/// Big endian, unless a byte order mark says otherwise (RFC 2781 §3.2). The mark of a later part stands in the middle of a
/// joined text and shows nothing.
fn decode_ucs2(octets: &[u8]) -> String {
    let little_endian = octets.starts_with(&[0xFF, 0xFE]);
    decode_utf16(octets, if little_endian { u16::from_le_bytes } else { u16::from_be_bytes })
}

fn decode_utf16(octets: &[u8], unit: fn([u8; 2]) -> u16) -> String {
    // An odd octet at the end is a cut character.
    let units = octets.chunks_exact(2).map(|pair| unit([pair[0], pair[1]]));
    char::decode_utf16(units)
        .map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
        .filter(|c| *c != '\u{FEFF}')
        .collect()
}

/// The text of a receipt: ASCII in whatever coding the provider claims.
pub(in crate::smpp) fn decode_receipt(octets: &[u8], data_coding: u8) -> Cow<'_, str> {
    // ASCII in units of 16 bits has a zero in each: before the character, or after it in little endian.
    match (charset(data_coding), octets) {
        (Charset::Ucs2, [0, ..] | [0xFE, 0xFF, ..] | [0xFF, 0xFE, ..]) => {
            return Cow::Owned(decode_ucs2(octets));
        }
        (Charset::Ucs2, [_, 0, ..]) => return Cow::Owned(decode_utf16(octets, u16::from_le_bytes)),
        _ => {}
    }
    match str::from_utf8(octets) {
        Ok(text) if octets.is_ascii() => Cow::Borrowed(text),
        _ => octets.iter().copied().map(char::from).collect(),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;
    use crate::smpp::config::tests::config;

    fn coded(data_coding: u8) -> Coding {
        Coding { data_coding, ..Coding::default() }
    }

    #[rstest]
    #[case(&[0x00, 0x69], 8, "i")]
    #[case(&[0xD8, 0x3D, 0xDE, 0x00], 8, "😀")]
    #[case(&[0xD8, 0x3D], 8, "\u{FFFD}")]
    #[case(&[0x00, 0x69, 0x00], 8, "i")]
    #[case::mark(&[0xFE, 0xFF, 0x00, 0x69], 8, "i")]
    #[case::low_octet_first(&[0xFF, 0xFE, 0x69, 0x00, 0x3D, 0xD8, 0x00, 0xDE], 8, "i😀")]
    #[case::a_mark_alone(&[0xFF, 0xFE], 8, "")]
    #[case(&[0x68, 0xE9], 3, "hé")]
    #[case(b"STOP", 1, "STOP")]
    #[case(b"STOP", 0xF5, "STOP")]
    #[case::little_endian_with_a_mark(&[0xFF, 0xFE, 0x69, 0x00], 8, "i")]
    #[case::big_endian_with_a_mark(&[0xFE, 0xFF, 0x00, 0x69], 8, "i")]
    #[case::a_mark_in_each_of_two_parts(&[0xFF, 0xFE, 0x69, 0x00, 0xFF, 0xFE, 0x6A, 0x00], 8, "ij")]
    #[case::little_endian_surrogates(&[0xFF, 0xFE, 0x3D, 0xD8, 0x00, 0xDE], 8, "😀")]
    #[case::default_alphabet(&[0x00, 0x7B], 0x00, "@ä")]
    #[case::default_alphabet_with_class(&[0x00, 0x7B], 0x11, "@ä")]
    #[case::ucs2_with_class(&[0x00, 0x69], 0x18, "i")]
    #[case::eight_bits_with_class(&[0xE9], 0x15, "é")]
    #[case::default_alphabet_deleted_by_itself(&[0x00, 0x7B], 0x40, "@ä")]
    #[case::ucs2_deleted_by_itself(&[0x00, 0x69], 0x48, "i")]
    #[case::message_waiting(&[0x00, 0x7B], 0xC8, "@ä")]
    #[case::message_waiting_and_stored(&[0x00, 0x7B], 0xD0, "@ä")]
    #[case::message_waiting_in_ucs2(&[0x00, 0x69], 0xE0, "i")]
    #[case::class_0_to_3(&[0x00, 0x7B], 0xF3, "@ä")]
    #[case::class_with_the_reserved_bit(&[0x00, 0x7B], 0xF8, "@ä")]
    #[case::class_of_eight_bits(&[0xE9], 0xF4, "é")]
    #[case::eight_bits_by_2(&[0xE9], 2, "é")]
    #[case::eight_bits_by_4(&[0xE9], 4, "é")]
    #[case::cyrillic(&[0xDF, 0xE0, 0xD8, 0xD2, 0xD5, 0xE2, 0x20, 0xF0, 0x31], 6, "привет №1")]
    #[case::hebrew(&[0xF9, 0xEC, 0xE5, 0xED], 7, "שלום")]
    fn inbound_octets_are_read(#[case] octets: &[u8], #[case] data_coding: u8, #[case] expected: &str) {
        assert_eq!(decode(octets, coded(data_coding), Alphabet::Gsm7), expected);
    }

    #[test]
    fn the_default_alphabet_is_what_the_configuration_says() {
        assert_eq!(decode(&[0x00, 0x41], coded(0), Alphabet::Gsm7), "@A");
        assert_eq!(decode(&[0x40, 0xEB], coded(0), Alphabet::Latin1), "@ë");
    }

    #[test]
    fn latin1_is_used_where_every_character_fits() {
        let config = config(&json!({"alphabet": "latin1"}));
        let encode = |text: &str| encode(&MessageText::from_stored(text.to_owned()), &config).unwrap();
        assert_eq!(encode("é@"), (3, vec![vec![0xE9, 0x40]]));
        assert_eq!(encode("€@"), (8, vec![vec![0x20, 0xAC, 0x00, 0x40]]));
        let (data_coding, parts) = encode(&format!("€{}", "a".repeat(70)));
        assert_eq!((data_coding, parts.iter().map(Vec::len).collect::<Vec<_>>()), (8, vec![134, 8]));
    }

    #[test]
    fn the_rate_counts_the_parts_that_leave() {
        for alphabet in ["gsm7", "latin1"] {
            let config = config(&json!({"alphabet": alphabet}));
            for text in ["é@", "€", &"a".repeat(400), &format!("€{}", "a".repeat(300)), "😀", &"ж".repeat(80)]
            {
                let text = MessageText::from_stored(text.to_owned());
                let (_, parts) = encode(&text, &config).unwrap();
                assert_eq!(usize::from(segments(&text, config.alphabet)), parts.len(), "{}", text.as_str());
            }
        }
    }

    #[test]
    fn a_receipt_in_ucs2_is_read_and_a_false_claim_of_it_too() {
        assert_eq!(decode_receipt(&[0, b'i', 0, b'd'], 8), "id");
        assert_eq!(decode_receipt(b"id:1", 8), "id:1");
        assert_eq!(decode_receipt(&[b'i', 0, b'd', 0], 8), "id");
        assert_eq!(decode_receipt(&[0xFF, 0xFE, b'i', 0, b'd', 0], 8), "id");
        assert_eq!(decode_receipt(&[0xFE, 0xFF, 0, b'i', 0, b'd'], 0x18), "id");
    }
}
