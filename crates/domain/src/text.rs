//! Message text by 3GPP TS 23.038: alphabets, segments, and what had to be replaced.

pub mod gsm7;

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
    /// Position in the text as given, counted in characters from 0.
    pub position: usize,
    /// The character as given.
    pub from: char,
    /// What stands there now.
    pub to: String,
}

/// A text that can be sent: not empty, within the segment limit, alphabet chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageText {}

/// Why a text cannot be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// Nothing but white space.
    #[error("the text is empty")]
    Empty,
    /// More segments than allowed.
    #[error("the text takes {segments} segments; {max} are allowed")]
    TooLong {
        /// What it takes.
        segments: usize,
        /// What is allowed.
        max: u8,
    },
}

impl MessageText {
    /// Replaces what has an equivalent in GSM 7-bit where that makes the whole text fit it, chooses the alphabet and counts segments.
    ///
    /// # Errors
    /// [`TextError`].
    pub fn parse(_raw: &str, _max_segments: u8) -> Result<Self, TextError> {
        unimplemented!()
    }

    /// The text as it will be sent.
    #[must_use]
    pub fn as_str(&self) -> &str {
        unimplemented!()
    }

    /// The alphabet.
    #[must_use]
    pub fn encoding(&self) -> Encoding {
        unimplemented!()
    }

    /// How many SMS it takes.
    #[must_use]
    pub fn segments(&self) -> u8 {
        unimplemented!()
    }

    /// Septets (GSM 7-bit, extension characters count two) or 16-bit units (UCS-2).
    #[must_use]
    pub fn characters(&self) -> usize {
        unimplemented!()
    }

    /// What was replaced, in order.
    #[must_use]
    pub fn replaced(&self) -> &[Replacement] {
        unimplemented!()
    }

    /// The segments, as slices of the text; one where it fits 160 septets or 70 units, else parts of at most 153 or 67.
    /// No escape pair and no surrogate pair is split.
    #[must_use]
    pub fn parts(&self) -> Vec<&str> {
        unimplemented!()
    }
}
