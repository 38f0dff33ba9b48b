//! Work that stands around every request.

pub mod drain_body;
pub mod strict_parameters;
pub mod trace;
