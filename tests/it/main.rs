//! End-to-end, store conformance and crash tests, in one binary.

#![expect(clippy::cast_precision_loss, reason = "small counts become metres and angles")]

mod api;
mod behind_kannel;
mod clients;
mod cluster;
mod contract;
mod crash;
mod failover;
mod flood;
mod gateways;
mod pipeline;
mod service;
mod sizes;
mod startup;
mod store;

use klaroen_testkit::{client, lateness, program, world};

use self::service::{control_room, desk, front};
