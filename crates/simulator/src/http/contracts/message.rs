//! A message as a contract reads it: its numbers, its parts, why it is refused, and how far it is.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// One message to one number.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub from: Arc<str>,
    /// Digits only; as it came where it is no number.
    pub to: Box<str>,
    /// As it came.
    pub to_written: Box<str>,
    pub text: Arc<str>,
    pub reference: Option<Box<str>>,
    /// The URL for its receipts, if the request named one.
    pub receipt_url: Option<Arc<str>>,
    /// The stages that are reported, as bits of [`Stage::bit`].
    pub reported: u8,
    pub validity: Option<Duration>,
    /// Why it cannot be sent, whatever fate says.
    pub refused: Option<Refusal>,
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message").field("refused", &self.refused).finish_non_exhaustive()
    }
}

impl Message {
    /// A message whose receipts are all wanted. It is refused where `to` is no number in international form.
    pub(crate) fn new(from: &str, to: &str, text: &str) -> Self {
        let number = international(to);
        Self {
            from: from.into(),
            to: number.unwrap_or(to).into(),
            to_written: to.into(),
            text: text.into(),
            reference: None,
            receipt_url: None,
            reported: 0xFF,
            validity: None,
            refused: if number.is_some() { None } else { Some(Refusal::Number) },
        }
    }

    /// Short messages that it takes (3GPP TS 23.038, TS 23.040): 160 septets or 140 octets in one, 153 or 134 in each of
    /// several.
    pub(crate) fn parts(&self) -> u8 {
        let (octets, data_coding) = crate::text::encode(&self.text);
        let (one, each) = if data_coding == 0 { (160, 153) } else { (140, 134) };
        let parts = if octets.len() <= one { 1 } else { octets.len().div_ceil(each) };
        u8::try_from(parts).unwrap_or(u8::MAX)
    }
}

/// The digits of a number in international form: `+31…`, `0031…` or `31…`, 7 to 15 of them (ITU-T E.164).
pub(crate) fn international(number: &str) -> Option<&str> {
    let digits = number.strip_prefix('+').or_else(|| number.strip_prefix("00")).unwrap_or(number);
    let formed = (7..=15).contains(&digits.len()) && digits.bytes().all(|digit| digit.is_ascii_digit());
    (formed && !digits.starts_with('0')).then_some(digits)
}

/// Whether a sender is up to 11 letters, digits and spaces, or a number of up to 16 digits.
pub(crate) fn is_originator(from: &str) -> bool {
    let digits = from.strip_prefix('+').unwrap_or(from);
    let number = digits.len() <= 16 && digits.bytes().all(|byte| byte.is_ascii_digit());
    let word = from.len() <= 11 && from.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b' ');
    !from.is_empty() && (number || word)
}

/// Why a message is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Throttled {
        retry_after_s: Option<u32>,
    },
    Internal,
    Balance,
    /// The number is none, or cannot be reached.
    Number,
    /// The number is on the provider's STOP list.
    Blocked,
    Sender,
    Text,
    Duplicate,
    Flooding,
}

/// How far a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Sent,
    Delivered,
    Undelivered,
    Expired,
    Rejected,
    Blocked,
    /// A status that the contract does not have.
    Unknown,
}

impl Stage {
    /// Kannel's `dlr-mask`.
    pub(crate) const fn bit(self) -> u8 {
        match self {
            Self::Delivered => 1,
            Self::Undelivered | Self::Expired | Self::Unknown => 2,
            Self::Sent => 8,
            Self::Rejected | Self::Blocked => 16,
        }
    }

    /// Its row in a table of the contract.
    pub(crate) fn row<T: Copy>(self, table: &[(Self, T)]) -> Option<T> {
        table.iter().find(|(stage, _)| *stage == self).map(|(_, row)| *row)
    }

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Undelivered => "undelivered",
            Self::Expired => "expired",
            Self::Rejected => "rejected",
            Self::Blocked => "blocked",
            Self::Unknown => "unknown",
        }
    }
}

/// A message that was taken.
pub(crate) struct Sms {
    pub id: String,
    pub message: Message,
    pub created_ms: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_originators() {
        for written in ["+31612345678", "0031612345678", "31612345678"] {
            assert_eq!(international(written), Some("31612345678"));
        }
        for wrong in ["", "0612345678", "+3161234567890123", "3161", "31a12345678"] {
            assert_eq!(international(wrong), None, "{wrong}");
        }
        assert!(is_originator("Burgernet") && is_originator("3669") && is_originator("+31612345678"));
        assert!(!is_originator("") && !is_originator("Burgernet 112") && !is_originator("Bürger"));
    }

    #[test]
    fn parts_are_those_of_the_air_interface() {
        let parts = |text: &str| Message::new("1000", "31612345678", text).parts();
        assert_eq!((parts(&"a".repeat(160)), parts(&"a".repeat(161)), parts(&"a".repeat(307))), (1, 2, 3));
        assert_eq!((parts(&"ж".repeat(70)), parts(&"ж".repeat(71))), (1, 2));
    }
}
