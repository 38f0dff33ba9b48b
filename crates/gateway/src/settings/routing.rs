//! Keys that a gateway of any type may have: when it is used, and who may call it back.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use klaroen_domain::alert::Priority;
use klaroen_domain::hours::{DailyTime, HoursError};
use klaroen_domain::phone::{Country, CountryError, PhoneNumber};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::endpoint::is_base_url;
use super::fault::ConfigFault;
use super::originator::sender_fault;
use super::secret;

/// Characters of a callback token: 22 of base64 are 128 bits, which nobody guesses.
const TOKEN_LEN: std::ops::RangeInclusive<usize> = 22..=128;
/// During a change of tokens the old one stays valid beside the new one.
const TOKENS_MAX: usize = 2;
/// Comparing a caller with more than this is work for a firewall.
const ADDRESSES_MAX: usize = 256;

/// Keys of a `[[gateways]]` table beside those of its type. `Debug` shows no token and no number.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Routing {
    /// Among gateways that can take a message the lowest goes first.
    #[serde(default = "Routing::hundred")]
    pub priority: u16,
    /// Its share among gateways of the same priority; 0 keeps it in reserve.
    #[serde(default = "Routing::hundred")]
    pub weight: u16,
    /// Countries (ISO 3166-1 alpha-2) whose numbers it may get; empty: all.
    #[serde(default)]
    pub countries: Vec<String>,
    /// Priorities of alerts that it may get (`life_threatening`, `urgent`, `normal`); empty: all.
    #[serde(default)]
    pub priorities: Vec<Priority>,
    /// Another sender for the numbers of a country, if the usual one is not allowed: `{ BE = "8850" }`.
    #[serde(default)]
    pub senders: BTreeMap<String, String>,
    /// The unguessable part of the callback URLs. During a change two, divided by a blank: the first goes to the provider,
    /// both are accepted. Without one the gateway takes no callbacks.
    #[serde(default)]
    pub callback_token: Option<SecretString>,
    /// A file with the token.
    #[serde(default)]
    pub callback_token_file: Option<PathBuf>,
    /// Networks (CIDR) or addresses that callbacks may come from; empty: any.
    #[serde(default)]
    pub callback_addresses: Vec<String>,
    /// The address at which the provider reaches this service, `https://…` without a path of ours; where it is missing, the
    /// service's own `public_url`.
    #[serde(default)]
    pub callback_url: Option<String>,
    /// A number in E.164 for test messages.
    #[serde(default)]
    pub test_number: Option<SecretString>,
    /// When a test message goes to that number each day, on the wall clock of the service: `06:30`; without it none does.
    #[serde(default)]
    pub test_at: Option<String>,
}

/// Nothing is set: every message, no callbacks.
impl Default for Routing {
    fn default() -> Self {
        Self {
            priority: Self::hundred(),
            weight: Self::hundred(),
            countries: Vec::new(),
            priorities: Vec::new(),
            senders: BTreeMap::new(),
            callback_token: None,
            callback_token_file: None,
            callback_addresses: Vec::new(),
            callback_url: None,
            test_number: None,
            test_at: None,
        }
    }
}

impl Routing {
    /// The keys, which stand next to those of the type.
    pub(super) const KEYS: [&'static str; 11] = [
        "priority",
        "weight",
        "countries",
        "priorities",
        "senders",
        "callback_token",
        "callback_token_file",
        "callback_addresses",
        "callback_url",
        "test_number",
        "test_at",
    ];

    /// In the middle, so that there is room on both sides.
    const fn hundred() -> u16 {
        100
    }

    /// The countries; empty for all.
    ///
    /// # Errors
    /// A [`ConfigFault`] if one of them cannot be read.
    pub fn countries(&self) -> Result<Vec<Country>, ConfigFault> {
        self.each_country().collect()
    }

    fn each_country(&self) -> impl Iterator<Item = Result<Country, ConfigFault>> {
        let fault = |code, error| ConfigFault::new("countries", format!("`{code}` is {error}"));
        self.countries.iter().map(move |code| code.parse().map_err(|error: CountryError| fault(code, error)))
    }

    /// The senders by country.
    ///
    /// # Errors
    /// A [`ConfigFault`] if a country or a sender cannot be one.
    pub fn senders(&self) -> Result<Vec<(Country, &str)>, ConfigFault> {
        self.each_sender().collect()
    }

    pub(super) fn each_sender(&self) -> impl Iterator<Item = Result<(Country, &str), ConfigFault>> {
        let fault = |code: &str, reason: &str| ConfigFault::new("senders", format!("{code}: {reason}"));
        self.senders.iter().map(move |(code, sender)| {
            let country = code.parse::<Country>().map_err(|error| fault(code, &error.to_string()))?;
            match sender_fault(sender) {
                Some(reason) => Err(fault(code, reason)),
                None => Ok((country, sender.as_str())),
            }
        })
    }

