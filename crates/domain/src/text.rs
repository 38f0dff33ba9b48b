//! Message text by 3GPP TS 23.038: alphabets, segments, and what had to be replaced.

pub(crate) mod equivalents;
pub mod gsm7;
pub mod invisible;
pub mod national;
mod normal;
mod split;
#[cfg(test)]
mod tests;

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
        let (text, replaced) = if let Some((text, replaced)) = replace(given) {
            (text.trim().to_owned(), replaced)
        } else {
            let (kept, dropped) = without_idle(given);
            if !dropped.is_empty() {
                return Self::parse_again(&kept, dropped, max_segments);
            }
            (given.iter().map(|(_, ch)| *ch).collect(), Vec::new())
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
