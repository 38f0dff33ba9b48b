//! `type = "http"`: what a template says of a provider.

use std::collections::BTreeMap;
use std::path::PathBuf;

use klaroen_domain::outcome::ReceiptStatus::{self, Delivered, Undelivered, Underway, Unknown};
use reqwest::Method;
use secrecy::SecretString;
use serde::Deserialize;

use super::text::{ITEMS, Template};
use crate::http::contract::Faults;
use crate::settings::{ConfigFault, Endpoint, Routing};

/// `type = "http"`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TemplateConfig {
    /// Name of the gateway, as the operator calls it.
    pub name: String,
    /// `{from}`.
    pub sender: String,
    /// Segments handed over per second; 0 is no limit.
    #[serde(default)]
    pub segments_per_second: u32,
    /// `{username}`.
    #[serde(default)]
    pub username: String,
    /// `{secret}`; with `username` also `{basic}`, the value of HTTP Basic authentication.
    #[serde(default)]
    pub api_secret: Option<SecretString>,
    /// A file with the secret.
    #[serde(default)]
    pub api_secret_file: Option<PathBuf>,
    /// `GET`, `POST` or `PUT`.
    #[serde(default = "post")]
    pub method: String,
    /// Path and query behind `base_url`.
    pub path: String,
    /// Headers beside `Content-Type`.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Content type of the body, which decides how values are escaped.
    #[serde(default = "json_type")]
    pub content_type: String,
    /// The body; for a batch with `{items}` in it.
    #[serde(default)]
    pub body: String,
    /// One message of a batch.
    #[serde(default)]
    pub item: String,
    /// Separator between messages of a batch.
    #[serde(default = "comma")]
    pub item_separator: String,
    /// Messages in one request, with `item`.
    #[serde(default)]
    pub batch_max: u16,
    /// Segments that the provider takes.
    #[serde(default = "six")]
    pub max_segments: u8,
    /// How answers are read.
    pub answer: AnswerRules,
    /// How receipts are read; without it there are none.
    #[serde(default)]
    pub receipts: Option<ReceiptRules>,
    /// How inbound messages are read; without it there are none.
    #[serde(default)]
    pub inbound: Option<InboundRules>,
    /// The answer to callbacks.
    #[serde(default)]
    pub reply: ReplyRules,
    /// Address of the provider, and how it is talked to.
    #[serde(default)]
    pub endpoint: Endpoint,
    /// Keys that all gateways have.
    #[serde(default)]
    pub routing: Routing,
}

/// How an answer is read. A place is a JSON pointer (RFC 6901: `/messages/0/id`) or a regular expression with one group; in
/// a batch, of one entry of the list at `items`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnswerRules {
    /// HTTP statuses of an acceptance; any 2xx if it is empty.
    #[serde(default)]
    pub success_status: Vec<u16>,
    /// The pointer to the list of entries of a batch, in the order of the messages.
    #[serde(default)]
    pub items: Option<String>,
    /// Place of the provider's id of the message. An acceptance has one; without this key our reference is used instead.
    #[serde(default)]
    pub id: Option<String>,
    /// Place of the code.
    #[serde(default)]
    pub code: Option<String>,
    /// Codes of an acceptance; where it is empty, no code or any that is in no other list.
    #[serde(default)]
    pub accepted: Vec<String>,
    /// Codes for "slower". In all lists `http_403` stands for an HTTP status.
    #[serde(default)]
    pub throttled: Vec<String>,
    /// Codes for "not now".
    #[serde(default)]
    pub temporary: Vec<String>,
    /// Codes about one number.
    #[serde(default)]
    pub recipient: Vec<String>,
    /// Codes for a recipient who stopped messages at the provider.
    #[serde(default)]
    pub opted_out: Vec<String>,
    /// Codes about text or sender.
    #[serde(default)]
    pub message: Vec<String>,
    /// Codes about key, credit and account.
    #[serde(default)]
    pub gateway: Vec<String>,
}

