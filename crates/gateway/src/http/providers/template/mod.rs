//! A provider whose contract fits a template: `type = "http"`.

mod config;
mod text;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use klaroen_domain::outcome::{Failure, SubmitOutcome};
use klaroen_domain::phone::Country;
use regex::{Regex, RegexBuilder};
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderName};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

pub use self::config::{AnswerRules, InboundRules, ReceiptRules, ReplyRules, TemplateConfig};
use self::text::{Escape, ITEMS, Template};
use crate::http::classify::{Meaning, outcome, presentable};
use crate::http::client::{Answer, Call};
use crate::http::contract::{
    Contract, Faults, Found, HttpConfig, accepted, common_keys, receipts_url_of, validity_minutes,
};
use crate::http::fields::{Fields, ReceiptParts, at, inbound, is_json, json, raw};
use crate::settings::{ConfigFault, Senders};
use crate::sms::{
    CallbackAnswer, CallbackError, CallbackKind, Capabilities, ClientReference, GatewayEvent, OutboundSms,
    RawCallback,
};

/// A pattern that needs more is a mistake.
const REGEX_BYTES_MAX: usize = 64 * 1024;
/// Placeholders of address, headers and body.
const PLACEHOLDERS: [&str; 12] = [
    "to",
    "to_digits",
    "to_00",
    "from",
    "text",
    "reference",
    "validity_s",
    "validity_min",
    "receipts_url",
    "username",
    "secret",
    "basic",
];

/// The place of a value in an answer.
#[derive(Debug)]
enum Place {
    Pointer(String),
    Pattern(Regex),
}

struct Http {
    config: TemplateConfig,
    method: Method,
    url: Template,
    headers: Vec<(HeaderName, Template)>,
    body: Template,
    item: Option<Template>,
    senders: Senders,
    id: Option<Place>,
    code: Option<Place>,
    secret: Option<SecretString>,
    receipts_url: Option<String>,
    country: Country,
}

impl HttpConfig for TemplateConfig {
    common_keys!();

    fn contract(&self, country: Country) -> Result<Box<dyn Contract>, Vec<ConfigFault>> {
        let mut faults = Faults::default();
        faults.sender(&self.sender);
        let base = faults.take(self.endpoint.base_url(None, true)).unwrap_or_default();
        let names = ["api_secret", "api_secret_file"];
        let secret = faults.optional_secret(names, self.api_secret.as_ref(), self.api_secret_file.as_ref());
        let receipts_url = faults.take(self.routing.receipts_url(&self.name)).flatten();
        let method = faults.take(self.read_method());
        let escape = Escape::of(&self.content_type);
        let with_items: Vec<&'static str> = PLACEHOLDERS.into_iter().chain([ITEMS]).collect();
        let url = faults.take(template("path", &format!("{base}{}", self.path), &PLACEHOLDERS, Escape::Url));
        let body = faults.take(template("body", &self.body, &with_items, escape));
        let item = faults.take(template("item", &self.item, &PLACEHOLDERS, escape));
        let id = faults.take(place("answer.id", self.answer.id.as_deref()));
        let code = faults.take(place("answer.code", self.answer.code.as_deref()));
        let headers: Option<Vec<_>> =
            self.headers.iter().map(|(name, value)| faults.take(header(name, value))).collect();
        self.check(&mut faults, body.as_ref());
        match (method, url, body, item, id, code, headers) {
            (Some(method), Some(url), Some(body), Some(item), Some(id), Some(code), Some(headers))
                if faults.0.is_empty() =>
            {
                let item = (!self.item.is_empty()).then_some(item);
                let senders = Senders::new(&self.sender, &self.routing, str::to_owned);
                let config = self.clone();
                let http = Http {
                    config,
                    method,
                    url,
                    headers,
                    body,
                    item,
                    senders,
                    id,
                    code,
                    secret,
                    receipts_url,
                    country,
                };
                Ok(Box::new(http))
            }
            _ => Err(faults.0),
        }
    }
}

