//! The calls as clients make them, against a real database.

mod access;
mod alerts;
pub(crate) mod fixture;
mod gateways;
mod registry;
mod request_schemas;
mod role_matrix;
mod use_cases;
