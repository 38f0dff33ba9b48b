//! `type = "http"`, set up for a provider with batches that nobody has.

use klaroen_domain::outcome::ReceiptStatus::{Delivered, Undelivered, Underway, Unknown};
use klaroen_domain::outcome::{Failure, Scope};
use serde_json::json;

use super::super::specimen::{
    Body, Case, Event, Expect, FORM, INBOUND, JSON, RECEIPTS, REFERENCE, Request, Specimen, TEXT, case, get,
    posted,
};

const SECRET: &str = "canary-template-secret";

fn answer(entries: &[(&str, &str)]) -> String {
    let entries: Vec<_> = entries.iter().map(|(id, code)| json!({"id": id, "code": code})).collect();
    json!({"results": entries}).to_string()
}

fn one(id: &str, code: &str) -> String {
    answer(&[(id, code)])
}

pub(crate) fn specimen() -> Specimen {
    let receipt = |status, error| Event::Receipt("m-1", Some(REFERENCE), status, error);
    let told = |name, word: &str, error: &str, event| {
        get(
            name,
            RECEIPTS,
            format!("ref={REFERENCE}&id=m-1&state={word}&err={error}&msisdn=31612345678"),
            &[event],
        )
    };
    Specimen {
        kind: "http",
        keys: json!({
            "path": "/send?app={username}", "username": "me & you", "api_secret": SECRET,
            "headers": {"Authorization": "Bearer {secret}", "X-Trace": "klaroen"},
            "body": r#"{"from":"{from}","messages":[{items}]}"#,
            "item": r#"{"to":"{to_digits}","text":"{text}","ref":"{reference}","ttl":{validity_s}}"#, "batch_max": 2,
            "answer": {"items": "/results", "id": "/id", "code": "/code", "accepted": ["OK"], "throttled": ["SLOW"],
                "temporary": ["LATER"], "recipient": ["NUM"], "opted_out": ["STOP"], "message": ["TXT"],
                "gateway": ["CREDIT", "http_401"]},
            "receipts": {"reference": "ref", "id": "id", "status": "state", "error": "err", "recipient": "msisdn",
                "delivered": ["DELIVRD"], "undelivered": ["UNDELIV"], "underway": ["ENROUTE"], "opted_out": ["103"]},
            "inbound": {"list": "/sms", "id": "/id", "from": "/from", "to": "/to", "text": "/body"},
            "reply": {"status": 200, "content_type": "text/plain", "body": "ACK"},
        }),
        secrets: &[SECRET],
        request: Request {
            method: "POST",
            target: "/send?app=me+%26+you".into(),
            headers: vec![("authorization", format!("Bearer {SECRET}")), ("x-trace", "klaroen".into())],
            body: Body::Json(json!({"from": "1000", "messages": [
                {"to": "31612345678", "text": TEXT, "ref": REFERENCE, "ttl": 1800}]})),
        },
        cases: vec![
            case("accepted", 200, one("m-1", "OK"), Expect::Accepted(&["m-1"], 1)),
            case("throttled", 200, one("", "SLOW"), Expect::Throttled(None)),
            case("later", 200, one("", "LATER"), Expect::NotTaken("LATER")),
            case("bad number", 200, one("", "NUM"), Expect::Rejected(Scope::Recipient, "NUM")),
            case("stopped", 200, one("", "STOP"), Expect::OptedOut("STOP")),
            case("bad text", 200, one("", "TXT"), Expect::Rejected(Scope::Message, "TXT")),
            case("no credit", 200, one("", "CREDIT"), Expect::Rejected(Scope::Gateway, "CREDIT")),
            case("bad key", 401, "{}", Expect::Rejected(Scope::Gateway, "http_401")),
            case("a code that is in no list", 200, one("m-1", "HM"), Expect::Unknown("unread")),
            case("no id", 200, one("", "OK"), Expect::Unknown("unread")),
            case("no list", 200, r#"{"id":"m-1","code":"OK"}"#, Expect::Unknown("http_200")),
        ],
        batch: Some(Case {
            name: "partial failure",
            status: 200,
            body: answer(&[("m-1", "OK"), ("", "NUM")]),
            expected: vec![Expect::Accepted(&["m-1"], 1), Expect::Rejected(Scope::Recipient, "NUM")],
        }),
        questions: vec![],
        callbacks: vec![
            told("delivered", "DELIVRD", "", receipt(Delivered, None)),
            told("underway", "enroute", "", receipt(Underway, None)),
            told("undelivered", "UNDELIV", "20", receipt(Undelivered, Some("20"))),
            told("stopped", "UNDELIV", "103", receipt(Undelivered, Some(Failure::OPTED_OUT))),
            posted(
                "form",
                RECEIPTS,
                FORM,
                format!("ref={REFERENCE}&id=m-1&state=DELIVRD"),
                &[receipt(Delivered, None)],
            ),
            posted(
                "another's, in JSON",
                RECEIPTS,
                JSON,
                r#"{"ref":"theirs","id":"m-9","state":"DELIVRD"}"#,
                &[Event::Receipt("m-9", None, Delivered, None)],
            ),
            posted(
                "replies",
                INBOUND,
                JSON,
                r#"{"sms":[{"id":1,"from":"31612345678","to":"1000","body":"gezien"},{"body":"no sender"}]}"#,
                &[Event::Inbound("31612345678", "1000", "gezien")],
            ),
        ],
        sign: None,
        unknown_status: (
            get("odd", RECEIPTS, format!("ref={REFERENCE}&id=m-1&state=TELEPORTED"), &[]),
            Unknown,
        ),
    }
}
