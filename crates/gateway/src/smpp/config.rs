//! `type = "smpp"`: the keys of an SMPP 3.4 gateway, their defaults and what may be wrong with them.

use std::path::PathBuf;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use crate::settings::{ConfigFault, PasswordError, Routing, sender_fault};
use crate::smpp::tls::{self, Tls};

/// SMPP 3.4 §4.1.1: `system_id` is at most 16 octets with its terminator.
pub(super) const SYSTEM_ID_LEN_MAX: usize = 15;
/// SMPP 3.4 §4.1.1: `password` is at most 9 octets with its terminator.
pub(super) const PASSWORD_LEN_MAX: usize = 8;
/// SMPP 3.4 §4.1.1: `system_type` is at most 13 octets with its terminator.
pub(super) const SYSTEM_TYPE_LEN_MAX: usize = 12;
/// SMPP 3.4 §5.2.11: `service_type` is at most 6 octets with its terminator.
const SERVICE_TYPE_LEN_MAX: usize = 5;

/// `type = "smpp"`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SmppConfig {
    /// Name of the gateway, as the operator calls it.
    pub name: String,
    /// The originator: an international number, a short code, or up to 11 letters and digits (no replies then).
    pub sender: String,
    /// Segments handed over per second on all binds together; 0 is no limit.
    #[serde(default)]
    pub segments_per_second: u32,
    /// Host name or address of the SMSC.
    pub host: String,
    /// TCP port; 2775 is the registered one.
    #[serde(default = "SmppConfig::default_port")]
    pub port: u16,
    /// The account.
    pub system_id: String,
    /// The password itself; or `password_file`.
    #[serde(default)]
    pub password: Option<SecretString>,
    /// A file whose content, without the line end, is the password.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// Parallel binds (transceiver); the provider's contract says how many it allows.
    #[serde(default = "SmppConfig::default_binds")]
    pub binds: u16,
    /// Submits in flight per bind. 50 fills a link of 100 ms round trip at 500 SMS/s; some providers allow only 10.
    #[serde(default = "SmppConfig::default_window")]
    pub window: u16,
    /// TLS, without which password and texts travel in the clear.
    #[serde(default)]
    pub tls: bool,
    /// PEM file with the only authorities to trust; without it those of the public web.
    #[serde(default)]
    pub tls_ca_file: Option<PathBuf>,
    /// The name in the provider's certificate, if it is not `host`.
    #[serde(default)]
    pub tls_server_name: Option<String>,
    /// Sent in the bind; empty for nearly all providers.
    #[serde(default)]
    pub system_type: String,
    /// The alphabet that the provider reads `data_coding_gsm7` as.
    #[serde(default)]
    pub alphabet: Alphabet,
    /// The `data_coding` of a GSM 7-bit text: 0, the SMSC default alphabet. Few providers want another.
    #[serde(default)]
    pub data_coding_gsm7: u8,
    /// The `data_coding` of a text in UCS-2: 8. A provider that takes a message class with it wants another.
    #[serde(default = "SmppConfig::default_data_coding_ucs2")]
    pub data_coding_ucs2: u8,
    /// `service_type`; empty for nearly all providers.
    #[serde(default)]
    pub service_type: String,
    /// How long the provider tries, as it is written (SMPP 3.4 §7.1.1).
    #[serde(default)]
    pub validity: Validity,
    /// `registered_delivery` (SMPP 3.4 §5.2.17): 1, a receipt for success and failure. 0: no receipts, and nothing waits for them.
    #[serde(default = "SmppConfig::default_registered_delivery")]
    pub registered_delivery: u8,
    /// Which segments of a long text the provider sends receipts for.
    #[serde(default)]
    pub receipt_for: ReceiptFor,
    /// `priority_flag` (SMPP 3.4 §5.2.14), for every message.
    #[serde(default)]
    pub priority_flag: u8,
    /// `protocol_id` (SMPP 3.4 §5.2.13).
    #[serde(default)]
    pub protocol_id: u8,
    /// How a text of several segments is written.
    #[serde(default)]
    pub long_text: LongText,
    /// Type of number of the participant: 1, international.
    #[serde(default = "SmppConfig::default_destination_kind")]
    pub destination_ton: u8,
    /// Numbering plan of the participant: 1, E.164.
    #[serde(default = "SmppConfig::default_destination_kind")]
    pub destination_npi: u8,
    /// Type of number of the sender, if the derived one (1, 3 or 5) is refused.
    #[serde(default)]
    pub sender_ton: Option<u8>,
    /// Numbering plan of the sender, if the derived one (1 or 0) is refused.
    #[serde(default)]
    pub sender_npi: Option<u8>,
    /// How the ids of submit answers and of receipts relate.
    #[serde(default)]
    pub message_id_format: MessageIdFormat,
    /// Seconds to wait for the answer to a submit. Too short a time makes messages that were taken look lost, and an
    /// SMSC under load may take tens of seconds: 60, as Kannel has it.
    #[serde(default = "SmppConfig::default_response_timeout_s")]
    pub response_timeout_s: u64,
    /// Seconds of silence after which the link is probed.
    #[serde(default = "SmppConfig::default_enquire_link_s")]
    pub enquire_link_s: u64,
    /// The provider sends receipts without the receipt bit in `esm_class`: take a text with `id:` and `stat:` for one.
    /// Off, because anybody can send us such a text.
    #[serde(default)]
    pub receipts_without_esm_class: bool,
    /// Keys that all gateways have.
    #[serde(default)]
    pub routing: Routing,
}

