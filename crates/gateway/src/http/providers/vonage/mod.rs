//! Vonage SMS API, once Nexmo.

pub(in crate::http) mod signature;

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use klaroen_domain::outcome::ReceiptStatus::{self, Delivered, Undelivered, Underway};
use klaroen_domain::outcome::{ProviderId, SubmitOutcome};
use klaroen_domain::phone::Country;
use klaroen_domain::text::Encoding;
use reqwest::header::{ACCEPT, AUTHORIZATION};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::Value;

pub use self::signature::SignatureMethod;
use crate::failure::unknown;
use crate::http::classify::{Codes, Meaning, Refusal, refused};
use crate::http::client::{Answer, Call};
use crate::http::contract::{Contract, Faults, Found, HttpConfig, common_keys};
use crate::http::fields::{Fields, ReceiptParts, at, inbound, status_of};
use crate::settings::{ConfigFault, Endpoint, Routing, Senders};
use crate::sms::{CallbackError, Capabilities, ClientReference, GatewayEvent, OutboundSms, RawCallback};

const BASE_URL: &str = "https://rest.nexmo.com";
/// Their platform splits up to here.
const SEGMENTS_MAX: u8 = 20;
/// `ttl`, in milliseconds.
const TTL_MS: std::ops::RangeInclusive<u128> = 20_000..=604_800_000;
/// `callback`.
const CALLBACK_LEN_MAX: usize = 100;

/// `messages[].status` that is not 0.
const CODES: Codes = &[
    (&["1"], Meaning::Throttled, "slower"),
    (&["5", "10"], Meaning::Temporary, "a fault of the provider's own"),
    (&["2", "3", "6", "12", "22", "23"], Meaning::Message, "a parameter is refused, or the text is too long"),
    (
        &["7", "29", "33"],
        Meaning::Recipient,
        "the number is barred, not in use, or not on the list of a test account",
    ),
    (&["4", "14", "32"], Meaning::Gateway, "key or signature are not allowed"),
    (&["8", "11"], Meaning::Gateway, "the account is barred or not enabled"),
    (&["9"], Meaning::Gateway, "not enough credit"),
    (&["15"], Meaning::Gateway, "the sender is not allowed"),
];
/// `status` of a receipt.
const STATUSES: &[(&str, ReceiptStatus)] = &[
    ("accepted", Underway),
    ("buffered", Underway),
    ("delivered", Delivered),
    ("expired", Undelivered),
    ("failed", Undelivered),
    ("rejected", Undelivered),
];
/// Fields of a receipt that are kept.
const KEPT: [&str; 6] = ["messageId", "client-ref", "status", "err-code", "scts", "network-code"];

/// `type = "vonage"`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VonageConfig {
    /// Name of the gateway, as the operator calls it.
    pub name: String,
    /// `from`: a number or up to 11 letters and digits.
    pub sender: String,
    /// Segments handed over per second; 0 is no limit.
    #[serde(default)]
    pub segments_per_second: u32,
    /// The account.
    pub api_key: String,
    /// Its secret.
    #[serde(default)]
    pub api_secret: Option<SecretString>,
    /// A file with the secret.
    #[serde(default)]
    pub api_secret_file: Option<PathBuf>,
    /// With it a callback without a valid signature is refused.
    #[serde(default)]
    pub signature_secret: Option<SecretString>,
    /// A file with the signature secret.
    #[serde(default)]
    pub signature_secret_file: Option<PathBuf>,
    /// The method that the account's settings say, and no other.
    #[serde(default)]
    pub signature_method: SignatureMethod,
    /// Address of the provider, and how it is talked to.
    #[serde(default)]
    pub endpoint: Endpoint,
    /// Keys that all gateways have.
    #[serde(default)]
    pub routing: Routing,
}

struct Vonage {
    url: String,
    senders: Senders,
    authorisation: SecretString,
    signature: Option<(SecretString, SignatureMethod)>,
    receipts_url: Option<String>,
    country: Country,
}

impl HttpConfig for VonageConfig {
    common_keys!();

    fn contract(&self, country: Country) -> Result<Box<dyn Contract>, Vec<ConfigFault>> {
        let mut faults = Faults::default();
        faults.sender(&self.sender);
        faults.require("api_key", &self.api_key);
        let url = faults.take(self.endpoint.base_url(Some(BASE_URL), false));
        let names = ["api_secret", "api_secret_file"];
        let secret = faults.secret(names, self.api_secret.as_ref(), self.api_secret_file.as_ref());
        let names = ["signature_secret", "signature_secret_file"];
        let (value, file) = (self.signature_secret.as_ref(), self.signature_secret_file.as_ref());
        let signature = faults.optional_secret(names, value, file);
        let receipts_url = faults.take(self.routing.receipts_url(&self.name)).flatten();
        if receipts_url.as_ref().is_some_and(|url| url.len() > CALLBACK_LEN_MAX) {
            let reason = "makes an address for receipts of more than 100 characters, with name and token";
            faults.0.push(ConfigFault::new("callback_url", reason));
        }
        match (url, secret) {
            (Some(url), Some(secret)) if faults.0.is_empty() => {
                let pair = STANDARD.encode(format!("{}:{}", self.api_key, secret.expose_secret()));
                Ok(Box::new(Vonage {
                    url: format!("{url}/sms/json"),
                    senders: Senders::new(&self.sender, &self.routing, |sender| {
                        sender.trim_start_matches('+').to_owned()
                    }),
                    authorisation: format!("Basic {pair}").into(),
                    signature: signature.map(|secret| (secret, self.signature_method)),
                    receipts_url,
                    country,
                }))
            }
            _ => Err(faults.0),
        }
    }
}

