//! One canonical form for the two ways in which a provider writes a message id: in `submit_sm_resp` and in receipts.
//!
//! Providers write hexadecimal in one and decimal in the other, pad with zeros on one side, change case, and use ids
//! above 64 bits. So numbers are converted as text, of any length, and both sides are treated alike: what is stripped on
//! one side only never matches.

use klaroen_domain::outcome::ProviderId;

use crate::smpp::config::MessageIdFormat;

/// SMPP 3.4 §5.2.23: 64 characters and a terminator; a longer id is literal, so that conversion stays cheap.
const ID_LEN_MAX: usize = 64;

/// The id of a `submit_sm_resp`; `None` if it is empty.
pub(crate) fn of_submit(raw: &str, format: MessageIdFormat) -> Option<ProviderId> {
    canonical(raw, format == MessageIdFormat::HexDecimal, format)
}

/// The id of a receipt; `None` if it is empty.
pub(crate) fn of_receipt(raw: &str, format: MessageIdFormat) -> Option<ProviderId> {
    canonical(raw, format == MessageIdFormat::DecimalHex, format)
}

fn canonical(raw: &str, written_in_hex: bool, format: MessageIdFormat) -> Option<ProviderId> {
    let id = raw.trim_matches(|c: char| c.is_whitespace() || c.is_control()).to_ascii_lowercase();
    if id.is_empty() {
        return None;
    }
    let is_hex = id.len() <= ID_LEN_MAX && id.bytes().all(|b| b.is_ascii_hexdigit());
    let has_letters = id.bytes().any(|b| b.is_ascii_alphabetic());
    // Some providers send the TLV of a receipt in hexadecimal and its text in decimal: letters tell.
    let convert = format != MessageIdFormat::Literal && is_hex && (written_in_hex || has_letters);
    let id = if convert { decimal_of_hex(&id) } else { id };
    let stripped = id.trim_start_matches('0');
    Some(ProviderId(if stripped.is_empty() { "0".to_owned() } else { stripped.to_owned() }))
}

/// Decimal digits of a hexadecimal number of any length: schoolbook, least digit first.
fn decimal_of_hex(hex: &str) -> String {
    let mut digits: Vec<u32> = vec![0];
    for nibble in hex.chars().filter_map(|c| c.to_digit(16)) {
        let mut carry = nibble;
        for digit in &mut digits {
            let value = *digit * 16 + carry;
            *digit = value % 10;
            carry = value / 10;
        }
        while carry > 0 {
            digits.push(carry % 10);
            carry /= 10;
        }
    }
    digits.iter().rev().filter_map(|d| char::from_digit(*d, 10)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;
    use MessageIdFormat::{DecimalHex, HexDecimal, Literal};

    #[rstest]
    #[case::same(Literal, "1042", "1042")]
    #[case::case_differs(Literal, "7C9E6679-BD01", "7c9e6679-bd01")]
    #[case::zeros_on_one_side(Literal, "0e99a1", "e99a1")]
    #[case::blanks_and_terminators(Literal, "abc", " ABC\0")]
    #[case::hex_then_decimal(HexDecimal, "39F99DD5", "0972660181")]
    #[case::hex_without_letters_is_still_hex(HexDecimal, "10", "16")]
    #[case::above_i64(HexDecimal, "812FC7470000001B", "9308878062554710043")]
    #[case::above_u64(HexDecimal, "1FFFFFFFFFFFFFFFF", "36893488147419103231")]
    #[case::padded_hex(HexDecimal, "00000000000000ff", "255")]
    #[case::receipt_tlv_in_hex_after_all(HexDecimal, "39F99DD5", "39f99dd5")]
    #[case::decimal_then_hex(DecimalHex, "255", "FF")]
    #[case::decimal_then_hex_of_digits(DecimalHex, "16", "10")]
    #[case::not_a_number_stays_itself(HexDecimal, "X-17", "x-17")]
    fn both_sides_meet(#[case] format: MessageIdFormat, #[case] submit: &str, #[case] receipt: &str) {
        assert_eq!(of_submit(submit, format), of_receipt(receipt, format));
        assert!(of_submit(submit, format).is_some());
    }

    #[rstest]
    #[case(Literal, "10", "16")]
    #[case(Literal, "1042", "10420")]
    #[case(HexDecimal, "10", "10")]
    #[case(DecimalHex, "10", "10")]
    fn different_ids_stay_apart(
        #[case] format: MessageIdFormat,
        #[case] submit: &str,
        #[case] receipt: &str,
    ) {
        assert_ne!(of_submit(submit, format), of_receipt(receipt, format));
    }

    #[test]
    fn an_empty_id_is_none_and_zero_is_not_empty() {
        assert_eq!(of_submit(" \0", Literal), None);
        assert_eq!(of_submit("000", Literal), Some(ProviderId("0".into())));
        assert_eq!(of_submit("000", HexDecimal), Some(ProviderId("0".into())));
    }

    proptest! {
        #[test]
        fn conversion_agrees_with_arithmetic(n: u128) {
            prop_assert_eq!(decimal_of_hex(&format!("{n:x}")), n.to_string());
        }

        #[test]
        fn no_id_panics(raw in any::<String>()) {
            for format in [Literal, HexDecimal, DecimalHex] {
                let _: (Option<_>, Option<_>) = (of_submit(&raw, format), of_receipt(&raw, format));
            }
        }
    }
}
