//! The calls as clients make them, against a real database.

mod access;
mod alerts;
pub(crate) mod fixture;
mod gateways;
mod memory;
mod registry;
mod role_matrix;
mod use_cases;
