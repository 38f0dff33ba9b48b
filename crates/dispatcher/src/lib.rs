//! The HTTP side of Klaroen: takes incidents, matches geofences, writes deliveries and serves the API.
//!
//! Start with [`v1::incidents`] (the call that everything is about) and [`request::fields`] (how a request is read). One
//! resource per file; `permissions` says who may call what; `router` puts it together; [`serve`] listens.

pub mod app;
mod authentication;
mod described;
mod docs;
mod gateways;
mod health;
mod heavy;
pub mod import;
mod looks;
mod permissions;
mod probe;
pub mod problem;
mod rate_limit;
mod refusal;
pub mod request;
mod router;
mod server;
mod settings;
mod stall;
mod streams;
mod tally;
mod trace;
pub mod v1;

#[cfg(test)]
mod api_tests;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod matrix;

pub use app::{Dispatcher, GatewayHealth};
pub use docs::openapi;
pub use gateways::ConfiguredGateway;
pub use import::{Broken, CsvImport, ImportError, ImportReport, Others, Progress, import_csv};
pub use server::{ServeError, serve, serve_operations};
pub use settings::DispatcherSettings;
pub use v1::area_features::parse_areas;
pub use v1::callbacks::CallbackGateways;
