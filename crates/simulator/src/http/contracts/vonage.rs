//! Vonage (Nexmo) SMS API: `POST /sms/json`, a form or JSON in, always 200 out, one entry for each part. Callbacks are
//! signed over their fields.

use std::time::Duration;

use hyper::Method;
use serde_json::{Map, Value, json};

use crate::http::config::{Account, CallbackForm};
use crate::http::contract::{Answered, Asked, Context, Inbound, Report, Traits, Wire};
use crate::http::form::{self, Form};
use crate::http::message::{Message, Refusal, Stage};
use crate::http::signing::{SignatureMethod, basic};
use crate::http::wire::{Callback, Reply, Request, hex_id, utc};

const REFERENCE_MAX: usize = 100;
const TTL_MS: std::ops::RangeInclusive<u64> = 20_000..=604_800_000;
/// Characters in one part of a long inbound SMS of the GSM alphabet and of UCS-2.
const PART: (usize, usize) = (153, 67);

/// `status` and `error-text`.
fn fault(refusal: Refusal) -> (&'static str, String) {
    let (status, words) = match refusal {
        Refusal::Throttled { retry_after_s: Some(seconds) } => {
            let ms = u64::from(seconds) * 1_000;
            return ("1", format!("Throughput Rate Exceeded - please wait [ {ms} ] and retry"));
        }
        Refusal::Throttled { retry_after_s: None } => ("1", "Throttled"),
        Refusal::Internal => ("5", "Internal Error"),
        Refusal::Balance => ("9", "Partner quota violation"),
        Refusal::Number => ("3", "Invalid to address"),
        Refusal::Blocked => ("7", "Number barred"),
        Refusal::Sender => ("15", "Invalid sender address"),
        Refusal::Text => ("2", "Missing text"),
        Refusal::Duplicate => ("3", "Invalid client-ref"),
        Refusal::Flooding => ("6", "Unroutable message"),
    };
    (status, words.to_owned())
}

/// `status` and `err-code`.
const STAGES: [(Stage, (&str, &str)); 7] = [
    (Stage::Sent, ("buffered", "0")),
    (Stage::Delivered, ("delivered", "0")),
    (Stage::Undelivered, ("failed", "12")),
    (Stage::Expired, ("expired", "2")),
    (Stage::Rejected, ("rejected", "6")),
    (Stage::Blocked, ("rejected", "14")),
    (Stage::Unknown, ("evaporated", "99")),
];

pub(crate) struct Vonage;

impl Wire for Vonage {
    fn traits(&self) -> Traits {
        // Every minute for a day; cut to twenty.
        Traits { mixed: true, by_part: true, repeat: |n| (n <= 20).then_some(1), ..Traits::USUAL }
    }

    fn id(&self, n: u64) -> String {
        // 14 digits of the message; two of the part follow.
        hex_id(n)[..14].to_ascii_uppercase()
    }

