//! Gateways on the command line: an order to the whole installation, for somebody at the machine.

pub mod pause;
pub mod resume;

use klaroen_gateway::config::GatewayConfig;
use klaroen_store::Store;

use crate::config::Settings;
use crate::failure::Failure;

/// Refuses a name that no gateway of the configuration has.
fn check_name(settings: &Settings, name: &str) -> Result<(), Failure> {
    let names: Vec<&str> = settings.gateways.iter().map(GatewayConfig::name).collect();
    if names.contains(&name) {
        return Ok(());
    }
    let names = if names.is_empty() { "there is none".to_owned() } else { names.join(", ") };
    Err(Failure::new(format!("no gateway of the configuration is called {name}: {names}")))
}

/// Wakes the workers, whether or not the order was new: it may be repeated because the first one seemed to have no effect.
async fn announce(store: &Store) {
    if let Err(error) = store.announce().await {
        tracing::debug!(%error, "could not notify the workers; they read the order from the database");
    }
}
