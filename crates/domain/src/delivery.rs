//! The life of a delivery: one message to one participant.
//!
//! [`advance`] is the only place that says what may follow what. It is total and never goes
//! back: late, repeated and reordered receipts end in the same state whatever their order.

use serde::{Deserialize, Serialize};

use crate::outcome::ReceiptStatus;

/// Where a delivery stands.
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
    /// It may have been taken; nobody knows yet, or ever will.
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

    /// Whether the phone has rung, or may have: those who get the end message.
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

/// What can happen to a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeliveryEvent {
    /// A worker leased it for submitting.
    Claimed,
    /// The claim found that the participant has opted out.
    OptedOut,
    /// The provider took it.
    Accepted,
    /// Certainly not taken; try later.
    PutBack,
    /// Refused for this recipient, or for good.
    Rejected,
    /// The submit or its lease was lost: it may have been taken.
    Lost,
    /// The policy for lost submits says: once more.
    Resend,
    /// A receipt came.
    Receipt(ReceiptStatus),
    /// No receipt came in time.
    ReceiptOverdue,
    /// The alert is over.
    Expired,
    /// An operator stopped it.
    Cancelled,
}

/// What follows from `event` in `state`: total, and the same state where the event says
/// nothing new.
///
/// A receipt is evidence about the handset and outranks what we believed: `Delivered` is taken
/// from every state and never left. A final failure after `Delivered` is noise.
#[must_use]
#[expect(clippy::match_same_arms, reason = "each arm has its own reason, and merged ones would hide it")]
pub const fn advance(state: DeliveryState, event: DeliveryEvent) -> DeliveryState {
    use DeliveryEvent as E;
    use DeliveryState as S;
    use ReceiptStatus as R;
    match (state, event) {
        (_, E::Receipt(R::Delivered)) => S::Delivered,
        (S::Delivered, _) => S::Delivered,
        (_, E::Receipt(R::Unknown)) => state,

        // A final failure settles whatever was on its way, and a receipt proves that it was: even of what waits to be sent
        // again after its answer was lost.
        (
            S::Queued | S::Sending | S::Sent | S::Unknown | S::NoReceipt | S::Undelivered,
            E::Receipt(R::Undelivered),
        ) => S::Undelivered,
        // A sign of life proves that it was taken.
        (S::Queued | S::Sending | S::Unknown, E::Receipt(R::Underway)) => S::Sent,

        (S::Queued, E::Claimed) => S::Sending,
        (S::Queued, E::OptedOut) => S::Suppressed,
        (S::Queued, E::Expired) => S::Expired,
        (S::Queued, E::Cancelled) => S::Cancelled,

        // A late answer still settles an attempt whose lease was lost, and one that waits to be sent again.
        (S::Queued | S::Sending | S::Unknown, E::Accepted) => S::Sent,
        (S::Sending | S::Unknown, E::Rejected) => S::Failed,
        (S::Sending | S::Unknown, E::PutBack) => S::Queued,
        (S::Sending, E::Lost) => S::Unknown,
        (S::Unknown, E::Resend) => S::Queued,
        (S::Sent, E::ReceiptOverdue) => S::NoReceipt,

        _ => state,
    }
}

