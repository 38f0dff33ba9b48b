//! Phone numbers: E.164 mobile numbers of one country, masked wherever they are shown.

mod country;
mod error;
mod mask;
mod spreadsheet;

use std::borrow::Cow;
use std::fmt;

use phonenumber::metadata::DATABASE;
use phonenumber::{Metadata, ParseError, Type};

pub use self::country::{Country, CountryError};
pub use self::error::PhoneError;
use crate::text::invisible::is_invisible;

/// A mobile number in E.164. `Debug` and `Display` mask it; only [`PhoneNumber::expose`] returns the digits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PhoneNumber(String);

impl PhoneNumber {
    /// Reads a number as people write it (`06-12345678`, `0031 6 …`, `+31 (0)6 …`, `31 6 …`), and a whole number that a
    /// spreadsheet gave decimals (`31612345678.0`).
    ///
    /// # Errors
    /// Returns [`PhoneError`] if the text is no mobile number of `country`.
    pub fn parse(text: &str, country: Country) -> Result<Self, PhoneError> {
        match spreadsheet::restored(text)? {
            Cow::Borrowed(text) => Self::parse_dialled(text, country),
            // Whether the spreadsheet changed more than its decimals, its digits tell.
            Cow::Owned(whole) => Self::parse_dialled(&whole, country).map_err(|error| match error {
                PhoneError::TooShort { .. } | PhoneError::TooLong { .. } | PhoneError::Invalid(_) => {
                    PhoneError::Decimal
                }
                other => other,
            }),
        }
    }

    fn parse_dialled(text: &str, country: Country) -> Result<Self, PhoneError> {
        let dialled = dialled(text).ok_or(PhoneError::NotANumber)?;
        let number = read(&dialled, country).map_err(|error| match error {
            ParseError::InvalidCountryCode => PhoneError::UnknownCountryCode,
            ParseError::TooShortAfterIdd | ParseError::TooShortNsn => PhoneError::too_short(country),
            ParseError::TooLong => PhoneError::too_long(country),
            ParseError::NoNumber | ParseError::MalformedInteger(_) => PhoneError::NotANumber,
        })?;
        let Some(home) = DATABASE.by_id(country.code()) else {
            return Err(PhoneError::Invalid(country));
        };
        if number.code().value() != home.country_code() {
            return Err(PhoneError::OtherCountry(country));
        }
        let national = national(&number);
        match region(&number) {
            Some(region) if region.id() != home.id() => Err(PhoneError::OtherCountry(country)),
            Some(region) => check_type(type_of(region, &number, &national), &national, country),
            None => Err(PhoneError::misdialled(&national, country)),
        }?;
        Ok(Self(e164(&number, &national)))
    }

    /// Reads the sender of an inbound SMS as providers write it (`31612345678`, `+31…`, `0031…`, `06…`), of any kind and
    /// country; `None` for a name, a short code or rubbish.
    #[must_use]
    pub fn parse_sender(text: &str, country: Country) -> Option<Self> {
        let text = spreadsheet::restored(text).ok()?;
        let mut dialled = dialled(&text)?;
        // Providers leave the plus sign out; only a number written nationally begins with 0.
        if !dialled.starts_with(['+', '0']) {
            dialled.insert(0, '+');
        }
        // Why the library cannot read it does not matter here: what is no number is a name or a short code.
        let number = read(&dialled, country).ok()?;
        let national = national(&number);
        let known = type_of(region(&number)?, &number, &national) != Type::Unknown;
        known.then(|| Self(e164(&number, &national)))
    }

    /// The number in E.164 with its plus sign. The only way to the digits: for the wire and the seal.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The digits of E.164 without the plus sign.
    #[must_use]
    pub fn expose_digits(&self) -> &str {
        self.0.trim_start_matches('+')
    }

    /// The country whose number it is, by its code and, if several share one (+1, +44), by its digits; `None` if that
    /// cannot be told.
    #[must_use]
    pub fn country(&self) -> Option<Country> {
        let number = read(&self.0, Country::NL).ok()?;
        region(&number)?.id().parse().ok()
    }

    /// A number that was parsed before and comes back from its seal.
    #[must_use]
    pub fn from_sealed(e164: String) -> Self {
        Self(e164)
    }
}

/// Shows `+316•••••78`.
impl fmt::Debug for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Shows `+316•••••78`.
impl fmt::Display for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        mask::write(f, self.expose_digits())
    }
}

