//! Callbacks of providers.

pub(crate) mod http;
