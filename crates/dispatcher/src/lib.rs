//! The HTTP side of Klaroen: takes incidents, matches geofences, writes deliveries and serves the API.
//!
//! Start with [`resources::incidents`] (the call that everything is about) and [`request::fields`] (how a request is read).
//! Each aggregate has a folder in `resources`; `server` listens and puts the router together; `middleware` stands around
//! every request.

mod auth;
pub mod import;
mod middleware;
mod openapi;
pub mod problem;
pub mod request;
pub mod resources;
mod routes;
mod server;
mod settings;
mod state;

#[cfg(test)]
mod tests;

pub use auth::caller::Caller;
pub use import::{Broken, Contention, CsvImport, ImportError, ImportReport, Progress, import_csv};
pub use resources::areas::collection::{AreasError, AreasRead, read_areas};
pub use server::{ServeError, serve, serve_operations};
pub use settings::DispatcherSettings;
pub use settings::gateway::ConfiguredGateway;
pub use state::callback_gateways::CallbackGateways;
pub use state::{App, Dispatcher, GatewayHealth};

/// The description of the API (OpenAPI 3.1), made from the code.
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    let routes = routes::routes();
    openapi::document([routes.keyed.into_openapi(), routes.open.into_openapi()], &routes.table)
}
