//! A connection of a gateway, and how to make it.

use std::sync::Arc;

use klaroen_domain::phone::Country;
use klaroen_domain::time::Clock;
use klaroen_gateway::config::{ConfigFault, GatewayConfig};
use klaroen_gateway::{Channel, ConnectError, connect};
use klaroen_store::channels::ChannelName;

use crate::gateway::routing::allocation::GatewayRoute;

/// One connection of a gateway, and how to make it.
pub struct ChannelConfig {
    /// Gateway and number.
    pub name: ChannelName,
    /// Messages that may be under way at once; at least 1.
    pub window: usize,
    /// What all channels of the gateway may send together; 0: no limit.
    pub segments_per_second: u32,
    /// Makes the connection; called on the runtime each time the channel is leased.
    pub connect: Box<dyn Fn() -> Result<Channel, ConnectError> + Send + Sync>,
}

impl ChannelConfig {
    /// Every connection of a configured gateway.
    #[must_use]
    pub fn for_gateway(config: &Arc<GatewayConfig>, country: Country, clock: &Arc<dyn Clock>) -> Vec<Self> {
        let one = |channel| {
            let (config, clock) = (Arc::clone(config), Arc::clone(clock));
            Self {
                name: ChannelName { gateway: config.name().to_owned(), channel },
                window: usize::from(config.window()),
                segments_per_second: config.segments_per_second(),
                connect: Box::new(move || connect(&config, channel, country, Arc::clone(&clock))),
            }
        };
        (0..config.channels().get()).map(one).collect()
    }
}

impl GatewayRoute {
    /// When a configured gateway is used.
    ///
    /// # Errors
    /// The fault, where a country is none.
    pub fn from_config(config: &GatewayConfig) -> Result<Self, ConfigFault> {
        let routing = config.routing();
        Ok(Self {
            name: config.name().to_owned(),
            priority: routing.priority,
            weight: routing.weight,
            countries: routing.countries()?,
            priorities: routing.priorities.clone(),
        })
    }
}

impl std::fmt::Debug for ChannelConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChannelConfig")
            .field("name", &self.name)
            .field("window", &self.window)
            .finish_non_exhaustive()
    }
}
