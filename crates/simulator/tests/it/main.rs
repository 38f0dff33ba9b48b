//! The SMSC seen from its clients.

mod client;
mod delivery;
mod faults;
mod protocol;
