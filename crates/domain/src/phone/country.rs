//! The country whose numbers are accepted.

use std::fmt;
use std::str::FromStr;

use phonenumber::country::Id;
use phonenumber::metadata::DATABASE;

/// A country whose mobile numbers are accepted (ISO 3166-1 alpha-2), such as `NL`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Country(pub(super) Id);

impl Country {
    /// The Netherlands.
    pub const NL: Self = Self(Id::NL);

    /// The two letters, in upper case.
    #[must_use]
    pub fn code(&self) -> &str {
        self.0.as_ref()
    }
}

impl fmt::Display for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// The text is not the two-letter code of a country whose numbers are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a country code of two letters (ISO 3166-1), such as NL or BE")]
pub struct CountryError;

impl FromStr for Country {
    type Err = CountryError;

    fn from_str(text: &str) -> Result<Self, CountryError> {
        let upper = text.trim().to_ascii_uppercase();
        let id = Id::from_str(&upper).map_err(|_| CountryError)?;
        // The number library panics for an id that it has no data of.
        DATABASE.by_id(&upper).map(|_| Self(id)).ok_or(CountryError)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("NL", Ok("NL"))]
    #[case("nl", Ok("NL"))]
    #[case(" Be ", Ok("BE"))]
    #[case("", Err(CountryError))]
    #[case("N", Err(CountryError))]
    #[case("NLD", Err(CountryError))]
    #[case("XX", Err(CountryError))]
    #[case("ＮＬ", Err(CountryError))]
    fn countries_are_read_by_their_code(#[case] text: &str, #[case] expected: Result<&str, CountryError>) {
        let country = text.parse::<Country>();
        assert_eq!(country.as_ref().map(Country::code).map_err(|error| *error), expected);
    }
}
