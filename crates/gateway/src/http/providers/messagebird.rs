//! `MessageBird` REST ("Connectivity Platform").

use std::path::PathBuf;

use klaroen_domain::outcome::ReceiptStatus::{self, Delivered, Undelivered, Underway};
use klaroen_domain::outcome::{Failure, SubmitOutcome};
use klaroen_domain::phone::Country;
use klaroen_domain::text::Encoding;
use reqwest::header::{ACCEPT, AUTHORIZATION};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};

use super::jwt;
use crate::http::classify::{Codes, Meaning, Refusal, outcome, refused};
use crate::http::client::{Answer, Call};
use crate::http::contract::{Contract, Faults, Found, HttpConfig, accepted, common_keys};
use crate::http::fields::{Fields, ReceiptParts, at, inbound, status_of};
use crate::settings::{ConfigFault, Endpoint, Routing, Senders};
use crate::sms::{
    CallbackAnswer, CallbackError, CallbackKind, Capabilities, ClientReference, OutboundSms, RawCallback,
};

const BASE_URL: &str = "https://rest.messagebird.com";
/// 1,377 characters of GSM 7-bit: nine parts of 153.
const SEGMENTS_MAX: u8 = 9;

/// `errors[].code`.
const CODES: Codes = &[
    (&["2"], Meaning::Gateway, "the key is not allowed"),
    (&["25"], Meaning::Gateway, "not enough balance"),
    (&["20"], Meaning::Gateway, "the address is not right, or the account lacks the product"),
    (&["21"], Meaning::Message, "the request is refused"),
    (&["98", "99"], Meaning::Temporary, "a fault of the provider's own"),
];
/// Codes about one parameter, which says whom they concern.
const PARAMETER_CODES: [&str; 2] = ["9", "10"];
/// `status` of a receipt.
const STATUSES: &[(&str, ReceiptStatus)] = &[
    ("scheduled", Underway),
    ("sent", Underway),
    ("buffered", Underway),
    ("delivered", Delivered),
    ("expired", Undelivered),
    ("delivery_failed", Undelivered),
];
/// `statusErrorCode` of a recipient who stopped messages at the provider.
const ERROR_STOPPED: &str = "103";
/// Fields of a receipt that are kept.
const KEPT: [&str; 7] =
    ["id", "reference", "status", "statusReason", "statusErrorCode", "statusDatetime", "mccmnc"];

/// `type = "messagebird"`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MessagebirdConfig {
    /// Name of the gateway, as the operator calls it.
    pub name: String,
    /// The originator: a number or up to 11 letters and digits (no replies then).
    pub sender: String,
    /// Segments handed over per second; 0 is no limit.
    #[serde(default)]
    pub segments_per_second: u32,
    /// The live API key.
    #[serde(default)]
    pub access_key: Option<SecretString>,
    /// A file with the key.
    #[serde(default)]
    pub access_key_file: Option<PathBuf>,
    /// The signing key of the account: with it a callback without a valid signature is refused.
    #[serde(default)]
    pub signing_key: Option<SecretString>,
    /// A file with the signing key.
    #[serde(default)]
    pub signing_key_file: Option<PathBuf>,
    /// Address of the provider, and how it is talked to.
    #[serde(default)]
    pub endpoint: Endpoint,
    /// Keys that all gateways have.
    #[serde(default)]
    pub routing: Routing,
}

struct Messagebird {
    url: String,
    senders: Senders,
    access_key: SecretString,
    signing_key: Option<SecretString>,
    receipts_url: Option<String>,
    country: Country,
}

impl HttpConfig for MessagebirdConfig {
    common_keys!();

    fn contract(&self, country: Country) -> Result<Box<dyn Contract>, Vec<ConfigFault>> {
        let mut faults = Faults::default();
        faults.sender(&self.sender);
        let url = faults.take(self.endpoint.base_url(Some(BASE_URL), false));
        let names = ["access_key", "access_key_file"];
        let access_key = faults.secret(names, self.access_key.as_ref(), self.access_key_file.as_ref());
        let names = ["signing_key", "signing_key_file"];
        let signing_key =
            faults.optional_secret(names, self.signing_key.as_ref(), self.signing_key_file.as_ref());
        if signing_key.is_some() && self.routing.callback_url.is_none() {
            faults.0.push(ConfigFault::new("callback_url", "is missing: signatures are over it"));
        }
        let receipts_url = faults.take(self.routing.receipts_url(&self.name)).flatten();
        match (url, access_key) {
            (Some(url), Some(access_key)) if faults.0.is_empty() => {
                let senders = Senders::new(&self.sender, &self.routing, str::to_owned);
                Ok(Box::new(Messagebird { url, senders, access_key, signing_key, receipts_url, country }))
            }
            _ => Err(faults.0),
        }
    }
}

