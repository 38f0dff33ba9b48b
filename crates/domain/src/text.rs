//! Message text by 3GPP TS 23.038: alphabets, segments, and what had to be replaced.

pub(crate) mod equivalents;
pub mod gsm7;
pub mod invisible;
mod normal;
mod split;

use std::fmt;

/// How a text travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// GSM 7-bit default alphabet with its extension table (TS 23.038 §6.2.1).
    Gsm7,
    /// UCS-2, big endian (TS 23.038 §6.2.3).
    Ucs2,
}

impl Encoding {
    /// The word as it stands in the API and the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gsm7 => "gsm7",
            Self::Ucs2 => "ucs2",
        }
    }
}

/// One character that was replaced by one that GSM 7-bit has.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Replacement {
    /// Position in the text as received, counted in characters from 0; of a letter written as letter and accent, the letter's.
    pub position: usize,
    /// The character as received.
    pub from: char,
    /// The text that stands there now: empty if an invisible character was dropped.
    pub to: String,
}

/// A text that can be sent: not empty, within the segment limit, alphabet chosen. `Debug` shows its size and not the text.
#[derive(Clone, PartialEq, Eq)]
pub struct MessageText {
    text: String,
    encoding: Encoding,
    /// Septets or units of 16 bits.
    units: usize,
    /// Byte offsets at which the parts end: worked out once, read for every delivery.
    part_ends: Vec<usize>,
    replaced: Vec<Replacement>,
}

/// Why a text cannot be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// Nothing but white space.
    #[error("the text is empty")]
    Empty,
    /// A character that no phone shows; a line end or a tab is none.
    #[error(
        "the text has the control character U+{:04X} at position {position}; remove it", u32::from(*code)
    )]
    Control {
        /// The character.
        code: char,
        /// Position in the text as received, counted in characters from 0.
        position: usize,
    },
    /// More segments than allowed.
    #[error("the text takes {segments} segments; {max} are allowed")]
    TooLong {
        /// The number of segments that the text takes.
        segments: usize,
        /// The number of segments that is allowed.
        max: u8,
    },
}

impl MessageText {
    /// Trims and normalises the text, replaces characters by their equivalents in GSM 7-bit if that makes the whole text fit it,
    /// chooses the alphabet and counts segments. Parsing the result again returns the same, with nothing replaced.
    ///
    /// If a single character has no equivalent, the text goes as UCS-2 and stays as written ([`MessageText::unreplaceable`]),
    /// but for invisible characters that do nothing where they stand. What joins an emoji, chooses its look, or sets a
    /// direction stays.
    ///
    /// # Errors
    /// Returns [`TextError`] if the text is empty, has a control character, or takes more than `max_segments`.
    pub fn parse(raw: &str, max_segments: u8) -> Result<Self, TextError> {
        let normalised = normal::normalise(raw)?;
        let given = normal::trim(&normalised);
        let (text, replaced) = match replace(given) {
            Some((text, replaced)) => (text.trim().to_owned(), replaced),
            None => {
                let (kept, dropped) = without_idle(given);
                if !dropped.is_empty() {
                    return Self::parse_again(&kept, dropped, max_segments);
                }
                (given.iter().map(|(_, ch)| *ch).collect(), Vec::new())
            }
        };
        if text.is_empty() {
            return Err(TextError::Empty);
        }
        let message = Self { replaced, ..Self::from_stored(text) };
        let segments = message.part_ends.len();
        if segments > usize::from(max_segments) {
            return Err(TextError::TooLong { segments, max: max_segments });
        }
        Ok(message)
    }

    /// Parses what is left without the characters that were dropped: a letter and its accent may be neighbours now.
    fn parse_again(
        kept: &[normal::Placed],
        mut dropped: Vec<Replacement>,
        max_segments: u8,
    ) -> Result<Self, TextError> {
        let text: String = kept.iter().map(|(_, ch)| *ch).collect();
        let mut message = Self::parse(&text, max_segments)?;
        for mut replacement in std::mem::take(&mut message.replaced) {
            replacement.position = kept.get(replacement.position).map_or(0, |(position, _)| *position);
            dropped.push(replacement);
        }
        dropped.sort_by_key(|replacement| replacement.position);
        Ok(Self { replaced: dropped, ..message })
    }

