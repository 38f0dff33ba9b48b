//! National language tables of the GSM 7-bit alphabet (3GPP TS 23.038 §6.2.1.2 and annex A), for the languages that a Latin
//! keyboard writes. Only texts that came in are read with them; what we send uses the default alphabet or UCS-2.

/// A language by its national language identifier (TS 23.038 §6.2.1.2.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Language {
    /// The default alphabet, or its extension table.
    #[default]
    Default,
    /// 1: annex A.2.1 and A.3.1.
    Turkish,
    /// 2: annex A.2.2. Annex A.3.2 is void, so it has no locking table.
    Spanish,
    /// 3: annex A.2.3 and A.3.3.
    Portuguese,
}

impl Language {
    /// The language of an identifier. An identifier that is not known here is to be ignored (3GPP TS 23.040 §9.2.3.24.15).
    #[must_use]
    pub const fn of_identifier(identifier: u8) -> Self {
        match identifier {
            1 => Self::Turkish,
            2 => Self::Spanish,
            3 => Self::Portuguese,
            _ => Self::Default,
        }
    }
}

/// The tables that a text is read with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    /// Takes the place of the default alphabet (TS 23.038 §6.2.1.2.3).
    pub locking: Language,
    /// Takes the place of the extension table (TS 23.038 §6.2.1.2.2).
    pub single: Language,
}

/// What a language writes in the place of the default alphabet: code and character, where they differ.
pub(super) const fn locking(language: Language) -> &'static [(u8, char)] {
    match language {
        Language::Default | Language::Spanish => &[],
        Language::Turkish => &TURKISH_LOCKING,
        Language::Portuguese => &PORTUGUESE_LOCKING,
    }
}

/// The extension table of a language without the codes that all languages share; `€` is one of these.
pub(super) const fn single(language: Language) -> &'static [(u8, char)] {
    match language {
        Language::Default => &[],
        Language::Turkish => &TURKISH_SINGLE,
        Language::Spanish => &SPANISH_SINGLE,
        Language::Portuguese => &PORTUGUESE_SINGLE,
    }
}

/// Annex A.3.1.
const TURKISH_LOCKING: [(u8, char); 8] =
    [(0x04, '€'), (0x07, 'ı'), (0x0B, 'Ğ'), (0x0C, 'ğ'), (0x1C, 'Ş'), (0x1D, 'ş'), (0x40, 'İ'), (0x60, 'ç')];

/// Annex A.3.3.
#[rustfmt::skip]
const PORTUGUESE_LOCKING: [(u8, char); 30] = [
    (0x04, 'ê'), (0x06, 'ú'), (0x07, 'í'), (0x08, 'ó'), (0x09, 'ç'), (0x0B, 'Ô'), (0x0C, 'ô'), (0x0E, 'Á'), (0x0F, 'á'),
    (0x12, 'ª'), (0x13, 'Ç'), (0x14, 'À'), (0x15, '∞'), (0x16, '^'), (0x17, '\\'), (0x18, '€'), (0x19, 'Ó'), (0x1A, '|'),
    (0x1C, 'Â'), (0x1D, 'â'), (0x1E, 'Ê'), (0x24, 'º'), (0x40, 'Í'), (0x5B, 'Ã'), (0x5C, 'Õ'), (0x5D, 'Ú'), (0x60, '~'),
    (0x7B, 'ã'), (0x7C, 'õ'), (0x7D, '`'),
];

/// Annex A.2.1.
const TURKISH_SINGLE: [(u8, char); 7] =
    [(0x47, 'Ğ'), (0x49, 'İ'), (0x53, 'Ş'), (0x63, 'ç'), (0x67, 'ğ'), (0x69, 'ı'), (0x73, 'ş')];

/// Annex A.2.2.
#[rustfmt::skip]
const SPANISH_SINGLE: [(u8, char); 9] = [
    (0x09, 'ç'), (0x41, 'Á'), (0x49, 'Í'), (0x4F, 'Ó'), (0x55, 'Ú'), (0x61, 'á'), (0x69, 'í'), (0x6F, 'ó'), (0x75, 'ú'),
];

