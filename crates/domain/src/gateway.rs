//! How a gateway stands, as its workers see it.

use serde::{Deserialize, Serialize};

use crate::alert::words;

words! {
    /// How a gateway stands for one process that serves it.
    GatewayState {
        /// It takes messages.
        Up = "up",
        /// It takes messages, slower than it could: its provider asked for that.
        Throttled = "throttled",
        /// Something is wrong with it (no answers, errors, late receipts): others go first, and it is used where there are none.
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
