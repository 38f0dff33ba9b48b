//! From configuration to a running connection: one match, no registry.

use std::sync::Arc;

use klaroen_domain::phone::Country;
use klaroen_domain::time::Clock;

use crate::config::GatewayConfig;
use crate::http;
use crate::http::Callbacks;
use crate::log;
use crate::settings::ConnectError;
use crate::simulator;
use crate::smpp;
use crate::sms::{Capabilities, Channel};

/// Opens channel number `channel` (from 0) of a gateway, which then stays connected by itself: a provider that is down or
/// refuses us is a [`crate::ChannelStatus`]. Everything ends when the gateway is closed or dropped. `country` is where numbers
/// without a country code belong. Needs a tokio runtime.
///
/// # Errors
/// Returns a [`ConnectError`] if the configuration is wrong, there is no such channel, or the password cannot be read.
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
        GatewayConfig::Cm(config) => http::connect(config, country),
        GatewayConfig::Spryng(config) => http::connect(config, country),
        GatewayConfig::Messagebird(config) => http::connect(config, country),
        GatewayConfig::Twilio(config) => http::connect(config, country),
        GatewayConfig::Vonage(config) => http::connect(config, country),
        GatewayConfig::Infobip(config) => http::connect(config, country),
        GatewayConfig::Kannel(config) => http::connect(config, country),
        GatewayConfig::Http(config) => http::connect(&**config, country),
        GatewayConfig::Log(config) => Ok(log::connect(config)),
        GatewayConfig::Simulator(config) => Ok(simulator::connect(config)),
    }
}

/// The capabilities of a gateway as it is configured. Needs no connection and no runtime.
///
/// # Errors
/// Returns [`ConnectError::Config`] if the configuration is wrong.
pub fn capabilities(config: &GatewayConfig) -> Result<Capabilities, ConnectError> {
    match config {
        GatewayConfig::Smpp(config) => Ok(smpp::capabilities(config)),
        GatewayConfig::Log(_) => Ok(log::CAPABILITIES),
        GatewayConfig::Simulator(_) => Ok(simulator::CAPABILITIES),
        // The country of numbers without a country code changes nothing about the capabilities.
        _ => Ok(callbacks(config, Country::NL)?.map(|http| http.capabilities()).unwrap_or_default()),
    }
}

/// The reader of a gateway's callbacks; `None` for a type that has none. Needs no connection and no runtime.
/// `country` is where numbers without a country code belong.
///
/// # Errors
/// Returns [`ConnectError::Config`] if the configuration is wrong.
pub fn callbacks(config: &GatewayConfig, country: Country) -> Result<Option<Callbacks>, ConnectError> {
    config.over_http().map(|http| Callbacks::of(http, country)).transpose()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use klaroen_domain::id::DeliveryId;
    use klaroen_domain::outcome::SubmitOutcome;
    use klaroen_domain::phone::PhoneNumber;
    use klaroen_domain::text::MessageText;
    use klaroen_domain::time::SystemClock;
    use serde_json::{Value, json};

    use super::*;
    use crate::sms::{ChannelStatus, OutboundSms};

    fn open(table: Value, channel: u16) -> Result<Channel, ConnectError> {
        connect(&serde_json::from_value(table).unwrap(), channel, Country::NL, Arc::new(SystemClock))
    }

    #[tokio::test]
    async fn a_dry_run_takes_everything_until_it_is_closed() {
        let channel = open(json!({"type": "log", "name": "dry"}), 0).unwrap();
        let sms = OutboundSms {
            delivery: DeliveryId(1),
            attempt: 1,
            to: PhoneNumber::from_sealed("+31612345678".into()),
            text: Arc::new(MessageText::parse("Kijk uit", 3).unwrap()),
            validity: Duration::from_mins(1),
        };
        assert_eq!(*channel.status.borrow(), ChannelStatus::Up);
        assert!(matches!(channel.gateway.submit(&sms).await, SubmitOutcome::Accepted { segments: 1, .. }));
        channel.gateway.close(Duration::ZERO).await;
        assert!(matches!(channel.gateway.submit(&sms).await, SubmitOutcome::NotTaken(_)));
    }

    #[tokio::test]
    async fn what_cannot_be_tried_is_an_error_that_says_why() {
        let table =
            json!({"type": "smpp", "name": "m", "host": "h", "system_id": "s", "sender": "1000", "binds": 2});
        let Err(error) = open(table.clone(), 0) else { panic!("it was tried") };
        assert_eq!(error.to_string(), "password: give exactly one of password and password_file");
        let mut table = table;
        table["password"] = json!("secret");
        let result = open(table, 2);
        assert!(matches!(result, Err(ConnectError::NoSuchChannel { channel: 2, channels: 2 })));
    }
}