/// The longest text that is looked at: E.164 has 15 digits, and people put much between them.
const TEXT_CHARS_MAX: usize = 40;

/// The digits that would be dialled, after a plus sign if a country code comes first. `None` for a text with anything but
/// ASCII digits and what people put between them; digits of other scripts are more often a trick than a number.
fn dialled(text: &str) -> Option<String> {
    let text = text.trim();
    if text.chars().nth(TEXT_CHARS_MAX).is_some() {
        return None;
    }
    let mut dialled = String::with_capacity(TEXT_CHARS_MAX);
    for ch in text.chars() {
        match ch {
            '0'..='9' => dialled.push(ch),
            '+' if dialled.is_empty() => dialled.push(ch),
            '-' | '.' | '/' | '(' | ')' | '\u{2010}'..='\u{2015}' => {}
            // Address books put marks of direction around a number.
            _ if ch.is_whitespace() || is_invisible(ch) => {}
            _ => return None,
        }
    }
    if let Some(international) = dialled.strip_prefix("00") {
        dialled = format!("+{international}");
    }
    dialled.contains(|ch: char| ch.is_ascii_digit()).then_some(dialled)
}

/// The one call of the parser. The parser applies the trunk prefix of its country to foreign numbers as well, so it gets
/// no country if the number names its own.
fn read(dialled: &str, country: Country) -> Result<phonenumber::PhoneNumber, ParseError> {
    let default = (!dialled.starts_with('+')).then_some(country.0);
    phonenumber::parse(default, dialled)
}

/// The national significant number, with the zeros that it begins with (Italy, Ivory Coast).
fn national(number: &phonenumber::PhoneNumber) -> String {
    let national = number.national();
    let zeros = usize::from(national.zeros());
    format!("{}{}", "0".repeat(zeros), national.value())
}

fn e164(number: &phonenumber::PhoneNumber, national: &str) -> String {
    format!("+{}{national}", number.code().value())
}

/// The region that a number belongs to among the regions that share its country code (+1, +44). It is the first of them if
/// the library, which leaves leading zeros out of account, finds none for a number that has some (Italy and the Vatican).
fn region(number: &phonenumber::PhoneNumber) -> Option<&'static Metadata> {
    number.metadata(&DATABASE).or_else(|| {
        let has_zeros = number.national().zeros() > 0;
        let sharing = DATABASE.by_code(&number.code().value()).filter(|_| has_zeros)?;
        sharing.into_iter().next()
    })
}

/// The kind of number. The library leaves leading zeros out of account, and so would take `+31 000 6 …` for a
/// mobile number; if there are any, the number itself has to match.
fn type_of(region: &Metadata, number: &phonenumber::PhoneNumber, national: &str) -> Type {
    let descriptors = region.descriptors();
    if number.national().zeros() == 0 {
        number.number_type(&DATABASE)
    } else if descriptors.mobile().is_some_and(|mobile| mobile.is_match(national)) {
        Type::Mobile
    } else if descriptors.fixed_line().is_some_and(|fixed| fixed.is_match(national)) {
        Type::FixedLine
    } else {
        Type::Unknown
    }
}

