//! Participants: the registry.

pub mod export;
pub mod http;
pub mod import;
pub mod request;
