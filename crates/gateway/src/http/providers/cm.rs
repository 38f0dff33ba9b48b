//! CM.com Business Messaging v1.0.

use std::path::PathBuf;

use klaroen_domain::outcome::ReceiptStatus::{self, Delivered, Undelivered, Underway};
use klaroen_domain::outcome::SubmitOutcome;
use klaroen_domain::phone::Country;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};

use super::xml;
use crate::http::classify::{Codes, Meaning, Refusal, refused};
use crate::http::client::{Answer, Call};
use crate::http::contract::{Contract, Faults, Found, HttpConfig, accepted, common_keys, validity_minutes};
use crate::http::fields::{ReceiptParts, at, inbound, is_json, json, pairs, query, raw, status_of};
use crate::settings::{ConfigFault, Endpoint, Routing, Senders};
use crate::sms::{CallbackError, Capabilities, ClientReference, OutboundSms, RawCallback};

const BASE_URL: &str = "https://gw.messaging.cm.com";
/// `maximumNumberOfMessageParts` goes to 8.
const SEGMENTS_MAX: u8 = 8;
/// Messages in one request.
const BATCH_MAX: u16 = 100;

/// `errorCode` and `messages[].messageErrorCode`.
const CODES: Codes = &[
    (&["101", "103"], Meaning::Gateway, "the product token is not allowed"),
    (&["102"], Meaning::Gateway, "not enough balance"),
    (&["202", "203"], Meaning::Message, "the request is malformed"),
    (&["301"], Meaning::Message, "the sender is refused"),
    (&["302", "303"], Meaning::Recipient, "the number is not valid"),
    (&["304", "305"], Meaning::Message, "the text or another field is refused"),
    (&["401"], Meaning::Message, "taken for spam"),
    (&["402"], Meaning::Recipient, "the number is on a blacklist"),
    (&["403"], Meaning::Message, "rejected"),
    (&["500", "999"], Meaning::Temporary, "a fault of the provider's own"),
];
/// `status.code` of a receipt.
const STATUSES: &[(&str, ReceiptStatus)] =
    &[("0", Underway), ("1", Undelivered), ("2", Delivered), ("3", Undelivered), ("4", Delivered)];

/// `type = "cm"`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CmConfig {
    /// Name of the gateway, as the operator calls it.
    pub name: String,
    /// `from`: a number or up to 11 letters and digits.
    pub sender: String,
    /// Segments handed over per second; 0 is no limit.
    #[serde(default)]
    pub segments_per_second: u32,
    /// The product token.
    #[serde(default)]
    pub product_token: Option<SecretString>,
    /// A file with the token.
    #[serde(default)]
    pub product_token_file: Option<PathBuf>,
    /// Messages in one request at most: 1 to 100, the default; 1 sends each by itself.
    #[serde(default)]
    pub batch_max: Option<u16>,
    /// Address of the provider, and how it is talked to.
    #[serde(default)]
    pub endpoint: Endpoint,
    /// Keys that all gateways have.
    #[serde(default)]
    pub routing: Routing,
}

struct Cm {
    batch_max: u16,
    url: String,
    senders: Senders,
    token: SecretString,
    country: Country,
}

impl HttpConfig for CmConfig {
    common_keys!();

    fn contract(&self, country: Country) -> Result<Box<dyn Contract>, Vec<ConfigFault>> {
        let mut faults = Faults::default();
        faults.sender(&self.sender);
        let batch_max = faults.batch_max(self.batch_max, BATCH_MAX);
        let url = faults.take(self.endpoint.base_url(Some(BASE_URL), false));
        let names = ["product_token", "product_token_file"];
        let token = faults.secret(names, self.product_token.as_ref(), self.product_token_file.as_ref());
        match (url, token) {
            (Some(url), Some(token)) if faults.0.is_empty() => {
                let senders = Senders::new(&self.sender, &self.routing, |sender| sender.replace('+', "00"));
                Ok(Box::new(Cm { batch_max, url: format!("{url}/v1.0/message"), senders, token, country }))
            }
            _ => Err(faults.0),
        }
    }
}

