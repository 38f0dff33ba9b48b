//! Stand-ins for providers with seeded faults, for the demo, the tests and the bench: an SMSC (SMPP 3.4 server), and
//! HTTP providers that speak the contracts of Twilio, Infobip and a plain one.
//!
//! They answer like a provider, misbehave as [`Faults`] and [`HttpFaults`] say, and remember every ring of every
//! handset: the oracle for "how often did each phone ring". The fate of a message is decided by a
//! hash of the seed, the destination and how many submits that destination had before, so that a
//! run can be repeated whatever the order in which messages arrive.
//!
//! Start with [`Smsc`] or [`HttpProvider`]; the parts of the former are [`config`] (what can be set), `fate` (what happens to a
//! message), `exchange` (taking and delivering), `ledger` (the oracle), `session` and `protocol`
//! (one connection) and `wire` (the bytes); those of the latter stand in [`http`].

mod account;
pub mod config;
mod counters;
mod exchange;
mod fate;
pub mod faults;
pub mod http;
mod ledger;
mod pace;
mod protocol;
mod schedule;
mod session;
mod smsc;
mod submission;
mod text;
mod validity;
mod wire;

pub use config::{AutoReply, SmscConfig};
pub use counters::Stats;
pub use faults::{Faults, FaultsError, MessageIdFormat, ReceiptForm, ReceiptIdFormat};
pub use http::config::{Account, CallbackUrls, HttpConfig};
pub use http::faults::{HttpFaults, Mishap};
pub use http::{Contract, ContractError, HttpProvider, HttpStats, InboundFailure, Kept};
pub use ledger::Ring;
pub use smsc::{InboundError, Smsc};
