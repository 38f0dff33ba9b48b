//! Who calls, and what they may do.

pub(crate) mod authentication;
pub mod caller;
pub(crate) mod permissions;
