//! Infobip SMS v3.

use std::path::PathBuf;

use klaroen_domain::outcome::ReceiptStatus::{self, Delivered, Undelivered, Underway, Unknown};
use klaroen_domain::outcome::{ProviderId, SubmitOutcome};
use klaroen_domain::phone::Country;
use klaroen_domain::time::Timestamp;
use reqwest::header::{ACCEPT, AUTHORIZATION};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::http::classify::{Codes, Meaning, Refusal, outcome, presentable, refused};
use crate::http::client::{Answer, Call};
use crate::http::contract::{Contract, Faults, Found, HttpConfig, accepted, common_keys, validity_minutes};
use crate::http::fields::{ReceiptParts, at, inbound, json as json_of, raw, status_of};
use crate::settings::{ConfigFault, Endpoint, Routing, Senders};
use crate::sms::{
    CallbackError, Capabilities, ClientReference, GatewayEvent, OutboundSms, RawCallback, StatusAnswer,
};

/// Most segments that their platform splits and a phone joins.
const SEGMENTS_MAX: u8 = 10;
/// As many as they put into one report.
const BATCH_MAX: u16 = 100;
/// A report has up to 100 results of about a kilobyte.
const CALLBACK_BYTES_MAX: usize = 1024 * 1024;

/// `status.groupId` of what was taken: accepted, pending, delivered.
const GROUPS_TAKEN: [&str; 3] = ["0", "1", "3"];
/// `status.id` of a message whose id was used before: the first one counts.
const DUPLICATE: &str = "23";
/// `status.id` of what was not taken.
const CODES: Codes = &[
    (&["12", "17"], Meaning::Gateway, "not enough credit"),
    (&["19"], Meaning::Gateway, "no route: not part of the account"),
    (&["21"], Meaning::Temporary, "a fault of the provider's own"),
    (&["6", "8", "52", "51"], Meaning::Recipient, "the number is not valid, or its network is not served"),
    (&["10", "14"], Meaning::Recipient, "the number is on a list of numbers not to be disturbed"),
    (&["18"], Meaning::Recipient, "a trial account sends to registered numbers only"),
    (&["20"], Meaning::Recipient, "too many messages to this number within an hour"),
    (&["4", "9"], Meaning::Recipient, "the operator refused it"),
    (&["11", "13"], Meaning::Message, "the sender is refused"),
    (&["24", "25"], Meaning::Message, "the text is refused, or too long"),
];
/// HTTP statuses of an error in the contract's words.
const STATUSES_OF_ERRORS: Codes = &[
    (&["401", "403"], Meaning::Gateway, "the key is not allowed"),
    (&["404"], Meaning::Gateway, "the address is not right"),
    (&["400"], Meaning::Message, "the request is refused"),
    (&["503"], Meaning::Temporary, "a fault of the provider's own"),
];
/// `status.groupName`.
const GROUPS: &[(&str, ReceiptStatus)] = &[
    ("ACCEPTED", Underway),
    ("PENDING", Underway),
    ("DELIVERED", Delivered),
    ("UNDELIVERABLE", Undelivered),
    ("EXPIRED", Undelivered),
    ("REJECTED", Undelivered),
];
/// `status.id` that says less than its group: delivered to the operator only, and no report from the operator.
const IDS: &[(&str, ReceiptStatus)] = &[("2", Underway), ("29", Unknown)];

/// `type = "infobip"`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InfobipConfig {
    /// Name of the gateway, as the operator calls it.
    pub name: String,
    /// `sender`: a number or up to 11 letters and digits.
    pub sender: String,
    /// Segments handed over per second; 0 is no limit.
    #[serde(default)]
    pub segments_per_second: u32,
    /// The API key.
    #[serde(default)]
    pub api_key: Option<SecretString>,
    /// A file with the key.
    #[serde(default)]
    pub api_key_file: Option<PathBuf>,
    /// Messages in one request at most: 1 to 100, the default; 1 sends each by itself.
    #[serde(default)]
    pub batch_max: Option<u16>,
    /// Address of the provider: `base_url` is the account's own and has no default.
    #[serde(default)]
    pub endpoint: Endpoint,
    /// Keys that all gateways have.
    #[serde(default)]
    pub routing: Routing,
}