    /// A text that was parsed before and comes back from storage: nothing is replaced and no limit holds.
    #[must_use]
    pub fn from_stored(text: String) -> Self {
        let fits_gsm7 = text.chars().all(|ch| gsm7::septets(ch).is_some());
        let encoding = if fits_gsm7 { Encoding::Gsm7 } else { Encoding::Ucs2 };
        let units = split::total_units(&text, encoding);
        let part_ends = split::part_ends(&text, encoding);
        Self { text, encoding, units, part_ends, replaced: Vec::new() }
    }

    /// The text as it will be sent.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The alphabet.
    #[must_use]
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// How many SMS it takes: the number of [`MessageText::parts`], and 255 if a stored text had more than an SMS can count.
    #[must_use]
    pub fn segments(&self) -> u8 {
        u8::try_from(self.part_ends.len()).unwrap_or(u8::MAX)
    }

    /// Septets (GSM 7-bit, extension characters count two) or 16-bit units (UCS-2).
    #[must_use]
    pub fn characters(&self) -> usize {
        self.units
    }

    /// The characters that were replaced, in order.
    #[must_use]
    pub fn replaced(&self) -> &[Replacement] {
        &self.replaced
    }

    /// The characters that keep the text out of GSM 7-bit, each once, in order of appearance: none in a GSM 7-bit text.
    #[must_use]
    pub fn unreplaceable(&self) -> Vec<char> {
        let mut found = Vec::new();
        for ch in self.text.chars().filter(|ch| !fits_or_has_equivalent(*ch)) {
            if !found.contains(&ch) {
                found.push(ch);
            }
        }
        found
    }

    /// The segments, as slices of the text; one if it fits 160 septets or 70 units, else parts of at most 153 or 67.
    /// No escape pair and no surrogate pair is split.
    #[must_use]
    pub fn parts(&self) -> Vec<&str> {
        let starts = std::iter::once(0).chain(self.part_ends.iter().copied());
        starts.zip(&self.part_ends).map(|(start, &end)| &self.text[start..end]).collect()
    }
}

/// The text cut as UCS-2 whatever its alphabet, for a way that cannot carry GSM 7-bit: one part of up to 70 units, or parts of
/// at most 67.
#[must_use]
pub fn ucs2_parts(text: &str) -> Vec<&str> {
    let ends = split::part_ends(text, Encoding::Ucs2);
    let starts = std::iter::once(0).chain(ends.iter().copied());
    starts.zip(&ends).map(|(start, &end)| &text[start..end]).collect()
}

impl fmt::Debug for MessageText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageText")
            .field("encoding", &self.encoding)
            .field("segments", &self.part_ends.len())
            .field("characters", &self.units)
            .finish_non_exhaustive()
    }
}

fn fits_or_has_equivalent(ch: char) -> bool {
    gsm7::septets(ch).is_some() || equivalents::equivalent(ch).is_some()
}

/// The text without the invisible characters that do nothing where they stand, and those.
fn without_idle(given: &[normal::Placed]) -> (Vec<normal::Placed>, Vec<Replacement>) {
    let right_to_left = given.iter().any(|(_, ch)| invisible::has_right_to_left(*ch));
    let (mut kept, mut dropped): (Vec<normal::Placed>, _) = (Vec::with_capacity(given.len()), Vec::new());
    for (i, &(position, ch)) in given.iter().enumerate() {
        let (before, after) = (kept.last().map(|(_, ch)| *ch), given.get(i + 1).map(|(_, ch)| *ch));
        if invisible::is_invisible(ch) && !invisible::works(ch, before, after, right_to_left) {
            dropped.push(Replacement { position, from: ch, to: String::new() });
        } else {
            kept.push((position, ch));
        }
    }
    (kept, dropped)
}

