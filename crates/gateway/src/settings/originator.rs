//! The form of a sender: a number, a short code or a name.

/// 3GPP TS 23.040 §9.1.2.5: an alphanumeric address has at most 11 characters.
const SENDER_NAME_LEN_MAX: usize = 11;
/// ITU-T E.164: at most 15 digits.
const SENDER_DIGITS_MAX: usize = 15;
/// Above this a number is taken for an international one: no country has short codes of nine digits.
pub(crate) const SHORT_CODE_DIGITS_MAX: usize = 8;

/// Returns why `sender` cannot be one.
pub(crate) fn sender_fault(sender: &str) -> Option<&'static str> {
    let digits = sender.strip_prefix('+').unwrap_or(sender);
    if sender.is_empty() {
        Some("is empty")
    } else if digits.bytes().all(|b| b.is_ascii_digit()) {
        (digits.is_empty() || digits.len() > SENDER_DIGITS_MAX).then_some("a number has 1 to 15 digits")
    } else if !sender.bytes().all(|b| b.is_ascii_alphanumeric() || b == b' ') {
        Some("a name has only ASCII letters, digits and spaces")
    } else {
        (sender.len() > SENDER_NAME_LEN_MAX).then_some("a name has at most 11 characters")
    }
}