/// The coding of the octets of a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Alphabet {
    /// GSM 7-bit default alphabet, one septet per octet.
    #[default]
    Gsm7,
    /// ISO 8859-1: sent with `data_coding` 3 where every character fits, and read from `data_coding` 0.
    Latin1,
}

/// How `validity_period` is written (SMPP 3.4 §7.1.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Validity {
    /// So long from now.
    #[default]
    Relative,
    /// Until a time in UTC.
    Absolute,
    /// Not at all: the provider tries as long as it does for everybody, after the alert as well.
    None,
}

/// Which segments of a long text the provider sends receipts for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReceiptFor {
    /// For each: the text is delivered when all are.
    #[default]
    Each,
    /// For the first, which stands for all.
    First,
    /// For the last, which stands for all.
    Last,
}

impl ReceiptFor {
    /// Whether the receipt of segment `part` of `parts`, from 0, is waited for.
    pub(super) const fn expects(self, part: usize, parts: usize) -> bool {
        match self {
            Self::Each => true,
            Self::First => part == 0,
            Self::Last => part + 1 == parts,
        }
    }
}

/// How a text of several segments is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LongText {
    /// A PDU for each segment, with a user data header (3GPP TS 23.040 §9.2.3.24.1).
    #[default]
    Udh,
    /// A PDU for each segment, with the parameters `sar_msg_ref_num`, `sar_total_segments` and `sar_segment_seqnum` (SMPP 3.4
    /// §5.3.2.22 to 24).
    Sar,
    /// One PDU with the parameter `message_payload` (SMPP 3.4 §5.3.2.32), which the provider cuts. It has one receipt.
    Payload,
}

/// How a provider writes message ids. The canonical id is decimal wherever one side is (see `message_id`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageIdFormat {
    /// The same text on both sides (but for case, blanks and leading zeros).
    #[default]
    Literal,
    /// `submit_sm_resp` hexadecimal, receipts decimal.
    HexDecimal,
    /// `submit_sm_resp` decimal, receipts hexadecimal.
    DecimalHex,
}

impl SmppConfig {
    const fn default_port() -> u16 {
        2775
    }

    const fn default_binds() -> u16 {
        1
    }

    const fn default_window() -> u16 {
        50
    }

    const fn default_data_coding_ucs2() -> u8 {
        8
    }

    const fn default_registered_delivery() -> u8 {
        1
    }

    const fn default_destination_kind() -> u8 {
        1
    }

    /// Whether receipts are asked for.
    pub(super) const fn asks_for_receipts(&self) -> bool {
        self.registered_delivery & 0x03 != 0
    }

    const fn default_response_timeout_s() -> u64 {
        60
    }

    const fn default_enquire_link_s() -> u64 {
        30
    }

    /// The password, from its key or its file.
    ///
    /// # Errors
    /// Returns a [`PasswordError`] if neither or both keys are set, or the file cannot be read.
    pub fn read_password(&self) -> Result<SecretString, PasswordError> {
        match (&self.password, &self.password_file) {
            (Some(password), None) => Ok(password.clone()),
            (None, Some(path)) => {
                let text = std::fs::read_to_string(path)?;
                Ok(text.trim_end_matches(['\r', '\n']).into())
            }
            _ => Err(PasswordError::NotExactlyOne),
        }
    }

