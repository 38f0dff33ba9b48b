//! Who calls, and what they may do.

pub mod authentication;
pub mod permissions;
