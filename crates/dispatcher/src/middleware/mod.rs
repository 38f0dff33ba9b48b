//! Work that stands around every request.

pub mod authorization;
pub mod deadline;
pub mod drain_body;
pub mod route_table;
pub mod strict_parameters;
pub mod trace;
