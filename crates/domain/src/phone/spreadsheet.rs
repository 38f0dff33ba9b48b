//! Traces of a spreadsheet, which takes a phone number for an amount.
//!
//! A digit that it adds or takes away can make the number of a stranger. `61234567.0` lacks a digit; with the zero of its
//! decimals it would be complete.

use std::borrow::Cow;

use super::PhoneError;
use crate::text::invisible::is_invisible;

/// The digits before a decimal point of which a spreadsheet writes one, if it cuts a long number: `6.12345678`.
const DIGITS_OF_A_FRACTION: usize = 1;
/// The decimals of an amount. People who write points between the digits group more of them after a single point.
const DECIMALS_MAX: usize = 2;
/// Longer texts are no phone number.
const TEXT_CHARS_MAX: usize = 80;

/// The text as it was before a spreadsheet gave it decimals. All other texts come back as they are.
///
/// # Errors
/// Returns [`PhoneError::Exponent`], [`PhoneError::Negative`] or [`PhoneError::Decimal`] if the digits are not certain.
pub(super) fn restored(text: &str) -> Result<Cow<'_, str>, PhoneError> {
    if text.chars().nth(TEXT_CHARS_MAX).is_some() {
        return Err(PhoneError::NotANumber);
    }
    let plain: String = text.chars().filter(|ch| !ch.is_whitespace() && !is_invisible(*ch)).collect();
    if is_exponent(&plain) {
        return Err(PhoneError::Exponent);
    }
    if is_negative(&plain) {
        return Err(PhoneError::Negative);
    }
    let Some((before, decimals)) = plain.rsplit_once(['.', ',']) else { return Ok(Cow::Borrowed(text)) };
    let is_whole = is_digits(before.strip_prefix('+').unwrap_or(before));
    if is_whole && is_digits(decimals) && decimals.bytes().all(|digit| digit == b'0') {
        return Ok(Cow::Owned(before.to_owned()));
    }
    if is_decimal(before, decimals) { Err(PhoneError::Decimal) } else { Ok(Cow::Borrowed(text)) }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// `3,16E+10`, as a spreadsheet shows a number that is too wide for its column.
fn is_exponent(text: &str) -> bool {
    let Some((mantissa, exponent)) = text.split_once(['E', 'e']) else { return false };
    let mantissa = mantissa.trim_start_matches(['+', '-']);
    let is_mantissa = mantissa.starts_with(|ch: char| ch.is_ascii_digit())
        && mantissa.chars().all(|ch| ch.is_ascii_digit() || matches!(ch, '.' | ','));
    is_mantissa && is_digits(exponent.strip_prefix(['+', '-']).unwrap_or(exponent))
}

/// `-612345647`, `612345647-`, and `(612345647)` of the bookkeepers: a sum that a spreadsheet made of `+31-612345678`.
fn is_negative(text: &str) -> bool {
    let is_dash = |ch: char| matches!(ch, '-' | '\u{2010}'..='\u{2015}' | '\u{2212}');
    let amount = |text: &str| is_digits(&text.replace(['.', ','], ""));
    text.starts_with(is_dash)
        || text.strip_suffix(is_dash).is_some_and(amount)
        || text.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).is_some_and(amount)
}

/// Whether the digits after the last point are decimals, or may be.
fn is_decimal(before: &str, decimals: &str) -> bool {
    if !is_digits(decimals) {
        return false;
    }
    // Nobody groups digits by commas but a spreadsheet, which then writes decimals after a point; no group has one digit.
    let commas = before.contains(',') && decimals.len() <= DECIMALS_MAX;
    let single = !before.contains(['.', ',']);
    let digits = before.bytes().filter(u8::is_ascii_digit).count();
    let is_fraction = digits <= DIGITS_OF_A_FRACTION && !before.contains('+');
    commas
        || decimals.len() == 1
        || single && (decimals.len() <= DECIMALS_MAX || is_fraction)
        || single && decimals.bytes().all(|digit| digit == b'0')
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::super::{Country, PhoneNumber};
    use super::*;

    #[rstest]
    #[case("31612345678.0")]
    #[case("31612345678.00")]
    #[case("31612345678,00")]
    #[case("+31612345678.0")]
    #[case("612345678.0")]
    #[case("612345678,0")]
    #[case::with_a_zero_that_was_kept("0612345678.0")]
    #[case::blanks_around("\u{a0}612345678.0 ")]
    fn decimals_of_a_whole_number_are_no_digits(#[case] text: &str) {
        let number = PhoneNumber::parse(text, Country::NL).map(|number| number.expose().to_owned());
        assert_eq!(number.as_deref(), Ok("+31612345678"));
    }

    #[rstest]
    #[case("06.12.34.56.78")]
    #[case("06.12.34.56.78.")]
    #[case("06.12345678")]
    #[case("06.1234.5678")]
    #[case("0612.345.678")]
    #[case("(06) 12.34.56.78")]
    #[case("+31.612345678")]
    #[case("+31 6.12345678")]
    #[case("31.6.12345678")]
    #[case::thousands("612.345.678")]
    #[case::thousands_with_country("31.612.345.678")]
    #[case("06-12 34 56 78")]
    fn points_between_groups_stay_legal(#[case] text: &str) {
        let number = PhoneNumber::parse(text, Country::NL).map(|number| number.expose().to_owned());
        assert_eq!(number.as_deref(), Ok("+31612345678"));
    }

    #[rstest]
    #[case::decimal("61234567.0")]
    #[case::two_decimals("6123456.00")]
    #[case::comma("61234567,0")]
    #[case::amount("6123456.78")]
    #[case::one_decimal("61234567.8")]
    #[case::many_decimals("61234.0000")]
    #[case::after_groups("06 1234567.0")]
    #[case::after_a_dash("06-123456.00")]
    #[case::after_thousands("61.234.567.0")]
    #[case::english_thousands("6,123,456.78")]
    #[case::dutch_thousands("6.123.456,78")]
    #[case::fraction("6.12345678")]
    #[case::fraction_of_one("0.612345678")]
    #[case::fraction_without_its_zero(".612345678")]
    #[case::exponent("6.12345678E8")]
    #[case::exponent_dutch("3,16E+10")]
    #[case::exponent_whole("3E+10")]
    #[case::negative("-612345647")]
    #[case::negative_behind("612345647-")]
    #[case::negative_in_brackets("(612345647)")]
    #[case::negative_with_decimals("-612345647.0")]
    #[case::hashes("###########")]
    #[case::no_value("#N/A")]
    #[case::boolean("WAAR")]
    #[case::date_as_a_number("45678")]
    #[case::apostrophes("612'345'678")]
    fn no_sum_of_a_spreadsheet_is_a_number_of_a_stranger(#[case] text: &str) {
        assert!(PhoneNumber::parse(text, Country::NL).is_err());
        assert_eq!(PhoneNumber::parse_sender(text, Country::NL), None);
    }

    #[rstest]
    #[case("3,16E+10", PhoneError::Exponent)]
    #[case("3.1612345678e10", PhoneError::Exponent)]
    #[case("-612345647", PhoneError::Negative)]
    #[case("6123456.78", PhoneError::Decimal)]
    fn the_reason_names_the_spreadsheet(#[case] text: &str, #[case] reason: PhoneError) {
        assert_eq!(PhoneNumber::parse(text, Country::NL), Err(reason));
        assert!(reason.to_string().contains("format Text"), "{reason}");
    }
}
