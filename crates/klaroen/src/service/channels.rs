//! The connections of the configured gateways, as the worker wants them.

use std::sync::Arc;

use klaroen_domain::phone::Country;
use klaroen_domain::time::Clock;
use klaroen_gateway::config::GatewayConfig;
use klaroen_worker::ChannelSpec;

/// One for each connection of each gateway.
pub fn of(gateways: Vec<GatewayConfig>, country: Country, clock: &Arc<dyn Clock>) -> Vec<ChannelSpec> {
    gateways.into_iter().flat_map(|gateway| ChannelSpec::of(&Arc::new(gateway), country, clock)).collect()
}

/// What all gateways may send together in a second; 0 where one has no limit.
pub fn segments_per_second(gateways: &[GatewayConfig]) -> f64 {
    let limits = gateways.iter().map(GatewayConfig::segments_per_second);
    if limits.clone().any(|limit| limit == 0) { 0.0 } else { limits.map(f64::from).sum() }
}
