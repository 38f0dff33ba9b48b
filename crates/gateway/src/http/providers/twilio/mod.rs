//! Twilio's Messages API, and whoever speaks it: `SignalWire`, Bird's exit API.

pub(in crate::http) mod signature;

use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::fmt::rfc2822;
use klaroen_domain::keyword::Keyword;
use klaroen_domain::outcome::ReceiptStatus::{self, Delivered, Undelivered, Underway};
use klaroen_domain::outcome::{Failure, ProviderId, SubmitOutcome};
use klaroen_domain::phone::Country;
use klaroen_domain::time::Timestamp;
use reqwest::header::{ACCEPT, AUTHORIZATION};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::Value;

use crate::http::classify::{Codes, Meaning, Refusal, refused};
use crate::http::client::{Answer, Call};
use crate::http::contract::{
    Contract, Faults, Found, HttpConfig, REFERENCE_PARAMETER, accepted, common_keys, receipts_url_of,
};
use crate::http::fields::{Fields, ReceiptParts, at, inbound, status_of};

use crate::settings::{ConfigFault, Endpoint, Routing, Senders};
use crate::sms::{
    CallbackAnswer, CallbackError, CallbackKind, Candidate, Capabilities, GatewayEvent, OutboundSms,
    RawCallback, StatusAnswer,
};

const BASE_URL: &str = "https://api.twilio.com";
/// `Body` has at most 1,600 characters: ten parts of 153.
const SEGMENTS_MAX: u8 = 10;
/// `ValidityPeriod`, in seconds.
const VALIDITY_S: std::ops::RangeInclusive<u64> = 1..=36_000;
/// Messages to one number that a look-up reads.
const PAGE: usize = 20;
/// How much earlier than our submit the provider's clock may say it was.
///
/// A risk remains: another user of the account, or an earlier attempt that was lost as well, and sent the same text to the
/// same number within this time, may be taken for the one that is asked about. Messages that deliveries of ours hold are not.
const SKEW_S: i64 = 60;

/// `code` of an error.
const CODES: Codes = &[
    (&["20429", "14107", "63018", "30022", "21611"], Meaning::Throttled, "slower"),
    (
        &["20500", "20503", "30001", "30017", "30410", "21619"],
        Meaning::Temporary,
        "a fault of the provider's own, or of a carrier",
    ),
    (&["20003", "20008"], Meaning::Gateway, "account or token are not allowed"),
    (&["20005", "90010", "30002"], Meaning::Gateway, "the account is not active"),
    (&["21606", "21212", "21603", "30032", "30034"], Meaning::Gateway, "the sender is not allowed"),
    (&["30023", "30027"], Meaning::Gateway, "the limit of the day is reached"),
    (&["21211", "21217", "21614", "21604"], Meaning::Recipient, "the number is not valid"),
    (&["21612", "21608", "30018", "30024"], Meaning::Recipient, "the number cannot be reached from here"),
    (&["21408"], Meaning::Recipient, "the country is not enabled in the account's geographic permissions"),
    (&["30003", "30004", "30005", "30006"], Meaning::Recipient, "the handset cannot be reached"),
    (&["30007"], Meaning::Recipient, "filtered by the carrier"),
    (&["21610"], Meaning::OptedOut, "the recipient stopped messages at the provider"),
    (
        &["21602", "21617", "21618", "30019"],
        Meaning::Message,
        "the text is refused: empty, too long or too large",
    ),
];
/// `MessageStatus`.
const STATUSES: &[(&str, ReceiptStatus)] = &[
    ("accepted", Underway),
    ("scheduled", Underway),
    ("queued", Underway),
    ("sending", Underway),
    ("sent", Underway),
    ("partially_delivered", Underway),
    ("delivered", Delivered),
    ("read", Delivered),
    ("undelivered", Undelivered),
    ("failed", Undelivered),
    ("canceled", Undelivered),
];
const STOPPED: &str = "21610";
/// Fields of a receipt that are kept.
const KEPT: [&str; 5] = ["MessageSid", "SmsSid", "MessageStatus", "SmsStatus", "ErrorCode"];

/// `type = "twilio"`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TwilioConfig {
    /// Name of the gateway, as the operator calls it.
    pub name: String,
    /// `From`, and what participants see. With `messaging_service_sid` the service chooses.
    pub sender: String,
    /// Segments handed over per second; 0 is no limit.
    #[serde(default)]
    pub segments_per_second: u32,
    /// The account, `AC…`.
    pub account_sid: String,
    /// Its token: for requests, and for the signatures of callbacks.
    #[serde(default)]
    pub auth_token: Option<SecretString>,
    /// A file with the token.
    #[serde(default)]
    pub auth_token_file: Option<PathBuf>,
    /// The key that signs callbacks with HMAC-SHA256 instead, if one is set up in the account.
    #[serde(default)]
    pub shared_key: Option<SecretString>,
    /// A file with that key.
    #[serde(default)]
    pub shared_key_file: Option<PathBuf>,
    /// A messaging service, `MG…`, that sends instead of `sender`.
    #[serde(default)]
    pub messaging_service_sid: Option<String>,
    /// Whether the provider may hold messages back as suspected fraud. Alerts to people who signed up are none: off.
    #[serde(default)]
    pub risk_check: bool,
    /// Address of the provider, and how it is talked to.
    #[serde(default)]
    pub endpoint: Endpoint,
    /// Keys that all gateways have.
    #[serde(default)]
    pub routing: Routing,
}

