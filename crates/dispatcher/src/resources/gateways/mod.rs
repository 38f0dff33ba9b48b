//! Gateways: how SMS leave.

pub mod overview;
pub mod pause;
pub mod self_test;
pub mod view;
