//! The material that an adapter is tried with: its configuration, and its contract as data.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use klaroen_domain::id::DeliveryId;
use klaroen_domain::outcome::{ReceiptStatus, Scope, SubmitOutcome};
use klaroen_domain::phone::{Country, PhoneNumber};
use klaroen_domain::text::MessageText;
use klaroen_domain::time::{SystemClock, Timestamp};
use serde_json::{Value, json};

use crate::config::GatewayConfig;
use crate::sms::{
    CallbackError, CallbackKind, GatewayEvent, OutboundSms, RawCallback, SmsGateway, StatusAnswer,
    VerifiedCallback,
};

pub(crate) const NAME: &str = "g";
pub(crate) const TOKEN: &str = "token-0123456789-abcdef";
pub(crate) const PUBLIC_URL: &str = "https://klaroen.example.nl";
pub(crate) const REFERENCE: &str = "000000000000002a";
pub(crate) const OTHER_REFERENCE: &str = "000000000000002b";
/// Neither may stand in a log.
pub(crate) const DIGITS: &str = "31612345678";
pub(crate) const TEXT: &str = "Kanarie & rode auto = 10 €";
/// 2026-11-23T12:00:00Z
pub(crate) const NOW_S: i64 = 1_795_435_200;

pub(crate) struct Specimen {
    /// As in `type = "…"`.
    pub(crate) kind: &'static str,
    /// The keys of the type, secrets included.
    pub(crate) keys: Value,
    /// Neither may stand in a log, or in a failure.
    pub(crate) secrets: &'static [&'static str],
    /// The request that the adapter makes.
    pub(crate) request: Request,
    pub(crate) cases: Vec<Case>,
    /// Several messages in one request, if the contract has it: two messages, the second refused.
    pub(crate) batch: Option<Case>,
    /// Each question, an answer to it, and the meaning of the answer.
    pub(crate) questions: Vec<(&'static str, &'static str, StatusAnswer)>,
    pub(crate) callbacks: Vec<Callback>,
    /// Signs a callback, if the provider does.
    pub(crate) sign: Option<fn(&mut Called)>,
    /// A callback with a status that is in no table, and its meaning.
    pub(crate) unknown_status: (Callback, ReceiptStatus),
}

/// A request that is expected. Headers beside these may be there.
pub(crate) struct Request {
    pub(crate) method: &'static str,
    pub(crate) target: String,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Body,
}

pub(crate) enum Body {
    Json(Value),
    Form(Vec<(&'static str, String)>),
    Empty,
}

pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) status: u16,
    pub(crate) body: String,
    pub(crate) expected: Vec<Expect>,
}