fn template(
    field: &'static str,
    text: &str,
    names: &[&'static str],
    escape: Escape,
) -> Result<Template, ConfigFault> {
    Template::parse(text, names, escape)
        .map_err(|name| ConfigFault::new(field, format!("there is no placeholder `{{{name}}}`")))
}

fn header(name: &str, value: &str) -> Result<(HeaderName, Template), ConfigFault> {
    let read =
        name.parse().map_err(|_| ConfigFault::new("headers", format!("`{name}` is no name of a header")))?;
    let value = template("headers", value, &PLACEHOLDERS, Escape::Plain)?;
    if value.has("text") {
        Err(ConfigFault::new("headers", "a text may have line ends"))
    } else {
        Ok((read, value))
    }
}

fn place(field: &'static str, text: Option<&str>) -> Result<Option<Place>, ConfigFault> {
    let Some(text) = text else { return Ok(None) };
    if text.starts_with('/') {
        return Ok(Some(Place::Pointer(text.to_owned())));
    }
    let pattern = RegexBuilder::new(text).size_limit(REGEX_BYTES_MAX).build();
    match pattern {
        Ok(pattern) if pattern.captures_len() == 2 => Ok(Some(Place::Pattern(pattern))),
        _ => Err(ConfigFault::new(field, "must be a JSON pointer or a regular expression with one group")),
    }
}

impl Place {
    fn find(&self, text: &str, json: Option<&Value>) -> Option<String> {
        match self {
            Self::Pointer(pointer) => at(json?, pointer),
            Self::Pattern(pattern) => Some(pattern.captures(text)?.get(1)?.as_str().to_owned()),
        }
    }
}

impl Http {
    fn value(&self, name: &str, sms: &OutboundSms) -> String {
        let secret = self.secret.as_ref().map_or("", |secret| secret.expose_secret());
        match name {
            "to" => sms.to.expose().to_owned(),
            "to_digits" => sms.to.expose_digits().to_owned(),
            "to_00" => format!("00{}", sms.to.expose_digits()),
            "from" => self.senders.of(&sms.to).clone(),
            "text" => sms.text.as_str().to_owned(),
            "reference" => ClientReference::of(sms.delivery).0,
            "validity_s" => sms.validity.as_secs().max(1).to_string(),
            "validity_min" => validity_minutes(sms).to_string(),
            "receipts_url" => {
                self.receipts_url.as_ref().map(|url| receipts_url_of(url, sms)).unwrap_or_default()
            }
            "username" => self.config.username.clone(),
            "secret" => secret.to_owned(),
            "basic" => STANDARD.encode(format!("{}:{secret}", self.config.username)),
            _ => String::new(),
        }
    }

    /// The outcome of a message from one entry of the answer, or from the whole; `None` if it says nothing of the message.
    fn outcome(
        &self,
        sms: &OutboundSms,
        answer: &Answer,
        text: &str,
        entry: Option<&Value>,
    ) -> Option<SubmitOutcome> {
        let rules = &self.config.answer;
        let code = self.code.as_ref().and_then(|place| place.find(text, entry));
        let by_http = format!("http_{}", answer.status);
        let lists: [(&[String], Meaning, &str); 6] = [
            (&rules.throttled, Meaning::Throttled, "slower"),
            (&rules.temporary, Meaning::Temporary, "not now"),
            (&rules.opted_out, Meaning::OptedOut, "the recipient stopped messages at the provider"),
            (&rules.recipient, Meaning::Recipient, "the number is refused"),
            (&rules.message, Meaning::Message, "text or sender are refused"),
            (&rules.gateway, Meaning::Gateway, "key, credit or account are refused"),
        ];
        let named = code.iter().map(String::as_str).chain([by_http.as_str()]).find_map(|code| {
            let (_, meaning, detail) =
                lists.iter().find(|(list, ..)| list.iter().any(|known| known == code))?;
            Some(outcome(*meaning, &presentable(code), detail, answer.retry_after))
        });
        if named.is_some() {
            return named;
        }
        let status = if rules.success_status.is_empty() {
            answer.is_success()
        } else {
            rules.success_status.contains(&answer.status)
        };
        let code_fits = rules.accepted.is_empty() || code.is_some_and(|code| rules.accepted.contains(&code));
        if !status || !code_fits {
            return None;
        }
        let id = match &self.id {
            Some(place) => place.find(text, entry)?,
            None => ClientReference::of(sms.delivery).0,
        };
        Some(accepted(id, sms.text.segments()))
    }

    fn read<'a>(
        callback: &RawCallback<'_>,
        list: Option<&str>,
        read: impl Fn(&dyn Fn(&str) -> Option<String>) -> Option<GatewayEvent> + 'a,
    ) -> Result<Found, CallbackError> {
        if !is_json(callback) {
            let fields = Fields::read(callback)?;
            let value = |name: &str| fields.get(name.trim_start_matches('/')).map(str::to_owned);
            return Ok(Found::each([()], |()| read(&value)));
        }
        let body = json(callback)?;
        let query = Fields::read(&RawCallback { body: b"", ..*callback })?;
        let entries: Vec<&Value> = match list {
            Some(pointer) => {
                let list = body.pointer(pointer).and_then(Value::as_array);
                list.ok_or(CallbackError::Malformed("no list"))?.iter().collect()
            }
            None => vec![&body],
        };
        Ok(Found::each(entries, |entry| {
            let pointer =
                |name: &str| if name.starts_with('/') { name.to_owned() } else { format!("/{name}") };
            read(&|name: &str| at(entry, &pointer(name)).or_else(|| query.get(name).map(str::to_owned)))
        }))
    }
}

