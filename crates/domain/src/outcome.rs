//! Every way in which handing one message to a provider can end.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The provider's id of a message, in the one canonical form that its submit answer and its
/// receipts share (adapters canonicalise both sides).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProviderId(pub String);

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
    /// The code of every failure whose cause is that the recipient stopped messages at the provider: such a provider refuses
    /// all that comes later, so the stop is to be kept on our side, too. Receipts carry it as their error.
    pub const OPTED_OUT: &'static str = "opted_out";

    /// Whether the recipient stopped messages at the provider.
    #[must_use]
    pub fn is_opt_out(&self) -> bool {
        self.scope == Scope::Recipient && self.code == Self::OPTED_OUT
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