/// What the receipts of a message's parts say together: it rang only when every part is there, and it is lost when one is.
///
/// `None` stands for a part without a receipt; the result is `None` where nothing is known.
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
    use DeliveryEvent as E;
    use DeliveryState as S;
    use ReceiptStatus as R;

    const EVENTS: [E; 14] = [
        E::Claimed,
        E::OptedOut,
        E::Accepted,
        E::PutBack,
        E::Rejected,
        E::Lost,
        E::Resend,
        E::Receipt(R::Underway),
        E::Receipt(R::Delivered),
        E::Receipt(R::Undelivered),
        E::Receipt(R::Unknown),
        E::ReceiptOverdue,
        E::Expired,
        E::Cancelled,
    ];

    /// Every state × every event; a dot is "stays".
    #[test]
    fn the_whole_table() {
        const TABLE: &[(&str, [&str; 14])] = &[
            // state        claimed    optout       accepted putback  rejected  lost      resend   underway delivered    undelivered    unknown overdue       expired    cancelled
            (
                "queued",
                [
                    "sending",
                    "suppressed",
                    "sent",
                    ".",
                    ".",
                    ".",
                    ".",
                    "sent",
                    "delivered",
                    "undelivered",
                    ".",
                    ".",
                    "expired",
                    "cancelled",
                ],
            ),
            (
                "sending",
                [
                    ".",
                    ".",
                    "sent",
                    "queued",
                    "failed",
                    "unknown",
                    ".",
                    "sent",
                    "delivered",
                    "undelivered",
                    ".",
                    ".",
                    ".",
                    ".",
                ],
            ),
            (
                "sent",
                [
                    ".",
                    ".",
                    ".",
                    ".",
                    ".",
                    ".",
                    ".",
                    ".",
                    "delivered",
                    "undelivered",
                    ".",
                    "no_receipt",
                    ".",
                    ".",
                ],
            ),
            ("delivered", [".", ".", ".", ".", ".", ".", ".", ".", ".", ".", ".", ".", ".", "."]),
            ("undelivered", [".", ".", ".", ".", ".", ".", ".", ".", "delivered", ".", ".", ".", ".", "."]),
            ("failed", [".", ".", ".", ".", ".", ".", ".", ".", "delivered", ".", ".", ".", ".", "."]),
            (
                "unknown",
                [
                    ".",
                    ".",
                    "sent",
                    "queued",
                    "failed",
                    ".",
                    "queued",
                    "sent",
                    "delivered",
                    "undelivered",
                    ".",
                    ".",
                    ".",
                    ".",
                ],
            ),
            ("expired", [".", ".", ".", ".", ".", ".", ".", ".", "delivered", ".", ".", ".", ".", "."]),
            ("cancelled", [".", ".", ".", ".", ".", ".", ".", ".", "delivered", ".", ".", ".", ".", "."]),
            ("suppressed", [".", ".", ".", ".", ".", ".", ".", ".", "delivered", ".", ".", ".", ".", "."]),
            (
                "no_receipt",
                [".", ".", ".", ".", ".", ".", ".", ".", "delivered", "undelivered", ".", ".", ".", "."],
            ),
        ];
        assert_eq!(TABLE.len(), S::ALL.len());
        for (state, row) in TABLE {
            let state: S = state.parse().unwrap();
            for (event, expected) in EVENTS.iter().zip(row) {
                let expected = if *expected == "." { state } else { expected.parse().unwrap() };
                assert_eq!(advance(state, *event), expected, "{state} after {event:?}");
            }
        }
    }

    fn permutations(events: &[E]) -> Vec<Vec<E>> {
        if events.is_empty() {
            return vec![vec![]];
        }
        (0..events.len())
            .flat_map(|i| {
                let mut rest = events.to_vec();
                let first = rest.remove(i);
                permutations(&rest).into_iter().map(move |mut tail| {
                    tail.insert(0, first);
                    tail
                })
            })
            .collect()
    }

    /// All 5! orders of an answer and four receipts end on the handset.
    #[test]
    fn receipts_converge_in_every_order() {
        let events = [
            E::Accepted,
            E::Receipt(R::Underway),
            E::Receipt(R::Delivered),
            E::Receipt(R::Undelivered),
            E::Receipt(R::Delivered),
        ];
        for order in permutations(&events) {
            let end = order.iter().fold(S::Sending, |s, e| advance(s, *e));
            assert_eq!(end, S::Delivered, "{order:?}");
        }
    }

    #[test]
    fn a_failure_converges_in_every_order() {
        let events =
            [E::Accepted, E::Receipt(R::Underway), E::Receipt(R::Undelivered), E::Receipt(R::Unknown)];
        for order in permutations(&events) {
            let end = order.iter().fold(S::Sending, |s, e| advance(s, *e));
            assert_eq!(end, S::Undelivered, "{order:?}");
        }
    }

    #[test]
    fn repeating_an_event_changes_nothing() {
        for state in S::ALL {
            for event in EVENTS {
                // Claiming what a lost submit put back is a new attempt, not a repetition.
                let once = advance(state, event);
                let twice = advance(once, event);
                assert_eq!(once, twice, "{state} {event:?}");
            }
        }
    }

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
