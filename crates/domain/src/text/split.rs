//! Cuts a text into segments (3GPP TS 23.040 §9.2.3.24.1 for the room that the concatenation header takes).

use super::{Encoding, gsm7};

/// The size of one SMS, in units of the alphabet: 140 octets are 160 septets or 70 units of 16 bits.
const fn single_max(encoding: Encoding) -> usize {
    match encoding {
        Encoding::Gsm7 => 160,
        Encoding::Ucs2 => 70,
    }
}

/// The size of a part besides the 6 octets of a concatenation header with an 8-bit reference.
pub(super) const fn part_max(encoding: Encoding) -> usize {
    match encoding {
        Encoding::Gsm7 => 153,
        Encoding::Ucs2 => 67,
    }
}

/// The size of a character: septets, or units of 16 bits. A character that the alphabet lacks counts as one: there is none in
/// a text whose alphabet was chosen by its characters.
fn units(ch: char, encoding: Encoding) -> usize {
    match encoding {
        Encoding::Gsm7 => gsm7::septets(ch).map_or(1, usize::from),
        Encoding::Ucs2 => ch.len_utf16(),
    }
}

/// The size of a whole text, in the units of the alphabet.
pub(super) fn total_units(text: &str, encoding: Encoding) -> usize {
    text.chars().map(|ch| units(ch, encoding)).sum()
}

/// The byte offsets at which the parts end; the last is the length of the text, and there is always one.
///
/// The parts are filled one after another, so a part ends a unit early if the next character takes two: the number of
/// parts cannot be had by dividing.
pub(super) fn part_ends(text: &str, encoding: Encoding) -> Vec<usize> {
    let mut ends = Vec::new();
    if total_units(text, encoding) > single_max(encoding) {
        let mut filled = 0;
        for (offset, ch) in text.char_indices() {
            let size = units(ch, encoding);
            if filled + size > part_max(encoding) {
                ends.push(offset);
                filled = 0;
            }
            filled += size;
        }
    }
    ends.push(text.len());
    ends
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::one_full(Encoding::Gsm7, "a".repeat(160), &[160])]
    #[case::one_more(Encoding::Gsm7, "a".repeat(161), &[153, 8])]
    #[case::two_full(Encoding::Gsm7, "a".repeat(306), &[153, 153])]
    #[case::three(Encoding::Gsm7, "a".repeat(307), &[153, 153, 1])]
    #[case::all_escaped(Encoding::Gsm7, "€".repeat(80), &[160])]
    #[case::escape_pair_is_kept(Encoding::Gsm7, format!("{}€{}", "a".repeat(152), "b".repeat(10)), &[152, 12])]
    #[case::more_than_by_division(Encoding::Gsm7, "€".repeat(153), &[152, 152, 2])]
    #[case::ucs2_one_full(Encoding::Ucs2, "я".repeat(70), &[70])]
    #[case::ucs2_one_more(Encoding::Ucs2, "я".repeat(71), &[67, 4])]
    #[case::surrogates_count_two(Encoding::Ucs2, "👍".repeat(35), &[70])]
    #[case::surrogate_pair_is_kept(Encoding::Ucs2, "👍".repeat(67), &[66, 66, 2])]
    #[case::escape_counts_one_in_ucs2(Encoding::Ucs2, "€".repeat(70), &[70])]
    #[case::nothing(Encoding::Gsm7, String::new(), &[0])]
    fn parts_hold_what_the_standard_allows(
        #[case] encoding: Encoding,
        #[case] text: String,
        #[case] sizes: &[usize],
    ) {
        let mut start = 0;
        let got: Vec<usize> = part_ends(&text, encoding)
            .into_iter()
            .map(|end| {
                let part = &text[start..end];
                start = end;
                total_units(part, encoding)
            })
            .collect();
        assert_eq!(got, sizes);
    }
}
