//! The life of a delivery: one message to one participant.
//!
//! [`advance`] is the only place that says what may follow what: a [`Life`] and a [`DeliveryEvent`] give the next life. It is
//! total and never goes back: late, repeated and reordered receipts end in the same state whatever their order.

pub mod decide;
mod lifecycle;

pub use lifecycle::{DeliveryEvent, Life, advance};

use serde::{Deserialize, Serialize};

use crate::outcome::ReceiptStatus;

/// The state of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// Waits for its turn.
    Queued,
    /// Claimed under a lease: the next byte may be on the wire.
    Sending,
    /// The provider took it.
    Sent,
    /// On the handset.
    Delivered,
    /// The network gave up.
    Undelivered,
    /// The provider or network refused this number.
    Failed,
    /// The provider may have taken it; it is not known yet, or never will be.
    Unknown,
    /// The alert was over before it left.
    Expired,
    /// An operator stopped it before it left.
    Cancelled,
    /// The participant had opted out before it left.
    Suppressed,
    /// Taken, and no receipt came in time.
    NoReceipt,
}

impl DeliveryState {
    /// Every state, in the order of the API's counts.
    pub const ALL: [Self; 11] = [
        Self::Queued,
        Self::Sending,
        Self::Sent,
        Self::Delivered,
        Self::Undelivered,
        Self::Failed,
        Self::Unknown,
        Self::Expired,
        Self::Cancelled,
        Self::Suppressed,
        Self::NoReceipt,
    ];

    /// The name as it stands in the API and the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Sending => "sending",
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Undelivered => "undelivered",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
            Self::Suppressed => "suppressed",
            Self::NoReceipt => "no_receipt",
        }
    }

    /// Whether the phone has rung, or may have: these recipients get the end message.
    ///
    /// `NoReceipt` belongs here: the provider took the message. `Undelivered` does not.
    #[must_use]
    pub const fn reached(self) -> bool {
        matches!(self, Self::Sent | Self::Delivered | Self::Unknown | Self::NoReceipt)
    }

    /// Whether the message has not left and may still leave.
    #[must_use]
    pub const fn waiting(self) -> bool {
        matches!(self, Self::Queued | Self::Sending)
    }
}

impl std::fmt::Display for DeliveryState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text names no delivery state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a delivery state")]
pub struct UnknownDeliveryState;

impl std::str::FromStr for DeliveryState {
    type Err = UnknownDeliveryState;
    fn from_str(s: &str) -> Result<Self, UnknownDeliveryState> {
        Self::ALL.into_iter().find(|x| x.as_str() == s).ok_or(UnknownDeliveryState)
    }
}

/// Joins the receipts of a message's parts: it rang only when every part is there, and it is lost when one is.
///
/// `None` stands for a part without a receipt; the result is `None` if nothing is known.
#[must_use]
pub fn merge_parts(parts: &[Option<ReceiptStatus>]) -> Option<ReceiptStatus> {
    use ReceiptStatus::{Delivered, Undelivered, Underway, Unknown};
    if !parts.is_empty() && parts.iter().all(|p| *p == Some(Delivered)) {
        Some(Delivered)
    } else if parts.contains(&Some(Undelivered)) {
        Some(Undelivered)
    } else if parts.contains(&Some(Delivered)) || parts.contains(&Some(Underway)) {
        Some(Underway)
    } else {
        parts.contains(&Some(Unknown)).then_some(Unknown)
    }
}

/// The more telling of two receipts for the same part: delivered, then undelivered, then under way.
#[must_use]
pub const fn stronger(a: ReceiptStatus, b: ReceiptStatus) -> ReceiptStatus {
    const fn rank(status: ReceiptStatus) -> u8 {
        match status {
            ReceiptStatus::Unknown => 0,
            ReceiptStatus::Underway => 1,
            ReceiptStatus::Undelivered => 2,
            ReceiptStatus::Delivered => 3,
        }
    }
    if rank(b) > rank(a) { b } else { a }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ReceiptStatus as R;

    #[test]
    fn a_long_message_rings_when_every_part_is_there() {
        let d = Some(R::Delivered);
        assert_eq!(merge_parts(&[d, d]), d);
        assert_eq!(merge_parts(&[d, None]), Some(R::Underway));
        assert_eq!(merge_parts(&[d, Some(R::Undelivered), None]), Some(R::Undelivered));
        assert_eq!(merge_parts(&[Some(R::Unknown), None]), Some(R::Unknown));
        assert_eq!(merge_parts(&[None, None]), None);
        assert_eq!(merge_parts(&[]), None);
        assert_eq!(stronger(R::Undelivered, R::Delivered), R::Delivered);
        assert_eq!(stronger(R::Delivered, R::Undelivered), R::Delivered);
    }
}
