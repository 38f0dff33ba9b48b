//! Twilio.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use klaroen_domain::outcome::ReceiptStatus::{self, Delivered, Undelivered, Underway, Unknown};
use klaroen_domain::outcome::{Failure, ProviderId, Scope};
use serde_json::json;
use sha1::Sha1;

use super::super::specimen::{
    Body, Callback, Called, Event, Expect, FORM, INBOUND, RECEIPTS, REFERENCE, Request, Specimen, TEXT, case,
    posted, receipts_url,
};
use crate::sms::{Candidate, StatusAnswer};

const TOKEN: &str = "canary-auth-token";
const SHARED: &str = "canary-shared-key";
const SID: &str = "SM0123456789abcdef0123456789abcdef";

fn answer(parts: &str) -> String {
    format!(
        r#"{{"sid":"{SID}","status":"queued","num_segments":"{parts}","error_code":null,"to":"+31612345678","body":"x"}}"#
    )
}

fn error(code: u32, status: u16) -> String {
    format!(r#"{{"code":{code},"message":"To: +31612345678","more_info":"https://x","status":{status}}}"#)
}

fn status(word: &str, code: &str) -> String {
    let code = if code.is_empty() { String::new() } else { format!("&ErrorCode={code}") };
    format!(
        "SmsSid={SID}&MessageSid={SID}&MessageStatus={word}&SmsStatus={word}&To=%2B31612345678&From=1000\
         &AccountSid=AC1&ApiVersion=2010-04-01{code}"
    )
}

fn called_back(name: &'static str, word: &str, code: &str, events: &[Event]) -> Callback {
    Callback { query: format!("d={REFERENCE}"), ..posted(name, RECEIPTS, FORM, status(word, code), events) }
}

const fn receipt(status: ReceiptStatus, error: Option<&'static str>) -> Event {
    Event::Receipt(SID, Some(REFERENCE), status, error)
}

fn sign(called: &mut Called) {
    let fields: BTreeSet<(String, String)> = form_urlencoded::parse(&called.body).into_owned().collect();
    let text = fields.into_iter().fold(called.url(), |text, (name, value)| text + &name + &value);
    let mac = Hmac::<Sha1>::new_from_slice(TOKEN.as_bytes()).unwrap().chain_update(text).finalize();
    called.headers.retain(|(name, _)| name != "x-twilio-signature");
    called.headers.push(("x-twilio-signature".to_owned(), STANDARD.encode(mac.into_bytes())));
}

fn listed(body: &str, created: &str, status: &str) -> &'static str {
    let list = json!({"messages": [{"to": "+31612345678", "body": "another", "date_created": created, "status": "sent"},
        {"to": "+31612345678", "body": body, "date_created": created, "status": status, "sid": SID,
            "error_code": (status == "failed").then_some(21_610)}]});
    Box::leak(list.to_string().into_boxed_str())
}