impl Contract for Vonage {
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
        let sms = &batch[0];
        let ttl = sms.validity.as_millis().clamp(*TTL_MS.start(), *TTL_MS.end()).to_string();
        let reference = reference(sms);
        let kind = match sms.text.encoding() {
            Encoding::Gsm7 => "text",
            Encoding::Ucs2 => "unicode",
        };
        let mut fields = vec![
            ("from", self.senders.of(&sms.to).as_str()),
            ("to", sms.to.expose_digits()),
            ("text", sms.text.as_str()),
            ("type", kind),
            ("ttl", ttl.as_str()),
            ("status-report-req", "1"),
            ("client-ref", reference.as_str()),
        ];
        if let Some(url) = &self.receipts_url {
            fields.push(("callback", url));
        }
        Call::form(self.url.clone(), &fields)
            .with(AUTHORIZATION, self.authorisation.expose_secret())
            .with(ACCEPT, "application/json")
    }

    fn outcomes(&self, _batch: &[OutboundSms], answer: &Answer) -> Option<Vec<SubmitOutcome>> {
        let body = answer.json().filter(|_| answer.is_success())?;
        let parts = body.get("messages")?.as_array()?;
        let status = |part: &Value| at(part, "/status");
        let taken = parts.iter().filter(|part| status(part).as_deref() == Some("0")).count();
        let outcome = if taken == 0 {
            let part = parts.first()?;
            let retry_after = at(part, "/error-text").and_then(|text| wait(&text)).or(answer.retry_after);
            refused(CODES, Refusal { code: &status(part)?, status: answer.status, retry_after })
        } else if taken < parts.len() {
            // Some parts went out: the phone may show them, and sending all again rings twice.
            unknown("partial", "only some parts of the message were taken")
        } else {
            let ids: Option<Vec<ProviderId>> =
                parts.iter().map(|part| at(part, "/message-id").map(ProviderId)).collect();
            let provider_ids = ids?;
            let segments = u8::try_from(provider_ids.len()).unwrap_or(u8::MAX);
            SubmitOutcome::Accepted { provider_ids, segments }
        };
        Some(vec![outcome])
    }

    fn authenticate(&self, callback: &RawCallback<'_>, _url: &str) -> Result<Option<String>, CallbackError> {
        let Some((secret, method)) = &self.signature else { return Ok(None) };
        let fields = Fields::read(callback)?;
        signature::verify(&fields, secret, *method, callback.received_at).map(Some)
    }

    fn receipts(&self, callback: &RawCallback<'_>) -> Result<Found, CallbackError> {
        let fields = Fields::read(callback)?;
        // Their settings page probes the address with a request that says nothing.
        let Some(id) = fields.get("messageId") else { return Ok(Found::default()) };
        let (reference, parts) = match fields.get("client-ref").map(|text| text.split_once('-').ok_or(text)) {
            Some(Ok((reference, parts))) => (Some(reference), parts.parse().unwrap_or(1)),
            Some(Err(reference)) => (Some(reference), 1_u8),
            None => (None, 1),
        };
        let receipt = |reference, status| {
            ReceiptParts {
                id: Some(id),
                reference,
                status,
                error: fields.get("err-code").filter(|code| *code != "0").map(str::to_owned),
                recipient: fields.get("msisdn"),
                raw: fields.raw(&KEPT),
            }
            .event(self.country)
        };
        let status = status_of(STATUSES, fields.get("status").unwrap_or_default());
        let mut events: Vec<GatewayEvent> = Vec::new();
        if parts == 1 {
            events.extend(receipt(reference, status));
        } else {
            // It is about one part, which only its id tells: under our reference it would count for the whole message. All
            // that it says of the whole is that it was taken.
            events.extend(receipt(None, status));
            events.extend(reference.and_then(|reference| receipt(Some(reference), Underway)));
        }
        Ok(Found { events, unreadable: 0 })
    }

    /// A long message comes in parts, each of them a callback: they are handed on as they come.
    fn inbound(&self, callback: &RawCallback<'_>) -> Result<Found, CallbackError> {
        let fields = Fields::read(callback)?;
        let (Some(from), Some(id)) = (fields.get("msisdn"), fields.get("messageId")) else {
            return Ok(Found::default());
        };
        let [to, text, time] =
            ["to", "text", "message-timestamp"].map(|name| fields.get(name).unwrap_or_default());
        Ok(Found::one(inbound(Some(id), [from, to, text], time, callback.received_at)))
    }
}

/// Our reference and, if there are several, how many parts it has: their receipts do not say.
fn reference(sms: &OutboundSms) -> String {
    let reference = ClientReference::of(sms.delivery).0;
    match sms.text.segments() {
        1 => reference,
        parts => format!("{reference}-{parts}"),
    }
}

/// `Throughput Rate Exceeded - please wait [ 250 ] and retry`: milliseconds.
fn wait(text: &str) -> Option<Duration> {
    let (_, rest) = text.split_once('[')?;
    let (number, _) = rest.split_once(']')?;
    Some(Duration::from_millis(number.trim().parse().ok()?).min(Duration::from_mins(1)))
}
