//! The configuration of the dispatcher.

pub mod gateway;

use klaroen_domain::phone::Country;
use klaroen_store::matching::MatchRules;

pub(crate) use self::gateway::ConfiguredGateway;

/// The configuration of the dispatcher.
#[derive(Clone, Debug)]
pub struct DispatcherSettings {
    /// The address under which clients reach the service, such as `https://klaroen.example.nl`. It goes into the
    /// description of the API.
    pub public_url: Option<String>,
    /// The country whose mobile numbers are accepted.
    pub country: Country,
    /// The rules about disturbing people.
    pub rules: MatchRules,
    /// Number of SMS that one text may take.
    pub max_segments: u8,
    /// The price of one SMS, in euro.
    pub price_per_segment: f64,
    /// Number of SMS that all gateways hand over in a second. 0 if there is no limit.
    pub segments_per_second: f64,
    /// Every gateway, in the order of the configuration.
    pub gateways: Vec<ConfiguredGateway>,
    /// Requests that one API key may make in a second, on average.
    pub requests_per_second_per_key: u32,
    /// Requests that one API key may make at once.
    pub burst_per_key: u32,
    /// Connections that may be open at once.
    pub connections_max: u32,
    /// Connections that one peer may have open at once: an IPv4 address, or an IPv6 network of 64 bits. Peers on the
    /// same machine are not counted. A reverse proxy on another machine needs as many as all its clients.
    pub connections_max_per_peer: u32,
}

impl DispatcherSettings {
    /// Requests per second and key unless configured.
    pub const REQUESTS_PER_SECOND_PER_KEY: u32 = 50;
    /// Requests at once and key unless configured.
    pub const BURST_PER_KEY: u32 = 100;
    /// Connections unless configured: below the usual limit of 1,024 open files for each process there must be room for
    /// the database, so the unit file raises it.
    pub const CONNECTIONS_MAX: u32 = 1_024;
    /// Connections of one peer unless configured: a quarter, so that it takes more than one to keep the others out, and
    /// enough for every desk of a control room behind one address.
    pub const CONNECTIONS_MAX_PER_PEER: u32 = Self::CONNECTIONS_MAX / 4;
    /// SMS for each text unless configured: 459 characters.
    pub const MAX_SEGMENTS: u8 = 3;

    /// The gateway of this name.
    #[must_use]
    pub fn gateway(&self, name: &str) -> Option<&ConfiguredGateway> {
        self.gateways.iter().find(|gateway| gateway.name == name)
    }

    /// The usual settings for a country and its rules.
    #[must_use]
    pub const fn new(country: Country, rules: MatchRules) -> Self {
        Self {
            public_url: None,
            country,
            rules,
            max_segments: Self::MAX_SEGMENTS,
            price_per_segment: 0.0,
            segments_per_second: 0.0,
            gateways: Vec::new(),
            requests_per_second_per_key: Self::REQUESTS_PER_SECOND_PER_KEY,
            burst_per_key: Self::BURST_PER_KEY,
            connections_max: Self::CONNECTIONS_MAX,
            connections_max_per_peer: Self::CONNECTIONS_MAX_PER_PEER,
        }
    }
}