pub(crate) fn specimen() -> Specimen {
    const QUESTION: &str = "/2010-04-01/Accounts/AC1/Messages.json?To=%2B31612345678&PageSize=20";
    let full = json!({"messages": vec![json!({"to": "+31612345678", "body": "x",
        "date_created": "Mon, 23 Nov 2026 12:00:00 +0000"}); 20]});
    Specimen {
        kind: "twilio",
        keys: json!({"account_sid": "AC1", "auth_token": TOKEN, "shared_key": SHARED}),
        secrets: &[TOKEN, SHARED],
        request: Request {
            method: "POST",
            target: "/2010-04-01/Accounts/AC1/Messages.json".into(),
            headers: vec![("authorization", format!("Basic {}", STANDARD.encode(format!("AC1:{TOKEN}"))))],
            body: Body::Form(vec![
                ("To", "+31612345678".into()),
                ("From", "1000".into()),
                ("Body", TEXT.into()),
                ("ValidityPeriod", "1800".into()),
                ("RiskCheck", "disable".into()),
                ("StatusCallback", format!("{}?d={REFERENCE}", receipts_url())),
            ]),
        },
        cases: vec![
            case("accepted", 201, answer("1"), Expect::Accepted(&[SID], 1)),
            case("three segments", 201, answer("3"), Expect::Accepted(&[SID], 3)),
            case("messaging service", 201, answer("0"), Expect::Accepted(&[SID], 1)),
            case("throttled", 429, error(20_429, 429), Expect::Throttled(None)),
            case("queue full", 400, error(21_611, 400), Expect::Throttled(None)),
            case("bad token", 401, error(20_003, 401), Expect::Rejected(Scope::Gateway, "20003")),
            case("suspended", 403, error(30_002, 403), Expect::Rejected(Scope::Gateway, "30002")),
            case("blocked sender", 400, error(21_606, 400), Expect::Rejected(Scope::Gateway, "21606")),
            case("bad number", 400, error(21_211, 400), Expect::Rejected(Scope::Recipient, "21211")),
            case("landline", 400, error(21_614, 400), Expect::Rejected(Scope::Recipient, "21614")),
            case("country off", 400, error(21_408, 400), Expect::Rejected(Scope::Recipient, "21408")),
            case("stopped", 400, error(21_610, 400), Expect::OptedOut("21610")),
            case("too long", 400, error(21_617, 400), Expect::Rejected(Scope::Message, "21617")),
            case("new code", 400, error(29_999, 400), Expect::Rejected(Scope::Recipient, "29999")),
            case("own fault", 500, error(20_500, 500), Expect::NotTaken("20500")),
            case("own new fault", 503, error(29_998, 503), Expect::NotTaken("29998")),
            case("no sid", 201, r#"{"status":"queued"}"#, Expect::Unknown("http_201")),
        ],
        batch: None,
        questions: vec![
            (QUESTION, listed(TEXT, "Mon, 23 Nov 2026 12:00:00 +0000", "delivered"), alike(Delivered, None)),
            (QUESTION, listed(TEXT, "Mon, 23 Nov 2026 12:00:00 +0000", "queued"), alike(Underway, None)),
            (
                QUESTION,
                listed(TEXT, "Mon, 23 Nov 2026 12:00:00 +0000", "failed"),
                alike(Undelivered, Some(Failure::OPTED_OUT)),
            ),
            // The same text, but of the day before.
            (QUESTION, listed(TEXT, "Sun, 22 Nov 2026 12:00:00 +0000", "delivered"), StatusAnswer::NotFound),
            (QUESTION, r#"{"messages":[]}"#, StatusAnswer::NotFound),
            (QUESTION, Box::leak(full.to_string().into_boxed_str()), StatusAnswer::NoAnswer),
        ],
        callbacks: vec![
            called_back("queued", "queued", "", &[receipt(Underway, None)]),
            called_back("sent", "sent", "", &[receipt(Underway, None)]),
            called_back("delivered", "delivered", "", &[receipt(Delivered, None)]),
            called_back("undelivered", "undelivered", "30005", &[receipt(Undelivered, Some("30005"))]),
            called_back("failed", "failed", "30007", &[receipt(Undelivered, Some("30007"))]),
            called_back("stopped", "failed", "21610", &[receipt(Undelivered, Some(Failure::OPTED_OUT))]),
            called_back("canceled", "canceled", "", &[receipt(Undelivered, None)]),
            posted(
                "another's",
                RECEIPTS,
                FORM,
                status("delivered", ""),
                &[Event::Receipt(SID, None, Delivered, None)],
            ),
            posted(
                "reply",
                INBOUND,
                FORM,
                "MessageSid=SM7&SmsMessageSid=SM7&From=%2B31612345678&To=1000&Body=gezien+%26+gehoord+%F0%9F%9A%97&NumMedia=0",
                &[Event::Inbound("+31612345678", "1000", "gezien & gehoord 🚗")],
            ),
            posted(
                "empty reply",
                INBOUND,
                FORM,
                "MessageSid=SM8&From=%2B31612345678&To=1000&Body=",
                &[Event::Inbound("+31612345678", "1000", "")],
            ),
        ],
        sign: Some(sign),
        unknown_status: (called_back("odd", "teleported", "", &[]), Unknown),
    }
}

/// The only message with that number and text.
fn alike(status: ReceiptStatus, error: Option<&str>) -> StatusAnswer {
    let error = error.map(str::to_owned);
    let candidates = vec![Candidate { provider_id: ProviderId(SID.into()), status, error }];
    StatusAnswer::Alike { candidates, complete: true }
}
