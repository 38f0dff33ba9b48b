//! HTTP providers: each contract with its success and error bodies, receipts, inbound SMS and signatures, and the same
//! seeded faults, ledger and oracle as the SMSC.
//!
//! Start with [`HttpProvider`]. `contracts` are what stands on the wire, `handler` takes submits, `delivery` makes rings and
//! receipts, `callbacks` calls back, `state` is what they share, `control` has the routes of the simulator itself, and `server`
//! the connections.

mod callbacks;
pub mod config;
mod contracts;
mod control;
mod delivery;
pub mod faults;
mod handler;
mod provider;
#[cfg(test)]
mod raw;
mod server;
mod state;
mod wire;

pub use provider::{HttpProvider, InboundFailure, Kept};
pub use state::stats::HttpStats;
