//! One spelling per text: composed letters, LF for every line end, spaces for tabs, nothing around it.

use unicode_normalization::char::canonical_combining_class;
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

use super::TextError;

/// A character and its place in the text as received, counted in characters from 0.
pub(super) type Placed = (usize, char);

/// The characters of `raw` in Unicode NFC, CR LF and CR as LF, tab as a space.
///
/// A phone keyboard or a word processor may write `ë` as `e` and U+0308: that must not cost a text its alphabet.
///
/// # Errors
/// Returns [`TextError::Control`] if there is any other control character.
pub(super) fn normalise(raw: &str) -> Result<Vec<Placed>, TextError> {
    let mut chars: Vec<Placed> = Vec::with_capacity(raw.len());
    let mut cluster = String::new();
    let mut cluster_at = 0;
    let mut after_return = false;
    for (position, given) in raw.chars().enumerate() {
        let ch = match given {
            '\n' if after_return => {
                after_return = false;
                continue;
            }
            '\r' | '\n' => '\n',
            '\t' => ' ',
            _ if given.is_control() => return Err(TextError::Control { code: given, position }),
            _ => given,
        };
        after_return = given == '\r';
        if starts_cluster(ch) {
            flush(&mut cluster, cluster_at, &mut chars);
            cluster_at = position;
        }
        cluster.push(ch);
    }
    flush(&mut cluster, cluster_at, &mut chars);
    Ok(chars)
}

/// Whether normalisation can never join the character with the ones before it (UAX #15, stable code points).
fn starts_cluster(ch: char) -> bool {
    // Nothing below the combining marks joins anything.
    ch < '\u{300}'
        || (canonical_combining_class(ch) == 0 && is_nfc_quick(std::iter::once(ch)) == IsNormalized::Yes)
}

/// Moves a cluster to the text, composed; all of it stands where it began.
fn flush(cluster: &mut String, position: usize, chars: &mut Vec<Placed>) {
    if cluster.len() == 1 {
        chars.extend(cluster.chars().map(|ch| (position, ch)));
    } else {
        chars.extend(cluster.nfc().map(|ch| (position, ch)));
    }
    cluster.clear();
}

/// The characters without the white space, zero-width spaces and byte order marks around them.
pub(super) fn trim(chars: &[Placed]) -> &[Placed] {
    let Some(first) = chars.iter().position(|(_, ch)| !is_padding(*ch)) else {
        return &[];
    };
    let last = chars.iter().rposition(|(_, ch)| !is_padding(*ch)).unwrap_or(first);
    &chars[first..=last]
}

/// Other invisible characters may belong to an emoji next to them and stay.
fn is_padding(ch: char) -> bool {
    ch.is_whitespace() || matches!(ch, '\u{200b}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn text_of(chars: &[Placed]) -> String {
        chars.iter().map(|(_, ch)| *ch).collect()
    }

    #[rstest]
    #[case::windows_lines("a\r\nb\rc\nd", "a\nb\nc\nd")]
    #[case::two_empty_lines("a\r\n\r\nb\r\rc", "a\n\nb\n\nc")]
    #[case::tab("a\tb", "a b")]
    #[case::decomposed("Belgie\u{308} cafe\u{301}", "België café")]
    #[case::two_marks("e\u{302}\u{301}", "ế")]
    #[case::a_mark_without_a_letter("\u{308}a", "\u{308}a")]
    #[case::ohm_sign("5 \u{2126}", "5 Ω")]
    #[case::hangul("\u{1100}\u{1161}\u{11a8}", "각")]
    fn texts_get_one_spelling(#[case] raw: &str, #[case] expected: &str) {
        assert_eq!(normalise(raw).map(|chars| text_of(&chars)), Ok(expected.to_owned()));
    }

    #[test]
    fn a_character_knows_where_it_stood() {
        let chars = normalise("a\r\ne\u{308}x").expect("no control characters");
        assert_eq!(chars, [(0, 'a'), (1, '\n'), (3, 'ë'), (5, 'x')]);
    }

    #[rstest]
    #[case::nul('\0')]
    #[case::bell('\u{7}')]
    #[case::form_feed('\u{c}')]
    #[case::escape('\u{1b}')]
    #[case::delete('\u{7f}')]
    #[case::next_line('\u{85}')]
    fn control_characters_are_refused(#[case] code: char) {
        assert_eq!(normalise(&format!("ab{code}")), Err(TextError::Control { code, position: 2 }));
    }

    #[test]
    fn what_surrounds_a_text_goes() {
        let chars = normalise("\u{feff} \n\u{a0}a b\u{200b}\t ").expect("no control characters");
        assert_eq!(text_of(trim(&chars)), "a b");
        assert_eq!(trim(&normalise(" \n ").expect("no control characters")), []);
    }

    proptest! {
        /// Going by clusters, which keeps the places, must return what normalising the whole returns.
        #[test]
        fn clusters_compose_as_the_whole_does(raw in "[a-eA-E \u{300}-\u{330}\u{1100}-\u{1112}\u{1161}-\u{1175}\u{11a8}-\u{11c2}\u{2126}-\u{212b}\u{900}-\u{9ff}\u{958}\u{344}]{0,30}") {
            let whole: String = raw.nfc().collect();
            prop_assert_eq!(text_of(&normalise(&raw).expect("no control characters")), whole);
        }
    }
}
