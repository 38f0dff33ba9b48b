//! Organisations, their keys, what was done in their names, and requests that are sent twice.

pub mod audit;
pub mod idempotency;
pub mod keys;
pub mod organisations;
pub mod reads;
