//! The SMSC and the HTTP providers seen from their clients.

mod client;
mod delivery;
mod faults;
mod http;
mod protocol;
