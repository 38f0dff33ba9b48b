//! Spryng.

use klaroen_domain::outcome::ReceiptStatus::{self, Delivered, Undelivered, Underway};
use klaroen_domain::outcome::Scope;
use serde_json::json;

use super::super::specimen::{
    Body, Event, Expect, OTHER_REFERENCE, RECEIPTS, REFERENCE, Request, Specimen, TEXT, case, get,
};
use crate::sms::StatusAnswer;

const KEY: &str = "spryng-canary-token";

const fn receipt(status: ReceiptStatus, error: Option<&'static str>) -> Event {
    Event::Receipt(REFERENCE, Some(REFERENCE), status, error)
}

fn query(status: &str, reason: &str) -> String {
    format!("STATUS={status}&REASONCODE={reason}&REFERENCE={REFERENCE}&PHONENUMBER=31612345678")
}

pub(crate) fn specimen() -> Specimen {
    const QUESTION: &str = "/v1/messages?reference=000000000000002a";
    const OURS: &str = r#"{"data":[{"id":"9","reference":"000000000000002a"}]}"#;
    let other = format!(r#"[{{"id":"9","reference":"{OTHER_REFERENCE}"}}]"#);
    Specimen {
        kind: "spryng",
        keys: json!({"api_token": KEY}),
        secrets: &[KEY],
        request: Request {
            method: "POST",
            target: "/v1/messages".into(),
            headers: vec![("authorization", format!("Bearer {KEY}"))],
            body: Body::Json(
                json!({"encoding": "auto", "body": TEXT, "route": "business", "originator": "1000",
                "recipients": ["31612345678"], "reference": REFERENCE}),
            ),
        },
        cases: vec![
            case("accepted", 200, r#"{"id":"9f6","credits":1}"#, Expect::Accepted(&[REFERENCE], 1)),
            case("wrapped", 200, r#"{"data":{"id":"9f6"}}"#, Expect::Accepted(&[REFERENCE], 1)),
            case(
                "no token",
                401,
                r#"{"message":"Unauthenticated."}"#,
                Expect::Rejected(Scope::Gateway, "401"),
            ),
            case("no credit", 402, "{}", Expect::Rejected(Scope::Gateway, "402")),
            case("no such route", 404, "{}", Expect::Rejected(Scope::Gateway, "404")),
            case(
                "bad number",
                422,
                r#"{"message":"x","errors":{"recipients.0":["+31612345678 is wrong"]}}"#,
                Expect::Rejected(Scope::Recipient, "422"),
            ),
            case("bad text", 422, r#"{"errors":{"body":["x"]}}"#, Expect::Rejected(Scope::Message, "422")),
            case(
                "bad number and sender",
                422,
                r#"{"errors":{"recipients.0":["x"],"originator":["x"]}}"#,
                Expect::Rejected(Scope::Message, "422"),
            ),
            case("too many", 429, "{}", Expect::Throttled(None)),
            case("no id", 200, r#"{"credits":1}"#, Expect::Unknown("http_200")),
            case("own fault", 500, r#"{"message":"Server Error"}"#, Expect::Unknown("http_500")),
        ],
        batch: None,
        questions: vec![
            (QUESTION, OURS, StatusAnswer::found(REFERENCE, Underway)),
            (
                QUESTION,
                r#"[{"id":"9","reference":"000000000000002a"}]"#,
                StatusAnswer::found(REFERENCE, Underway),
            ),
            (QUESTION, r#"{"data":[]}"#, StatusAnswer::NotFound),
            (QUESTION, "[]", StatusAnswer::NotFound),
            // The filter was not heeded.
            (QUESTION, Box::leak(other.into_boxed_str()), StatusAnswer::NoAnswer),
        ],
        callbacks: vec![
            get("delivered", RECEIPTS, query("10", "0"), &[receipt(Delivered, None)]),
            get("unreachable", RECEIPTS, query("20", "20"), &[receipt(Undelivered, Some("20 unreachable"))]),
            get(
                "blacklist",
                RECEIPTS,
                query("20", "31"),
                &[receipt(Undelivered, Some("31 recipient on a blacklist"))],
            ),
            get("unheard-of reason", RECEIPTS, query("20", "99"), &[receipt(Undelivered, Some("99"))]),
            get(
                "another's",
                RECEIPTS,
                query("10", "0").replace(REFERENCE, "7f2c"),
                &[Event::Receipt("7f2c", None, Delivered, None)],
            ),
        ],
        sign: None,
        // Anything but the two final ones is a message on its way.
        unknown_status: (get("buffered", RECEIPTS, query("77", "0"), &[]), Underway),
    }
}