/// Annex A.2.3.
#[rustfmt::skip]
const PORTUGUESE_SINGLE: [(u8, char); 27] = [
    (0x05, 'ê'), (0x09, 'ç'), (0x0B, 'Ô'), (0x0C, 'ô'), (0x0E, 'Á'), (0x0F, 'á'), (0x12, 'Φ'), (0x13, 'Γ'), (0x15, 'Ω'),
    (0x16, 'Π'), (0x17, 'Ψ'), (0x18, 'Σ'), (0x19, 'Θ'), (0x1F, 'Ê'), (0x41, 'À'), (0x49, 'Í'), (0x4F, 'Ó'), (0x55, 'Ú'),
    (0x5B, 'Ã'), (0x5C, 'Õ'), (0x61, 'Â'), (0x69, 'í'), (0x6F, 'ó'), (0x75, 'ú'), (0x7B, 'ã'), (0x7C, 'õ'), (0x7F, 'â'),
];

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::text::gsm7;

    const ESCAPE: u8 = 0x1B;

    /// Eight rows of sixteen characters, as annex A.3 prints them by column. The escape is a space.
    #[rstest]
    #[case::turkish(
        Language::Turkish,
        "@£$¥€éùıòÇ\nĞğ\rÅåΔ_ΦΓΛΩΠΨΣΘΞ ŞşßÉ !\"#¤%&'()*+,-./0123456789:;<=>?\
         İABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§çabcdefghijklmnopqrstuvwxyzäöñüà"
    )]
    #[case::portuguese(
        Language::Portuguese,
        "@£$¥êéúíóç\nÔô\rÁáΔ_ªÇÀ∞^\\€Ó| ÂâÊÉ !\"#º%&'()*+,-./0123456789:;<=>?\
         ÍABCDEFGHIJKLMNOPQRSTUVWXYZÃÕÚÜ§~abcdefghijklmnopqrstuvwxyzãõ`üà"
    )]
    #[case::spanish_has_none(
        Language::Spanish,
        "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ ÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?\
         ¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
    )]
    fn a_locking_table_is_that_of_annex_a3(#[case] locking: Language, #[case] table: &str) {
        let tables = Tables { locking, ..Tables::default() };
        let read: String = (0..128_u8).map(|code| gsm7::decode_with(&[code], tables)).collect();
        assert_eq!(read, table);
    }

    /// The characters of annex A.2 in the order of their codes; the other codes show what the default alphabet has there.
    #[rstest]
    #[case::turkish(Language::Turkish, "\u{c}^{}\\[~]|ĞİŞç€ğış")]
    #[case::spanish(Language::Spanish, "ç\u{c}^{}\\[~]|ÁÍÓÚá€íóú")]
    #[case::portuguese(Language::Portuguese, "êç\u{c}ÔôÁáΦΓ^ΩΠΨΣΘÊ{}\\[~]|ÀÍÓÚÃÕÂ€íóúãõâ")]
    #[case::default_extension(Language::Default, "\u{c}^{}\\[~]|€")]
    fn a_single_shift_table_is_that_of_annex_a2(#[case] language: Language, #[case] table: &str) {
        let tables = Tables { single: language, ..Tables::default() };
        let read: String = (0..128_u8)
            .filter(|code| *code != ESCAPE)
            .map(|code| (gsm7::decode_with(&[ESCAPE, code], tables), gsm7::decode(&[code])))
            // In Portuguese five Greek letters stand where the default alphabet has them, too.
            .filter(|(shifted, plain)| {
                shifted != plain || (language == Language::Portuguese && "ΦΓΩΠΨΣΘ".contains(plain))
            })
            .map(|(shifted, _)| shifted)
            .collect();
        assert_eq!(read, table);
    }

    #[test]
    fn both_tables_work_together_and_the_locking_one_stands_in_for_the_other() {
        let tables = Tables { locking: Language::Portuguese, single: Language::Turkish };
        assert_eq!(gsm7::decode_with(&[0x7B, ESCAPE, 0x53, ESCAPE, 0x7C, ESCAPE], tables), "ãŞõ ");
    }

    #[rstest]
    #[case(0, Language::Default)]
    #[case(1, Language::Turkish)]
    #[case(2, Language::Spanish)]
    #[case(3, Language::Portuguese)]
    #[case::bengali_is_ignored(4, Language::Default)]
    #[case::reserved(255, Language::Default)]
    fn identifiers_are_those_of_the_standard(#[case] identifier: u8, #[case] language: Language) {
        assert_eq!(Language::of_identifier(identifier), language);
    }
}