    /// TLS of the connection; `None` if it has none. Reads `tls_ca_file`.
    ///
    /// # Errors
    /// Returns a [`ConfigFault`] if no certificate can have the server name, or the file of authorities cannot be used.
    pub(super) fn tls_settings(&self) -> Result<Option<Tls>, ConfigFault> {
        let name = self.tls_server_name.as_ref().unwrap_or(&self.host);
        self.tls.then(|| tls::settings(name, self.tls_ca_file.as_deref())).transpose()
    }

    pub(crate) fn validate(&self, faults: &mut Vec<ConfigFault>) {
        let mut fault = |field, reason: &str| faults.push(ConfigFault::new(field, reason));
        if let Some(reason) = sender_fault(&self.sender) {
            fault("sender", reason);
        }
        if self.host.is_empty() {
            fault("host", "is empty");
        }
        if self.port == 0 {
            fault("port", "must be 1 to 65535");
        }
        if !(1..=16).contains(&self.binds) {
            fault("binds", "must be 1 to 16");
        }
        if !(1..=1_000).contains(&self.window) {
            fault("window", "must be 1 to 1000");
        }
        if self.system_id.is_empty()
            || self.system_id.len() > SYSTEM_ID_LEN_MAX
            || !printable(&self.system_id)
        {
            fault("system_id", "must be 1 to 15 ASCII characters (SMPP 3.4 §4.1.1)");
        }
        if self.system_type.len() > SYSTEM_TYPE_LEN_MAX || !printable(&self.system_type) {
            fault("system_type", "must be at most 12 ASCII characters (SMPP 3.4 §4.1.1)");
        }
        if self.service_type.len() > SERVICE_TYPE_LEN_MAX || !printable(&self.service_type) {
            fault("service_type", "must be at most 5 ASCII characters (SMPP 3.4 §5.2.11)");
        }
        if self.registered_delivery > 0x1F || self.registered_delivery & 0x03 == 3 {
            fault(
                "registered_delivery",
                "must be 0 to 31, with 0, 1 or 2 in its two lowest bits (SMPP 3.4 §5.2.17)",
            );
        }
        if self.receipt_for != ReceiptFor::Each && !self.asks_for_receipts() {
            fault("receipt_for", "has no meaning where registered_delivery asks for no receipts");
        }
        if self.receipt_for != ReceiptFor::Each && self.long_text == LongText::Payload {
            fault("receipt_for", "has no meaning with long_text = \"payload\": there is one receipt");
        }
        if self.priority_flag > 3 {
            fault("priority_flag", "must be 0 to 3 (SMPP 3.4 §5.2.14)");
        }
        for (field, ton) in [("destination_ton", Some(self.destination_ton)), ("sender_ton", self.sender_ton)]
        {
            if ton.is_some_and(|ton| ton > 6) {
                fault(field, "must be 0 to 6 (SMPP 3.4 §5.2.5)");
            }
        }
        for (field, npi) in [("destination_npi", Some(self.destination_npi)), ("sender_npi", self.sender_npi)]
        {
            if npi.is_some_and(|npi| ![0, 1, 3, 4, 6, 8, 9, 10, 14, 18].contains(&npi)) {
                fault(field, "must be one of 0, 1, 3, 4, 6, 8, 9, 10, 14 and 18 (SMPP 3.4 §5.2.6)");
            }
        }
        if !(1..=600).contains(&self.response_timeout_s) {
            fault("response_timeout_s", "must be 1 to 600");
        }
        if !(1..=3_600).contains(&self.enquire_link_s) {
            fault("enquire_link_s", "must be 1 to 3600");
        }
        if !self.tls && (self.tls_ca_file.is_some() || self.tls_server_name.is_some()) {
            fault("tls", "must be true for tls_ca_file or tls_server_name to have a meaning");
        }
        faults.extend(self.tls_settings().err());
        let mut fault = |field, reason: &str| faults.push(ConfigFault::new(field, reason));
        match self.read_password() {
            Ok(password) => {
                let password = password.expose_secret();
                if password.len() > PASSWORD_LEN_MAX || !printable(password) {
                    fault("password", "must be at most 8 ASCII characters (SMPP 3.4 §4.1.1)");
                }
            }
            Err(PasswordError::NotExactlyOne) => {
                fault("password", "give exactly one of password and password_file");
            }
            Err(PasswordError::File(error)) => {
                fault("password_file", &format!("cannot be read: {}", error.kind()));
            }
        }
    }
}

