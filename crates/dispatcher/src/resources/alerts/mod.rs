//! Alerts: the calls to participants.

pub mod area;
pub mod change;
pub mod deliveries;
pub mod events;
pub(crate) mod fan_out;
pub mod http;
pub mod preview;
pub mod request;
pub mod view;
