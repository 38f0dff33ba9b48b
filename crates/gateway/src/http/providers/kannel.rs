//! Kannel's `sendsms`, and whoever copies it.

use std::path::PathBuf;

use klaroen_domain::outcome::ReceiptStatus::{self, Delivered, Undelivered, Underway, Unknown};
use klaroen_domain::outcome::SubmitOutcome;
use klaroen_domain::phone::Country;
use klaroen_domain::text::Encoding;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use crate::http::classify::{Meaning, outcome};
use crate::http::client::{Answer, Call};
use crate::http::contract::{
    Contract, Faults, Found, HttpConfig, REFERENCE_PARAMETER, accepted, common_keys, receipts_url_of,
    validity_minutes,
};
use crate::http::fields::{Fields, ReceiptParts, inbound};
use crate::settings::{ConfigFault, Endpoint, Routing, Senders};
use crate::sms::{CallbackError, Capabilities, ClientReference, OutboundSms, RawCallback};

/// `max-messages` is 10 unless set.
const SEGMENTS_MAX: u8 = 10;
/// All five: delivered, not delivered, queued, delivered to the SMSC, rejected by it.
const DLR_MASK: &str = "31";
/// Kannel fills these in when it calls: status, time, the SMSC's id.
const DLR_ESCAPES: &str = "status=%d&time=%T&smsc_id=%F";

/// How answers begin that took the message. Version 1.3 and before say "Sent."
const TAKEN: [&str; 3] = ["0:", "3:", "Sent."];
/// Refusals: HTTP status, a word of the text, and what they mean.
const REFUSALS: &[(u16, &str, Meaning, &str)] = &[
    (403, "Authorization", Meaning::Gateway, "user or password are not allowed"),
    (403, "Not routable", Meaning::Recipient, "no route for the number"),
    (400, "receiver", Meaning::Recipient, "the number is refused"),
    (400, "denied", Meaning::Recipient, "the number is on a blacklist"),
    (400, "", Meaning::Message, "text, sender or another parameter is refused"),
    (503, "Temporal failure", Meaning::Temporary, "not now"),
];
/// Bits of `%d`, the strongest first. Their combinations (0x22 expired, 0x42 unknown) are of the family of the low bits.
const STATUS_BITS: &[(u32, ReceiptStatus)] =
    &[(1, Delivered), (2, Undelivered), (16, Undelivered), (4, Underway), (8, Underway)];
/// Fields of a receipt that are kept.
const KEPT: [&str; 4] = [REFERENCE_PARAMETER, "status", "time", "smsc_id"];

/// `type = "kannel"`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KannelConfig {
    /// Name of the gateway, as the operator calls it.
    pub name: String,
    /// `from`.
    pub sender: String,
    /// Segments handed over per second; 0 is no limit.
    #[serde(default)]
    pub segments_per_second: u32,
    /// `username` of the `sendsms-user` group.
    pub username: String,
    /// Its password.
    #[serde(default)]
    pub password: Option<SecretString>,
    /// A file with the password.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// The path of `sendsms`.
    #[serde(default = "sendsms")]
    pub path: String,
    /// The `smsc-id` to route to, if it is not Kannel's to choose.
    #[serde(default)]
    pub smsc: Option<String>,
    /// Address of Kannel, such as `http://127.0.0.1:13013`. The password is in the address of each request: use it on one machine or
    /// in one network, or over TLS.
    #[serde(default)]
    pub endpoint: Endpoint,
    /// Keys that all gateways have.
    #[serde(default)]
    pub routing: Routing,
}

fn sendsms() -> String {
    "/cgi-bin/sendsms".to_owned()
}

struct Kannel {
    url: String,
    senders: Senders,
    username: String,
    password: SecretString,
    smsc: Option<String>,
    receipts_url: Option<String>,
    country: Country,
}

impl HttpConfig for KannelConfig {
    common_keys!();

    fn contract(&self, country: Country) -> Result<Box<dyn Contract>, Vec<ConfigFault>> {
        let mut faults = Faults::default();
        faults.sender(&self.sender);
        faults.require("username", &self.username);
        if !self.path.starts_with('/') || self.path.contains(['?', '#', ' ']) {
            faults.0.push(ConfigFault::new("path", "must begin with `/` and have no query"));
        }
        let url = faults.take(self.endpoint.base_url(None, true));
        let names = ["password", "password_file"];
        let password = faults.secret(names, self.password.as_ref(), self.password_file.as_ref());
        let receipts_url = faults.take(self.routing.receipts_url(&self.name)).flatten();
        match (url, password) {
            (Some(url), Some(password)) if faults.0.is_empty() => Ok(Box::new(Kannel {
                url: format!("{url}{}", self.path),
                senders: Senders::new(&self.sender, &self.routing, str::to_owned),
                username: self.username.clone(),
                password,
                smsc: self.smsc.clone(),
                receipts_url,
                country,
            })),
            _ => Err(faults.0),
        }
    }
}

