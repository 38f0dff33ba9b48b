//! The configuration of one gateway.

use klaroen_domain::alert::Priority;
use klaroen_domain::hours::DailyTime;
use klaroen_gateway::config::GatewayConfig;
use klaroen_gateway::{Capabilities, ConnectError};

/// The configuration of one gateway.
#[derive(Clone, Debug)]
pub struct ConfiguredGateway {
    /// The name.
    pub name: String,
    /// The type.
    pub kind: &'static str,
    /// The sender that participants see.
    pub sender: String,
    /// The rank among gateways that can take a message: the lowest goes first.
    pub priority: u16,
    /// The share among gateways of the same priority.
    pub weight: u16,
    /// The countries that it serves (ISO 3166-1 alpha-2). If empty, all countries.
    pub countries: Vec<String>,
    /// The priorities of the alerts that it serves. If empty, all priorities.
    pub priorities: Vec<Priority>,
    /// Number of connections.
    pub channels: u16,
    /// Segments per second, over all connections. 0 if there is no limit.
    pub segments_per_second: u32,
    /// The capabilities of the gateway.
    pub capabilities: Capabilities,
    /// Whether a number to test with is configured.
    pub can_be_tested: bool,
    /// When it is tested each day.
    pub test_at: Option<DailyTime>,
}

impl ConfiguredGateway {
    /// Reads the configuration of a gateway; nothing is connected.
    ///
    /// # Errors
    /// [`ConnectError::Config`] if the configuration is not valid.
    pub fn of(config: &GatewayConfig) -> Result<Self, ConnectError> {
        let fault = |fault| ConnectError::Config(vec![fault]);
        let routing = config.routing();
        let countries = routing.countries().map_err(fault)?;
        Ok(Self {
            name: config.name().to_owned(),
            kind: config.type_name(),
            sender: config.sender().to_owned(),
            priority: routing.priority,
            weight: routing.weight,
            countries: countries.iter().map(ToString::to_string).collect(),
            priorities: routing.priorities.clone(),
            channels: config.channels().get(),
            segments_per_second: config.segments_per_second(),
            capabilities: klaroen_gateway::capabilities(config)?,
            can_be_tested: routing.test_number().map_err(fault)?.is_some(),
            test_at: routing.test_at().map_err(fault)?,
        })
    }

    /// Whether it serves alerts of this priority, to numbers of some country.
    pub(crate) fn serves_some(&self, priority: Priority) -> bool {
        self.priorities.is_empty() || self.priorities.contains(&priority)
    }

    /// `country`: empty for a number of a country that no gateway names.
    pub(crate) fn serves(&self, priority: Priority, country: &str) -> bool {
        self.serves_some(priority)
            && (self.countries.is_empty() || self.countries.iter().any(|own| own == country))
    }
}