struct Infobip {
    batch_max: u16,
    url: String,
    senders: Senders,
    key: SecretString,
    receipts_url: Option<String>,
    country: Country,
}

impl HttpConfig for InfobipConfig {
    common_keys!();

    fn contract(&self, country: Country) -> Result<Box<dyn Contract>, Vec<ConfigFault>> {
        let mut faults = Faults::default();
        faults.sender(&self.sender);
        let batch_max = faults.batch_max(self.batch_max, BATCH_MAX);
        let url = faults.take(self.endpoint.base_url(None, false));
        let names = ["api_key", "api_key_file"];
        let key = faults.secret(names, self.api_key.as_ref(), self.api_key_file.as_ref());
        let receipts_url = faults.take(self.routing.receipts_url(&self.name)).flatten();
        match (url, key) {
            (Some(url), Some(key)) if faults.0.is_empty() => {
                let senders = Senders::new(&self.sender, &self.routing, |sender| {
                    sender.trim_start_matches('+').to_owned()
                });
                Ok(Box::new(Infobip { batch_max, url, senders, key, receipts_url, country }))
            }
            _ => Err(faults.0),
        }
    }
}

impl Contract for Infobip {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            client_reference: true,
            idempotent_submit: true,
            receipts: true,
            status_query: true,
            inbound: true,
            max_segments: SEGMENTS_MAX,
            batch_max: self.batch_max,
            ..Capabilities::NONE
        }
    }

    fn submission(&self, batch: &[OutboundSms]) -> Call {
        let messages: Vec<Value> = batch
            .iter()
            .map(|sms| {
                let id = ClientReference::of(sms.delivery).0;
                let mut message = json!({
                    "sender": self.senders.of(&sms.to),
                    "destinations": [{"to": sms.to.expose_digits(), "messageId": id}],
                    "content": {"text": sms.text.as_str()},
                    "options": {"validityPeriod": {"amount": validity_minutes(sms), "timeUnit": "MINUTES"}},
                });
                if let Some(url) = &self.receipts_url {
                    let delivery = json!({"url": url, "intermediateReport": false, "notify": true});
                    message["webhooks"] = json!({"delivery": delivery, "contentType": "application/json"});
                }
                message
            })
            .collect();
        let body = json!({"messages": messages, "options": {"includeSmsCountInResponse": true}});
        self.authorised(Call::json(format!("{}/sms/3/messages", self.url), &body))
    }

    fn outcomes(&self, batch: &[OutboundSms], answer: &Answer) -> Option<Vec<SubmitOutcome>> {
        let body = answer.json()?;
        if !answer.is_success() {
            let word =
                at(&body, "/requestError/serviceException/messageId").or_else(|| at(&body, "/errorCode"))?;
            let status = answer.status.to_string();
            let (_, meaning, detail) =
                STATUSES_OF_ERRORS.iter().find(|(known, ..)| known.contains(&status.as_str()))?;
            return Some(vec![
                outcome(*meaning, &presentable(&word), detail, answer.retry_after);
                batch.len()
            ]);
        }
        let entries = body.get("messages")?.as_array()?;
        let one = |sms: &OutboundSms| {
            let id = ClientReference::of(sms.delivery).0;
            let entry = entries.iter().find(|entry| at(entry, "/messageId").as_deref() == Some(&id))?;
            let (group, code) = (at(entry, "/status/groupId")?, at(entry, "/status/id")?);
            // The id comes back only for a message that was taken before, so that sending it again is harmless.
            Some(if GROUPS_TAKEN.contains(&group.as_str()) || code == DUPLICATE {
                let parts = entry.pointer("/details/messageCount").and_then(Value::as_u64);
                let parts = parts.and_then(|parts| u8::try_from(parts).ok());
                accepted(id, parts.unwrap_or_else(|| sms.text.segments()))
            } else {
                refused(CODES, Refusal::of(answer, &code))
            })
        };
        let in_doubt = || crate::failure::unknown("unnamed", "the answer does not name the message");
        let outcomes: Vec<Option<SubmitOutcome>> = batch.iter().map(one).collect();
        let any = outcomes.iter().any(Option::is_some);
        any.then(|| outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(in_doubt)).collect())
    }

    fn question(&self, sms: &OutboundSms, _since: Timestamp) -> Option<Call> {
        let id = ClientReference::of(sms.delivery).0;
        Some(self.authorised(Call::get(format!("{}/sms/3/logs?messageId={id}", self.url))))
    }

    fn finding(&self, sms: &OutboundSms, _since: Timestamp, answer: &Answer) -> StatusAnswer {
        let body = answer.json().filter(|_| answer.is_success()).unwrap_or_default();
        let Some(results) = body.get("results").and_then(Value::as_array) else {
            return StatusAnswer::NoAnswer;
        };
        let id = ClientReference::of(sms.delivery).0;
        match results.iter().find(|entry| at(entry, "/messageId").as_deref() == Some(&id)) {
            Some(entry) => StatusAnswer::Found {
                provider_id: Some(ProviderId(id)),
                status: status(entry),
                error: error_of(entry),
            },
            None if results.is_empty() => StatusAnswer::NotFound,
            None => StatusAnswer::NoAnswer,
        }
    }

    fn callback_bytes_max(&self) -> usize {
        CALLBACK_BYTES_MAX
    }

    fn receipts(&self, callback: &RawCallback<'_>) -> Result<Found, CallbackError> {
        let body = json_of(callback)?;
        Ok(Found::each(results(&body)?, |entry| self.receipt(entry)))
    }

    fn inbound(&self, callback: &RawCallback<'_>) -> Result<Found, CallbackError> {
        let body = json_of(callback)?;
        let read = |entry: &Value| {
            let from = at(entry, "/from")?;
            let [to, text, time] =
                ["/to", "/text", "/receivedAt"].map(|pointer| at(entry, pointer).unwrap_or_default());
            let id = at(entry, "/messageId");
            Some(inbound(id.as_deref(), [&from, &to, &text], &time, callback.received_at))
        };
        Ok(Found::each(results(&body)?, read))
    }
}

