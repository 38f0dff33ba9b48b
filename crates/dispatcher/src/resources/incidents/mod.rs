//! Incidents: what was reported. `http` speaks HTTP; the rest can be called without it.

pub mod create;
pub mod find;
pub(crate) mod http;
pub mod request;
pub mod view;
