//! The calls as clients make them, against a real database.

mod access;
mod alerts;
pub(crate) mod fixture;
mod gateways;
mod opt_outs;
mod registry;
mod replies;
mod request_schemas;
mod role_matrix;
mod use_cases;
