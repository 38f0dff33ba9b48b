//! End-to-end, store conformance and crash tests, in one binary.

#![expect(clippy::cast_precision_loss, reason = "small counts become metres and angles")]

mod api;
mod behind_kannel;
mod client;
mod clients;
mod cluster;
mod contract;
mod control_room;
mod crash;
mod desk;
mod failover;
mod flood;
mod front;
mod gateways;
mod lateness;
mod pipeline;
mod program;
mod service;
mod sizes;
mod startup;
mod store;
mod world;
