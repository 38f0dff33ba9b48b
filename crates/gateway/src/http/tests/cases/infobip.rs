//! Infobip.

use klaroen_domain::outcome::ReceiptStatus::{Delivered, Undelivered, Underway, Unknown};
use klaroen_domain::outcome::Scope;
use serde_json::{Value, json};

use super::super::specimen::{
    Body, Case, Event, Expect, INBOUND, JSON, OTHER_REFERENCE, RECEIPTS, REFERENCE, Request, Specimen, TEXT,
    case, posted, receipts_url,
};
use crate::sms::StatusAnswer;

const KEY: &str = "canary-infobip-key";

fn entry(reference: &str, group: u8, id: u8, parts: u8) -> Value {
    json!({"messageId": reference, "destination": "31612345678", "details": {"messageCount": parts},
        "status": {"groupId": group, "groupName": "X", "id": id, "name": "X", "description": "x"}})
}

fn answer(entries: &[Value]) -> String {
    json!({"bulkId": "1", "messages": entries}).to_string()
}

fn one(group: u8, id: u8) -> String {
    answer(&[entry(REFERENCE, group, id, 1)])
}

fn error(word: &str) -> String {
    json!({"requestError": {"serviceException": {"messageId": word, "text": "x"}}}).to_string()
}

fn report(reference: &str, group: &str, id: u8, error: u16) -> Value {
    json!({"bulkId": "1", "messageId": reference, "to": "31612345678", "sender": "1000",
        "sentAt": "2026-11-23T12:00:00.000+0000", "doneAt": "2026-11-23T12:00:05.000+0000", "messageCount": 1,
        "status": {"groupId": 1, "groupName": group, "id": id, "name": "X"},
        "error": {"groupId": 0, "groupName": "OK", "id": error, "name": "X", "permanent": false}})
}

fn reports(entries: &[Value]) -> String {
    json!({"results": entries}).to_string()
}

pub(crate) fn specimen() -> Specimen {
    const QUESTION: &str = "/sms/3/logs?messageId=000000000000002a";
    let found = reports(&[report(REFERENCE, "DELIVERED", 5, 0)]);
    let other = reports(&[report(OTHER_REFERENCE, "DELIVERED", 5, 0)]);
    let receipt = |status, error| Event::Receipt(REFERENCE, Some(REFERENCE), status, error);
    let told = |name, group, id, code, status, error| {
        posted(
            name,
            RECEIPTS,
            JSON,
            reports(&[report(REFERENCE, group, id, code)]),
            &[receipt(status, error)],
        )
    };
    Specimen {
        kind: "infobip",
        keys: json!({"api_key": KEY}),
        secrets: &[KEY],
        request: Request {
            method: "POST",
            target: "/sms/3/messages".into(),
            headers: vec![("authorization", format!("App {KEY}"))],
            body: Body::Json(json!({"messages": [{"sender": "1000",
                "destinations": [{"to": "31612345678", "messageId": REFERENCE}], "content": {"text": TEXT},
                "options": {"validityPeriod": {"amount": 30, "timeUnit": "MINUTES"}},
                "webhooks": {"delivery": {"url": receipts_url(), "intermediateReport": false, "notify": true},
                    "contentType": "application/json"}}],
                "options": {"includeSmsCountInResponse": true}})),
        },
        cases: vec![
            case("accepted", 200, one(1, 26), Expect::Accepted(&[REFERENCE], 1)),
            case("three parts", 200, answer(&[entry(REFERENCE, 0, 3, 3)]), Expect::Accepted(&[REFERENCE], 3)),
            case("repeated", 200, one(5, 23), Expect::Accepted(&[REFERENCE], 1)),
            case("no credit", 200, one(5, 12), Expect::Rejected(Scope::Gateway, "12")),
            case("no route", 200, one(5, 19), Expect::Rejected(Scope::Gateway, "19")),
            case("own fault", 200, one(5, 21), Expect::NotTaken("21")),
            case("bad number", 200, one(5, 52), Expect::Rejected(Scope::Recipient, "52")),
            case("blocklist", 200, one(5, 14), Expect::Rejected(Scope::Recipient, "14")),
            case("flooding", 200, one(5, 20), Expect::Rejected(Scope::Recipient, "20")),
            case("bad sender", 200, one(5, 13), Expect::Rejected(Scope::Message, "13")),
            case("too long", 200, one(5, 25), Expect::Rejected(Scope::Message, "25")),
            case("bad key", 401, error("UNAUTHORIZED"), Expect::Rejected(Scope::Gateway, "UNAUTHORIZED")),
            case("newer error", 403, r#"{"errorCode":"E403","violations":[]}"#, Expect::Rejected(Scope::Gateway, "E403")),
            case("bad request", 400, error("BAD_REQUEST"), Expect::Rejected(Scope::Message, "BAD_REQUEST")),
            case("busy", 503, error("SERVICE_UNAVAILABLE"), Expect::NotTaken("SERVICE_UNAVAILABLE")),
            case("own error", 500, error("GENERAL_ERROR"), Expect::Unknown("http_500")),
            case("other's", 200, answer(&[entry(OTHER_REFERENCE, 1, 26, 1)]), Expect::Unknown("http_200")),
        ],
        batch: Some(Case {
            name: "partial failure, out of order",
            status: 200,
            body: answer(&[entry(OTHER_REFERENCE, 5, 52, 1), entry(REFERENCE, 1, 26, 1)]),
            expected: vec![Expect::Accepted(&[REFERENCE], 1), Expect::Rejected(Scope::Recipient, "52")],
        }),
        questions: vec![
            (QUESTION, Box::leak(found.into_boxed_str()), StatusAnswer::found(REFERENCE, Delivered)),
            (QUESTION, r#"{"results":[]}"#, StatusAnswer::NotFound),
            (QUESTION, Box::leak(other.into_boxed_str()), StatusAnswer::NoAnswer),
        ],
        callbacks: vec![
            told("pending", "PENDING", 7, 0, Underway, None),
            told("delivered", "DELIVERED", 5, 0, Delivered, None),
            told("to the operator only", "DELIVERED", 2, 0, Underway, None),
            told("undeliverable", "UNDELIVERABLE", 9, 27, Undelivered, Some("27")),
            told("expired", "EXPIRED", 15, 0, Undelivered, None),
            told("no report of the operator", "EXPIRED", 29, 0, Unknown, None),
            told("rejected", "REJECTED", 6, 0, Undelivered, None),
            posted(
                "three, the second unreadable and the first another's",
                RECEIPTS,
                JSON,
                reports(&[report("theirs", "DELIVERED", 5, 0), json!({"to": 1}), report(REFERENCE, "DELIVERED", 5, 0)]),
                &[Event::Receipt("theirs", None, Delivered, None), receipt(Delivered, None)],
            ),
            posted(
                "replies",
                INBOUND,
                JSON,
                json!({"results": [
                    {"messageId": "7", "from": "31612345678", "to": "1000", "text": "STOP nu gezien\u{0}", "cleanText": "nu"},
                    {"messageId": "8", "from": "31612345678", "to": "1000", "text": ""}], "messageCount": 2})
                .to_string(),
                &[Event::Inbound("31612345678", "1000", "STOP nu gezien"), Event::Inbound("31612345678", "1000", "")],
            ),
        ],
        sign: None,
        unknown_status: (
            posted("odd", RECEIPTS, JSON, reports(&[report(REFERENCE, "TELEPORTED", 99, 0)]), &[]),
            Unknown,
        ),
    }
}