struct Twilio {
    url: String,
    /// The field that says who sends, and its value.
    from: Senders<(&'static str, String)>,
    authorisation: SecretString,
    auth_token: SecretString,
    shared_key: Option<SecretString>,
    risk_check: bool,
    receipts_url: Option<String>,
    country: Country,
}

impl HttpConfig for TwilioConfig {
    common_keys!();

    fn contract(&self, country: Country) -> Result<Box<dyn Contract>, Vec<ConfigFault>> {
        let mut faults = Faults::default();
        faults.sender(&self.sender);
        faults.require("account_sid", &self.account_sid);
        if let Some(service) = &self.messaging_service_sid {
            faults.require("messaging_service_sid", service);
        }
        let url = faults.take(self.endpoint.base_url(Some(BASE_URL), false));
        let names = ["auth_token", "auth_token_file"];
        let token = faults.secret(names, self.auth_token.as_ref(), self.auth_token_file.as_ref());
        let names = ["shared_key", "shared_key_file"];
        let shared_key =
            faults.optional_secret(names, self.shared_key.as_ref(), self.shared_key_file.as_ref());
        let receipts_url = faults.take(self.routing.receipts_url(&self.name)).flatten();
        self.callback_faults(&mut faults);
        let (Some(url), Some(auth_token)) = (url, token) else {
            return Err(faults.0);
        };
        if !faults.0.is_empty() {
            return Err(faults.0);
        }
        let pair = format!("{}:{}", self.account_sid, auth_token.expose_secret());
        Ok(Box::new(Twilio {
            url: format!("{url}/2010-04-01/Accounts/{}/Messages.json", self.account_sid),
            from: self.from(),
            authorisation: format!("Basic {}", STANDARD.encode(pair)).into(),
            auth_token,
            shared_key,
            risk_check: self.risk_check,
            receipts_url,
            country,
        }))
    }
}

impl TwilioConfig {
    /// A messaging service stands in for `sender`, and for no sender of a country: it knows nothing of those.
    fn from(&self) -> Senders<(&'static str, String)> {
        let senders = Senders::new(&self.sender, &self.routing, |sender| ("From", sender.to_owned()));
        match &self.messaging_service_sid {
            Some(service) => senders.with_usual(("MessagingServiceSid", service.clone())),
            None => senders,
        }
    }

