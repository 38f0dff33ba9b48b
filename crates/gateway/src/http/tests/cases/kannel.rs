//! Kannel.

use klaroen_domain::outcome::ReceiptStatus::{self, Delivered, Undelivered, Underway, Unknown};
use klaroen_domain::outcome::Scope;
use serde_json::json;

use super::super::specimen::{
    Body, Event, Expect, INBOUND, RECEIPTS, REFERENCE, Request, Specimen, case, get,
};

const PASSWORD: &str = "canary-password";

const fn receipt(status: ReceiptStatus, error: Option<&'static str>) -> Event {
    Event::Receipt(REFERENCE, Some(REFERENCE), status, error)
}

fn query(status: &str) -> String {
    format!("d={REFERENCE}&status={status}&time=1795435205&smsc_id=ab12")
}

pub(crate) fn specimen() -> Specimen {
    Specimen {
        kind: "kannel",
        keys: json!({"username": "klaroen", "password": PASSWORD}),
        secrets: &[PASSWORD],
        request: Request {
            method: "GET",
            // The escapes of Kannel come out as `%d`, `%T` and `%F` once the value is decoded.
            target: "/cgi-bin/sendsms?username=klaroen&password=canary-password&from=1000&to=31612345678&coding=0\
                     &charset=UTF-8&text=Kanarie+%26+rode+auto+%3D+10+%E2%82%AC&validity=30&dlr-mask=31\
                     &dlr-url=https%3A%2F%2Fklaroen.example.nl%2Fv1%2Fgateways%2Fg%2Ftoken-0123456789-abcdef%2Freceipts\
                     %3Fd%3D000000000000002a%26status%3D%25d%26time%3D%25T%26smsc_id%3D%25F"
                .into(),
            headers: vec![],
            body: Body::Empty,
        },
        cases: vec![
            case("accepted", 202, "0: Accepted for delivery", Expect::Accepted(&[REFERENCE], 1)),
            case("queued", 202, "3: Queued for later delivery", Expect::Accepted(&[REFERENCE], 1)),
            case("old version", 202, "Sent.", Expect::Accepted(&[REFERENCE], 1)),
            case("bad password", 403, "Authorization failed for sendsms", Expect::Rejected(Scope::Gateway, "403")),
            case("no route", 403, "Not routable. Do not try again.", Expect::Rejected(Scope::Recipient, "403")),
            case("no number", 400, "Missing receiver number, rejected", Expect::Rejected(Scope::Recipient, "400")),
            case("bad text", 400, "Charset or body misformed, rejected", Expect::Rejected(Scope::Message, "400")),
            case("busy", 503, "Temporal failure, try again later.", Expect::NotTaken("503")),
            case("something else", 202, "Hello", Expect::Unknown("http_202")),
        ],
        batch: None,
        questions: vec![],
        callbacks: vec![
            get("delivered", RECEIPTS, query("1"), &[receipt(Delivered, None)]),
            get("failed", RECEIPTS, query("2"), &[receipt(Undelivered, Some("2"))]),
            get("expired", RECEIPTS, query("34"), &[receipt(Undelivered, Some("34"))]),
            get("queued", RECEIPTS, query("4"), &[receipt(Underway, None)]),
            get("at the SMSC", RECEIPTS, query("8"), &[receipt(Underway, None)]),
            get("rejected", RECEIPTS, query("16"), &[receipt(Undelivered, Some("16"))]),
            get(
                "another's",
                RECEIPTS,
                query("1").replace(REFERENCE, "theirs"),
                &[Event::Receipt("theirs", None, Delivered, None)],
            ),
            get(
                "reply",
                INBOUND,
                "id=77&ts=1795435205&sender=%2B31612345678&to=1000&message=gezien+%F0%9F%9A%97%00&coding=2",
                &[Event::Inbound("+31612345678", "1000", "gezien 🚗")],
            ),
        ],
        sign: None,
        unknown_status: (get("odd", RECEIPTS, query("64"), &[]), Unknown),
    }
}
