//! Reading requests: strict JSON, every wrong field named at once, pages, idempotency keys.

pub mod body;
pub(crate) mod crs;
pub mod fields;
pub(crate) mod geometry;
pub mod idempotency;
pub mod json;
pub mod limits;
pub mod memory;
pub mod peer;
pub mod point;
pub mod query;
pub mod words;
