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
        (Encoding::Ucs2, _) => Some((UCS2, parts.into_iter().map(ucs2).collect())),
        (Encoding::Gsm7, Alphabet::Gsm7) => {
            let octets = parts.into_iter().map(gsm7::encode).collect::<Option<_>>()?;
            Some((config.data_coding_gsm7, octets))
        }
        (Encoding::Gsm7, Alphabet::Latin1) => Some(match parts.into_iter().map(latin1).collect() {
            Some(octets) => (LATIN1, octets),
            None => (UCS2, ucs2_parts(text.as_str()).into_iter().map(ucs2).collect()),
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
    match coding.data_coding {
        // The default alphabet, also with a message class (0x10 to 0x13, 0xF0 to 0xF3).
        0x00 | 0x10..=0x13 | 0xF0..=0xF3 => match alphabet {
            Alphabet::Gsm7 => gsm7::decode_with(octets, coding.tables),
            Alphabet::Latin1 => octets.iter().copied().map(char::from).collect(),
        },
        UCS2 | 0x18..=0x1B => decode_ucs2(octets),
        // IA5 (1) and Latin-1 (3); the 8-bit codings are shown as Latin-1, so that an operator sees something.
        _ => octets.iter().copied().map(char::from).collect(),
    }
}

fn decode_ucs2(octets: &[u8]) -> String {
    // An odd octet at the end is a cut character.
    let units = octets.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
    char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
}

/// The text of a receipt: ASCII in whatever coding the provider claims.
pub(in crate::smpp) fn decode_receipt(octets: &[u8], data_coding: u8) -> Cow<'_, str> {
    if data_coding == UCS2 && octets.first() == Some(&0) {
        return Cow::Owned(decode_ucs2(octets));
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
    #[case(&[0x68, 0xE9], 3, "hé")]
    #[case(b"STOP", 1, "STOP")]
    #[case(b"STOP", 0xF5, "STOP")]
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
    }
}