pub(crate) fn case(name: &'static str, status: u16, body: impl Into<String>, expected: Expect) -> Case {
    Case { name, status, body: body.into(), expected: vec![expected] }
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Expect {
    Accepted(&'static [&'static str], u8),
    /// Milliseconds.
    Throttled(Option<u64>),
    NotTaken(&'static str),
    Rejected(Scope, &'static str),
    OptedOut(&'static str),
    Unknown(&'static str),
}

impl Expect {
    pub(crate) fn check(self, outcome: &SubmitOutcome, what: &str) {
        let fits = match (self, outcome) {
            (Self::Accepted(ids, parts), SubmitOutcome::Accepted { provider_ids, segments }) => {
                provider_ids.iter().map(|id| id.0.as_str()).eq(ids.iter().copied()) && parts == *segments
            }
            (Self::Throttled(wait), SubmitOutcome::Throttled { retry_after }) => {
                *retry_after == wait.map(Duration::from_millis)
            }
            (Self::NotTaken(code), SubmitOutcome::NotTaken(failure))
            | (Self::Unknown(code), SubmitOutcome::Unknown(failure)) => failure.code == code,
            (Self::Rejected(scope, code), SubmitOutcome::Rejected(failure)) => {
                failure.scope == scope && failure.code == code && !failure.is_opt_out()
            }
            (Self::OptedOut(code), SubmitOutcome::Rejected(failure)) => {
                failure.is_opt_out() && failure.detail.contains(code)
            }
            _ => false,
        };
        assert!(fits, "{what}: {self:?} was expected, and it is {outcome:?}");
    }
}

/// A callback that the provider would make.
#[derive(Clone)]
pub(crate) struct Callback {
    pub(crate) name: &'static str,
    pub(crate) kind: CallbackKind,
    pub(crate) method: &'static str,
    pub(crate) query: String,
    pub(crate) content_type: &'static str,
    pub(crate) body: String,
    pub(crate) events: Vec<Event>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    /// Id, reference, status, error.
    Receipt(&'static str, Option<&'static str>, ReceiptStatus, Option<&'static str>),
    /// From, to, text.
    Inbound(&'static str, &'static str, &'static str),
}

pub(crate) const RECEIPTS: CallbackKind = CallbackKind::Receipts;
pub(crate) const INBOUND: CallbackKind = CallbackKind::Inbound;
pub(crate) const JSON: &str = "application/json";
pub(crate) const FORM: &str = "application/x-www-form-urlencoded";

pub(crate) fn get(
    name: &'static str,
    kind: CallbackKind,
    query: impl Into<String>,
    events: &[Event],
) -> Callback {
    let (query, body) = (query.into(), String::new());
    Callback { name, kind, method: "GET", query, content_type: "", body, events: events.to_vec() }
}

pub(crate) fn posted(
    name: &'static str,
    kind: CallbackKind,
    content_type: &'static str,
    body: impl Into<String>,
    events: &[Event],
) -> Callback {
    let (query, body) = (String::new(), body.into());
    Callback { name, kind, method: "POST", query, content_type, body, events: events.to_vec() }
}

/// A callback on its way: what an attacker can change.
#[derive(Clone)]
pub(crate) struct Called {
    pub(crate) kind: CallbackKind,
    pub(crate) method: &'static str,
    pub(crate) target: String,
    pub(crate) token: String,
    pub(crate) peer: IpAddr,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) now_s: i64,
}

impl Called {
    pub(crate) fn unsigned(callback: &Callback) -> Self {
        let end = if callback.kind == RECEIPTS { "receipts" } else { "inbound" };
        let query = if callback.query.is_empty() { String::new() } else { format!("?{}", callback.query) };
        let kind = Some(callback.content_type).filter(|kind| !kind.is_empty());
        Self {
            kind: callback.kind,
            method: callback.method,
            target: format!("/v1/gateways/{NAME}/{TOKEN}/{end}{query}"),
            token: TOKEN.to_owned(),
            peer: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)),
            headers: kind.map(|kind| ("content-type".to_owned(), kind.to_owned())).into_iter().collect(),
            body: callback.body.clone().into_bytes(),
            now_s: NOW_S,
        }
    }

    pub(crate) fn signed(callback: &Callback, specimen: &Specimen) -> Self {
        let mut called = Self::unsigned(callback);
        if let Some(sign) = specimen.sign {
            sign(&mut called);
        }
        called
    }

    pub(crate) fn url(&self) -> String {
        format!("{PUBLIC_URL}{}", self.target)
    }

    pub(crate) fn parse(&self, gateway: &dyn SmsGateway) -> Result<VerifiedCallback, CallbackError> {
        gateway.parse_callback(&RawCallback {
            kind: self.kind,
            method: self.method,
            path_and_query: &self.target,
            token: &self.token,
            peer: self.peer,
            headers: &self.headers,
            body: &self.body,
            received_at: Timestamp::from_millis(self.now_s * 1_000),
        })
    }
}

impl Event {
    pub(crate) fn check(self, event: &GatewayEvent, what: &str) {
        match (self, event) {
            (Self::Receipt(id, reference, status, error), GatewayEvent::Receipt(receipt)) => {
                let found =
                    (receipt.provider_id.0.as_str(), receipt.reference.as_ref().map(|r| r.0.as_str()));
                assert_eq!(found, (id, reference), "{what}");
                assert_eq!((receipt.status, receipt.error.as_deref()), (status, error), "{what}");
                assert!(!receipt.raw.contains(DIGITS) && !receipt.raw.is_empty(), "{what}: {}", receipt.raw);
                if let Some(recipient) = &receipt.recipient {
                    assert_eq!(recipient.expose_digits(), DIGITS, "{what}");
                }
            }
            (Self::Inbound(from, to, text), GatewayEvent::Inbound(sms)) => {
                assert_eq!(
                    (sms.from.as_str(), sms.to.as_str(), sms.text.as_str()),
                    (from, to, text),
                    "{what}"
                );
                assert!(!sms.dedupe_key.is_empty(), "{what}");
            }
            _ => panic!("{what}: {self:?} was expected, and it is {event:?}"),
        }
    }
}

impl Specimen {
    /// Its configuration, with a provider at `base_url`.
    pub(crate) fn config(&self, base_url: &str, more: &Value) -> GatewayConfig {
        let mut table = json!({
            "type": self.kind, "name": NAME, "sender": "1000", "base_url": base_url, "response_timeout_s": 30,
            "callback_token": TOKEN, "callback_url": PUBLIC_URL, "callback_addresses": ["192.0.2.0/24"],
        });
        for (key, value) in self.keys.as_object().unwrap().iter().chain(more.as_object().unwrap()) {
            table[key] = value.clone();
        }
        serde_json::from_value(table).unwrap_or_else(|error| panic!("{}: {error}", self.kind))
    }

    pub(crate) fn gateway(&self, base_url: &str) -> Arc<dyn SmsGateway> {
        self.gateway_with(base_url, &json!({}))
    }

    pub(crate) fn gateway_with(&self, base_url: &str, more: &Value) -> Arc<dyn SmsGateway> {
        let channel = crate::connect(&self.config(base_url, more), 0, Country::NL, Arc::new(SystemClock));
        channel.unwrap_or_else(|error| panic!("{}: {error}", self.kind)).gateway
    }

    pub(crate) fn accepted(&self) -> &Case {
        self.cases.iter().find(|case| matches!(case.expected[0], Expect::Accepted(_, 1))).expect("it accepts")
    }
}

pub(crate) fn sms() -> OutboundSms {
    sms_of(0x2a, TEXT)
}

pub(crate) fn sms_of(delivery: i64, text: &str) -> OutboundSms {
    OutboundSms {
        delivery: DeliveryId(delivery),
        attempt: 1,
        to: PhoneNumber::from_sealed(format!("+{DIGITS}")),
        text: Arc::new(MessageText::parse(text, u8::MAX).unwrap()),
        validity: Duration::from_mins(30),
    }
}

/// To a number in Belgium.
pub(crate) fn belgian_sms(delivery: i64) -> OutboundSms {
    OutboundSms { to: PhoneNumber::from_sealed("+32470123456".to_owned()), ..sms_of(delivery, TEXT) }
}

/// The address for receipts that is told to the provider.
pub(crate) fn receipts_url() -> String {
    format!("{PUBLIC_URL}/v1/gateways/{NAME}/{TOKEN}/receipts")
}
