//! A `[[gateways]]` table of the configuration: one struct for each type.
//!
//! `deny_unknown_fields` and `flatten` exclude each other in serde, so the keys that all have are moved into a table of their
//! own before the struct of the type is read; a misspelt key is then an error that names it.

use std::num::NonZeroU16;
use std::sync::LazyLock;

use klaroen_domain::phone::Country;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::http::HttpConfig;
pub use crate::http::{
    AnswerRules, CmConfig, InboundRules, InfobipConfig, KannelConfig, MessagebirdConfig, ReceiptRules,
    ReplyRules, SignatureMethod, SpryngConfig, TemplateConfig, TwilioConfig, VonageConfig,
};
pub use crate::log::LogConfig;
use crate::settings::regroup;
pub use crate::settings::{ConfigFault, Endpoint, PasswordError, Routing};
pub use crate::simulator::SimulatorConfig;
pub use crate::smpp::{Alphabet, MessageIdFormat, SmppConfig};

/// Messages in flight on a connection that has no window of its own to respect.
const WINDOW_WITHOUT_PROVIDER: u16 = 50;

/// One configured gateway.
#[derive(Clone, Debug)]
pub enum GatewayConfig {
    /// An SMSC or aggregator over SMPP 3.4.
    Smpp(SmppConfig),
    /// CM.com Business Messaging.
    Cm(CmConfig),
    /// Spryng.
    Spryng(SpryngConfig),
    /// `MessageBird`.
    Messagebird(MessagebirdConfig),
    /// Twilio, and whoever speaks its contract.
    Twilio(TwilioConfig),
    /// Vonage, once Nexmo.
    Vonage(VonageConfig),
    /// Infobip.
    Infobip(InfobipConfig),
    /// Kannel's `sendsms`.
    Kannel(KannelConfig),
    /// Any provider whose contract fits a template.
    Http(Box<TemplateConfig>),
    /// Accepts everything and sends nothing: for a dry run.
    Log(LogConfig),
    /// A provider inside the process, with receipts: for training and tests.
    Simulator(SimulatorConfig),
}

/// [`GatewayConfig`] as [`regroup::regroup`] gives it: the type, and in it the other keys.
#[derive(Deserialize)]
#[serde(remote = "GatewayConfig", rename_all = "snake_case")]
enum Table {
    Smpp(SmppConfig),
    Cm(CmConfig),
    Spryng(SpryngConfig),
    Messagebird(MessagebirdConfig),
    Twilio(TwilioConfig),
    Vonage(VonageConfig),
    Infobip(InfobipConfig),
    Kannel(KannelConfig),
    Http(Box<TemplateConfig>),
    Log(LogConfig),
    Simulator(SimulatorConfig),
}

impl<'de> Deserialize<'de> for GatewayConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let table =
            regroup::regroup(serde_json::Map::deserialize(deserializer)?).map_err(D::Error::custom)?;
        let mut track = serde_path_to_error::Track::new();
        let read = Table::deserialize(serde_path_to_error::Deserializer::new(table, &mut track));
        read.map_err(|error| D::Error::custom(regroup::in_words_of_the_file(&error, &track.path())))
    }
}

impl GatewayConfig {
    /// The keys that all gateways over HTTP share; `None` for the others.
    pub(crate) fn over_http(&self) -> Option<&dyn HttpConfig> {
        Some(match self {
            Self::Cm(c) => c,
            Self::Spryng(c) => c,
            Self::Messagebird(c) => c,
            Self::Twilio(c) => c,
            Self::Vonage(c) => c,
            Self::Infobip(c) => c,
            Self::Kannel(c) => c,
            Self::Http(c) => &**c,
            Self::Smpp(_) | Self::Log(_) | Self::Simulator(_) => return None,
        })
    }

