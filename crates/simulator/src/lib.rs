//! Stand-ins for providers with seeded faults, for the demo, the tests and the bench: an SMSC (SMPP 3.4 server), and
//! HTTP providers that speak the contracts of Twilio, Infobip and a plain one.
//!
//! They answer like a provider, misbehave as [`Faults`] and [`HttpFaults`] say, and remember every ring of every
//! handset: the oracle for "how often did each phone ring". The fate of a message is decided by a
//! hash of the seed, the destination and how many submits that destination had before, so that a
//! run can be repeated whatever the order in which messages arrive.
//!
//! Start with [`Smsc`] or [`HttpProvider`]. [`config`] and [`faults`] are what can be set, `fault_plan` is what happens to a
//! message, and `ledger` is the oracle. `smsc` and [`http`] are the two kinds of provider.

pub mod config;
mod fault_plan;
pub mod faults;
pub mod http;
mod ledger;
mod pace;
mod schedule;
mod smsc;
mod text;

pub use config::{AutoReply, SmscConfig};
pub use faults::{Faults, FaultsError, MessageIdFormat, ReceiptForm, ReceiptIdFormat};
pub use http::config::{Account, CallbackUrls, Contract, ContractError, HttpConfig};
pub use http::faults::{HttpFaults, Mishap};
pub use http::{HttpProvider, HttpStats, InboundFailure, Kept};
pub use ledger::Ring;
pub use smsc::{InboundError, Smsc, Stats};
