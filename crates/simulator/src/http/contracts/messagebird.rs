//! `MessageBird` REST: `POST /messages`, JSON, an access key. Callbacks carry `MessageBird-Signature-JWT`.

use std::time::Duration;

use hyper::Method;
use serde_json::{Value, json};

use crate::http::config::Account;
use crate::http::contract::{Answered, Asked, Context, Found, Inbound, Report, Search, Traits, Wire};
use crate::http::form;
use crate::http::message::{Message, Refusal, Stage, is_originator};
use crate::http::signing::{jwt, sha256_hex};
use crate::http::wire::{Callback, Reply, Request, hex_id, utc};

const RECIPIENTS_MAX: usize = 50;
/// Digits of a short code; inbound SMS to one have other names for their fields.
const SHORT_CODE_MAX: usize = 6;
const TIME: &str = "%Y-%m-%dT%H:%M:%S+00:00";
/// A signature is good for a minute.
const SIGNATURE_SECONDS: i64 = 60;

/// `status` and `statusErrorCode`.
const STAGES: [(Stage, (&str, &str)); 7] = [
    (Stage::Sent, ("sent", "0")),
    (Stage::Delivered, ("delivered", "0")),
    (Stage::Undelivered, ("delivery_failed", "1")),
    (Stage::Expired, ("expired", "9")),
    (Stage::Rejected, ("delivery_failed", "5")),
    (Stage::Blocked, ("delivery_failed", "103")),
    (Stage::Unknown, ("evaporated", "0")),
];

pub(crate) struct MessageBird;

impl Wire for MessageBird {
    fn traits(&self) -> Traits {
        Traits { refuses_blocked: false, ..Traits::USUAL }
    }

    fn read(&self, request: &Request<'_>, account: &Account) -> Result<Asked, Reply> {
        if !account.is_secret(request.token("AccessKey ")) {
            return Err(error(401, 2, "Request not allowed (incorrect access_key)", Some("access_key")));
        }
        match (request.method, request.path) {
            (&Method::POST, "/messages") => read_submit(request).map(Asked::Send),
            (&Method::GET, "/balance") => Ok(Asked::Balance(|balance| {
                Reply::json(200, &json!({"payment": "prepaid", "type": "credits", "amount": balance}))
            })),
            (&Method::GET, path) if path.starts_with("/messages/") => {
                let id = path.trim_start_matches("/messages/").to_owned();
                Ok(Asked::Find(Search { id: Some(id), one: true, ..Search::default() }))
            }
            _ => Err(error(404, 20, "Not found", None)),
        }
    }

