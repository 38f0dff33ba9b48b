//! Incidents: what was reported.

pub mod http;
pub mod request;