    /// Countries that stand there twice, in other letters.
    fn sender_twice(&self) -> Option<ConfigFault> {
        let codes: Vec<String> = self.senders.keys().map(|code| code.trim().to_ascii_uppercase()).collect();
        let twice = codes.iter().enumerate().find(|(index, code)| codes[..*index].contains(code));
        twice.map(|(_, code)| ConfigFault::new("senders", format!("{code}: is there twice")))
    }

    /// The number for test messages.
    ///
    /// # Errors
    /// A [`ConfigFault`] if it is not in E.164. It does not quote the number.
    pub fn test_number(&self) -> Result<Option<PhoneNumber>, ConfigFault> {
        let Some(number) = &self.test_number else { return Ok(None) };
        let number = number.expose_secret();
        // With its plus sign any country will do; the number decides.
        let parsed =
            number.starts_with('+').then(|| PhoneNumber::parse_sender(number, Country::NL)).flatten();
        parsed
            .map(Some)
            .ok_or_else(|| ConfigFault::new("test_number", "is not a number in E.164, such as +31612345678"))
    }

    /// When the test of each day is due.
    ///
    /// # Errors
    /// A [`ConfigFault`] if it is no time of day, or there is no `test_number`.
    pub fn test_at(&self) -> Result<Option<DailyTime>, ConfigFault> {
        let Some(text) = &self.test_at else { return Ok(None) };
        let time = text.parse().map_err(|error: HoursError| ConfigFault::new("test_at", error.0))?;
        if self.test_number.is_none() {
            return Err(ConfigFault::new("test_at", "needs a test_number: the message has to go somewhere"));
        }
        Ok(Some(time))
    }

    /// The tokens that are accepted, the one for the provider first; none if callbacks are off.
    ///
    /// # Errors
    /// A [`ConfigFault`] if a token is too short or there are more than two. It does not quote the token.
    pub fn callback_tokens(&self) -> Result<Vec<SecretString>, ConfigFault> {
        if self.callback_token.is_none() && self.callback_token_file.is_none() {
            return Ok(Vec::new());
        }
        let names = ["callback_token", "callback_token_file"];
        let text = secret::read(names, self.callback_token.as_ref(), self.callback_token_file.as_deref())?;
        let tokens: Vec<&str> = text.expose_secret().split_whitespace().collect();
        let good = |token: &&str| {
            TOKEN_LEN.contains(&token.len())
                && token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        };
        if tokens.is_empty() || tokens.len() > TOKENS_MAX || !tokens.iter().all(good) {
            let reason =
                "must be 22 to 128 letters, digits, `-` and `_`, and at most two of them, divided by a blank";
            return Err(ConfigFault::new("callback_token", reason));
        }
        Ok(tokens.into_iter().map(SecretString::from).collect())
    }

    /// The networks that callbacks may come from; empty for any.
    ///
    /// # Errors
    /// A [`ConfigFault`] if one of them cannot be read.
    pub fn callback_addresses(&self) -> Result<Vec<IpNet>, ConfigFault> {
        if self.callback_addresses.len() > ADDRESSES_MAX {
            return Err(ConfigFault::new("callback_addresses", "has more than 256 entries"));
        }
        let read = |text: &String| {
            let network = text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
            network.ok_or_else(|| {
                let reason = format!("`{text}` is neither an address nor a network, such as 192.0.2.0/24");
                ConfigFault::new("callback_addresses", reason)
            })
        };
        self.callback_addresses.iter().map(read).collect()
    }

    /// The address at which the provider reaches us, without a slash at its end.
    ///
    /// # Errors
    /// A [`ConfigFault`] if it is no address.
    pub fn callback_url(&self) -> Result<Option<&str>, ConfigFault> {
        let Some(url) = &self.callback_url else { return Ok(None) };
        let fine = is_base_url(url);
        let trimmed = url.trim_end_matches('/');
        fine.then_some(Some(trimmed)).ok_or_else(|| {
            ConfigFault::new(
                "callback_url",
                "must be http:// or https:// with a host, without query or fragment",
            )
        })
    }

    /// The address for receipts of the gateway `name`, if one is to be told to the provider.
    ///
    /// # Errors
    /// A [`ConfigFault`] of the token or of the address.
    pub(crate) fn receipts_url(&self, name: &str) -> Result<Option<String>, ConfigFault> {
        let (tokens, url) = (self.callback_tokens()?, self.callback_url()?);
        Ok(tokens
            .first()
            .zip(url)
            .map(|(token, url)| format!("{url}/v1/gateways/{name}/{}/receipts", token.expose_secret())))
    }

