//! The mistake in a number, in words that do not repeat it.

use std::cmp::Ordering;

use phonenumber::metadata::DATABASE;

use super::Country;

/// Why a text is not a number that can get an SMS here. Never holds or shows any of the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PhoneError {
    /// Letters, nothing at all, or far too much.
    #[error(
        "not a phone number: write digits, with spaces or dashes if you like, and + before a country code"
    )]
    NotANumber,
    /// A spreadsheet cut it: `3,16E+10`.
    #[error(
        "the spreadsheet cut this number and its digits are lost: give the column the format Text and enter the number again"
    )]
    Exponent,
    /// A spreadsheet wrote it as an amount with decimals: `612345.67`.
    #[error(
        "is written as a decimal number: give the column the format Text and enter the phone number again"
    )]
    Decimal,
    /// A spreadsheet calculated with it: `+31-612345678` became `-612345647`.
    #[error(
        "is negative, so a spreadsheet took it for a sum: give the column the format Text and enter the phone number again"
    )]
    Negative,
    /// It begins like a mobile number and ends too early.
    #[error("digits are missing: a mobile number of {country} has {digits} digits after its country code")]
    TooShort {
        /// The country that it was read for.
        country: Country,
        /// How many a mobile number has, without country code and trunk prefix.
        digits: u8,
    },
    /// It begins like a mobile number and goes on, or is longer than any number.
    #[error("too many digits: a mobile number of {country} has {digits} digits after its country code")]
    TooLong {
        /// The country that it was read for.
        country: Country,
        /// How many a mobile number has, without country code and trunk prefix.
        digits: u8,
    },
    /// No country has the country code.
    #[error("no country has this country code: check the digits after + or 00")]
    UnknownCountryCode,
    /// The country has no such number.
    #[error("{0} has no such number: check for a missing, extra or wrong digit")]
    Invalid(Country),
    /// Free to call, such as 0800.
    #[error("a toll-free number gets no SMS: give a mobile number")]
    TollFree,
    /// Dear to call, such as 0900.
    #[error("a premium-rate number gets no SMS: give a mobile number")]
    PremiumRate,
    /// A landline.
    #[error("a fixed line gets no SMS: give a mobile number")]
    FixedLine,
    /// A company number, a pager, an internet telephone and the like.
    #[error("this kind of number gets no SMS: give a mobile number")]
    OtherType,
    /// A number for machines, 097 in the Netherlands: no person reads what is sent there.
    #[error("a machine number (097) has nobody to read an SMS: give the mobile number of a person")]
    Machine,
    /// A number of a country other than the accepted one.
    #[error("a number of another country: only mobile numbers of {0} get alerts")]
    OtherCountry(Country),
}

impl PhoneError {
    /// Names the most likely mistake in a number that the country does not have.
    pub(super) fn misdialled(national: &str, country: Country) -> Self {
        let Some(example) = mobile_example(country) else {
            return Self::Invalid(country);
        };
        let like_mobile = national.as_bytes().first() == example.as_bytes().first();
        match national.len().cmp(&example.len()) {
            Ordering::Less if like_mobile => Self::too_short(country),
            Ordering::Greater if like_mobile => Self::too_long(country),
            _ => Self::Invalid(country),
        }
    }

    pub(super) fn too_short(country: Country) -> Self {
        mobile_digits(country).map_or(Self::Invalid(country), |digits| Self::TooShort { country, digits })
    }

    pub(super) fn too_long(country: Country) -> Self {
        mobile_digits(country).map_or(Self::Invalid(country), |digits| Self::TooLong { country, digits })
    }
}

fn mobile_digits(country: Country) -> Option<u8> {
    mobile_example(country).and_then(|example| u8::try_from(example.len()).ok())
}

/// A mobile number of the country without country code and trunk prefix, to learn the usual length from.
fn mobile_example(country: Country) -> Option<&'static str> {
    DATABASE.by_id(country.code())?.descriptors().mobile()?.example()
}