impl Infobip {
    fn authorised(&self, call: Call) -> Call {
        call.with(AUTHORIZATION, format!("App {}", self.key.expose_secret())).with(ACCEPT, "application/json")
    }

    fn receipt(&self, entry: &Value) -> Option<GatewayEvent> {
        let id = at(entry, "/messageId")?;
        let kept = [
            ("messageId", "/messageId"),
            ("group", "/status/groupName"),
            ("status", "/status/name"),
            ("error", "/error/name"),
            ("doneAt", "/doneAt"),
        ];
        let kept = kept.map(|(name, pointer)| (name, at(entry, pointer).unwrap_or_default()));
        ReceiptParts {
            id: Some(&id),
            reference: Some(&id),
            status: status(entry),
            error: error_of(entry),
            recipient: at(entry, "/to").as_deref(),
            raw: raw(kept.iter().map(|(name, value)| (*name, value.as_str()))),
        }
        .event(self.country)
    }
}

/// # Errors
/// [`CallbackError::Malformed`] if there is no list of results.
fn results(body: &Value) -> Result<&Vec<Value>, CallbackError> {
    body.get("results").and_then(Value::as_array).ok_or(CallbackError::Malformed("no results"))
}

fn status(entry: &Value) -> ReceiptStatus {
    let id = at(entry, "/status/id").unwrap_or_default();
    let special = IDS.iter().find(|(known, _)| *known == id).map(|(_, status)| *status);
    special.unwrap_or_else(|| status_of(GROUPS, &at(entry, "/status/groupName").unwrap_or_default()))
}

fn error_of(entry: &Value) -> Option<String> {
    at(entry, "/error/id").filter(|error| error != "0")
}