impl Contract for Cm {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            client_reference: true,
            receipts: true,
            inbound: true,
            max_segments: SEGMENTS_MAX,
            batch_max: self.batch_max,
            ..Capabilities::default()
        }
    }

    fn submission(&self, batch: &[OutboundSms]) -> Call {
        let messages: Vec<Value> = batch
            .iter()
            .map(|sms| {
                json!({
                    // One number for each reference: the answer and the receipts name nothing else.
                    "from": self.senders.of(&sms.to), "to": [{"number": format!("00{}", sms.to.expose_digits())}],
                    "body": {"type": "auto", "content": sms.text.as_str()},
                    "reference": ClientReference::of(sms.delivery).0, "allowedChannels": ["SMS"],
                    "minimumNumberOfMessageParts": 1, "maximumNumberOfMessageParts": SEGMENTS_MAX,
                    "validity": format!("{}m", validity_minutes(sms)),
                })
            })
            .collect();
        let token = self.token.expose_secret();
        let body = json!({"messages": {"authentication": {"producttoken": token}, "msg": messages}});
        Call::json(self.url.clone(), &body)
    }

    fn outcomes(&self, batch: &[OutboundSms], answer: &Answer) -> Option<Vec<SubmitOutcome>> {
        let body = answer.json()?;
        let code = at(&body, "/errorCode")?;
        let none = Vec::new();
        let entries = body.get("messages").and_then(Value::as_array).unwrap_or(&none);
        let outcome = |(index, sms): (usize, &OutboundSms)| {
            let reference = ClientReference::of(sms.delivery).0;
            let named = entries.iter().find(|entry| at(entry, "/reference").as_deref() == Some(&reference));
            // Demo accounts give no references back: then the order has to do.
            let by_order = || {
                let unnamed = entries.len() == batch.len()
                    && entries.iter().all(|entry| at(entry, "/reference").is_none());
                entries.get(index).filter(|_| unnamed)
            };
            let entry = named.or_else(by_order);
            let own = entry.map(|entry| at(entry, "/messageErrorCode").unwrap_or_else(|| "0".to_owned()));
            match own.as_deref() {
                Some("0") if answer.is_success() => {
                    let parts = entry.and_then(|entry| u8::try_from(entry.get("parts")?.as_u64()?).ok());
                    Some(accepted(reference, parts.unwrap_or_else(|| sms.text.segments())))
                }
                Some(own) if own != "0" => Some(refused(CODES, Refusal::of(answer, own))),
                // Nothing about this one: the code of the whole, if that is a refusal of all.
                _ if !matches!(code.as_str(), "0" | "201") => {
                    Some(refused(CODES, Refusal::of(answer, &code)))
                }
                _ => None,
            }
        };
        // A message that the answer leaves out is in doubt, and the others are not.
        let in_doubt = || crate::failure::unknown("201", "the answer does not name the message");
        let outcomes: Vec<Option<SubmitOutcome>> = batch.iter().enumerate().map(outcome).collect();
        let any = outcomes.iter().any(Option::is_some);
        any.then(|| outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(in_doubt)).collect())
    }

    fn receipts(&self, callback: &RawCallback<'_>) -> Result<Found, CallbackError> {
        if is_json(callback) {
            let body = json(callback)?;
            let entries = body.pointer("/messages/msg").ok_or(CallbackError::Malformed("no messages.msg"))?;
            let entries = entries.as_array().map_or_else(|| vec![entries], |list| list.iter().collect());
            let read = |entry: &Value| {
                let pointers = ["/to", "/reference", "/status/code", "/status/errorCode", "/received"];
                self.receipt(&pointers.map(|pointer| at(entry, pointer)))
            };
            return Ok(Found::each(entries, read));
        }
        let (names, entries) = if callback.body.trim_ascii_start().starts_with(b"<") {
            (["to", "reference", "code", "errorcode", "received"], xml::records(callback.body, "msg")?)
        } else {
            let all = [pairs(query(callback).as_bytes()), pairs(callback.body)].concat();
            let lower = all.into_iter().map(|(key, value)| (key.to_ascii_lowercase(), value)).collect();
            (["to", "reference", "status", "errorcode", "received"], vec![lower])
        };
        let read = |entry: Vec<(String, String)>| {
            let value =
                |name: &str| entry.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
            self.receipt(&names.map(|name| value(name).filter(|value| !value.is_empty())))
        };
        Ok(Found::each(entries, read))
    }

    fn inbound(&self, callback: &RawCallback<'_>) -> Result<Found, CallbackError> {
        let body = json(callback)?;
        let from = at(&body, "/from/number").ok_or(CallbackError::Malformed("no from.number"))?;
        let [to, text, time] =
            ["/to/number", "/message/text", "/timeUtc"].map(|pointer| at(&body, pointer).unwrap_or_default());
        Ok(Found::one(inbound(None, [&from, &to, &text], &time, callback.received_at)))
    }
}

impl Cm {
    fn receipt(&self, parts: &[Option<String>; 5]) -> Option<crate::GatewayEvent> {
        let [to, reference, status, error, received] = parts;
        let word = status.as_deref()?;
        let kept =
            [("reference", reference), ("status", status), ("errorCode", error), ("received", received)];
        ReceiptParts {
            id: None,
            reference: reference.as_deref(),
            status: status_of(STATUSES, word),
            error: error.clone().filter(|code| code != "0"),
            recipient: to.as_deref(),
            raw: raw(kept.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?)))),
        }
        .event(self.country)
    }
}
