//! The GSM 7-bit default alphabet and its extension table (3GPP TS 23.038 §6.2.1, §6.2.1.1).

use super::national::{self, Tables};

/// The code that announces a character of the extension table.
const ESCAPE: u8 = 0x1B;

/// The default alphabet by code. The place of the escape holds a space: what a receiver shows that does not know it (note 1).
#[rustfmt::skip]
const DEFAULT: [char; 128] = [
    '@', '£', '$', '¥', 'è', 'é', 'ù', 'ì', 'ò', 'Ç', '\n', 'Ø', 'ø', '\r', 'Å', 'å',
    'Δ', '_', 'Φ', 'Γ', 'Λ', 'Ω', 'Π', 'Ψ', 'Σ', 'Θ', 'Ξ', ' ', 'Æ', 'æ', 'ß', 'É',
    ' ', '!', '"', '#', '¤', '%', '&', '\'', '(', ')', '*', '+', ',', '-', '.', '/',
    '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', ':', ';', '<', '=', '>', '?',
    '¡', 'A', 'B', 'C', 'D', 'E', 'F', 'G', 'H', 'I', 'J', 'K', 'L', 'M', 'N', 'O',
    'P', 'Q', 'R', 'S', 'T', 'U', 'V', 'W', 'X', 'Y', 'Z', 'Ä', 'Ö', 'Ñ', 'Ü', '§',
    '¿', 'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k', 'l', 'm', 'n', 'o',
    'p', 'q', 'r', 's', 't', 'u', 'v', 'w', 'x', 'y', 'z', 'ä', 'ö', 'ñ', 'ü', 'à',
];

/// The extension table: the code after the escape, and the character (form feed is the page break).
const EXTENSION: [(u8, char); 10] = [
    (0x0A, '\u{0c}'),
    (0x14, '^'),
    (0x28, '{'),
    (0x29, '}'),
    (0x2F, '\\'),
    (0x3C, '['),
    (0x3D, '~'),
    (0x3E, ']'),
    (0x40, '|'),
    (0x65, '€'),
];

/// Marks a code of the extension table in [`CODES`]: codes have seven bits.
const EXTENDED: u8 = 0x80;

/// Marks a character that is in neither table. No code: 0x7F of the extension table is not in use.
const ABSENT: u8 = 0xFF;

/// The code by character, for every character but the euro: the last of the others is the capital omega.
const CODES: [u8; 'Ω' as usize + 1] = {
    let mut codes = [ABSENT; 'Ω' as usize + 1];
    let mut code = 0_u8;
    while code < 128 {
        if code != ESCAPE {
            codes[DEFAULT[code as usize] as usize] = code;
        }
        code += 1;
    }
    let mut i = 0;
    while i < EXTENSION.len() {
        let (code, ch) = EXTENSION[i];
        if ch != '€' {
            codes[ch as usize] = EXTENDED | code;
        }
        i += 1;
    }
    codes
};

/// The code of a character with [`EXTENDED`] set if it needs the escape; [`ABSENT`] if there is none.
fn code_of(ch: char) -> u8 {
    match ch {
        '€' => EXTENDED | 0x65,
        _ => CODES.get(ch as usize).copied().unwrap_or(ABSENT),
    }
}

/// How many septets a character takes: 1, or 2 for one of the extension table; `None` if it is in neither table.
#[must_use]
pub fn septets(ch: char) -> Option<u8> {
    match code_of(ch) {
        ABSENT => None,
        code if code & EXTENDED == 0 => Some(1),
        _ => Some(2),
    }
}

/// One octet per septet, extension characters as 0x1B and their code; `None` if a character is in neither table.
#[must_use]
pub fn encode(text: &str) -> Option<Vec<u8>> {
    let mut septets = Vec::with_capacity(text.len());
    for ch in text.chars() {
        let code = code_of(ch);
        if code == ABSENT {
            return None;
        }
        if code & EXTENDED != 0 {
            septets.push(ESCAPE);
        }
        septets.push(code & !EXTENDED);
    }
    Some(septets)
}

/// Text of unpacked septets; an octet above 0x7F is read as `?`.
///
/// By TS 23.038 §6.2.1.1 an extension code that is not in the table is read as the character that the default alphabet has
/// there, and an escape after an escape (reserved for further tables) or at the end as a space.
#[must_use]
pub fn decode(septets: &[u8]) -> String {
    decode_with(septets, Tables::default())
}

