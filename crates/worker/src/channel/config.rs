//! The configuration of a channel, that is one connection of a gateway.

use std::sync::Arc;

use klaroen_domain::phone::Country;
use klaroen_domain::time::Clock;
use klaroen_gateway::config::{ConfigFault, GatewayConfig};
use klaroen_gateway::{Channel, ConnectError, connect};
use klaroen_store::channels::ChannelName;

use crate::gateway::routing::allocation::GatewayRoute;

/// One connection of a gateway, and how to open it.
pub struct ChannelConfig {
    /// The gateway and the number of the channel.
    pub name: ChannelName,
    /// How many messages may be in flight; at least 1.
    pub window: usize,
    /// The rate of all channels of the gateway together; 0 means no limit.
    pub segments_per_second: u32,
    /// Opens the connection. It is called on the runtime each time the channel is leased.
    pub connect: Box<dyn Fn() -> Result<Channel, ConnectError> + Send + Sync>,
}

impl ChannelConfig {
    /// All channels of a configured gateway.
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
    /// [`ConfigFault`] if a country of the gateway is not a country code.
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
