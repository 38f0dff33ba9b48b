//! `MessageBird`.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use klaroen_domain::outcome::ReceiptStatus::{self, Delivered, Undelivered, Underway, Unknown};
use klaroen_domain::outcome::{Failure, Scope};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::super::specimen::{
    Body, Called, Event, Expect, FORM, INBOUND, RECEIPTS, REFERENCE, Request, Specimen, TEXT, case, get,
    posted, receipts_url,
};
use crate::http::fields::hex;

const KEY: &str = "live-canary-access-key";
const SIGNING_KEY: &str = "canary-signing-key-0123456789";
const ID: &str = "e8077d803532c0b5937c639b60216938";

fn answer(parts: u8) -> String {
    format!(
        r#"{{"id":"{ID}","direction":"mt","reference":"{REFERENCE}","recipients":{{"totalCount":1,"totalSentCount":1,
        "items":[{{"recipient":31612345678,"status":"sent","messagePartCount":{parts}}}]}}}}"#
    )
}

fn error(code: u16, parameter: &str) -> String {
    format!(r#"{{"errors":[{{"code":{code},"description":"x 31612345678","parameter":"{parameter}"}}]}}"#)
}

fn query(status: &str, error: &str) -> String {
    format!(
        "id={ID}&reference={REFERENCE}&recipient=31612345678&status={status}&statusReason=x&statusErrorCode={error}\
         &statusDatetime=2026-11-23T12%3A00%3A05%2B00%3A00&mccmnc=20408&price%5Bamount%5D=0.1"
    )
}

const fn receipt(status: ReceiptStatus, error: Option<&'static str>) -> Event {
    Event::Receipt(ID, Some(REFERENCE), status, error)
}

/// The token that the provider would put over this request.
pub(crate) fn sign(called: &mut Called) {
    let mut claims = json!({"iss": "MessageBird", "nbf": called.now_s - 5, "exp": called.now_s + 55,
        "jti": "9a7c-once", "url_hash": hex(&Sha256::digest(called.url()))});
    if !called.body.is_empty() {
        claims["payload_hash"] = json!(hex(&Sha256::digest(&called.body)));
    }
    let part = |text: String| URL_SAFE_NO_PAD.encode(text);
    let signed =
        format!("{}.{}", part(json!({"alg": "HS256", "typ": "JWT"}).to_string()), part(claims.to_string()));
    let mac =
        Hmac::<Sha256>::new_from_slice(SIGNING_KEY.as_bytes()).unwrap().chain_update(&signed).finalize();
    let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac.into_bytes()));
    called.headers.retain(|(name, _)| name != "messagebird-signature-jwt");
    called.headers.push(("messagebird-signature-jwt".to_owned(), token));
}

pub(crate) fn specimen() -> Specimen {
    Specimen {
        kind: "messagebird",
        keys: json!({"access_key": KEY, "signing_key": SIGNING_KEY}),
        secrets: &[KEY, SIGNING_KEY],
        request: Request {
            method: "POST",
            target: "/messages".into(),
            headers: vec![("authorization", format!("AccessKey {KEY}"))],
            body: Body::Json(json!({"originator": "1000", "recipients": ["31612345678"], "body": TEXT,
                "datacoding": "plain", "reference": REFERENCE, "validity": 1800, "reportUrl": receipts_url()})),
        },
        cases: vec![
            case("accepted", 201, answer(1), Expect::Accepted(&[ID], 1)),
            case("three parts", 201, answer(3), Expect::Accepted(&[ID], 3)),
            case("bad key", 401, error(2, ""), Expect::Rejected(Scope::Gateway, "2")),
            case("no balance", 422, error(25, ""), Expect::Rejected(Scope::Gateway, "25")),
            case("bad number", 422, error(10, "recipients"), Expect::Rejected(Scope::Recipient, "10")),
            case("bad sender", 422, error(10, "originator"), Expect::Rejected(Scope::Message, "10")),
            case("no text", 422, error(9, "body"), Expect::Rejected(Scope::Message, "9")),
            case("bad request", 400, error(21, ""), Expect::Rejected(Scope::Message, "21")),
            case("new code", 400, error(4_711, ""), Expect::Rejected(Scope::Recipient, "4711")),
            case("own fault", 500, error(98, ""), Expect::NotTaken("98")),
            case("busy", 503, error(99, ""), Expect::NotTaken("99")),
            case("no id", 201, r#"{"direction":"mt"}"#, Expect::Unknown("http_201")),
        ],
        batch: None,
        questions: vec![],
        callbacks: vec![
            get("scheduled", RECEIPTS, query("scheduled", "0"), &[receipt(Underway, None)]),
            get("sent", RECEIPTS, query("sent", "0"), &[receipt(Underway, None)]),
            get("buffered", RECEIPTS, query("buffered", "0"), &[receipt(Underway, None)]),
            get("delivered", RECEIPTS, query("delivered", "0"), &[receipt(Delivered, None)]),
            get("expired", RECEIPTS, query("expired", "2"), &[receipt(Undelivered, Some("2"))]),
            get("failed", RECEIPTS, query("delivery_failed", "1"), &[receipt(Undelivered, Some("1"))]),
            get(
                "stopped",
                RECEIPTS,
                query("delivery_failed", "103"),
                &[receipt(Undelivered, Some(Failure::OPTED_OUT))],
            ),
            get(
                "another's",
                RECEIPTS,
                query("delivered", "0").replace(REFERENCE, "theirs"),
                &[Event::Receipt(ID, None, Delivered, None)],
            ),
            posted(
                "reply",
                INBOUND,
                FORM,
                "id=7&recipient=1000&originator=31612345678&body=gezien+%F0%9F%9A%97%00&createdDatetime=2026-11-23T12%3A00%3A05",
                &[Event::Inbound("31612345678", "1000", "gezien 🚗")],
            ),
            posted(
                "reply to a short code, no UTF-8",
                INBOUND,
                FORM,
                "shortcode=1008&mid=7&originator=31612345678&message=%FF&receive_datetime=20261123120005",
                &[Event::Inbound("31612345678", "1008", "\u{FFFD}")],
            ),
        ],
        sign: Some(sign),
        unknown_status: (get("odd", RECEIPTS, query("teleported", "0"), &[]), Unknown),
    }
}
