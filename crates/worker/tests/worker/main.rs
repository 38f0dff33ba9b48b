//! The worker between a real database and a scripted gateway.

mod batches;
mod events;
mod fixture;
mod gateways;
mod idle;
mod self_tests;
mod sessions;
mod submits;