fn printable(text: &str) -> bool {
    text.bytes().all(|b| (0x20..0x7F).contains(&b))
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Write;

    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;
    use crate::config::GatewayConfig;

    pub(crate) fn config(changes: &Value) -> SmppConfig {
        let mut table = json!({"name": "main", "host": "127.0.0.1", "system_id": "klaroen", "password": "secret08",
                               "sender": "1000"});
        for (key, value) in changes.as_object().unwrap() {
            table[key] = value.clone();
        }
        serde_json::from_value(table).unwrap()
    }

    fn faults(changes: &Value) -> Vec<&'static str> {
        GatewayConfig::Smpp(config(changes)).validate().into_iter().map(|f| f.field).collect()
    }

    #[test]
    fn the_example_of_the_manual_is_valid() {
        let table = json!({"type": "smpp", "name": "main", "host": "127.0.0.1", "port": 2775, "system_id": "klaroen",
            "password": "secret", "sender": "1000", "binds": 2, "window": 10, "segments_per_second": 500});
        let config: GatewayConfig = serde_json::from_value(table).unwrap();
        assert_eq!(config.validate(), []);
        assert_eq!((config.channels().get(), config.window(), config.segments_per_second()), (2, 10, 500));
    }

    #[rstest]
    #[case(json!({}), &[])]
    #[case(json!({"window": 0}), &["window"])]
    #[case(json!({"window": 1001, "binds": 17, "port": 0}), &["port", "binds", "window"])]
    #[case(json!({"system_id": "0123456789012345"}), &["system_id"])]
    #[case(json!({"password": "123456789"}), &["password"])]
    #[case(json!({"password": null}), &["password"])]
    #[case(json!({"password_file": "/nowhere/at/all"}), &["password"])]
    #[case(json!({"password": null, "password_file": "/nowhere/at/all"}), &["password_file"])]
    #[case(json!({"sender": "Burgernet"}), &[])]
    #[case(json!({"sender": "BurgernetNL12"}), &["sender"])]
    #[case(json!({"sender": "Polizei!"}), &["sender"])]
    #[case(json!({"sender": "+31612345678"}), &[])]
    #[case(json!({"sender": "1234567890123456"}), &["sender"])]
    #[case(json!({"sender": "+"}), &["sender"])]
    #[case(json!({"tls_server_name": "smsc.example"}), &["tls"])]
    #[case(json!({"tls": true, "tls_ca_file": "/nowhere/at/all"}), &["tls_ca_file"])]
    #[case(json!({"tls": true, "tls_server_name": "not a name"}), &["tls_server_name"])]
    #[case(json!({"service_type": "CMTWXY"}), &["service_type"])]
    #[case(json!({"registered_delivery": 0, "receipt_for": "last"}), &["receipt_for"])]
    #[case(json!({"registered_delivery": 3}), &["registered_delivery"])]
    #[case(json!({"registered_delivery": 32, "priority_flag": 4}), &["registered_delivery", "priority_flag"])]
    #[case(json!({"receipt_for": "first", "long_text": "payload"}), &["receipt_for"])]
    #[case(json!({"receipt_for": "first", "long_text": "sar", "validity": "none"}), &[])]
    #[case(json!({"destination_ton": 7, "sender_ton": 8}), &["destination_ton", "sender_ton"])]
    #[case(json!({"destination_npi": 2, "sender_npi": 5}), &["destination_npi", "sender_npi"])]
    #[case(json!({"response_timeout_s": 0, "enquire_link_s": 0}), &["response_timeout_s", "enquire_link_s"])]
    fn every_fault_is_named(#[case] changes: Value, #[case] expected: &[&str]) {
        assert_eq!(faults(&changes), expected);
    }

    #[test]
    fn the_password_file_loses_its_line_end_and_nothing_else() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b" pass w \r\n").unwrap();
        let config = config(&json!({"password": null, "password_file": file.path()}));
        assert_eq!(config.read_password().unwrap().expose_secret(), " pass w ");
    }

    #[test]
    fn debug_shows_no_secret() {
        assert!(!format!("{:?}", config(&json!({}))).contains("secret08"));
    }
}