/// The text in GSM 7-bit and what was replaced for it; `None` if a character has no equivalent.
fn replace(given: &[normal::Placed]) -> Option<(String, Vec<Replacement>)> {
    if !given.iter().all(|(_, ch)| fits_or_has_equivalent(*ch)) {
        return None;
    }
    let mut text = String::with_capacity(given.len());
    let mut replaced = Vec::new();
    for &(position, from) in given {
        match equivalents::equivalent(from) {
            None => text.push(from),
            Some(to) => {
                text.push_str(to);
                replaced.push(Replacement { position, from, to: to.to_owned() });
            }
        }
    }
    Some((text, replaced))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn parse(raw: &str) -> MessageText {
        MessageText::parse(raw, u8::MAX).expect("a text that can be sent")
    }

    #[test]
    fn dutch_text_stays_gsm_and_says_what_was_replaced() {
        let message = parse(" Bent u geïnformeerd? Belgie\u{308}");
        assert_eq!(message.as_str(), "Bent u geinformeerd? Belgie");
        assert_eq!(message.encoding(), Encoding::Gsm7);
        assert_eq!(
            message.replaced(),
            [
                Replacement { position: 10, from: 'ï', to: "i".to_owned() },
                Replacement { position: 27, from: 'ë', to: "e".to_owned() },
            ]
        );
    }

    #[test]
    fn what_gsm_has_is_left_alone() {
        let text = "Café, één Ç, à la carte: €5 [zie kaart] öäü";
        let message = parse(text);
        assert_eq!(message.as_str(), text);
        assert_eq!(message.replaced(), []);
        assert_eq!(message.characters(), text.chars().count() + 3);
    }

    #[test]
    fn one_emoji_makes_it_ucs2_and_nothing_is_replaced() {
        let message = parse("België 👍 Привет 👍");
        assert_eq!(message.as_str(), "België 👍 Привет 👍");
        assert_eq!(message.encoding(), Encoding::Ucs2);
        assert_eq!(message.replaced(), []);
        assert_eq!(message.unreplaceable(), ['👍', 'П', 'р', 'и', 'в', 'е', 'т']);
        assert_eq!(message.characters(), 19);
    }

    #[rstest]
    #[case::family("👨\u{200d}👩\u{200d}👧 gezocht")]
    #[case::look("❤\u{fe0f} 👍")]
    #[case::heart_on_fire("❤\u{fe0f}\u{200d}🔥")]
    #[case::keycap("Bel 1\u{fe0f}\u{20e3}1\u{fe0f}\u{20e3}2")]
    #[case::flag_of_tags("🏴\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f}!")]
    #[case::direction("\u{202b}שלום\u{202c} 112")]
    #[case::persian("می\u{200c}خواهم")]
    fn an_invisible_character_stays_where_it_does_something(#[case] raw: &str) {
        let message = parse(raw);
        assert_eq!((message.as_str(), message.replaced()), (raw, [].as_slice()));
    }

    #[rstest]
    #[case::soft_hyphen("zoek\u{ad}actie 👍", "zoekactie 👍")]
    #[case::zero_width("man\u{200b} 👍\u{2060}", "man 👍")]
    #[case::joiner_after_a_letter("ma\u{200d}n 👍", "man 👍")]
    #[case::direction_of_nothing("\u{202a}+31 6\u{202c} 👍", "+31 6 👍")]
    #[case::selector_of_nothing("\u{fe0f}a\u{fe0f} 👍", "a 👍")]
    #[case::deprecated("a\u{206a}\u{fff0}\u{e0001}я", "aя")]
    #[case::between_letter_and_accent("e\u{200b}\u{301} 👍", "é 👍")]
    fn an_invisible_character_that_does_nothing_costs_no_room(#[case] raw: &str, #[case] expected: &str) {
        let message = parse(raw);
        assert_eq!(message.as_str(), expected);
        assert!(message.replaced().iter().all(|replaced| replaced.to.is_empty()));
        assert_eq!(message.replaced().len(), raw.chars().filter(|ch| invisible::is_invisible(*ch)).count());
    }

    #[test]
    fn no_default_ignorable_character_costs_a_text_its_alphabet() {
        for ch in [
            '\u{ad}',
            '\u{34f}',
            '\u{61c}',
            '\u{115f}',
            '\u{180e}',
            '\u{206f}',
            '\u{3164}',
            '\u{fff0}',
            '\u{e0fff}',
        ] {
            let message = parse(&format!("man{ch} met hond"));
            assert_eq!((message.as_str(), message.encoding()), ("man met hond", Encoding::Gsm7), "{ch:?}");
        }
    }

    #[test]
    fn what_word_processors_write_is_made_plain() {
        let message = parse("“Let op”\u{a0}– man, ‘grijs haar’…\r\nBel\u{200b} 112");
        assert_eq!(message.as_str(), "\"Let op\" - man, 'grijs haar'...\nBel 112");
        assert_eq!(message.replaced().last().map(|r| (r.position, r.to.as_str())), Some((34, "")));
        assert!(message.unreplaceable().is_empty());
    }

    #[rstest]
    #[case("")]
    #[case(" \r\n\t\u{a0}")]
    #[case::only_invisible("\u{200d}\u{2060}\u{feff}")]
    #[case::space_between_invisible("\u{200e} \u{200e}")]
    fn nothing_is_empty(#[case] raw: &str) {
        assert_eq!(MessageText::parse(raw, 3), Err(TextError::Empty));
    }

    #[test]
    fn the_limit_is_exact_and_the_error_says_both() {
        let max = "a".repeat(306);
        assert_eq!(MessageText::parse(&max, 2).map(|m| m.segments()), Ok(2));
        let error = MessageText::parse(&format!("{max}a"), 2).expect_err("too long");
        assert_eq!(error, TextError::TooLong { segments: 3, max: 2 });
        assert_eq!(error.to_string(), "the text takes 3 segments; 2 are allowed");
    }

    #[test]
    fn a_text_too_long_to_count_in_an_octet_is_refused() {
        let result = MessageText::parse(&"a".repeat(153 * 256), u8::MAX);
        assert_eq!(result, Err(TextError::TooLong { segments: 256, max: 255 }));
        assert_eq!(MessageText::from_stored("a".repeat(153 * 256)).segments(), 255);
    }

    #[test]
    fn a_control_character_is_named() {
        let error = MessageText::parse("ab\u{7}", 3).expect_err("a bell");
        assert_eq!(error.to_string(), "the text has the control character U+0007 at position 2; remove it");
    }

    #[test]
    fn a_replacement_may_add_a_segment() {
        let message = parse(&format!("{}…", "a".repeat(159)));
        assert_eq!((message.characters(), message.segments()), (162, 2));
    }

    #[test]
    fn debug_shows_no_text() {
        let shown = format!("{:?}", parse("man met hond"));
        assert!(!shown.contains("hond"), "{shown}");
    }

    /// Texts of what is hard: escapes, surrogate pairs, combining marks, line ends, and anything at all.
    fn hard_text() -> impl Strategy<Value = String> {
        prop_oneof![
            proptest::collection::vec(
                prop_oneof![Just('€'), Just('a'), Just('ë'), Just(' '), Just('\r'), Just('\n')],
                0..500
            )
            .prop_map(String::from_iter),
            proptest::collection::vec(
                prop_oneof![Just('👍'), Just('я'), Just('\u{308}'), Just('e'), Just('\u{feff}'), Just('…')],
                0..300
            )
            .prop_map(String::from_iter),
            "\\PC{0,200}",
            any::<String>(),
        ]
    }

    proptest! {
        #[test]
        fn parts_are_the_text_and_each_fits(raw in hard_text()) {
            if let Ok(message) = MessageText::parse(&raw, u8::MAX) {
                let parts = message.parts();
                prop_assert_eq!(parts.concat(), message.as_str());
                prop_assert_eq!(parts.len(), usize::from(message.segments()));
                let sizes: Vec<usize> =
                    parts.iter().map(|part| split::total_units(part, message.encoding())).collect();
                prop_assert_eq!(sizes.iter().sum::<usize>(), message.characters());
                if parts.len() > 1 {
                    let max = split::part_max(message.encoding());
                    prop_assert!(sizes.iter().all(|size| *size <= max), "{:?}", sizes);
                    // Nothing is wasted but a unit if a pair would have been split.
                    prop_assert!(sizes[..sizes.len() - 1].iter().all(|size| *size >= max - 1), "{:?}", sizes);
                }
            }
        }

        #[test]
        fn a_gsm_text_encodes_to_its_count(raw in hard_text()) {
            if let Ok(message) = MessageText::parse(&raw, u8::MAX) {
                let encoded = gsm7::encode(message.as_str()).map(|septets| septets.len());
                prop_assert_eq!(message.encoding() == Encoding::Gsm7, encoded.is_some());
                prop_assert_eq!(encoded.unwrap_or(message.characters()), message.characters());
                prop_assert_eq!(message.encoding() == Encoding::Gsm7, message.unreplaceable().is_empty());
            }
        }

        #[test]
        fn what_was_parsed_parses_to_itself(raw in hard_text()) {
            if let Ok(message) = MessageText::parse(&raw, u8::MAX) {
                let again = MessageText::parse(message.as_str(), u8::MAX).expect("parsed before");
                prop_assert_eq!(again.replaced(), []);
                prop_assert_eq!(again.as_str(), message.as_str());
                let stored = MessageText::from_stored(message.as_str().to_owned());
                prop_assert!(stored == again);
            }
        }
    }
}