    fn callback_faults(&self, faults: &mut Faults) {
        let fault = |reason: &str| ConfigFault::new("callback_url", reason);
        let called = self.routing.callback_token.is_some() || self.routing.callback_token_file.is_some();
        match self.routing.callback_url.as_deref() {
            None if called => faults.0.push(fault("is missing: signatures are over it")),
            Some(url) if called && url.split('/').nth(2).is_some_and(|host| host.contains('_')) => {
                faults.0.push(fault("must have no underscore in its host: Twilio refuses it"));
            }
            _ => {}
        }
    }
}

impl Contract for Twilio {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            // Their messages carry no reference of ours; the address for their receipts does.
            client_reference: self.receipts_url.is_some(),
            receipts: self.receipts_url.is_some(),
            status_query: true,
            inbound: true,
            max_segments: SEGMENTS_MAX,
            ..Capabilities::default()
        }
    }

    fn submission(&self, batch: &[OutboundSms]) -> Call {
        let sms = &batch[0];
        let validity = sms.validity.as_secs().clamp(*VALIDITY_S.start(), *VALIDITY_S.end()).to_string();
        let callback = self.receipts_url.as_ref().map(|url| receipts_url_of(url, sms));
        let (field, sender) = self.from.of(&sms.to);
        let mut fields = vec![
            ("To", sms.to.expose()),
            (field, sender.as_str()),
            ("Body", sms.text.as_str()),
            ("ValidityPeriod", validity.as_str()),
        ];
        if !self.risk_check {
            fields.push(("RiskCheck", "disable"));
        }
        if let Some(url) = &callback {
            fields.push(("StatusCallback", url));
        }
        self.authorised(Call::form(self.url.clone(), &fields))
    }

    fn outcomes(&self, batch: &[OutboundSms], answer: &Answer) -> Option<Vec<SubmitOutcome>> {
        let body = answer.json()?;
        let outcome = if answer.is_success() {
            let parts = at(&body, "/num_segments").and_then(|parts| parts.parse().ok());
            // A messaging service says 0: it has not counted yet.
            let parts = parts.filter(|parts| *parts > 0).unwrap_or_else(|| batch[0].text.segments());
            accepted(at(&body, "/sid")?, parts)
        } else {
            refused(CODES, Refusal::of(answer, &at(&body, "/code")?))
        };
        Some(vec![outcome])
    }

    fn question(&self, sms: &OutboundSms, _since: Timestamp) -> Option<Call> {
        // Not by `DateSent`, which a message that still waits at the provider does not have.
        let to = sms.to.expose_digits();
        Some(self.authorised(Call::get(format!("{}?To=%2B{to}&PageSize={PAGE}", self.url))))
    }

    fn finding(&self, sms: &OutboundSms, since: Timestamp, answer: &Answer) -> StatusAnswer {
        let body = answer.json().filter(|_| answer.is_success()).unwrap_or_default();
        let Some(messages) = body.get("messages").and_then(Value::as_array) else {
            return StatusAnswer::NoAnswer;
        };
        let since = since.as_millis() - SKEW_S * 1_000;
        let created = |message: &Value| {
            let time = rfc2822::parse(&at(message, "/date_created")?).ok()?;
            Some(time.timestamp().as_millisecond())
        };
        let alike = messages.iter().filter(|message| {
            at(message, "/to").as_deref() == Some(sms.to.expose())
                && at(message, "/body").as_deref() == Some(sms.text.as_str())
                && created(message).is_some_and(|time| time >= since)
        });
        let candidates = alike.filter_map(|message| {
            Some(Candidate {
                provider_id: ProviderId(at(message, "/sid")?),
                status: status_of(STATUSES, &at(message, "/status").unwrap_or_default()),
                error: at(message, "/error_code").and_then(|code| error_of(&code)),
            })
        });
        let candidates: Vec<_> = candidates.collect();
        // The newest come first: with an older one on the page, ours would stand before it.
        let complete = messages.len() < PAGE || messages.iter().filter_map(created).any(|time| time < since);
        match (candidates.is_empty(), complete) {
            (true, true) => StatusAnswer::NotFound,
            (true, false) => StatusAnswer::NoAnswer,
            (false, complete) => StatusAnswer::Alike { candidates, complete },
        }
    }

    fn authenticate(&self, callback: &RawCallback<'_>, url: &str) -> Result<Option<String>, CallbackError> {
        signature::verify(callback, url, &self.auth_token, self.shared_key.as_ref())?;
        // They sign no time: repetitions are harmless because receipts merge, and inbound messages have ids.
        Ok(None)
    }

    fn receipts(&self, callback: &RawCallback<'_>) -> Result<Found, CallbackError> {
        let fields = Fields::read(callback)?;
        let either = |a: &str, b: &str| fields.get(a).or_else(|| fields.get(b));
        let parts = ReceiptParts {
            id: either("MessageSid", "SmsSid"),
            reference: fields.get(REFERENCE_PARAMETER),
            status: status_of(STATUSES, either("MessageStatus", "SmsStatus").unwrap_or_default()),
            error: fields.get("ErrorCode").and_then(error_of),
            recipient: fields.get("To"),
            raw: fields.raw(&KEPT),
        };
        parts.event(self.country).map(Found::one).ok_or(CallbackError::Malformed("no MessageSid"))
    }

    fn inbound(&self, callback: &RawCallback<'_>) -> Result<Found, CallbackError> {
        let fields = Fields::read(callback)?;
        let from = fields.get("From").ok_or(CallbackError::Malformed("no From"))?;
        let [to, text] = ["To", "Body"].map(|name| fields.get(name).unwrap_or_default());
        let id = fields.get("MessageSid").or_else(|| fields.get("SmsSid"));
        let mut event = inbound(id, [from, to, text], "", callback.received_at);
        if let GatewayEvent::Inbound(sms) = &mut event {
            sms.keyword = fields.get("OptOutType").and_then(opt_out_type);
        }
        Ok(Found::one(event))
    }

    fn answer(&self, kind: CallbackKind) -> CallbackAnswer {
        match kind {
            // Any text in it would go out as an SMS, and be billed.
            CallbackKind::Inbound => CallbackAnswer::text("text/xml", "<Response/>"),
            CallbackKind::Receipts => CallbackAnswer::EMPTY,
        }
    }
}

impl Twilio {
    fn authorised(&self, call: Call) -> Call {
        call.with(AUTHORIZATION, self.authorisation.expose_secret()).with(ACCEPT, "application/json")
    }
}

/// The keyword that Twilio acted upon, which may be any word of the account's own list ("Advanced Opt-Out").
fn opt_out_type(word: &str) -> Option<Keyword> {
    match word {
        "STOP" => Some(Keyword::Stop),
        "START" => Some(Keyword::Start),
        "HELP" => Some(Keyword::Help),
        _ => None,
    }
}

/// Why a message did not arrive, by the error code of a receipt or a look-up.
fn error_of(code: &str) -> Option<String> {
    (code != "0").then(|| if code == STOPPED { Failure::OPTED_OUT } else { code }.to_owned())
}
