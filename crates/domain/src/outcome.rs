//! Every way in which handing one message to a provider can end.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The provider's id of a message, in the one canonical form that its submit answer and its
/// receipts share (adapters canonicalise both sides).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProviderId(pub String);

impl ProviderId {
    /// The longest id that is kept, in characters: the contracts know up to 128.
    const LENGTH_MAX: usize = 200;

    /// The id as it is kept, with [`storable`] applied. Answers and receipts both pass here, so they still agree.
    #[must_use]
    pub fn kept(self) -> Self {
        Self(storable(self.0, Self::LENGTH_MAX))
    }
}

/// A provider's text as every database takes it: without control characters (PostgreSQL refuses U+0000) and not longer than
/// `most` characters. One odd text must not cost the whole batch that it came with.
#[must_use]
pub fn storable(text: String, most: usize) -> String {
    if text.len() <= most && !text.contains(char::is_control) {
        return text;
    }
    text.chars().filter(|ch| !ch.is_control()).take(most).collect()
}

/// The outcome of one submit. There is no bare error: each case says what is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubmitOutcome {
    /// The provider took it: one id per part, in order.
    Accepted {
        /// One per part that the provider names; a provider that splits for us returns one.
        provider_ids: Vec<ProviderId>,
        /// Segments that were sent.
        segments: u8,
    },
    /// The provider says that it did not take it, and to come back later.
    Throttled {
        /// The provider's own wish, if it has one.
        retry_after: Option<Duration>,
    },
    /// Certainly not taken: refused connection, DNS, TLS, a contract "try later".
    NotTaken(Failure),
    /// An answer, and it is no.
    Rejected(Failure),
    /// It may have been taken: time-out after the write, reset, unreadable answer.
    Unknown(Failure),
}

impl SubmitOutcome {
    /// The outcome as it is kept: ids and failures with [`storable`] applied.
    #[must_use]
    pub fn kept(self) -> Self {
        match self {
            Self::Accepted { provider_ids, segments } => {
                let provider_ids = provider_ids.into_iter().map(ProviderId::kept).collect();
                Self::Accepted { provider_ids, segments }
            }
            Self::Throttled { retry_after } => Self::Throttled { retry_after },
            Self::NotTaken(failure) => Self::NotTaken(failure.kept()),
            Self::Rejected(failure) => Self::Rejected(failure.kept()),
            Self::Unknown(failure) => Self::Unknown(failure.kept()),
        }
    }
}

/// Why something failed, in a form that is safe to log: no number, no text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The extent of the failure.
    pub scope: Scope,
    /// The provider's code or a short word of ours, such as `0x0000000B` or `timeout`.
    pub code: String,
    /// A short explanation for the operator.
    pub detail: String,
}

impl Failure {
    /// The longest code that is kept, in characters.
    pub const CODE_LENGTH_MAX: usize = 64;
    /// The longest explanation that is kept, in characters.
    const DETAIL_LENGTH_MAX: usize = 500;

    /// The code of every failure whose cause is that the recipient stopped messages at the provider: such a provider refuses
    /// all that comes later, so the stop is to be kept on our side, too. Receipts carry it as their error.
    pub const OPTED_OUT: &'static str = "opted_out";

    /// Whether the recipient stopped messages at the provider.
    #[must_use]
    pub fn is_opt_out(&self) -> bool {
        self.scope == Scope::Recipient && self.code == Self::OPTED_OUT
    }

    /// The failure as it is kept, with [`storable`] applied.
    #[must_use]
    pub fn kept(self) -> Self {
        Self {
            scope: self.scope,
            code: storable(self.code, Self::CODE_LENGTH_MAX),
            detail: storable(self.detail, Self::DETAIL_LENGTH_MAX),
        }
    }
}

/// The extent of a failure: one recipient, one message, or the whole gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// This number cannot be reached: only this delivery fails.
    Recipient,
    /// The text or sender is refused for every recipient.
    Message,
    /// No message gets through this gateway: bad password, no credit, blocked sender.
    Gateway,
}

/// The status that a receipt reports of a message, independent of the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReceiptStatus {
    /// Under way: accepted, enroute, buffered.
    Underway,
    /// On the handset.
    Delivered,
    /// Final and not delivered: undeliverable, expired, deleted, rejected.
    Undelivered,
    /// Final or not, the provider does not know; changes nothing.
    Unknown,
}

impl ReceiptStatus {
    /// The name as it stands in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Underway => "underway",
            Self::Delivered => "delivered",
            Self::Undelivered => "undelivered",
            Self::Unknown => "unknown",
        }
    }
}

/// The text names no receipt status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a receipt status")]
pub struct UnknownReceiptStatus;

impl std::str::FromStr for ReceiptStatus {
    type Err = UnknownReceiptStatus;
    fn from_str(s: &str) -> Result<Self, UnknownReceiptStatus> {
        [Self::Underway, Self::Delivered, Self::Undelivered, Self::Unknown]
            .into_iter()
            .find(|x| x.as_str() == s)
            .ok_or(UnknownReceiptStatus)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_a_provider_loses_what_no_database_takes_and_nothing_else() {
        assert_eq!(storable("0x0B \u{e9}\u{1F6D1}".into(), 9), "0x0B \u{e9}\u{1F6D1}");
        assert_eq!(storable("a\0b\n\u{9f}c".into(), 9), "abc");
        assert_eq!(storable("\u{1F6D1}".repeat(9), 4), "\u{1F6D1}".repeat(4));
    }

    #[test]
    fn every_text_of_an_outcome_is_kept_so() {
        let long = format!("x\0{}", "y".repeat(60_000));
        let failure = Failure { scope: Scope::Gateway, code: long.clone(), detail: long.clone() };
        let is_kept = |failure: &Failure| {
            !failure.code.contains('\0')
                && failure.code.len() == Failure::CODE_LENGTH_MAX
                && !failure.detail.contains('\0')
                && failure.detail.len() < 1_000
        };
        for outcome in [SubmitOutcome::NotTaken, SubmitOutcome::Rejected, SubmitOutcome::Unknown] {
            let (SubmitOutcome::NotTaken(kept)
            | SubmitOutcome::Rejected(kept)
            | SubmitOutcome::Unknown(kept)) = outcome(failure.clone()).kept()
            else {
                panic!("it stays what it is")
            };
            assert!(is_kept(&kept), "{kept:?}");
        }
        let taken = SubmitOutcome::Accepted { provider_ids: vec![ProviderId(long)], segments: 2 };
        let SubmitOutcome::Accepted { provider_ids, segments: 2 } = taken.kept() else { panic!() };
        assert!(!provider_ids[0].0.contains('\0') && provider_ids[0].0.len() <= 200);
    }
}