/// How a receipt is read: names of parameters, or JSON pointers.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReceiptRules {
    /// The pointer to a list of receipts.
    pub list: Option<String>,
    /// Our reference.
    pub reference: Option<String>,
    /// The provider's id.
    pub id: Option<String>,
    /// The number.
    pub recipient: Option<String>,
    /// The status.
    pub status: String,
    /// The error code.
    pub error: Option<String>,
    /// Statuses of a message on the handset.
    pub delivered: Vec<String>,
    /// Statuses of a message that is lost.
    pub undelivered: Vec<String>,
    /// Statuses of a message on its way.
    pub underway: Vec<String>,
    /// Error codes of a recipient who stopped messages at the provider.
    pub opted_out: Vec<String>,
}

/// How an inbound message is read: names of parameters, or JSON pointers.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InboundRules {
    /// The pointer to a list of messages.
    #[serde(default)]
    pub list: Option<String>,
    /// The provider's id.
    #[serde(default)]
    pub id: Option<String>,
    /// The sender.
    pub from: String,
    /// Our number.
    #[serde(default)]
    pub to: Option<String>,
    /// The text.
    pub text: String,
    /// When it was sent: tells apart two messages with the same text, if there is no id.
    #[serde(default)]
    pub time: Option<String>,
}

/// The answer to callbacks.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReplyRules {
    /// HTTP status.
    pub status: u16,
    /// `Content-Type`.
    pub content_type: Option<String>,
    /// The body.
    pub body: String,
}

impl Default for ReplyRules {
    fn default() -> Self {
        Self { status: 200, content_type: None, body: String::new() }
    }
}

fn post() -> String {
    "POST".to_owned()
}

fn json_type() -> String {
    "application/json".to_owned()
}

fn comma() -> String {
    ",".to_owned()
}

/// As many segments as nearly any phone joins.
const fn six() -> u8 {
    6
}

impl TemplateConfig {
    pub(super) fn read_method(&self) -> Result<Method, ConfigFault> {
        match self.method.as_str() {
            "GET" => Ok(Method::GET),
            "POST" => Ok(Method::POST),
            "PUT" => Ok(Method::PUT),
            _ => Err(ConfigFault::new("method", "must be GET, POST or PUT")),
        }
    }

    /// Checks the keys that depend on one another.
    pub(super) fn check(&self, faults: &mut Faults, body: Option<&Template>) {
        let mut fault = |field, reason: &str| faults.0.push(ConfigFault::new(field, reason));
        if !self.path.starts_with('/') {
            fault("path", "must begin with `/`");
        }
        if self.body.is_empty() == (self.method != "GET") {
            fault("body", "is needed for POST and PUT, and must be empty for GET");
        }
        let has_items = body.is_some_and(|body| body.has(ITEMS));
        if has_items == self.item.is_empty() || has_items != (self.batch_max > 0) {
            fault("item", "goes with `{items}` in the body and batch_max above 0: all three or none");
        }
        if has_items && self.answer.items.is_none() {
            fault("answer.items", "is needed with batch_max: where the answer has its list");
        }
        if self.max_segments == 0 {
            fault("max_segments", "must be at least 1");
        }
        if !(200..=299).contains(&self.reply.status) {
            fault("reply.status", "must be 200 to 299");
        }
        let nameless = |rules: &ReceiptRules| rules.id.is_none() && rules.reference.is_none();
        if self.receipts.as_ref().is_some_and(|rules| rules.status.is_empty() || nameless(rules)) {
            fault("receipts", "needs status, and id or reference");
        }
    }
}

impl ReceiptRules {
    /// The meaning of a status; one that is in no list changes nothing.
    pub(super) fn meaning(&self, word: &str) -> ReceiptStatus {
        let has = |list: &[String]| list.iter().any(|known| known.eq_ignore_ascii_case(word));
        if has(&self.delivered) {
            Delivered
        } else if has(&self.undelivered) {
            Undelivered
        } else if has(&self.underway) {
            Underway
        } else {
            Unknown
        }
    }
}
