//! CM.com.

use klaroen_domain::outcome::ReceiptStatus::{Delivered, Undelivered, Underway, Unknown};
use klaroen_domain::outcome::Scope;
use serde_json::json;

use super::super::specimen::{
    Body, Case, Event, Expect, INBOUND, JSON, OTHER_REFERENCE, RECEIPTS, REFERENCE, Request, Specimen, TEXT,
    case, get, posted,
};

const KEY: &str = "5e3b1f6a-canary-token";

fn entry(reference: &str, parts: u8, code: u16) -> String {
    format!(
        r#"{{"to":"0031612345678","status":"x","reference":"{reference}","parts":{parts},"messageDetails":null,
        "messageErrorCode":{code}}}"#
    )
}

fn answer(code: u16, entries: &[String]) -> String {
    format!(r#"{{"details":"x","errorCode":{code},"messages":[{}]}}"#, entries.join(","))
}

fn one(code: u16) -> String {
    answer(201, &[entry(REFERENCE, 0, code)])
}

fn json_receipt(code: &str, error: &str) -> String {
    format!(
        r#"{{"messages":{{"msg":{{"received":"2026-11-23T12:00:05","to":"0031612345678","reference":"{REFERENCE}",
        "status":{{"code":"{code}","errorCode":"{error}","errorDescription":"x"}},"operator":"20408"}}}}}}"#
    )
}

const fn receipt(status: klaroen_domain::outcome::ReceiptStatus, error: Option<&'static str>) -> Event {
    Event::Receipt(REFERENCE, Some(REFERENCE), status, error)
}

pub(crate) fn specimen() -> Specimen {
    let unnamed = entry("", 2, 0).replace("\"reference\":\"\"", "\"reference\":null");
    Specimen {
        kind: "cm",
        keys: json!({"product_token": KEY}),
        secrets: &[KEY],
        request: Request {
            method: "POST",
            target: "/v1.0/message".into(),
            headers: vec![],
            body: Body::Json(json!({"messages": {"authentication": {"producttoken": KEY}, "msg": [{
                "from": "1000", "to": [{"number": "0031612345678"}], "body": {"type": "auto", "content": TEXT},
                "reference": REFERENCE, "allowedChannels": ["SMS"], "minimumNumberOfMessageParts": 1,
                "maximumNumberOfMessageParts": 8, "validity": "30m"}]}})),
        },
        cases: vec![
            case("accepted", 200, answer(0, &[entry(REFERENCE, 1, 0)]), Expect::Accepted(&[REFERENCE], 1)),
            case("three parts", 200, answer(0, &[entry(REFERENCE, 3, 0)]), Expect::Accepted(&[REFERENCE], 3)),
            case("demo account", 200, answer(0, &[unnamed]), Expect::Accepted(&[REFERENCE], 2)),
            case("bad number", 200, one(303), Expect::Rejected(Scope::Recipient, "303")),
            case("blacklist", 200, one(402), Expect::Rejected(Scope::Recipient, "402")),
            case("bad sender", 200, one(301), Expect::Rejected(Scope::Message, "301")),
            case("bad text", 200, one(304), Expect::Rejected(Scope::Message, "304")),
            case("spam", 200, one(401), Expect::Rejected(Scope::Message, "401")),
            case("bad token", 401, answer(101, &[]), Expect::Rejected(Scope::Gateway, "101")),
            case("bad key", 200, answer(103, &[]), Expect::Rejected(Scope::Gateway, "103")),
            case("no balance", 402, answer(102, &[]), Expect::Rejected(Scope::Gateway, "102")),
            case("own fault", 500, answer(999, &[]), Expect::NotTaken("999")),
            case("busy", 503, answer(500, &[]), Expect::NotTaken("500")),
            case("other's message", 200, answer(0, &[entry(OTHER_REFERENCE, 1, 0)]), Expect::Unknown("http_200")),
            case("no entry", 200, answer(0, &[]), Expect::Unknown("http_200")),
        ],
        batch: Some(Case {
            name: "partial failure, out of order",
            status: 200,
            body: answer(201, &[entry(OTHER_REFERENCE, 0, 303), entry(REFERENCE, 1, 0)]),
            expected: vec![Expect::Accepted(&[REFERENCE], 1), Expect::Rejected(Scope::Recipient, "303")],
        }),
        questions: vec![],
        callbacks: vec![
            posted("sent", RECEIPTS, JSON, json_receipt("0", ""), &[receipt(Underway, None)]),
            posted("rejected", RECEIPTS, JSON, json_receipt("1", "5"), &[receipt(Undelivered, Some("5"))]),
            posted("delivered", RECEIPTS, JSON, json_receipt("2", "0"), &[receipt(Delivered, None)]),
            posted("failed", RECEIPTS, JSON, json_receipt("3", "8"), &[receipt(Undelivered, Some("8"))]),
            posted(
                "XML",
                RECEIPTS,
                "text/xml",
                format!(
                    "<MESSAGES><MSG RECEIVED=\"2026-11-23T12:00:05\"><TO>0031612345678</TO><REFERENCE>{REFERENCE}</REFERENCE>
                     <STATUS><CODE>2</CODE><ERRORCODE/><ERRORDESCRIPTION/></STATUS></MSG></MESSAGES>"
                ),
                &[receipt(Delivered, None)],
            ),
            get("classic", RECEIPTS, format!("STATUS=2&REFERENCE={REFERENCE}&TO=0031612345678"), &[receipt(Delivered, None)]),
            posted(
                "another's",
                RECEIPTS,
                JSON,
                json_receipt("2", "").replace(REFERENCE, "theirs"),
                &[Event::Receipt("theirs", None, Delivered, None)],
            ),
            posted(
                "reply",
                INBOUND,
                JSON,
                format!(
                    r#"{{"reference":"{REFERENCE}","from":{{"number":"+31612345678","name":""}},"to":{{"number":"3669"}},
                    "message":{{"text":"gezien 🚗\u0000","media":{{}}}},"groupings":["","",""],"timeUtc":"2026-11-23T12:00:05",
                    "channel":"SMS"}}"#
                ),
                &[Event::Inbound("+31612345678", "3669", "gezien 🚗")],
            ),
            posted(
                "empty reply",
                INBOUND,
                JSON,
                r#"{"from":{"number":"+31612345678"},"to":{"number":"3669"},"message":{"text":""}}"#,
                &[Event::Inbound("+31612345678", "3669", "")],
            ),
        ],
        sign: None,
        unknown_status: (posted("odd", RECEIPTS, JSON, json_receipt("77", ""), &[]), Unknown),
    }
}
