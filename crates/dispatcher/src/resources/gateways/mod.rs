//! Gateways: how SMS leave.

mod actor;
pub mod overview;
pub mod pause;
pub mod self_test;
pub mod view;