/// [`decode`] with the tables of other languages. A code that the single shift table does not have is read as the character
/// that the locking table has there (TS 23.038 §6.2.1.2.2).
#[must_use]
pub fn decode_with(septets: &[u8], tables: Tables) -> String {
    let (locking, single) = (national::locking(tables.locking), national::single(tables.single));
    let plain = |octet| find(locking, octet).unwrap_or_else(|| default(octet));
    let shifted =
        |octet| find(single, octet).or_else(|| find(&EXTENSION, octet)).unwrap_or_else(|| plain(octet));
    let mut text = String::with_capacity(septets.len());
    let mut octets = septets.iter().copied();
    while let Some(octet) = octets.next() {
        text.push(match octet {
            ESCAPE => octets.next().map_or(' ', shifted),
            _ => plain(octet),
        });
    }
    text
}

/// The character of the default alphabet.
fn default(octet: u8) -> char {
    DEFAULT.get(usize::from(octet)).copied().unwrap_or('?')
}

/// The character that a table has for a code.
fn find(table: &[(u8, char)], octet: u8) -> Option<char> {
    table.iter().find(|(code, _)| *code == octet).map(|(_, ch)| *ch)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[test]
    fn every_code_of_the_default_alphabet_comes_back() {
        for code in (0..128_u8).filter(|code| *code != ESCAPE) {
            let text = decode(&[code]);
            assert_eq!(encode(&text), Some(vec![code]), "code {code:#04x}");
            assert_eq!(text.chars().next().and_then(septets), Some(1), "code {code:#04x}");
        }
    }

    #[test]
    fn every_extension_code_comes_back_and_costs_two() {
        for (code, ch) in EXTENSION {
            assert_eq!(encode(&ch.to_string()), Some(vec![ESCAPE, code]));
            assert_eq!(decode(&[ESCAPE, code]), ch.to_string());
            assert_eq!(septets(ch), Some(2));
        }
    }

    #[test]
    fn there_are_137_characters_and_no_more() {
        let known = (char::MIN..=char::MAX).filter(|ch| septets(*ch).is_some()).count();
        assert_eq!(known, 127 + EXTENSION.len());
    }

    #[rstest]
    #[case::at_is_zero("@", &[0x00])]
    #[case::dollar_is_two("$", &[0x02])]
    #[case::underscore("_", &[0x11])]
    #[case::capital_c_cedilla("Ç", &[0x09])]
    #[case::e_grave_and_acute("èéÉ", &[0x04, 0x05, 0x1F])]
    #[case::umlauts("ÄÖÜäöü", &[0x5B, 0x5C, 0x5E, 0x7B, 0x7C, 0x7E])]
    #[case::a_grave("à", &[0x7F])]
    #[case::euro("€5", &[0x1B, 0x65, 0x35])]
    fn codes_are_those_of_the_standard(#[case] text: &str, #[case] septets: &[u8]) {
        assert_eq!(encode(text).as_deref(), Some(septets));
    }

    #[rstest]
    #[case("ç")]
    #[case("ë")]
    #[case("ï")]
    #[case("ê")]
    #[case("á")]
    #[case("ó")]
    #[case("È")]
    #[case("`")]
    #[case("\u{1b}")]
    #[case("\t")]
    #[case("\u{a0}")]
    #[case("👍")]
    fn what_is_in_neither_table_is_not_encoded(#[case] text: &str) {
        assert_eq!(encode(text), None);
    }

    #[rstest]
    #[case::unknown_code_shows_the_default_character(&[0x1B, 0x41, 0x42], "AB")]
    #[case::escape_after_escape(&[0x1B, 0x1B, 0x41], " A")]
    #[case::escape_at_the_end(&[0x41, 0x1B], "A ")]
    #[case::octet_above_seven_bits(&[0x41, 0x80, 0xFF], "A??")]
    #[case::octet_above_seven_bits_after_escape(&[0x1B, 0xE5], "?")]
    #[case::nothing(&[], "")]
    fn odd_septets_are_read_by_the_standard(#[case] septets: &[u8], #[case] text: &str) {
        assert_eq!(decode(septets), text);
    }

    fn alphabet() -> impl Strategy<Value = char> {
        let known: Vec<char> = ('\0'..='€').filter(|ch| septets(*ch).is_some()).collect();
        proptest::sample::select(known)
    }

    proptest! {
        #[test]
        fn a_text_comes_back(text in proptest::collection::vec(alphabet(), 0..400)) {
            let text: String = text.into_iter().collect();
            let octets = encode(&text).expect("all of it is in the alphabet");
            prop_assert_eq!(octets.len(), text.chars().filter_map(septets).map(usize::from).sum::<usize>());
            prop_assert_eq!(decode(&octets), text);
        }

        #[test]
        fn any_octets_are_read(octets in proptest::collection::vec(any::<u8>(), 0..400)) {
            prop_assert!(decode(&octets).chars().count() <= octets.len());
        }
    }
}