impl Contract for Kannel {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            // Kannel gives no id back: without an address for receipts there is nothing to know a message by.
            client_reference: self.receipts_url.is_some(),
            receipts: self.receipts_url.is_some(),
            inbound: true,
            max_segments: SEGMENTS_MAX,
            ..Capabilities::default()
        }
    }

    /// GET: a form sent with POST is taken for the text of a message, whose fields are then looked for in headers.
    fn submission(&self, batch: &[OutboundSms]) -> Call {
        let sms = &batch[0];
        let mut url = format!("{}?", self.url);
        let mut add = |name: &str, value: &[u8]| {
            if !url.ends_with('?') {
                url.push('&');
            }
            url.push_str(name);
            url.push('=');
            url.extend(form_urlencoded::byte_serialize(value));
        };
        add("username", self.username.as_bytes());
        add("password", self.password.expose_secret().as_bytes());
        add("from", self.senders.of(&sms.to).as_bytes());
        add("to", sms.to.expose_digits().as_bytes());
        match sms.text.encoding() {
            Encoding::Gsm7 => {
                add("coding", b"0");
                add("charset", b"UTF-8");
                add("text", sms.text.as_str().as_bytes());
            }
            // No charset: builds without iconv refuse it, and the bytes are what goes out.
            Encoding::Ucs2 => {
                add("coding", b"2");
                let units: Vec<u8> = sms.text.as_str().encode_utf16().flat_map(u16::to_be_bytes).collect();
                add("text", &units);
            }
        }
        add("validity", validity_minutes(sms).to_string().as_bytes());
        if let Some(smsc) = &self.smsc {
            add("smsc", smsc.as_bytes());
        }
        if let Some(receipts_url) = &self.receipts_url {
            let address = format!("{}&{DLR_ESCAPES}", receipts_url_of(receipts_url, sms));
            add("dlr-mask", DLR_MASK.as_bytes());
            add("dlr-url", address.as_bytes());
        }
        Call::get(url)
    }

    fn outcomes(&self, batch: &[OutboundSms], answer: &Answer) -> Option<Vec<SubmitOutcome>> {
        let text = answer.text()?.trim();
        let outcome = if answer.is_success() {
            TAKEN.iter().find(|word| text.starts_with(**word))?;
            accepted(ClientReference::of(batch[0].delivery).0, batch[0].text.segments())
        } else {
            // A page of a proxy is not Kannel's line of text.
            if text.is_empty() || text.starts_with('<') {
                return None;
            }
            let (status, _, meaning, detail) =
                REFUSALS.iter().find(|(status, word, ..)| *status == answer.status && text.contains(word))?;
            outcome(*meaning, &status.to_string(), detail, answer.retry_after)
        };
        Some(vec![outcome])
    }

    fn receipts(&self, callback: &RawCallback<'_>) -> Result<Found, CallbackError> {
        let fields = Fields::read(callback)?;
        let bits: u32 = fields.get("status").and_then(|text| text.parse().ok()).unwrap_or(0);
        let status =
            STATUS_BITS.iter().find(|(bit, _)| bits & bit != 0).map_or(Unknown, |(_, status)| *status);
        let parts = ReceiptParts {
            id: None,
            reference: fields.get(REFERENCE_PARAMETER),
            status,
            error: (status == Undelivered).then(|| bits.to_string()),
            recipient: None,
            raw: fields.raw(&KEPT),
        };
        parts.event(self.country).map(Found::one).ok_or(CallbackError::Malformed("no reference"))
    }

    /// As the manual has it: `?id=%I&ts=%T&sender=%p&to=%P&message=%a`. The answer is empty, because Kannel sends its text to the
    /// phone.
    fn inbound(&self, callback: &RawCallback<'_>) -> Result<Found, CallbackError> {
        let fields = Fields::read(callback)?;
        let from = fields.get("sender").ok_or(CallbackError::Malformed("no sender"))?;
        let [to, text, time] = ["to", "message", "ts"].map(|name| fields.get(name).unwrap_or_default());
        Ok(Found::one(inbound(fields.get("id"), [from, to, text], time, callback.received_at)))
    }
}