fn check_type(kind: Type, national: &str, country: Country) -> Result<(), PhoneError> {
    match kind {
        // The library does not tell machine numbers from phones.
        Type::Mobile if country == Country::NL && national.starts_with("97") => Err(PhoneError::Machine),
        // In North America the number does not tell the two apart.
        Type::Mobile | Type::FixedLineOrMobile => Ok(()),
        Type::TollFree => Err(PhoneError::TollFree),
        Type::PremiumRate => Err(PhoneError::PremiumRate),
        Type::FixedLine => Err(PhoneError::FixedLine),
        Type::Unknown => Err(PhoneError::misdialled(national, country)),
        _ => Err(PhoneError::OtherType),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    /// A country by its code.
    fn country(code: &str) -> Country {
        code.parse().expect("a known country")
    }

    #[rstest]
    #[case("06-12345678")]
    #[case("06 1234 5678")]
    #[case("0612345678")]
    #[case("(06) 12.34.56.78")]
    #[case("0031612345678")]
    #[case("00 31 6 12345678")]
    #[case("0031 (0)6 12345678")]
    #[case("+31 6 12345678")]
    #[case("+31 (0)6 12345678")]
    #[case("+31612345678")]
    #[case("31612345678")]
    #[case("31 (0)6 12345678")]
    #[case::spreadsheets_eat_the_zero("612345678")]
    #[case::no_break_spaces("\u{a0}06\u{a0}12345678\u{a0}")]
    #[case::joiners_and_selectors("06\u{34f}12\u{fe0f}34\u{180e}56\u{e0020}78\u{3164}")]
    #[case::marks_of_direction("\u{202a}+31\u{a0}6\u{2011}12345678\u{202c}")]
    fn what_people_write_is_one_number(#[case] text: &str) {
        let number = PhoneNumber::parse(text, Country::NL).expect("a Dutch mobile number");
        assert_eq!(number.expose(), "+31612345678");
        assert_eq!(number.expose_digits(), "31612345678");
    }

    #[rstest]
    #[case::toll_free("0800-0011", PhoneError::TollFree)]
    #[case::premium("0900-8844", PhoneError::PremiumRate)]
    #[case::fixed("030-2345678", PhoneError::FixedLine)]
    #[case::fixed_international("+31 20 123 4567", PhoneError::FixedLine)]
    #[case::company("088-1234567", PhoneError::OtherType)]
    #[case::pager("066-1234567", PhoneError::OtherType)]
    #[case::machine("097012345678", PhoneError::Machine)]
    #[case::machine_international("+31 970 12345678", PhoneError::Machine)]
    #[case::belgian("+32 470 12 34 56", PhoneError::OtherCountry(Country::NL))]
    #[case::belgian_00("0032470123456", PhoneError::OtherCountry(Country::NL))]
    #[case::one_short("061234567", PhoneError::TooShort { country: Country::NL, digits: 9 })]
    #[case::one_short_international("+31 6 1234567", PhoneError::TooShort { country: Country::NL, digits: 9 })]
    #[case::one_long("06123456789", PhoneError::TooLong { country: Country::NL, digits: 9 })]
    #[case::one_long_international("+316123456789", PhoneError::TooLong { country: Country::NL, digits: 9 })]
    #[case::two_numbers("0612345678/0687654321", PhoneError::TooLong { country: Country::NL, digits: 9 })]
    #[case::one_digit("6", PhoneError::NotANumber)]
    #[case::two_digits("06", PhoneError::TooShort { country: Country::NL, digits: 9 })]
    #[case::zeros_before("+31 000 6 12345678", PhoneError::Invalid(Country::NL))]
    #[case::three_zeros("000612345678", PhoneError::UnknownCountryCode)]
    #[case::no_such_country("+999 12345678", PhoneError::UnknownCountryCode)]
    #[case::emergency("112", PhoneError::Invalid(Country::NL))]
    #[case::empty("", PhoneError::NotANumber)]
    #[case::blank(" \n", PhoneError::NotANumber)]
    #[case::plus_alone("+", PhoneError::NotANumber)]
    #[case::plus_inside("06+12345678", PhoneError::NotANumber)]
    #[case::two_plus("++31612345678", PhoneError::NotANumber)]
    #[case::letters("06-BURGERNET", PhoneError::NotANumber)]
    #[case::extension("0612345678 ext 12", PhoneError::NotANumber)]
    #[case::uri("tel:+31612345678;phone-context=+31", PhoneError::NotANumber)]
    #[case::arabic_indic("٠٦١٢٣٤٥٦٧٨", PhoneError::NotANumber)]
    #[case::full_width("０６１２３４５６７８", PhoneError::NotANumber)]
    #[case::mathematical("𝟎𝟔𝟏𝟐𝟑𝟒𝟓𝟔𝟕𝟖", PhoneError::NotANumber)]
    #[case::very_long(&"1".repeat(100_000), PhoneError::NotANumber)]
    #[case::decimal_of_a_short_number("61234567.0", PhoneError::Decimal)]
    #[case::exponent("3,16E+10", PhoneError::Exponent)]
    #[case::mostly_spaces(&format!("06{}12345678", " ".repeat(40)), PhoneError::NotANumber)]
    fn what_gets_no_sms_says_why(#[case] text: &str, #[case] error: PhoneError) {
        assert_eq!(PhoneNumber::parse(text, Country::NL), Err(error));
    }

    #[rstest]
    #[case::belgium("0470 12 34 56", country("BE"), "+32470123456")]
    #[case::united_kingdom("07400 123456", country("GB"), "+447400123456")]
    #[case::north_america("(201) 555-0123", country("US"), "+12015550123")]
    #[case::leading_zero_is_kept("+225 01 23 45 6789", country("CI"), "+2250123456789")]
    fn other_countries_can_be_home(#[case] text: &str, #[case] country: Country, #[case] e164: &str) {
        assert_eq!(PhoneNumber::parse(text, country).map(|number| number.0), Ok(e164.to_owned()));
    }

    #[test]
    fn a_shared_country_code_is_not_a_shared_country() {
        // +44 7781 is Guernsey.
        let error = PhoneNumber::parse("+44 7781 123456", country("GB"));
        assert_eq!(error, Err(PhoneError::OtherCountry(country("GB"))));
        assert_eq!(PhoneNumber::parse("06-12345678", country("BE")), Err(PhoneError::Invalid(country("BE"))));
    }

    #[rstest]
    #[case("31612345678", Some("+31612345678"))]
    #[case("+31612345678", Some("+31612345678"))]
    #[case("0031612345678", Some("+31612345678"))]
    #[case("0612345678", Some("+31612345678"))]
    #[case::belgian("32470123456", Some("+32470123456"))]
    #[case::italian_fixed("+39 02 12345678", Some("+390212345678"))]
    #[case::leading_zero("2250123456789", Some("+2250123456789"))]
    #[case::fixed("31302345678", Some("+31302345678"))]
    #[case::machine("3197012345678", Some("+3197012345678"))]
    #[case::name("KLAROEN", None)]
    #[case::name_with_digits("Bank24", None)]
    #[case::short_code("4422", None)]
    #[case::long_short_code("140042", None)]
    #[case::one_short("3161234567", None)]
    #[case::empty("", None)]
    #[case::zeros("0000000000", None)]
    #[case::very_long(&"3".repeat(500), None)]
    fn senders_are_read_as_providers_write_them(#[case] text: &str, #[case] expected: Option<&str>) {
        let number = PhoneNumber::parse_sender(text, Country::NL);
        assert_eq!(number.as_ref().map(PhoneNumber::expose), expected);
    }

    #[rstest]
    #[case("+31612345678", Some("NL"))]
    #[case("+32470123456", Some("BE"))]
    #[case("+447400123456", Some("GB"))]
    #[case::guernsey("+447781123456", Some("GG"))]
    #[case("+12015550123", Some("US"))]
    #[case::no_such_code("+999123456", None)]
    fn a_number_tells_its_country(#[case] e164: &str, #[case] expected: Option<&str>) {
        let country = PhoneNumber::from_sealed(e164.into()).country();
        assert_eq!(country.as_ref().map(Country::code), expected);
    }

    #[test]
    fn every_country_that_can_be_had_can_be_used() {
        for (a, b) in (b'A'..=b'Z').flat_map(|a| (b'A'..=b'Z').map(move |b| (a, b))) {
            if let Ok(country) = String::from_iter([char::from(a), char::from(b)]).parse::<Country>() {
                assert!(PhoneNumber::parse("1", country).is_err(), "{country}");
                assert!(PhoneNumber::parse("+999", country).is_err(), "{country}");
            }
        }
    }

    proptest! {
        #[test]
        fn no_error_and_no_mask_shows_the_digits(text in "(0|\\+31|0031|\\+32|0800|0900|097)[0-9]{5,12}") {
            let digits: String = text.chars().filter(char::is_ascii_digit).collect();
            let tail = &digits[digits.len() - 4..];
            match PhoneNumber::parse(&text, Country::NL) {
                Ok(number) => {
                    let shown = format!("{number} {number:?}");
                    prop_assert!(!shown.contains(tail), "{}", shown);
                    prop_assert_eq!(PhoneNumber::parse(number.expose(), Country::NL), Ok(number.clone()));
                    prop_assert_eq!(PhoneNumber::parse_sender(number.expose_digits(), Country::NL), Some(number));
                }
                Err(error) => {
                    let shown = format!("{error} {error:?}");
                    prop_assert!(!shown.contains(tail), "{}", shown);
                }
            }
        }

        #[test]
        fn any_text_is_read(text in any::<String>(), dialled in "[+0-9 ()./\u{202a}-]{0,45}") {
            for text in [text, dialled] {
                if let Ok(number) = PhoneNumber::parse(&text, Country::NL) {
                    prop_assert!(number.expose().starts_with("+316"), "{:?}", number);
                    prop_assert_eq!(number.expose().len(), 12);
                }
                if let Some(number) = PhoneNumber::parse_sender(&text, Country::NL) {
                    prop_assert!((8..=16).contains(&number.expose().len()), "{:?}", number);
                }
            }
        }
    }
}
