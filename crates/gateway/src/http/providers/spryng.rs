//! Spryng REST v1.

use std::path::PathBuf;

use klaroen_domain::outcome::ReceiptStatus::{self, Delivered, Undelivered, Underway};
use klaroen_domain::outcome::SubmitOutcome;
use klaroen_domain::phone::Country;
use klaroen_domain::time::Timestamp;
use reqwest::header::{ACCEPT, AUTHORIZATION};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::http::classify::{Codes, Meaning, Refusal, outcome, refused};
use crate::http::client::{Answer, Call};
use crate::http::contract::{Contract, Faults, Found, HttpConfig, accepted, common_keys};
use crate::http::fields::{Fields, ReceiptParts, at};
use crate::settings::{ConfigFault, Endpoint, Routing, Senders};
use crate::sms::{CallbackError, Capabilities, ClientReference, OutboundSms, RawCallback, StatusAnswer};

const BASE_URL: &str = "https://rest.spryngsms.com";
/// Most segments that their platform joins again on a phone.
const SEGMENTS_MAX: u8 = 8;

/// HTTP statuses of refusals: the contract has no codes in bodies.
const CODES: Codes = &[
    (&["401", "403"], Meaning::Gateway, "the token is not allowed"),
    (&["402"], Meaning::Gateway, "not enough credit"),
    (&["404", "405"], Meaning::Gateway, "the address is not right"),
];
/// `STATUS` of a receipt; anything else is a sign that it is on its way.
const STATUSES: &[(&str, ReceiptStatus)] = &[("10", Delivered), ("20", Undelivered)];
/// `REASONCODE` of a receipt.
const REASONS: &[(&str, &str)] = &[
    ("20", "20 unreachable"),
    ("21", "21 number incorrect"),
    ("22", "22 delivery failure"),
    ("31", "31 recipient on a blacklist"),
    ("32", "32 sender not registered in the country"),
];
/// Fields of a receipt that are kept.
const KEPT: [&str; 3] = ["STATUS", "REASONCODE", "REFERENCE"];

/// `type = "spryng"`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpryngConfig {
    /// Name of the gateway, as the operator calls it.
    pub name: String,
    /// The originator: a number or up to 11 letters and digits.
    pub sender: String,
    /// Segments handed over per second; 0 is no limit.
    #[serde(default)]
    pub segments_per_second: u32,
    /// The API token.
    #[serde(default)]
    pub api_token: Option<SecretString>,
    /// A file with the token.
    #[serde(default)]
    pub api_token_file: Option<PathBuf>,
    /// The route: `business`, or the number of one of your own.
    #[serde(default = "business")]
    pub route: String,
    /// Address of the provider, and how it is talked to.
    #[serde(default)]
    pub endpoint: Endpoint,
    /// Keys that all gateways have.
    #[serde(default)]
    pub routing: Routing,
}

fn business() -> String {
    "business".to_owned()
}

struct Spryng {
    url: String,
    senders: Senders,
    token: SecretString,
    route: String,
    country: Country,
}

impl HttpConfig for SpryngConfig {
    common_keys!();

    fn contract(&self, country: Country) -> Result<Box<dyn Contract>, Vec<ConfigFault>> {
        let mut faults = Faults::default();
        faults.sender(&self.sender);
        faults.require("route", &self.route);
        let url = faults.take(self.endpoint.base_url(Some(BASE_URL), false));
        let names = ["api_token", "api_token_file"];
        let token = faults.secret(names, self.api_token.as_ref(), self.api_token_file.as_ref());
        match (url, token) {
            (Some(url), Some(token)) if faults.0.is_empty() => {
                let senders = Senders::new(&self.sender, &self.routing, str::to_owned);
                let route = self.route.clone();
                Ok(Box::new(Spryng { url: format!("{url}/v1/messages"), senders, token, route, country }))
            }
            _ => Err(faults.0),
        }
    }
}

impl Spryng {
    fn authorised(&self, call: Call) -> Call {
        call.with(AUTHORIZATION, format!("Bearer {}", self.token.expose_secret()))
            .with(ACCEPT, "application/json")
    }
}

