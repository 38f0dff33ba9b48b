//! A number as it may be shown: `+316•••••78`, enough to recognise one's own and too little to call.

use std::fmt;

/// Stands for whatever is hidden: always five, so that the length stays hidden too.
const HIDDEN: &str = "•••••";

/// The fewest digits that have to stay hidden for the others to be shown.
const HIDDEN_MIN: usize = 4;

/// The country codes of two digits (ITU-T E.164); 1 and 7 stand alone, and all others have three.
const TWO_DIGIT_CODES: &[&str] = &[
    "20", "27", "30", "31", "32", "33", "34", "36", "39", "40", "41", "43", "44", "45", "46", "47", "48",
    "49", "51", "52", "53", "54", "55", "56", "57", "58", "60", "61", "62", "63", "64", "65", "66", "81",
    "82", "84", "86", "90", "91", "92", "93", "94", "95", "98",
];

/// Writes country code, first digit and last two digits of `digits`; of a number too short for that, or of anything but
/// digits, nothing is shown.
pub(super) fn write(f: &mut fmt::Formatter<'_>, digits: &str) -> fmt::Result {
    let head = country_code_len(digits) + 1;
    let shown = head + 2;
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) || digits.len() < shown + HIDDEN_MIN {
        return write!(f, "+{HIDDEN}");
    }
    write!(f, "+{}{HIDDEN}{}", &digits[..head], &digits[digits.len() - 2..])
}

fn country_code_len(digits: &str) -> usize {
    if digits.starts_with(['1', '7']) {
        1
    } else if TWO_DIGIT_CODES.iter().any(|code| digits.starts_with(code)) {
        2
    } else {
        3
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use crate::phone::PhoneNumber;

    #[rstest]
    #[case::dutch("+31612345678", "+316•••••78")]
    #[case::north_american("+12015550123", "+12•••••23")]
    #[case::portuguese("+351912345678", "+3519•••••78")]
    #[case::machine("+3197012345678", "+319•••••78")]
    #[case::short("+316123", "+•••••")]
    #[case::shortest_shown("+316123456", "+316•••••56")]
    #[case::not_a_number("+Jan de Vries • Utrecht", "+•••••")]
    #[case::empty("", "+•••••")]
    fn a_shown_number_is_masked(#[case] e164: &str, #[case] shown: &str) {
        let number = PhoneNumber::from_sealed(e164.to_owned());
        assert_eq!(number.to_string(), shown);
        assert_eq!(format!("{number:?}"), shown);
        assert_eq!(format!("{:?}", Some(number)), format!("Some({shown})"));
    }
}