    fn read(&self, request: &Request<'_>, account: &Account) -> Result<Asked, Reply> {
        let fields = fields(request)?;
        let field = |name: &str| fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        if !authenticated(request, &fields, account) {
            return Err(one("4", "Bad Credentials"));
        }
        if request.is(&Method::GET, "/account/get-balance") {
            return Ok(Asked::Balance(|balance| {
                Reply::json(200, &json!({"value": balance, "autoReload": false}))
            }));
        }
        if !request.is(&Method::POST, "/sms/json") {
            return Err(Reply::text(404, ""));
        }
        let required = |name: &'static str| {
            field(name).filter(|value| !value.is_empty()).ok_or_else(|| one("2", &format!("Missing {name}")))
        };
        let (to, from, text) = (required("to")?, required("from")?, required("text")?);
        if !field("type").is_none_or(|kind| ["text", "unicode"].contains(&kind)) {
            return Err(one("3", "Invalid type"));
        }
        let mut message = Message::new(from, to, text);
        if to.starts_with(['+', '0']) {
            message.refused = Some(Refusal::Number);
        }
        if let Some(reference) = field("client-ref") {
            if reference.len() > REFERENCE_MAX {
                return Err(one("3", "Invalid client-ref"));
            }
            message.reference = Some(reference.into());
        }
        message.receipt_url = field("callback").map(Into::into);
        if let Some(ttl) = field("ttl") {
            let ttl =
                ttl.parse().ok().filter(|ttl| TTL_MS.contains(ttl)).ok_or_else(|| one("3", "Invalid ttl"))?;
            message.validity = Some(Duration::from_millis(ttl));
        }
        Ok(Asked::Send(vec![message]))
    }

    fn answer(&self, answered: &[Answered<'_>], context: &Context<'_>) -> Reply {
        let Some(first) = answered.first() else { return Reply::text(500, "") };
        let id = match &first.outcome {
            Ok(id) => id,
            Err(refusal) => return self.refuse(*refusal),
        };
        let (parts, balance) = (first.message.parts(), context.balance.to_string());
        let messages: Vec<Value> = (1..=parts)
            .map(|part| {
                if first.partial && part == parts {
                    let (status, words) = fault(Refusal::Internal);
                    return json!({"to": &*first.message.to, "status": status, "error-text": words});
                }
                json!({
                    "to": &*first.message.to,
                    "message-id": format!("{id}{part:02X}"),
                    "status": "0",
                    "remaining-balance": balance,
                    "message-price": "0.07500000",
                    "network": "20408",
                    "client-ref": first.message.reference,
                })
            })
            .collect();
        Reply::json(200, &json!({"message-count": parts.to_string(), "messages": messages}))
    }

    fn refuse(&self, refusal: Refusal) -> Reply {
        let (status, words) = fault(refusal);
        one(status, &words)
    }

    fn receipt(&self, report: &Report<'_>, context: &Context<'_>) -> Option<Callback> {
        let message = &report.sms.message;
        let (status, code) = report.stage.row(&STAGES)?;
        let mut pairs = vec![
            ("msisdn", message.to.to_string()),
            ("to", message.from.to_string()),
            ("network-code", "20408".to_owned()),
            ("messageId", format!("{}{:02X}", report.sms.id, report.part)),
            ("price", "0.07500000".to_owned()),
            ("status", status.to_owned()),
            ("scts", utc(report.done_ms, "%y%m%d%H%M")),
            ("err-code", code.to_owned()),
            ("message-timestamp", utc(context.now_ms, "%Y-%m-%d %H:%M:%S")),
        ];
        pairs.extend(message.reference.as_deref().map(|reference| ("client-ref", reference.to_owned())));
        Some(signed(context.receipt_url(message)?, pairs, context))
    }

    fn inbound(&self, inbound: &Inbound, context: &Context<'_>) -> Option<Callback> {
        let gsm = klaroen_domain::text::gsm7::encode(&inbound.text).is_some();
        let (part, total) = inbound.part;
        let keyword = inbound.text.split_whitespace().next().unwrap_or_default().to_uppercase();
        let mut pairs = vec![
            ("msisdn", inbound.from.to_string()),
            ("to", inbound.to.to_string()),
            ("messageId", format!("{}{part:02X}", self.id(inbound.n))),
            ("text", inbound.text.clone()),
            ("type", if gsm { "text" } else { "unicode" }.to_owned()),
            ("keyword", keyword),
            ("message-timestamp", utc(inbound.at_ms, "%Y-%m-%d %H:%M:%S")),
        ];
        if total > 1 {
            pairs.extend([
                ("concat", "true".to_owned()),
                ("concat-ref", (inbound.n % 256).to_string()),
                ("concat-total", total.to_string()),
                ("concat-part", part.to_string()),
            ]);
        }
        Some(signed(context.urls.inbound.clone()?, pairs, context))
    }

    fn inbound_parts(&self, text: &str) -> Vec<String> {
        let gsm = klaroen_domain::text::gsm7::encode(text).is_some();
        let (one, each) = if gsm { (160, PART.0) } else { (70, PART.1) };
        let characters: Vec<char> = text.chars().collect();
        if characters.len() <= one {
            return vec![text.to_owned()];
        }
        characters.chunks(each).map(|chunk| chunk.iter().collect()).collect()
    }
}

