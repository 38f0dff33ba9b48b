//! Gateways as all processes see them: who holds which channel, how each does, tests of them, and callbacks of their providers.

pub mod callbacks;
pub mod channels;
pub mod gateway_tests;
mod pauses;
mod reports;
pub mod workers;

pub use pauses::GatewayPause;
pub use reports::{Counts, Due, Figures, GatewayReport, LastError};