    fn answer(&self, answered: &[Answered<'_>], context: &Context<'_>) -> Reply {
        let Some(first) = answered.first() else { return Reply::text(500, "") };
        let id = first.outcome.clone().unwrap_or_default();
        let items: Vec<Value> =
            answered.iter().map(|one| item(one.message, "sent", context.now_ms)).collect();
        Reply::json(201, &resource(&id, first.message, &items, context.now_ms))
    }

    fn refuse(&self, refusal: Refusal) -> Reply {
        match refusal {
            Refusal::Throttled { .. } => error(429, 21, "Too many requests", None),
            Refusal::Internal => error(500, 99, "Internal error", None),
            Refusal::Balance => error(402, 25, "Not enough balance", None),
            Refusal::Sender => error(422, 10, "originator is invalid", Some("originator")),
            Refusal::Text => error(422, 10, "body is invalid", Some("body")),
            Refusal::Duplicate => error(422, 10, "reference is invalid", Some("reference")),
            Refusal::Number | Refusal::Blocked | Refusal::Flooding => {
                error(422, 10, "recipient is invalid", Some("recipients"))
            }
        }
        .for_refusal(refusal)
    }

    fn found(&self, _search: &Search, found: &[Found], _context: &Context<'_>) -> Reply {
        let Some(first) = found.first() else { return error(404, 20, "message not found", None) };
        let status = first.stage.row(&STAGES).map_or("sent", |(status, _)| status);
        let items = [item(&first.sms.message, status, first.changed_ms)];
        Reply::json(200, &resource(&first.sms.id, &first.sms.message, &items, first.sms.created_ms))
    }

    fn receipt(&self, report: &Report<'_>, context: &Context<'_>) -> Option<Callback> {
        let message = &report.sms.message;
        // Reports are sent of messages that have a reference.
        let reference = message.reference.as_deref()?;
        let (status, error) = report.stage.row(&STAGES)?;
        let when = utc(report.done_ms, TIME);
        let query = form::encode([
            ("id", report.sms.id.as_str()),
            ("reference", reference),
            ("recipient", &message.to),
            ("status", status),
            ("statusReason", if error == "0" { "successfully delivered" } else { "unknown subscriber" }),
            ("statusErrorCode", error),
            ("statusDatetime", &when),
            ("datacoding", "plain"),
            ("mccmnc", "20408"),
            ("messageLength", &message.text.chars().count().to_string()),
            ("messagePartCount", &message.parts().to_string()),
            ("ported", "0"),
            ("price[amount]", "0.075"),
            ("price[currency]", "EUR"),
        ]);
        Some(signed(Callback::get(form::with_query(&context.receipt_url(message)?, &query)), context))
    }

    fn inbound(&self, inbound: &Inbound, context: &Context<'_>) -> Option<Callback> {
        let originator = ("originator", inbound.from.to_string());
        let pairs = if inbound.to.len() <= SHORT_CODE_MAX {
            [
                ("mid", hex_id(inbound.n)),
                ("shortcode", inbound.to.to_string()),
                originator,
                ("message", inbound.text.clone()),
                ("receive_datetime", utc(inbound.at_ms, "%Y%m%d%H%M%S")),
            ]
        } else {
            [
                ("id", hex_id(inbound.n)),
                ("recipient", inbound.to.to_string()),
                originator,
                ("body", inbound.text.clone()),
                ("createdDatetime", utc(inbound.at_ms, TIME)),
            ]
        };
        let pairs = pairs.iter().map(|(key, value)| (*key, value.as_str()));
        Some(signed(Callback::form(context.urls.inbound.clone()?, pairs), context))
    }
}

/// With the token over the URL as it is called, query included, and over the body where there is one.
fn signed(mut callback: Callback, context: &Context<'_>) -> Callback {
    let Some(key) = context.account.signing_key.as_deref() else { return callback };
    let now = context.now_ms.div_euclid(1_000);
    let mut claims = json!({
        "iss": "MessageBird",
        "nbf": now,
        "exp": now + SIGNATURE_SECONDS,
        "jti": hex_id(context.nonce),
        "url_hash": sha256_hex(callback.url.as_bytes()),
    });
    if !callback.body.is_empty() {
        claims["payload_hash"] = json!(sha256_hex(&callback.body));
    }
    callback.headers.push(("messagebird-signature-jwt", jwt(key, &claims)));
    callback
}

fn error(status: u16, code: u16, words: &str, parameter: Option<&str>) -> Reply {
    Reply::json(status, &json!({"errors": [{"code": code, "description": words, "parameter": parameter}]}))
}

fn missing(field: &str) -> Reply {
    error(422, 9, &format!("{field} is required"), Some(field))
}

fn read_submit(request: &Request<'_>) -> Result<Vec<Message>, Reply> {
    let body = request.json().ok_or_else(|| error(400, 21, "Bad request", None))?;
    let field = |name: &str| body[name].as_str().filter(|value| !value.is_empty());
    let from = field("originator").ok_or_else(|| missing("originator"))?;
    if !is_originator(from) {
        return Err(error(422, 10, "originator is invalid", Some("originator")));
    }
    let text = field("body").ok_or_else(|| missing("body"))?;
    if !field("datacoding").is_none_or(|coding| ["plain", "unicode", "auto"].contains(&coding)) {
        return Err(error(422, 10, "datacoding is invalid", Some("datacoding")));
    }
    let recipients = body["recipients"].as_array().filter(|list| !list.is_empty());
    let recipients = recipients.ok_or_else(|| missing("recipients"))?;
    if recipients.len() > RECIPIENTS_MAX {
        return Err(error(422, 10, "at most 50 recipients", Some("recipients")));
    }
    let messages = recipients.iter().map(|to| {
        let to = to.as_u64().map_or_else(|| to.as_str().unwrap_or_default().to_owned(), |to| to.to_string());
        let mut message = Message::new(from, &to, text);
        message.reference = field("reference").map(Into::into);
        message.receipt_url = field("reportUrl").map(Into::into);
        message.validity = body["validity"].as_u64().map(Duration::from_secs);
        message
    });
    Ok(messages.collect())
}

/// The recipient is a JSON number.
fn item(message: &Message, status: &str, at_ms: i64) -> Value {
    json!({
        "recipient": message.to.parse::<u64>().unwrap_or(0),
        "status": status,
        "statusDatetime": utc(at_ms, TIME),
        "messagePartCount": message.parts(),
    })
}

fn resource(id: &str, message: &Message, items: &[Value], created_ms: i64) -> Value {
    let count = |status: &str| items.iter().filter(|item| item["status"] == status).count();
    json!({
        "id": id,
        "href": format!("https://rest.messagebird.com/messages/{id}"),
        "direction": "mt",
        "type": "sms",
        "originator": &*message.from,
        "body": &*message.text,
        "reference": message.reference,
        "validity": message.validity.map(|validity| validity.as_secs()),
        "gateway": 10,
        "typeDetails": {},
        "datacoding": "plain",
        "mclass": 1,
        "scheduledDatetime": Value::Null,
        "createdDatetime": utc(created_ms, TIME),
        "recipients": {
            "totalCount": items.len(),
            "totalSentCount": items.len(),
            "totalDeliveredCount": count("delivered"),
            "totalDeliveryFailedCount": count("delivery_failed"),
            "items": items,
        },
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::http::contract::Contract;
    use crate::http::raw::Bench;

    const GOOD: &str = r#"{"originator":"Burgernet","body":"Let op","recipients":["31612345678",31687654321],"reference":"018f","validity":3600,"reportUrl":"http://there/r?t=1"}"#;

    fn submit(body: &str) -> String {
        format!("POST /messages HTTP/1.1\r\nauthorization: AccessKey secret\r\n\r\n{body}")
    }

    #[test]
    fn a_batch_is_taken_and_found() {
        let bench = Bench::new(Contract::MessageBird);
        let (status, body) = bench.json(&submit(GOOD));
        assert_eq!((status, body["recipients"]["totalCount"].as_u64()), (201, Some(2)));
        assert_eq!(
            body["recipients"]["items"][1],
            json!({"recipient": 31_687_654_321_u64, "status": "sent", "statusDatetime": "2026-11-23T16:00:00+00:00", "messagePartCount": 1})
        );
        let id = body["id"].as_str().unwrap();
        assert_eq!(id.len(), 32);
        let (status, found) =
            bench.json(&format!("GET /messages/{id} HTTP/1.1\r\nauthorization: AccessKey secret\r\n\r\n"));
        assert_eq!((status, &found["recipients"]["items"][0]["status"]), (200, &json!("delivered")));
        assert_eq!((bench.rings("31612345678").len(), bench.rings("31687654321").len()), (1, 1));
    }

    // The vectors were computed apart, with Python's hmac and hashlib.
    #[test]
    fn a_receipt_is_a_signed_get() {
        let bench = Bench::new(Contract::MessageBird);
        bench.json(&submit(GOOD));
        let receipt = bench.receipt(Stage::Blocked);
        assert_eq!((&receipt.method, receipt.body.len()), (&Method::GET, 0));
        assert_eq!(
            receipt.url,
            "http://there/r?t=1&id=MB_ID&reference=018f&recipient=31612345678&status=delivery_failed&statusReason=unknown+subscriber&statusErrorCode=103&statusDatetime=2026-11-23T16%3A00%3A00%2B00%3A00&datacoding=plain&mccmnc=20408&messageLength=6&messagePartCount=1&ported=0&price%5Bamount%5D=0.075&price%5Bcurrency%5D=EUR"
                .replace("MB_ID", &bench.first_id())
        );
        assert!(receipt.headers.iter().any(|(name, _)| *name == "messagebird-signature-jwt"));
    }

    #[test]
    fn an_sms_to_a_short_code_has_other_fields_than_one_to_a_number() {
        let bench = Bench::new(Contract::MessageBird);
        let fields = |to: &str| {
            let body = bench.inbound_to(to, "Gezien").body;
            let form = form::Form::parse(&body);
            [
                "mid",
                "shortcode",
                "message",
                "receive_datetime",
                "recipient",
                "body",
                "createdDatetime",
                "originator",
            ]
            .map(|name| form.text(name).unwrap_or_default())
        };
        let short = fields("1000");
        assert_eq!(short[1..], ["1000", "Gezien", "20261123160000", "", "", "", "31612345678"]);
        let long = fields("31970000000");
        assert_eq!(long[3..], ["", "31970000000", "Gezien", "2026-11-23T16:00:00+00:00", "31612345678"]);
    }

    #[test]
    fn the_token_signs_url_and_body() {
        let account = Account { signing_key: Some("key".into()), ..Account::default() };
        let urls = crate::http::config::CallbackUrls::default();
        let context =
            Context { account: &account, urls: &urls, now_ms: 1_795_449_600_999, nonce: 7, balance: 0 };
        let callback = signed(Callback::form("http://there/mo?t=1".into(), [("body", "Gezien")]), &context);
        assert_eq!(
            callback.headers[1].1,
            "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJleHAiOjE3OTU0NDk2NjAsImlzcyI6Ik1lc3NhZ2VCaXJkIiwianRpIjoiNjNjYmUxZTQ1OTMyMGRkNzg4ZmNhMDE5NWRlNjdlMTIiLCJuYmYiOjE3OTU0NDk2MDAsInBheWxvYWRfaGFzaCI6IjljZmRmZWQ5NDQ5MjIyZDBkNWRlZTA0MGVmZjljYzFkZDg0MWFjMjhmM2M5OGU1MGY5MzM5MzI4MzRiODNjNzQiLCJ1cmxfaGFzaCI6IjA5MzE4Y2NlZWUzZjJiNDhlMTFhMTI1YWQ1ZmRmNDVlZmFhNDI2NTBjYTNmYzA0NjQzM2NlYTJkY2I4NWMwODcifQ.znUKqc449jiyFmut10-qeDA_YioBY8sRoda85EvAv9E"
        );
    }

    #[rstest]
    #[case(r#"{"body":"x","recipients":["31612345678"]}"#, 422, 9, json!("originator"))]
    #[case(r#"{"originator":"Burgernet 112","body":"x","recipients":["31612345678"]}"#, 422, 10, json!("originator"))]
    #[case(r#"{"originator":"1000","recipients":["31612345678"]}"#, 422, 9, json!("body"))]
    #[case(r#"{"originator":"1000","body":"x","recipients":["0612345678"]}"#, 422, 10, json!("recipients"))]
    #[case(r#"{"originator":"1000","body":"x","recipients":[]}"#, 422, 9, json!("recipients"))]
    #[case("no", 400, 21, Value::Null)]
    fn what_is_wrong_is_named(
        #[case] body: &str,
        #[case] status: u16,
        #[case] code: u16,
        #[case] field: Value,
    ) {
        let (answered, body) = Bench::new(Contract::MessageBird).json(&submit(body));
        let error = &body["errors"][0];
        assert_eq!((answered, &error["code"], &error["parameter"]), (status, &json!(code), &field));
    }

    #[test]
    fn a_wrong_key_and_an_empty_balance() {
        let bench = Bench::new(Contract::MessageBird);
        let (status, body) = bench.json(&submit(GOOD).replace("secret", "guess"));
        assert_eq!((status, &body["errors"][0]["code"]), (401, &json!(2)));
        bench.balance(1);
        let (status, body) = bench.json(&submit(GOOD));
        assert_eq!((status, &body["errors"][0]["code"]), (402, &json!(25)), "two messages for one credit");
        assert_eq!(bench.rings("31612345678").len(), 0, "all or nothing");
    }
}
