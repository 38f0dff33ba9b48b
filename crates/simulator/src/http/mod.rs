//! HTTP providers: each contract with its success and error bodies, receipts, inbound SMS and signatures, and the same
//! seeded faults, ledger and oracle as the SMSC.
//!
//! Start with [`HttpProvider`]; the parts are `contract` and `contracts` (what stands on the
//! wire), `desk` (taking
//! submits), `settling` (rings and receipts), `calls` (calling back), `records` (what look-ups find), `control` (the
//! routes of the simulator itself) and `server` (connections).

mod calls;
pub mod config;
pub(crate) mod contract;
mod contracts;
mod control;
mod desk;
pub mod faults;
mod form;
mod message;
mod provider;
#[cfg(test)]
mod raw;
mod records;
mod server;
mod settling;
mod signing;
mod stats;
mod wire;

pub use contract::{Contract, ContractError};
pub use provider::{HttpProvider, InboundFailure, Kept};
pub use stats::HttpStats;