    pub(crate) fn validate(&self, faults: &mut Vec<ConfigFault>) {
        faults.extend(self.each_country().filter_map(Result::err));
        faults.extend(self.each_sender().filter_map(Result::err));
        faults.extend(self.sender_twice());
        faults.extend(self.test_number().err());
        faults.extend(self.test_at().err());
        faults.extend(self.callback_tokens().err());
        faults.extend(self.callback_addresses().err());
        faults.extend(self.callback_url().err());
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use crate::config::GatewayConfig;

    fn config(keys: &Value) -> GatewayConfig {
        let mut table = json!({"type": "log", "name": "dry"});
        for (key, value) in keys.as_object().unwrap() {
            table[key] = value.clone();
        }
        serde_json::from_value(table).unwrap()
    }

    #[test]
    fn without_any_key_it_takes_everything_and_no_callbacks() {
        let config = config(&json!({}));
        let routing = config.routing();
        assert_eq!((routing.priority, routing.weight), (100, 100));
        assert!(routing.callback_tokens().unwrap().is_empty() && routing.countries.is_empty());
    }

    #[test]
    fn every_key_is_read_beside_those_of_the_type() {
        let token = "0123456789abcdefABCDEF-_";
        let config = config(&json!({"priority": 10, "weight": 0, "countries": ["NL", "be"],
            "priorities": ["life_threatening"], "senders": {"BE": "8850"}, "callback_token": format!("{token} {token}2"),
            "callback_addresses": ["192.0.2.0/24", "2001:db8::1"], "callback_url": "https://k.example.nl/",
            "test_number": "+31612345678", "test_at": "06:30"}));
        assert_eq!(config.validate(), []);
        let routing = config.routing();
        assert_eq!((routing.priority, routing.weight), (10, 0));
        assert_eq!(routing.callback_tokens().unwrap().len(), 2);
        assert_eq!(routing.callback_url().unwrap(), Some("https://k.example.nl"));
        assert_eq!(routing.senders().unwrap()[0].1, "8850");
        assert_eq!(routing.test_number().unwrap().unwrap().expose(), "+31612345678");
        let shown = format!("{config:?}");
        assert!(!shown.contains(token) && !shown.contains("12345678"), "{shown}");
    }

    #[rstest]
    #[case(json!({"countries": ["NL", "Utopia"]}), "countries")]
    #[case(json!({"senders": {"NL": "Polizei!"}}), "senders")]
    #[case(json!({"senders": {"Utopia": "1000"}}), "senders")]
    #[case(json!({"senders": {"BE": "8850", "be": "8851"}}), "senders")]
    #[case(json!({"callback_token": "guessable"}), "callback_token")]
    #[case(json!({"callback_token": "0123456789abcdef/BCDEF-_"}), "callback_token")]
    #[case(json!({"callback_token": " "}), "callback_token")]
    #[case(json!({"callback_token_file": "/nowhere/at/all"}), "callback_token_file")]
    #[case(json!({"callback_addresses": ["192.0.2.0/33"]}), "callback_addresses")]
    #[case(json!({"callback_url": "klaroen.example.nl"}), "callback_url")]
    #[case(json!({"callback_url": "https://k.example.nl/?a=1"}), "callback_url")]
    #[case(json!({"test_number": "0612345678"}), "test_number")]
    #[case(json!({"test_number": "+31612345678", "test_at": "6.30"}), "test_at")]
    #[case(json!({"test_at": "06:30"}), "test_at")]
    fn a_fault_names_its_key_and_shows_no_secret(#[case] keys: Value, #[case] field: &str) {
        let faults = config(&keys).validate();
        assert_eq!(faults.iter().map(|fault| fault.field).collect::<Vec<_>>(), [field]);
        let shown = faults[0].to_string();
        for secret in ["guessable", "0123456789abcdef", "0612345678"] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }

    #[test]
    fn every_country_and_sender_that_is_wrong_is_told_at_once() {
        let faults =
            config(&json!({"countries": ["NL", "X", "Y"], "senders": {"BE": "", "DE": "0800", "Z": "1"}}))
                .validate();
        let told: Vec<String> = faults.iter().map(ToString::to_string).collect();
        let starts = ["countries: `X` is", "countries: `Y` is", "senders: BE: is empty", "senders: Z: not a"];
        assert_eq!(told.len(), starts.len(), "{told:?}");
        assert!(told.iter().zip(starts).all(|(told, start)| told.starts_with(start)), "{told:?}");
    }

    #[rstest]
    #[case(json!({"weight": -1}))]
    #[case(json!({"priorities": ["high"]}))]
    #[case(json!({"routing": {"weight": 1}}))]
    #[case(json!({"wieght": 1}))]
    #[case(json!({"callback_token": 1_234_567_890}))]
    fn what_is_no_value_is_an_error(#[case] keys: Value) {
        let mut table = json!({"type": "log", "name": "dry"});
        for (key, value) in keys.as_object().unwrap() {
            table[key] = value.clone();
        }
        let error = serde_json::from_value::<GatewayConfig>(table).unwrap_err().to_string();
        assert!(!error.contains("1234567890"), "{error}");
    }
}
