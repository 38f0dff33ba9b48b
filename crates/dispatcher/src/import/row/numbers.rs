//! What a spreadsheet does to numbers, and to ids that look like numbers.

/// The answer to a number of which a spreadsheet shows the first digits alone.
pub const CUT: &str =
    "was cut by the spreadsheet, and its digits are lost: give the column the format Text and enter it again";

/// `1,36E+05`: only a spreadsheet writes the sign, so that `1E5` may be an id.
#[must_use]
pub fn is_exponent(text: &str) -> bool {
    let Some((mantissa, exponent)) = text.split_once(['E', 'e']) else { return false };
    let is_number = |text: &str| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b','))
    };
    let signed = exponent.strip_prefix(['+', '-']);
    let has_decimals = mantissa.contains(['.', ',']);
    is_number(mantissa.strip_prefix(['+', '-']).unwrap_or(mantissa))
        && is_number(signed.unwrap_or(exponent))
        && (signed.is_some() || has_decimals)
}

/// `12,0` and `12.00` as `12`.
#[must_use]
pub fn without_decimals(text: &str) -> &str {
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.split_once(['.', ',']) {
        Some((whole, zeros)) if is_digits(whole) && is_digits(zeros) && zeros.bytes().all(|b| b == b'0') => {
            whole
        }
        _ => text,
    }
}
