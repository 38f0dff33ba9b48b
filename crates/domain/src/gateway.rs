//! How a gateway stands, as its workers see it.

use serde::{Deserialize, Serialize};

use crate::alert::words;
use crate::outcome::ReceiptStatus;

words! {
    /// How a gateway stands for one process that serves it.
    GatewayState {
        /// It takes messages.
        Up = "up",
        /// It takes messages, slower than it could: its provider asked for that.
        Throttled = "throttled",
        /// Something is wrong with it (no answers, errors, late receipts). Others go first, and it is used if there are none.
        Suspect = "suspect",
        /// After a pause one message finds out whether it works again.
        Probing = "probing",
        /// Out of use for a time: its provider refused us, or could not be reached.
        Paused = "paused",
        /// It has no connection.
        Down = "down",
        /// An operator took it out of use.
        Stopped = "stopped",
    }
}

words! {
    /// The state of a gateway's test message.
    TestState {
        /// Waits for a worker that feeds the gateway.
        Requested = "requested",
        /// A worker hands it over.
        Submitting = "submitting",
        /// The provider took it.
        Accepted = "accepted",
        /// It did not leave: the provider said no or was not reached, or no worker took the test.
        Refused = "refused",
        /// The answer was lost, so it may have left: it is not sent again.
        Unknown = "unknown",
        /// The phone has it.
        Delivered = "delivered",
        /// The phone does not get it.
        Undelivered = "undelivered",
        /// No receipt came in time.
        NoReceipt = "no_receipt",
    }
}

impl TestState {
    /// Returns the state after a receipt. A delivered test stays delivered; a receipt that comes late still counts.
    #[must_use]
    pub fn after(self, receipt: ReceiptStatus) -> Self {
        match (self, receipt) {
            (Self::Delivered, _) | (_, ReceiptStatus::Delivered) => Self::Delivered,
            (Self::Refused, _) => Self::Refused,
            (_, ReceiptStatus::Undelivered) => Self::Undelivered,
            // It was quicker than the answer.
            (Self::Submitting, ReceiptStatus::Underway) => Self::Accepted,
            (state, _) => state,
        }
    }
}

impl GatewayState {
    /// The better one goes first: what several processes say of one gateway is what the best placed of them says.
    #[must_use]
    pub const fn rank(self) -> u8 {
        match self {
            Self::Up => 0,
            Self::Throttled => 1,
            Self::Suspect => 2,
            Self::Probing => 3,
            Self::Paused => 4,
            Self::Down => 5,
            Self::Stopped => 6,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_phone_has_the_last_word_about_a_test() {
        use ReceiptStatus::{Delivered, Undelivered, Underway, Unknown};
        for state in TestState::ALL.iter().copied() {
            assert_eq!(state.after(Delivered), TestState::Delivered, "{state}");
            assert_eq!(state.after(Unknown), state);
            for receipt in [Underway, Undelivered] {
                assert_eq!(state.after(Delivered).after(receipt), TestState::Delivered);
                // Repeated, it changes nothing more.
                assert_eq!(state.after(receipt).after(receipt), state.after(receipt), "{state}");
            }
        }
        assert_eq!(TestState::Submitting.after(Underway), TestState::Accepted);
        assert_eq!(TestState::Unknown.after(Underway), TestState::Unknown);
        assert_eq!(TestState::NoReceipt.after(Underway), TestState::NoReceipt);
        assert_eq!(TestState::NoReceipt.after(Undelivered), TestState::Undelivered);
        assert_eq!(TestState::Refused.after(Undelivered), TestState::Refused);
    }
}
