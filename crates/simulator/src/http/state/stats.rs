//! Counters of an HTTP provider.

use serde::Serialize;

/// Counters since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct HttpStats {
    /// Connections that were accepted.
    pub connections: u64,
    /// Requests that came in, whatever they asked.
    pub requests: u64,
    /// Requests that were refused as they stand: credentials, fields, limits.
    pub refused: u64,
    /// Look-ups of messages and balances.
    pub lookups: u64,
    /// Submits that were well formed, whatever became of them.
    pub submits: u64,
    /// Submits that were throttled.
    pub throttled: u64,
    /// Submits answered with an internal error, the contract's or a bare one, and not taken.
    pub errors: u64,
    /// Submits that were neither taken nor answered.
    pub ignored: u64,
    /// Submits that were taken and not answered as such: silence, a bare error, a body that breaks off, a connection
    /// that drops.
    pub answers_lost: u64,
    /// Connections dropped at a submit.
    pub connections_dropped: u64,
    /// Messages that were taken, whether the sender was told or not.
    pub taken: u64,
    /// Messages that were refused for themselves: number, text, sender, duplicate, balance.
    pub messages_refused: u64,
    /// Callbacks that were made, repetitions included.
    pub callbacks: u64,
    /// Callbacks that were answered as the contract wants.
    pub callbacks_acknowledged: u64,
    /// Callbacks that failed or were answered with something else.
    pub callbacks_failed: u64,
    /// Receipts and inbound SMS that were dropped: queue full, or repeated often enough.
    pub callbacks_dropped: u64,
    /// Answers to inbound callbacks with a text that the contract sends to the handset.
    pub texts_in_answers: u64,
    /// Rings of all handsets.
    pub rings: u64,
    /// Messages and callbacks whose time has not come.
    pub pending: u64,
    /// The most submits in any sliding second, throttled ones included.
    pub peak_submits_per_second: u64,
}
