//! Callers and their permissions.

pub(crate) mod authentication;
pub mod caller;
pub(crate) mod permissions;
