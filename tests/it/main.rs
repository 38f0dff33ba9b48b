//! End-to-end, store conformance and crash tests, in one binary.

#![expect(clippy::cast_precision_loss, reason = "small counts become metres and angles")]

mod api;
mod contract;
mod control_room;
mod desk;
mod pipeline;
mod service;
mod store;
mod world;