impl Contract for Spryng {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            client_reference: true,
            receipts: true,
            status_query: true,
            max_segments: SEGMENTS_MAX,
            ..Capabilities::default()
        }
    }

    fn submission(&self, batch: &[OutboundSms]) -> Call {
        let sms = &batch[0];
        let body = json!({
            // Not `unicode` for all: that would double the segments, and the price.
            "encoding": "auto", "body": sms.text.as_str(), "route": self.route, "originator": self.senders.of(&sms.to),
            "recipients": [sms.to.expose_digits()], "reference": ClientReference::of(sms.delivery).0,
        });
        self.authorised(Call::json(self.url.clone(), &body))
    }

    fn outcomes(&self, batch: &[OutboundSms], answer: &Answer) -> Option<Vec<SubmitOutcome>> {
        let outcome = if answer.is_success() {
            let body = answer.json()?;
            at(&body, "/id").or_else(|| at(&body, "/data/id"))?;
            // Receipts name our reference and no id: it stands for the id on both sides.
            accepted(ClientReference::of(batch[0].delivery).0, batch[0].text.segments())
        } else if answer.status == 422 {
            parameters_refused(&answer.json()?)
        } else if answer.status < 500 {
            let code = answer.status.to_string();
            CODES.iter().find(|(known, ..)| known.contains(&code.as_str()))?;
            refused(CODES, Refusal::of(answer, &code))
        } else {
            return None;
        };
        Some(vec![outcome])
    }

    fn question(&self, sms: &OutboundSms, _since: Timestamp) -> Option<Call> {
        let reference = ClientReference::of(sms.delivery).0;
        Some(self.authorised(Call::get(format!("{}?reference={reference}", self.url))))
    }

    fn finding(&self, sms: &OutboundSms, _since: Timestamp, answer: &Answer) -> StatusAnswer {
        let body = answer.json().filter(|_| answer.is_success()).unwrap_or_default();
        let Some(found) = body.as_array().or_else(|| body.pointer("/data")?.as_array()) else {
            return StatusAnswer::NoAnswer;
        };
        let reference = ClientReference::of(sms.delivery).0;
        if found.iter().any(|entry| at(entry, "/reference").as_deref() == Some(&reference)) {
            StatusAnswer::found(reference, Underway)
        } else if found.is_empty() {
            StatusAnswer::NotFound
        } else {
            // Others than were asked for: the filter was not heeded, and ours may stand on another page.
            StatusAnswer::NoAnswer
        }
    }

    fn receipts(&self, callback: &RawCallback<'_>) -> Result<Found, CallbackError> {
        let fields = Fields::read(callback)?;
        let word = fields.get("STATUS").ok_or(CallbackError::Malformed("no STATUS"))?;
        let status =
            STATUSES.iter().find(|(known, _)| *known == word).map_or(Underway, |(_, status)| *status);
        let reason = fields.get("REASONCODE").filter(|reason| *reason != "0");
        let explained = |code: &str| {
            REASONS.iter().find(|(known, _)| *known == code).map_or(code, |(_, words)| *words).to_owned()
        };
        let reference = fields.get("REFERENCE");
        let raw = fields.raw(&KEPT);
        let parts =
            ReceiptParts { id: None, reference, status, error: reason.map(explained), recipient: None, raw };
        parts.event(self.country).map(Found::one).ok_or(CallbackError::Malformed("no REFERENCE"))
    }

    /// Their contract for replies is not public.
    fn inbound(&self, _callback: &RawCallback<'_>) -> Result<Found, CallbackError> {
        Err(CallbackError::NotSupported)
    }
}

/// 422: the members of `errors` are named after the parameters.
fn parameters_refused(body: &Value) -> SubmitOutcome {
    let named = body.get("errors").and_then(Value::as_object);
    let about_number = named.is_some_and(|errors| {
        !errors.is_empty() && errors.keys().all(|parameter| parameter.starts_with("recipients"))
    });
    if about_number {
        outcome(Meaning::Recipient, "422", "the number is refused", None)
    } else {
        outcome(Meaning::Message, "422", "text, sender or another parameter is refused", None)
    }
}
