//! Counters of an SMSC.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::Instant;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        /// The running counters; each stands by itself, so relaxed order is enough.
        #[derive(Default)]
        pub(crate) struct Counters {
            $(pub $name: AtomicU64,)+
        }

        /// Counters since the start.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct Stats {
            $($(#[$doc])* pub $name: u64,)+
            /// Rings of all handsets.
            pub rings: u64,
            /// Messages, receipts, redeliveries and replies whose time has not come.
            pub pending: u64,
            /// When the first `submit_sm` came, in the time of the runtime.
            pub first_submit: Option<Instant>,
            /// When the last one came.
            pub last_submit: Option<Instant>,
            /// The most `submit_sm` in any sliding second, refused ones included.
            pub peak_submits_per_second: u64,
        }

        impl Stats {
            pub(crate) fn of(counters: &Counters) -> Self {
                Self {
                    $($name: counters.$name.load(Ordering::Relaxed),)+
                    rings: 0,
                    pending: 0,
                    first_submit: None,
                    last_submit: None,
                    peak_submits_per_second: 0,
                }
            }
        }
    };
}

counters! {
    /// Connections that were accepted.
    connections,
    /// Binds that succeeded.
    binds,
    /// Binds that were refused.
    binds_refused,
    /// `submit_sm` that came in, whatever became of them.
    submits,
    /// `submit_sm` that were taken, whether the sender was told or not.
    taken,
    /// `submit_sm` answered with 0x58.
    throttled,
    /// `submit_sm` answered with 0x14.
    queue_full,
    /// `submit_sm` answered with 0x0B.
    numbers_refused,
    /// `submit_sm` taken and never answered.
    responses_lost,
    /// Connections dropped at a submit.
    connections_dropped,
    /// Parts of long messages that were lost for want of room.
    parts_lost,
    /// `deliver_sm` that were sent, repetitions included.
    deliveries_sent,
    /// `deliver_sm` that were answered with 0.
    deliveries_acknowledged,
    /// `deliver_sm` that were answered with something else, and are sent again.
    deliveries_refused,
    /// Receipts and inbound SMS that were dropped: queue full, or sent too often.
    deliveries_dropped,
    /// PDUs answered with `generic_nack`.
    nacked,
}

/// Adds one.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
