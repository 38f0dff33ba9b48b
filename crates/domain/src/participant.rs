//! Who is registered: residents and businesses, and the language they read.

use serde::{Deserialize, Serialize};

use crate::alert::UnknownWord;

/// The kind of a participant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParticipantKind {
    /// A person, at home or at work.
    Resident,
    /// A shop, office or other business.
    Business,
}

impl ParticipantKind {
    /// The word as it stands in the API, the CSV and the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Resident => "resident",
            Self::Business => "business",
        }
    }
}

impl std::str::FromStr for ParticipantKind {
    type Err = UnknownWord;
    fn from_str(s: &str) -> Result<Self, UnknownWord> {
        match s {
            "resident" => Ok(Self::Resident),
            "business" => Ok(Self::Business),
            _ => Err(UnknownWord),
        }
    }
}

/// The language of the automatic texts that a participant gets (ISO 639-1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Language {
    /// Dutch.
    #[default]
    Nl,
    /// English.
    En,
}

impl Language {
    /// The two-letter code.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nl => "nl",
            Self::En => "en",
        }
    }
}

impl std::str::FromStr for Language {
    type Err = UnknownWord;
    fn from_str(s: &str) -> Result<Self, UnknownWord> {
        match s {
            "nl" => Ok(Self::Nl),
            "en" => Ok(Self::En),
            _ => Err(UnknownWord),
        }
    }
}