impl Contract for Http {
    fn capabilities(&self) -> Capabilities {
        let reference = |template: &Template| template.has("reference") || template.has("receipts_url");
        Capabilities {
            client_reference: reference(&self.url)
                || reference(&self.body)
                || self.item.as_ref().is_some_and(reference),
            receipts: self.config.receipts.is_some(),
            inbound: self.config.inbound.is_some(),
            max_segments: self.config.max_segments,
            batch_max: self.config.batch_max,
            ..Capabilities::default()
        }
    }

    fn together(&self, a: &OutboundSms, b: &OutboundSms) -> bool {
        let outside = [&self.url, &self.body].into_iter().chain(self.headers.iter().map(|(_, value)| value));
        !outside.into_iter().any(|template| template.has("from"))
            || self.senders.of(&a.to) == self.senders.of(&b.to)
    }

    fn submission(&self, batch: &[OutboundSms]) -> Call {
        // The text outside of the items is the same for all.
        let first = &batch[0];
        let items: Option<Vec<String>> = self
            .item
            .as_ref()
            .map(|item| batch.iter().map(|sms| item.fill(|name| self.value(name, sms), None)).collect());
        let items = items.map(|items| items.join(&self.config.item_separator));
        let value = |name: &str| self.value(name, first);
        let mut call = Call::get(self.url.fill(value, None));
        call.method = self.method.clone();
        call.body = self.body.fill(value, items.as_deref().map(|items| (ITEMS, items))).into_bytes();
        if !call.body.is_empty() {
            call = call.with(CONTENT_TYPE, self.config.content_type.clone());
        }
        self.headers
            .iter()
            .fold(call, |call, (name, template)| call.with(name.clone(), template.fill(value, None)))
    }

    fn outcomes(&self, batch: &[OutboundSms], answer: &Answer) -> Option<Vec<SubmitOutcome>> {
        let text = answer.text()?;
        let json = answer.json();
        let list = self.config.answer.items.as_ref();
        let list = list.and_then(|pointer| json.as_ref()?.pointer(pointer)?.as_array());
        match list {
            Some(entries) if entries.len() == batch.len() => {
                let one = |(sms, entry): (&OutboundSms, &Value)| {
                    let doubt =
                        || crate::failure::unknown("unread", "the answer says nothing of the message");
                    self.outcome(sms, answer, &entry.to_string(), Some(entry)).unwrap_or_else(doubt)
                };
                Some(batch.iter().zip(entries).map(one).collect())
            }
            // A refusal of the whole is for each; an acceptance without its list is none.
            _ if self.item.is_some() => {
                let whole = self.outcome(&batch[0], answer, text, json.as_ref())?;
                let refused = !matches!(whole, SubmitOutcome::Accepted { .. });
                refused.then(|| vec![whole; batch.len()])
            }
            _ => batch.iter().map(|sms| self.outcome(sms, answer, text, json.as_ref())).collect(),
        }
    }

    fn receipts(&self, callback: &RawCallback<'_>) -> Result<Found, CallbackError> {
        let rules = self.config.receipts.as_ref().ok_or(CallbackError::NotSupported)?;
        Self::read(callback, rules.list.as_deref(), |value| {
            let named = |name: &Option<String>| name.as_deref().and_then(value);
            let word = value(&rules.status)?;
            let (id, reference) = (named(&rules.id), named(&rules.reference));
            let (recipient, error) = (named(&rules.recipient), named(&rules.error));
            let stopped = error.as_ref().is_some_and(|code| rules.opted_out.contains(code));
            let kept = [("id", &id), ("reference", &reference), ("error", &error)];
            let kept = kept.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?)));
            ReceiptParts {
                id: id.as_deref(),
                reference: reference.as_deref(),
                status: rules.meaning(&word),
                error: if stopped { Some(Failure::OPTED_OUT.to_owned()) } else { error.clone() },
                recipient: recipient.as_deref(),
                raw: raw(kept.chain([("status", word.as_str())])),
            }
            .event(self.country)
        })
    }

    fn inbound(&self, callback: &RawCallback<'_>) -> Result<Found, CallbackError> {
        let rules = self.config.inbound.as_ref().ok_or(CallbackError::NotSupported)?;
        Self::read(callback, rules.list.as_deref(), |value| {
            let named = |name: &Option<String>| name.as_deref().and_then(value);
            let (from, text) = (value(&rules.from)?, value(&rules.text).unwrap_or_default());
            let (to, time) = (named(&rules.to).unwrap_or_default(), named(&rules.time).unwrap_or_default());
            Some(inbound(named(&rules.id).as_deref(), [&from, &to, &text], &time, callback.received_at))
        })
    }

    fn answer(&self, _kind: CallbackKind) -> CallbackAnswer {
        let reply = &self.config.reply;
        CallbackAnswer {
            status: reply.status,
            content_type: reply.content_type.clone().map(Into::into),
            body: reply.body.clone().into(),
        }
    }
}
