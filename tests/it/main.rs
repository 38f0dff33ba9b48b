//! End-to-end, store conformance and crash tests, in one binary.

mod store;
mod world;
