//! One connection to an SMSC: how it is made, and what is under way on it.

pub(super) mod acknowledged;
pub(super) mod backoff;
pub(super) mod bind;
pub(super) mod bound;
pub(super) mod dial;
pub(super) mod flight;
mod outbox;
mod pending;
pub(super) mod probe;
pub(super) mod transport;