impl Contract for Messagebird {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            client_reference: true,
            receipts: true,
            inbound: true,
            max_segments: SEGMENTS_MAX,
            ..Capabilities::default()
        }
    }

    fn submission(&self, batch: &[OutboundSms]) -> Call {
        // The contract takes one text for many numbers, but one reference for all of them: each goes by itself.
        let sms = &batch[0];
        let datacoding = match sms.text.encoding() {
            Encoding::Gsm7 => "plain",
            Encoding::Ucs2 => "unicode",
        };
        let mut body = json!({
            "originator": self.senders.of(&sms.to), "recipients": [sms.to.expose_digits()], "body": sms.text.as_str(),
            "datacoding": datacoding, "reference": ClientReference::of(sms.delivery).0,
            "validity": sms.validity.as_secs().max(1),
        });
        if let Some(url) = &self.receipts_url {
            body["reportUrl"] = json!(url);
        }
        Call::json(format!("{}/messages", self.url), &body)
            .with(AUTHORIZATION, format!("AccessKey {}", self.access_key.expose_secret()))
            .with(ACCEPT, "application/json")
    }

    fn outcomes(&self, batch: &[OutboundSms], answer: &Answer) -> Option<Vec<SubmitOutcome>> {
        let body = answer.json()?;
        let outcome = if answer.is_success() {
            let id = at(&body, "/id")?;
            let parts = body.pointer("/recipients/items/0/messagePartCount").and_then(Value::as_u64);
            let parts = parts.and_then(|parts| u8::try_from(parts).ok());
            accepted(id, parts.unwrap_or_else(|| batch[0].text.segments()))
        } else {
            let code = at(&body, "/errors/0/code")?;
            match about_parameter(&code, &body) {
                Some(outcome) => outcome,
                None => refused(CODES, Refusal::of(answer, &code)),
            }
        };
        Some(vec![outcome])
    }

    fn authenticate(&self, callback: &RawCallback<'_>, url: &str) -> Result<Option<String>, CallbackError> {
        let Some(key) = &self.signing_key else { return Ok(None) };
        let token = callback.header("messagebird-signature-jwt").ok_or(CallbackError::Signature)?;
        jwt::verify(token, key.expose_secret(), url, callback).map(Some)
    }

    fn receipts(&self, callback: &RawCallback<'_>) -> Result<Found, CallbackError> {
        let fields = Fields::read(callback)?;
        let error = fields.get("statusErrorCode").filter(|code| *code != "0");
        let parts = ReceiptParts {
            id: fields.get("id"),
            reference: fields.get("reference"),
            status: status_of(STATUSES, fields.get("status").unwrap_or_default()),
            error: error.map(|code| if code == ERROR_STOPPED { Failure::OPTED_OUT } else { code }.to_owned()),
            recipient: fields.get("recipient"),
            raw: fields.raw(&KEPT),
        };
        parts.event(self.country).map(Found::one).ok_or(CallbackError::Malformed("neither id nor reference"))
    }

    fn inbound(&self, callback: &RawCallback<'_>) -> Result<Found, CallbackError> {
        let fields = Fields::read(callback)?;
        let any = |names: &[&str]| names.iter().find_map(|name| fields.get(name));
        let from = any(&["originator"]).ok_or(CallbackError::Malformed("no originator"))?;
        let to = any(&["recipient", "receiver", "shortcode"]).unwrap_or_default();
        let text = any(&["body", "message"]).unwrap_or_default();
        let time = any(&["createdDatetime", "receive_datetime"]).unwrap_or_default();
        Ok(Found::one(inbound(any(&["id", "mid"]), [from, to, text], time, callback.received_at)))
    }

    fn answer(&self, _kind: CallbackKind) -> CallbackAnswer {
        CallbackAnswer::text("text/plain", "OK")
    }
}

/// "Missing" and "invalid" concern the number, or text and sender, by the parameter they name.
fn about_parameter(code: &str, body: &Value) -> Option<SubmitOutcome> {
    if !PARAMETER_CODES.contains(&code) {
        return None;
    }
    Some(match at(body, "/errors/0/parameter").as_deref() {
        Some("recipients" | "recipient") => outcome(Meaning::Recipient, code, "the number is refused", None),
        _ => outcome(Meaning::Message, code, "text, sender or another parameter is refused", None),
    })
}
