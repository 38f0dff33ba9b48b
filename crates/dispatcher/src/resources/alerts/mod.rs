//! Alerts: the calls to participants. `http` and `events` speak HTTP; the rest can be called without it.

pub mod area;
pub mod change;
pub mod change_request;
pub mod create;
pub mod deliveries;
pub(crate) mod events;
pub(crate) mod fan_out;
pub mod find;
pub(crate) mod http;
pub mod preview;
pub mod request;
pub mod view;
