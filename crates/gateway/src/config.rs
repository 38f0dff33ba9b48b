//! What a `[[gateways]]` table of the configuration may hold, one struct per type.
//!
//! `deny_unknown_fields` and `flatten` exclude each other in serde, so each struct repeats the three keys that all
//! have; a misspelt key is then an error that names it.

mod smpp;

use std::num::NonZeroU16;

use serde::Deserialize;

pub(crate) use smpp::SHORT_CODE_DIGITS_MAX;
#[cfg(test)]
pub(crate) use smpp::tests as smpp_tests;
pub use smpp::{Alphabet, MessageIdFormat, PasswordError, SmppConfig};

/// Messages in flight on a connection that has no window of its own to respect.
const WINDOW_WITHOUT_PROVIDER: u16 = 50;

/// One configured gateway.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum GatewayConfig {
    /// An SMSC or aggregator over SMPP 3.4.
    Smpp(SmppConfig),
    /// Accepts everything and sends nothing: for a dry run.
    Log(LogConfig),
    /// A provider inside the process, with receipts: for training and tests.
    Simulator(SimulatorConfig),
}

/// `type = "log"`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogConfig {
    /// What the operator calls it.
    pub name: String,
    /// Shown nowhere, but kept so that a gateway can be switched to `log` by its type alone.
    #[serde(default)]
    pub sender: String,
    /// Segments handed over per second; 0 is no limit.
    #[serde(default)]
    pub segments_per_second: u32,
}

/// `type = "simulator"`. Shares are percentages of the messages, drawn from a seeded generator.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SimulatorConfig {
    /// What the operator calls it.
    pub name: String,
    /// The number that replies would go to.
    #[serde(default)]
    pub sender: String,
    /// Segments handed over per second; 0 is no limit.
    #[serde(default)]
    pub segments_per_second: u32,
    /// Two runs with one seed and one order of messages are alike.
    #[serde(default = "SimulatorConfig::seed")]
    pub seed: u64,
    /// Share of accepted messages whose receipt says delivered.
    #[serde(default = "SimulatorConfig::delivered_percent")]
    pub delivered_percent: u8,
    /// Share of accepted messages whose receipt says undelivered; what is left of 100 gets no receipt.
    #[serde(default = "SimulatorConfig::undelivered_percent")]
    pub undelivered_percent: u8,
    /// Share of submits that are answered with "slower".
    #[serde(default)]
    pub throttled_percent: u8,
    /// Share of submits whose answer is lost for good.
    #[serde(default)]
    pub unknown_percent: u8,
    /// Share of submits whose answer comes after the caller gave up.
    #[serde(default)]
    pub late_percent: u8,
    /// Milliseconds between a submit and its receipt (or late answer), give or take half.
    #[serde(default = "SimulatorConfig::receipt_delay_ms")]
    pub receipt_delay_ms: u64,
}

impl SimulatorConfig {
    const fn seed() -> u64 {
        1
    }

    // The two shares are what control rooms report for a healthy registry; the rest are phones that stay silent.
    const fn delivered_percent() -> u8 {
        92
    }

    const fn undelivered_percent() -> u8 {
        5
    }

    /// Long enough to see the counters move, short enough for a demonstration.
    const fn receipt_delay_ms() -> u64 {
        1_500
    }
}

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigFault {
    /// The key.
    pub field: &'static str,
    /// What is wrong, without the value where that is a secret.
    pub reason: String,
}

impl ConfigFault {
    fn new(field: &'static str, reason: impl Into<String>) -> Self {
        Self { field, reason: reason.into() }
    }
}

impl std::fmt::Display for ConfigFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.field, self.reason)
    }
}

impl GatewayConfig {
    /// What the operator calls it.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Smpp(c) => &c.name,
            Self::Log(c) => &c.name,
            Self::Simulator(c) => &c.name,
        }
    }

    /// The number or name that participants see, and reply to.
    #[must_use]
    pub fn sender(&self) -> &str {
        match self {
            Self::Smpp(c) => &c.sender,
            Self::Log(c) => &c.sender,
            Self::Simulator(c) => &c.sender,
        }
    }

    /// Segments that may be handed over per second, all channels together; 0 is no limit.
    #[must_use]
    pub const fn segments_per_second(&self) -> u32 {
        match self {
            Self::Smpp(c) => c.segments_per_second,
            Self::Log(c) => c.segments_per_second,
            Self::Simulator(c) => c.segments_per_second,
        }
    }

    /// How many connections it has: SMPP binds. At least one.
    #[must_use]
    pub fn channels(&self) -> NonZeroU16 {
        match self {
            Self::Smpp(c) => NonZeroU16::new(c.binds).unwrap_or(NonZeroU16::MIN),
            Self::Log(_) | Self::Simulator(_) => NonZeroU16::MIN,
        }
    }

    /// How many submits may be in flight on one channel.
    #[must_use]
    pub const fn window(&self) -> u16 {
        match self {
            Self::Smpp(c) => c.window,
            Self::Log(_) | Self::Simulator(_) => WINDOW_WITHOUT_PROVIDER,
        }
    }

    /// All that is wrong with it, not just the first thing. Reads the files that it names.
    #[must_use]
    pub fn validate(&self) -> Vec<ConfigFault> {
        let mut faults = Vec::new();
        if self.name().is_empty()
            || !self.name().chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
        {
            faults.push(ConfigFault::new(
                "name",
                "must be letters, digits, `-` and `_`: it stands in URLs and metrics",
            ));
        }
        match self {
            Self::Smpp(c) => c.validate(&mut faults),
            Self::Log(_) => {}
            Self::Simulator(c) => {
                if u16::from(c.delivered_percent) + u16::from(c.undelivered_percent) > 100 {
                    faults.push(ConfigFault::new(
                        "undelivered_percent",
                        "more than 100 together with delivered_percent",
                    ));
                }
                let lost = [c.throttled_percent, c.unknown_percent, c.late_percent];
                if lost.iter().map(|x| u16::from(*x)).sum::<u16>() > 100 {
                    faults.push(ConfigFault::new(
                        "throttled_percent",
                        "more than 100 together with unknown_ and late_percent",
                    ));
                }
            }
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_unknown_key_is_an_error_that_names_it() {
        let table = json!({"type": "log", "name": "dry", "sendr": "1000"});
        let error = serde_json::from_value::<GatewayConfig>(table).unwrap_err().to_string();
        assert!(error.contains("sendr"), "{error}");
        let table = json!({"type": "simulator", "name": "s", "delivered": 3});
        assert!(
            serde_json::from_value::<GatewayConfig>(table).unwrap_err().to_string().contains("`delivered`")
        );
        assert!(serde_json::from_value::<GatewayConfig>(json!({"type": "pigeon", "name": "p"})).is_err());
    }

    #[test]
    fn a_simulator_needs_only_a_name() {
        let config: GatewayConfig =
            serde_json::from_value(json!({"type": "simulator", "name": "train"})).unwrap();
        assert_eq!(config.validate(), []);
        assert_eq!(config.channels().get(), 1);
        assert_eq!(config.segments_per_second(), 0);
    }

    #[test]
    fn shares_above_a_hundred_are_named() {
        let table = json!({"type": "simulator", "name": "s", "delivered_percent": 60, "undelivered_percent": 60,
                           "late_percent": 101});
        let config: GatewayConfig = serde_json::from_value(table).unwrap();
        let fields: Vec<_> = config.validate().into_iter().map(|f| f.field).collect();
        assert_eq!(fields, ["undelivered_percent", "throttled_percent"]);
    }
}
