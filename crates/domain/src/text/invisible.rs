//! Characters that show nothing: Unicode's `Default_Ignorable_Code_Point` (UAX #44), such as zero-width spaces, soft hyphens,
//! marks of direction, variation selectors and tags.
//!
//! In phone numbers, keywords, headers, codes and the cells of a file they count as nothing. In the text of a message they
//! stay where they do something, see [`works`].

use std::borrow::Cow;

use icu_properties::CodePointSetData;
use icu_properties::props::DefaultIgnorableCodePoint;

use super::gsm7;

/// Whether a character shows nothing.
#[must_use]
pub fn is_invisible(ch: char) -> bool {
    // The first is the soft hyphen.
    ch >= '\u{ad}' && CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(ch)
}

/// The text without the characters that show nothing.
#[must_use]
pub fn visible(text: &str) -> Cow<'_, str> {
    if text.contains(is_invisible) {
        Cow::Owned(text.chars().filter(|ch| !is_invisible(*ch)).collect())
    } else {
        Cow::Borrowed(text)
    }
}

/// The text without white space and invisible characters around it. A joiner, selector or tag at the end stays, since it may
/// belong to the emoji before it. Empty if nothing in the text shows.
#[must_use]
pub fn trim(text: &str) -> &str {
    let padding = |ch: char| ch.is_whitespace() || is_invisible(ch);
    let begun = text.trim_start_matches(padding);
    begun.trim_end_matches(|ch| padding(ch) && !is_modifier(ch))
}

/// A character that changes the look of the one before it.
const fn is_modifier(ch: char) -> bool {
    matches!(
        ch,
        '\u{200c}' | '\u{200d}' | '\u{fe00}'..='\u{fe0f}' | '\u{e0020}'..='\u{e007f}' | '\u{e0100}'..='\u{e01ef}'
        // Mongolian, Khmer and Hangul have their own.
        | '\u{180b}'..='\u{180f}' | '\u{17b4}' | '\u{17b5}' | '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}' | '\u{34f}'
    )
}

/// Whether the text is written from right to left somewhere: Hebrew, Arabic and their neighbours.
pub(super) fn has_right_to_left(ch: char) -> bool {
    matches!(ch, '\u{590}'..='\u{8ff}' | '\u{fb1d}'..='\u{fdff}' | '\u{fe70}'..='\u{fefc}' | '\u{10800}'..='\u{10fff}' | '\u{1e800}'..='\u{1efff}')
        && !is_invisible(ch)
}

/// Whether an invisible character does something in the text of a message.
///
/// - Joiners, selectors and tags do if they follow an emoji or a letter that GSM 7-bit lacks, or stand in a keycap.
/// - Marks of direction do in a text that has letters of a script from right to left.
/// - A zero-width space does between letters of Thai, Khmer and their neighbours, where a line may break.
pub(super) fn works(ch: char, before: Option<char>, after: Option<char>, right_to_left: bool) -> bool {
    let follows_special =
        before.is_some_and(|before| !before.is_whitespace() && gsm7::septets(before).is_none());
    match ch {
        '\u{fe0f}' if after == Some('\u{20e3}') => before.is_some_and(|before| !before.is_whitespace()),
        '\u{200b}' => before.is_some_and(|before| matches!(before, '\u{e00}'..='\u{17ff}')),
        '\u{200e}' | '\u{200f}' | '\u{61c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            right_to_left
        }
        _ => follows_special && is_modifier(ch),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The ranges of Unicode 17, `DerivedCoreProperties.txt`.
    const RANGES: &[(u32, u32)] = &[
        (0xad, 0xad),
        (0x34f, 0x34f),
        (0x61c, 0x61c),
        (0x115f, 0x1160),
        (0x17b4, 0x17b5),
        (0x180b, 0x180f),
        (0x200b, 0x200f),
        (0x202a, 0x202e),
        (0x2060, 0x206f),
        (0x3164, 0x3164),
        (0xfe00, 0xfe0f),
        (0xfeff, 0xfeff),
        (0xffa0, 0xffa0),
        (0xfff0, 0xfff8),
        (0x1bca0, 0x1bca3),
        (0x1d173, 0x1d17a),
        (0xe0000, 0xe0fff),
    ];

    #[test]
    fn every_default_ignorable_code_point_is_invisible_and_nothing_else() {
        for code in 0..=0x0010_ffff {
            let Some(ch) = char::from_u32(code) else { continue };
            let expected = RANGES.iter().any(|(first, last)| (*first..=*last).contains(&code));
            assert_eq!(is_invisible(ch), expected, "U+{code:04X}");
        }
    }

    #[test]
    fn what_surrounds_a_text_goes_and_the_look_of_an_emoji_stays() {
        assert_eq!(trim("\u{feff} \u{34f}a b\u{200b}\u{2060} "), "a b");
        assert_eq!(trim("\u{e0001}❤\u{fe0f} "), "❤\u{fe0f}");
        assert_eq!(trim("\u{3164}\u{fe0f} \u{115f}"), "");
        assert_eq!(visible("utr\u{ad}echt\u{180e}"), "utrecht");
    }
}
