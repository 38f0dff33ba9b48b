//! From configuration to a running connection: one match, no registry.

use std::sync::Arc;

use klaroen_domain::phone::Country;
use klaroen_domain::time::Clock;

use crate::config::{ConfigFault, GatewayConfig, PasswordError};
use crate::smpp::TlsError;
use crate::{Channel, log, simulator, smpp};

/// Why a connection cannot even be tried.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The configuration is wrong; all faults.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Config(Vec<ConfigFault>),
    /// There are fewer channels.
    #[error("channel {channel} of {channels} (counted from 0)")]
    NoSuchChannel {
        /// What was asked for.
        channel: u16,
        /// How many there are.
        channels: u16,
    },
    /// There is no password.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Opens channel number `channel` (from 0) of a gateway, which then stays connected by itself: a provider that is down or
/// refuses us is a [`crate::ChannelStatus`]. Everything ends when the gateway is closed or dropped. `country` is where numbers
/// without a country code belong. Needs a tokio runtime.
///
/// # Errors
/// [`ConnectError`].
pub fn connect(
    config: &GatewayConfig,
    channel: u16,
    country: Country,
    clock: Arc<dyn Clock>,
) -> Result<Channel, ConnectError> {
    let faults = config.validate();
    if !faults.is_empty() {
        return Err(ConnectError::Config(faults));
    }
    let channels = config.channels().get();
    if channel >= channels {
        return Err(ConnectError::NoSuchChannel { channel, channels });
    }
    match config {
        GatewayConfig::Smpp(config) => smpp::connect(config, channel, country, clock),
        GatewayConfig::Log(config) => Ok(log::connect(config)),
        GatewayConfig::Simulator(config) => Ok(simulator::connect(config)),
    }
}