fn one(status: &str, words: &str) -> Reply {
    Reply::json(200, &json!({"message-count": "1", "messages": [{"status": status, "error-text": words}]}))
}

type Fields = Vec<(String, String)>;

/// The fields of the query and of the body, be that JSON or a form.
fn fields(request: &Request<'_>) -> Result<Fields, Reply> {
    if !request.header("content-type").starts_with("application/json") {
        let form = Form::both(request.query, request.body);
        return Ok(form.pairs().map(|(key, value)| (key.to_owned(), value)).collect());
    }
    let body = request.json().ok_or_else(|| one("2", "Malformed JSON"))?;
    let fields =
        body.as_object().into_iter().flatten().map(|(key, value)| {
            (key.clone(), value.as_str().map_or_else(|| value.to_string(), str::to_owned))
        });
    Ok(fields.collect())
}

fn authenticated(request: &Request<'_>, fields: &Fields, account: &Account) -> bool {
    let field = |name: &str| {
        fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str()).unwrap_or_default()
    };
    if let Some((user, secret)) = basic(request.header("authorization")) {
        return account.is_user(&user) && account.is_secret(&secret);
    }
    if !account.is_user(field("api_key")) {
        return false;
    }
    let shown = field("sig");
    if shown.is_empty() {
        return account.is_secret(field("api_secret"));
    }
    let Some(key) = &account.signing_key else { return false };
    let pairs = fields.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    signature(account.signature_method, key, pairs).eq_ignore_ascii_case(shown)
        && !field("timestamp").is_empty()
}

/// Over every field but `sig`, sorted by name, each as `&name=value`, with `&` and `=` in values as `_`.
fn signature<'a>(
    method: SignatureMethod,
    key: &str,
    pairs: impl Iterator<Item = (&'a str, &'a str)>,
) -> String {
    let mut sorted: Vec<(&str, &str)> = pairs.filter(|(name, _)| *name != "sig").collect();
    sorted.sort_unstable();
    let text = sorted
        .iter()
        .fold(String::new(), |text, (name, value)| text + "&" + name + "=" + &value.replace(['&', '='], "_"));
    method.sign(key, &text)
}

