//! Gateways: how SMS leave. `http` speaks HTTP; the rest can be called without it.

pub mod find;
pub(crate) mod http;
pub mod overview;
pub mod pause;
pub mod self_test;
pub mod view;