    /// The word for its type in the configuration.
    #[must_use]
    pub const fn type_name(&self) -> &'static str {
        match self {
            Self::Smpp(_) => "smpp",
            Self::Cm(_) => "cm",
            Self::Spryng(_) => "spryng",
            Self::Messagebird(_) => "messagebird",
            Self::Twilio(_) => "twilio",
            Self::Vonage(_) => "vonage",
            Self::Infobip(_) => "infobip",
            Self::Kannel(_) => "kannel",
            Self::Http(_) => "http",
            Self::Log(_) => "log",
            Self::Simulator(_) => "simulator",
        }
    }

    /// Name of the gateway, as the operator calls it.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Smpp(c) => &c.name,
            Self::Log(c) => &c.name,
            Self::Simulator(c) => &c.name,
            _ => self.over_http().map_or("", HttpConfig::name),
        }
    }

    /// The number or name that participants see, and reply to.
    #[must_use]
    pub fn sender(&self) -> &str {
        match self {
            Self::Smpp(c) => &c.sender,
            Self::Log(c) => &c.sender,
            Self::Simulator(c) => &c.sender,
            _ => self.over_http().map_or("", HttpConfig::sender),
        }
    }

    /// Segments that may be handed over per second, all channels together; 0 is no limit.
    #[must_use]
    pub fn segments_per_second(&self) -> u32 {
        match self {
            Self::Smpp(c) => c.segments_per_second,
            Self::Log(c) => c.segments_per_second,
            Self::Simulator(c) => c.segments_per_second,
            _ => self.over_http().map_or(0, HttpConfig::segments_per_second),
        }
    }

    /// When it is used, and who may call it back.
    #[must_use]
    pub fn routing(&self) -> &Routing {
        static NOTHING: LazyLock<Routing> = LazyLock::new(Routing::default);
        match self {
            Self::Smpp(c) => &c.routing,
            Self::Log(c) => &c.routing,
            Self::Simulator(c) => &c.routing,
            _ => self.over_http().map_or(&NOTHING, HttpConfig::routing),
        }
    }

    /// Sets the address at which providers reach the service, for a gateway that takes callbacks and does not name its own.
    pub fn default_callback_url(&mut self, url: &str) {
        let routing = match self {
            Self::Smpp(c) => &mut c.routing,
            Self::Cm(c) => &mut c.routing,
            Self::Spryng(c) => &mut c.routing,
            Self::Messagebird(c) => &mut c.routing,
            Self::Twilio(c) => &mut c.routing,
            Self::Vonage(c) => &mut c.routing,
            Self::Infobip(c) => &mut c.routing,
            Self::Kannel(c) => &mut c.routing,
            Self::Http(c) => &mut c.routing,
            Self::Log(c) => &mut c.routing,
            Self::Simulator(c) => &mut c.routing,
        };
        if routing.callback_token.is_some() || routing.callback_token_file.is_some() {
            routing.callback_url.get_or_insert_with(|| url.to_owned());
        }
    }

    /// The host that it connects to, if that is configured: a provider over HTTP has a usual address.
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        match self {
            Self::Smpp(c) => Some(&c.host),
            _ => self.over_http().and_then(|c| c.endpoint().host()),
        }
    }

    /// How many connections it has: SMPP binds. At least one.
    #[must_use]
    pub fn channels(&self) -> NonZeroU16 {
        match self {
            Self::Smpp(c) => NonZeroU16::new(c.binds).unwrap_or(NonZeroU16::MIN),
            _ => NonZeroU16::MIN,
        }
    }

    /// How many submits may be in flight on one channel.
    #[must_use]
    pub fn window(&self) -> u16 {
        match self {
            Self::Smpp(c) => c.window,
            _ => self.over_http().map_or(WINDOW_WITHOUT_PROVIDER, |c| c.endpoint().window),
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
        self.routing().validate(&mut faults);
        if let Some(http) = self.over_http() {
            http.endpoint().validate(&mut faults);
            // Faults of what all share are in the list already.
            for fault in http.contract(Country::NL).err().unwrap_or_default() {
                if !faults.contains(&fault) {
                    faults.push(fault);
                }
            }
        }
        match self {
            Self::Smpp(c) => c.validate(&mut faults),
            Self::Simulator(c) => c.validate(&mut faults),
            _ => {}
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
    fn who_is_told_the_keys_that_there_are_is_told_those_that_can_be_written() {
        let table = json!({"type": "cm", "name": "cm", "sender": "1000", "prority": 5});
        let error = serde_json::from_value::<GatewayConfig>(table).unwrap_err().to_string();
        for key in ["product_token", "priority", "callback_token_file", "base_url", "window"] {
            assert!(error.contains(&format!("`{key}`")), "{error}");
        }
        assert!(!error.contains("`routing`") && !error.contains("`endpoint`"), "{error}");
    }

    #[test]
    fn a_value_of_the_wrong_type_is_told_with_its_key() {
        let mut faults = Vec::new();
        for (key, value) in [
            ("sender", json!(5)),
            ("priority", json!("first")),
            ("base_url", json!(["x"])),
            ("window", json!(-1)),
            ("countries", json!(["NL", 31])),
            ("answer", json!({"id": 7})),
            ("headers", json!({"X-Key": 7})),
        ] {
            let mut table =
                json!({"type": "http", "name": "h", "sender": "1000", "path": "/", "method": "GET"});
            table[key] = value;
            faults.push(serde_json::from_value::<GatewayConfig>(table).unwrap_err().to_string());
        }
        let keys = [
            "sender: ",
            "priority: ",
            "base_url: ",
            "window: ",
            "countries[1]: ",
            "answer.id: ",
            "headers.X-Key: ",
        ];
        for (fault, key) in faults.iter().zip(keys) {
            assert!(fault.starts_with(&format!("{key}invalid ")), "{fault}");
        }
        for (table, expected) in [
            (json!({"name": "h"}), "missing field `type`"),
            (json!({"type": 5, "name": "h"}), "type: must be text, such as \"smpp\""),
            (json!({"type": "pigeon", "name": "h"}), "unknown variant `pigeon`, expected one of `smpp`"),
            (json!({"type": "log"}), "missing field `name`"),
        ] {
            let fault = serde_json::from_value::<GatewayConfig>(table).unwrap_err().to_string();
            assert!(fault.starts_with(expected), "{fault}");
        }
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