fn signed(url: String, mut pairs: Vec<(&'static str, String)>, context: &Context<'_>) -> Callback {
    let account = context.account;
    pairs.push(("api-key", account.user.clone().unwrap_or_else(|| "abcd1234".to_owned())));
    if let Some(key) = &account.signing_key {
        pairs.push(("timestamp", context.now_ms.div_euclid(1_000).to_string()));
        pairs.push(("nonce", hex_id(context.nonce)));
        let fields = pairs.iter().map(|(name, value)| (*name, value.as_str()));
        pairs.push(("sig", signature(account.signature_method, key, fields)));
    }
    let fields = || pairs.iter().map(|(name, value)| (*name, value.as_str()));
    match account.callback_form {
        CallbackForm::Query => Callback::get(form::with_query(&url, &form::encode(fields()))),
        CallbackForm::Form => Callback::form(url, fields()),
        CallbackForm::Json => {
            let body: Map<String, Value> =
                fields().map(|(name, value)| (name.to_owned(), json!(value))).collect();
            Callback::json(url, &Value::Object(body))
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::http::contract::Contract;
    use crate::http::raw::Bench;

    fn submit(form: &str) -> String {
        format!(
            "POST /sms/json HTTP/1.1\r\ncontent-type: application/x-www-form-urlencoded\r\n\r\napi_key=user&api_secret=secret&{form}"
        )
    }

    const GOOD: &str =
        "from=Burgernet&to=31612345678&text=Let+op&client-ref=018f&ttl=3600000&status-report-req=1";

    #[test]
    fn each_part_has_an_entry_an_id_and_a_receipt() {
        let bench = Bench::new(Contract::Vonage);
        let long = GOOD.replace("Let+op", &"x".repeat(161));
        let (status, body) = bench.json(&submit(&long));
        assert_eq!((status, &body["message-count"]), (200, &json!("2")));
        let ids = [0, 1].map(|i| body["messages"][i]["message-id"].as_str().unwrap().to_owned());
        assert!(ids[0].ends_with("01") && ids[1].ends_with("02") && ids[0][..14] == ids[1][..14], "{ids:?}");
        assert_eq!(
            (&body["messages"][1]["status"], &body["messages"][1]["client-ref"]),
            (&json!("0"), &json!("018f"))
        );
        assert_eq!(bench.rings("31612345678").len(), 1, "one ring for all parts");
        let receipt: Value = serde_json::from_slice(&bench.receipt(Stage::Undelivered).body).unwrap();
        assert_eq!(
            receipt,
            json!({"msisdn": "31612345678", "to": "Burgernet", "network-code": "20408", "messageId": ids[0],
                "price": "0.07500000", "status": "failed", "scts": "2611231600", "err-code": "12",
                "message-timestamp": "2026-11-23 16:00:00", "client-ref": "018f", "api-key": "user"})
        );
    }

    #[rstest]
    #[case("from=1000&text=x", "2")]
    #[case("to=31612345678&text=x", "2")]
    #[case("from=1000&to=31612345678", "2")]
    #[case("from=1000&to=%2B31612345678&text=x", "3")]
    #[case("from=1000&to=31612345678&text=x&ttl=19999", "3")]
    #[case("from=1000&to=31612345678&text=x&type=binary", "3")]
    fn what_is_wrong_is_a_200_with_a_status(#[case] form: &str, #[case] code: &str) {
        let (status, body) = Bench::new(Contract::Vonage).json(&submit(form));
        assert_eq!(
            (status, &body["message-count"], &body["messages"][0]["status"]),
            (200, &json!("1"), &json!(code))
        );
        assert_eq!(body["messages"][0].get("message-id"), None);
    }

    #[test]
    fn credentials_stand_in_the_form_or_in_the_header_or_sign() {
        let bench = Bench::new(Contract::Vonage);
        assert_eq!(bench.json(&submit(GOOD).replace("secret", "guess")).1["messages"][0]["status"], "4");
        let head = "POST /sms/json HTTP/1.1\r\nauthorization: Basic dXNlcjpzZWNyZXQ=\r\n\r\n";
        assert_eq!(bench.json(&format!("{head}{GOOD}")).1["messages"][0]["status"], "0");
        let head = "POST /sms/json HTTP/1.1\r\ncontent-type: application/json\r\n\r\n";
        let json = r#"{"api_key":"user","api_secret":"secret","from":"1000","to":"31612345678","text":"x"}"#;
        assert_eq!(bench.json(&format!("{head}{json}")).1["messages"][0]["status"], "0");
    }

    // The vectors were computed apart, with Python's hmac and hashlib.
    #[rstest]
    #[case(SignatureMethod::Md5Hash, "2c285f553e06506cffd7b2db88c70e5e")]
    #[case(SignatureMethod::Md5, "1a38848383ce7c8c02beb87a59a2d776")]
    #[case(SignatureMethod::Sha256, "175efb04406b2b020996e2df5626405b7c7a36deff71c27025bd4220bcf787a8")]
    fn fields_are_signed_in_their_order(#[case] method: SignatureMethod, #[case] expected: &str) {
        let pairs = [
            ("to", "1000"),
            ("text", "a=b&c"),
            ("msisdn", "31612345678"),
            ("timestamp", "1795449600"),
            ("sig", "old"),
        ];
        assert_eq!(signature(method, "key", pairs.into_iter()), expected);
    }

    #[test]
    fn a_long_sms_from_a_handset_comes_in_parts() {
        assert_eq!(Vonage.inbound_parts(&"x".repeat(160)).len(), 1);
        let parts = Vonage.inbound_parts(&"ж".repeat(71));
        assert_eq!(parts.iter().map(|part| part.chars().count()).collect::<Vec<_>>(), [67, 4]);
        let bench = Bench::new(Contract::Vonage);
        let body: Value = serde_json::from_slice(&bench.inbound("gezien bij AH").body).unwrap();
        assert_eq!(
            (&body["keyword"], &body["msisdn"], &body["type"]),
            (&json!("GEZIEN"), &json!("31612345678"), &json!("text"))
        );
        assert_eq!(body.get("concat"), None);
    }
}
