//! The calls as clients make them, against a real database.

mod access;
mod alerts;
mod gateways;
mod registry;
