//! Vonage.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use klaroen_domain::outcome::ReceiptStatus::{self, Delivered, Undelivered, Underway, Unknown};
use klaroen_domain::outcome::Scope;
use serde_json::{Map, Value, json};
use sha2::Sha256;

use super::super::specimen::{
    Body, Callback, Called, Event, Expect, FORM, INBOUND, JSON, RECEIPTS, REFERENCE, Request, Specimen, TEXT,
    case, get, posted, receipts_url,
};
use crate::http::fields::hex;

const SECRET: &str = "canary-api-secret";
const SIGNATURE_SECRET: &str = "canary-signature-secret";
const ID: &str = "0A0000001234ABCD";
const ID_2: &str = "0A0000001234ABCE";

fn part(status: u8, id: &str) -> String {
    format!(
        r#"{{"to":"31612345678","message-id":"{id}","status":"{status}","remaining-balance":"3","network":"20408"}}"#
    )
}

fn answer(parts: &[String]) -> String {
    format!(r#"{{"message-count":"{}","messages":[{}]}}"#, parts.len(), parts.join(","))
}

fn error(status: u8, text: &str) -> String {
    answer(&[format!(r#"{{"status":"{status}","error-text":"{text}"}}"#)])
}

fn query(id: &str, reference: &str, status: &str, error: &str) -> String {
    format!(
        "msisdn=31612345678&to=1000&network-code=20408&messageId={id}&price=0.1&status={status}&scts=2611231200\
         &err-code={error}&client-ref={reference}&message-timestamp=2026-11-23+12%3A00%3A05&nonce=aaaa-bbbb"
    )
}

const fn receipt(status: ReceiptStatus, error: Option<&'static str>) -> Event {
    Event::Receipt(ID, Some(REFERENCE), status, error)
}

/// Adds `timestamp` and `sig`, in query, form or JSON.
fn sign(called: &mut Called) {
    let (path, query) = called.target.split_once('?').unwrap_or((&called.target, ""));
    let path = path.to_owned();
    let is_json = called.body.starts_with(b"{");
    let parse = |text: &[u8]| form_urlencoded::parse(text).into_owned().collect::<Vec<(String, String)>>();
    let mut fields = if is_json {
        let members: Map<String, Value> = serde_json::from_slice(&called.body).unwrap();
        members.into_iter().map(|(key, value)| (key, value.as_str().unwrap().to_owned())).collect()
    } else if called.body.is_empty() {
        parse(query.as_bytes())
    } else {
        parse(&called.body)
    };
    fields.push(("timestamp".to_owned(), called.now_s.to_string()));
    fields.sort();
    let text = fields
        .iter()
        .fold(String::new(), |text, (key, value)| text + "&" + key + "=" + &value.replace(['&', '='], "_"));
    let mac =
        Hmac::<Sha256>::new_from_slice(SIGNATURE_SECRET.as_bytes()).unwrap().chain_update(text).finalize();
    fields.push(("sig".to_owned(), hex(&mac.into_bytes()).to_ascii_uppercase()));
    let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(&fields).finish();
    if is_json {
        let members: Map<String, Value> =
            fields.into_iter().map(|(key, value)| (key, json!(value))).collect();
        called.body = Value::Object(members).to_string().into_bytes();
    } else if called.body.is_empty() {
        called.target = format!("{path}?{form}");
    } else {
        called.body = form.into_bytes();
    }
}

pub(crate) fn specimen() -> Specimen {
    Specimen {
        kind: "vonage",
        keys: json!({"api_key": "abcd1234", "api_secret": SECRET, "signature_secret": SIGNATURE_SECRET}),
        secrets: &[SECRET, SIGNATURE_SECRET],
        request: Request {
            method: "POST",
            target: "/sms/json".into(),
            headers: vec![(
                "authorization",
                format!("Basic {}", STANDARD.encode(format!("abcd1234:{SECRET}"))),
            )],
            body: Body::Form(vec![
                ("from", "1000".into()),
                ("to", "31612345678".into()),
                ("text", TEXT.into()),
                ("type", "text".into()),
                ("ttl", "1800000".into()),
                ("status-report-req", "1".into()),
                ("client-ref", REFERENCE.into()),
                ("callback", receipts_url()),
            ]),
        },
        cases: vec![
            case("accepted", 200, answer(&[part(0, ID)]), Expect::Accepted(&[ID], 1)),
            case("two parts", 200, answer(&[part(0, ID), part(0, ID_2)]), Expect::Accepted(&[ID, ID_2], 2)),
            case("one part of two", 200, answer(&[part(0, ID), part(1, "")]), Expect::Unknown("partial")),
            case(
                "throttled",
                200,
                error(1, "Throughput Rate Exceeded - please wait [ 250 ] and retry"),
                Expect::Throttled(Some(250)),
            ),
            case("throttled plain", 200, error(1, "Throttled"), Expect::Throttled(None)),
            case("own fault", 200, error(5, "x"), Expect::NotTaken("5")),
            case("barred", 200, error(7, "31612345678 barred"), Expect::Rejected(Scope::Recipient, "7")),
            case("not in use", 200, error(33, "x"), Expect::Rejected(Scope::Recipient, "33")),
            case("too long", 200, error(12, "x"), Expect::Rejected(Scope::Message, "12")),
            case("invalid", 200, error(3, "x"), Expect::Rejected(Scope::Message, "3")),
            case("bad secret", 200, error(4, "x"), Expect::Rejected(Scope::Gateway, "4")),
            case("no credit", 200, error(9, "x"), Expect::Rejected(Scope::Gateway, "9")),
            case("bad sender", 200, error(15, "x"), Expect::Rejected(Scope::Gateway, "15")),
            case("new code", 200, error(77, "x"), Expect::Rejected(Scope::Recipient, "77")),
            case("no id", 200, answer(&[r#"{"status":"0"}"#.to_owned()]), Expect::Unknown("http_200")),
            case("no messages", 200, answer(&[]), Expect::Unknown("http_200")),
        ],
        batch: None,
        questions: vec![],
        callbacks: callbacks(),
        sign: Some(sign),
        unknown_status: (get("odd", RECEIPTS, query(ID, REFERENCE, "teleported", "0"), &[]), Unknown),
    }
}

fn callbacks() -> Vec<Callback> {
    let long = format!("{REFERENCE}-2");
    vec![
        get("accepted", RECEIPTS, query(ID, REFERENCE, "accepted", "0"), &[receipt(Underway, None)]),
        get("buffered", RECEIPTS, query(ID, REFERENCE, "buffered", "0"), &[receipt(Underway, None)]),
        get("delivered", RECEIPTS, query(ID, REFERENCE, "delivered", "0"), &[receipt(Delivered, None)]),
        get("expired", RECEIPTS, query(ID, REFERENCE, "expired", "13"), &[receipt(Undelivered, Some("13"))]),
        get("rejected", RECEIPTS, query(ID, REFERENCE, "rejected", "4"), &[receipt(Undelivered, Some("4"))]),
        get("unknown", RECEIPTS, query(ID, REFERENCE, "unknown", "1"), &[receipt(Unknown, Some("1"))]),
        posted(
            "form",
            RECEIPTS,
            FORM,
            query(ID, REFERENCE, "failed", "99"),
            &[receipt(Undelivered, Some("99"))],
        ),
        posted(
            "JSON",
            RECEIPTS,
            JSON,
            format!(
                r#"{{"msisdn":"31612345678","messageId":"{ID}","status":"delivered","err-code":"0","client-ref":"{REFERENCE}"}}"#
            ),
            &[receipt(Delivered, None)],
        ),
        // Of the whole it says only that it was taken.
        get(
            "one part of two",
            RECEIPTS,
            query(ID, &long, "delivered", "0"),
            &[Event::Receipt(ID, None, Delivered, None), receipt(Underway, None)],
        ),
        get(
            "another's",
            RECEIPTS,
            query(ID, "theirs", "delivered", "0"),
            &[Event::Receipt(ID, None, Delivered, None)],
        ),
        get("probe", RECEIPTS, "", &[]),
        get(
            "reply",
            INBOUND,
            "msisdn=31612345678&to=1000&messageId=17&text=a%26b%3Dc+gezien&type=text&message-timestamp=2026-11-23+12%3A00%3A05",
            &[Event::Inbound("31612345678", "1000", "a&b=c gezien")],
        ),
    ]
}
