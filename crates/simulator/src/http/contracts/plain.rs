//! A plain JSON contract, for adapters that are made by configuration.
//!
//! * `POST /messages` with `Authorization: Bearer TOKEN` and
//!   `{"from", "to", "text", "reference"?, "callback"?, "validity_seconds"?}`; numbers have their plus sign.
//!   Several go as `{"messages": [..]}`: all are taken or none.
//! * 201 `{"id", "status": "accepted", "parts", "messages": [{"reference", "parts"}]}`; else `{"error": {"code", "message"}}` with 400 `invalid_request`,
//!   `invalid_sender` or `invalid_text`, 401 `unauthorized`, 402 `balance`, 422 `invalid_number` or `opted_out`,
//!   429 `throttled`, 500 `internal`.
//! * `GET /messages?reference=…` gives `{"messages": [{"id", "reference", "to", "status", "parts"}]}`, `GET /balance`
//!   gives `{"balance"}`.
//! * A receipt is `POST` JSON `{"id", "reference", "to", "status", "error", "at"}` to the `callback` of the message or
//!   to the URL of the account; status is `sent`, `delivered`, `undelivered`, `expired`, `rejected` or `blocked`.
//! * An inbound SMS is `POST` JSON `{"id", "from", "to", "text", "at"}` to the URL of the account.
//! * Callbacks are not signed, and repeated each minute, ten times, until they are answered with 2xx.

use std::time::Duration;

use hyper::Method;
use serde_json::{Value, json};

use crate::http::config::Account;
use crate::http::contracts::contract::{
    Answered, Asked, Context, Found, Inbound, Report, Search, Traits, Wire,
};
use crate::http::contracts::message::{Message, Refusal, Stage, is_originator};
use crate::http::wire::form::Form;
use crate::http::wire::{Callback, Reply, Request, utc};

/// Messages in one request.
const MESSAGES_MAX: usize = 100;
const TIME: &str = "%Y-%m-%dT%H:%M:%SZ";

const fn fault(refusal: Refusal) -> (u16, &'static str, &'static str) {
    match refusal {
        Refusal::Throttled { .. } => (429, "throttled", "too many requests"),
        Refusal::Internal => (500, "internal", "internal error"),
        Refusal::Balance => (402, "balance", "the balance is gone"),
        Refusal::Number => (422, "invalid_number", "the number is not valid"),
        Refusal::Blocked => (422, "opted_out", "the number said STOP"),
        Refusal::Sender => (400, "invalid_sender", "the sender is not valid"),
        Refusal::Text => (400, "invalid_text", "the text is empty"),
        Refusal::Duplicate => (400, "invalid_request", "the reference was seen"),
        Refusal::Flooding => (422, "invalid_number", "too many messages to this number"),
    }
}

pub(crate) struct Plain;

impl Wire for Plain {
    fn traits(&self) -> Traits {
        Traits::USUAL
    }

    fn id(&self, n: u64) -> String {
        format!("m{n}")
    }

    fn read(&self, request: &Request<'_>, account: &Account) -> Result<Asked, Reply> {
        if !account.is_secret(request.token("Bearer ")) {
            return Err(error(401, "unauthorized", "the token is not valid"));
        }
        match (request.method, request.path) {
            (&Method::POST, "/messages") => read_submit(request).map(Asked::Send),
            (&Method::GET, "/messages") => {
                let reference = Form::parse(request.query.as_bytes()).text("reference");
                Ok(Asked::Find(Search { reference, ..Search::default() }))
            }
            (&Method::GET, "/balance") => {
                Ok(Asked::Balance(|balance| Reply::json(200, &json!({"balance": balance}))))
            }
            _ => Err(error(404, "not_found", "there is nothing here")),
        }
    }

    fn answer(&self, answered: &[Answered<'_>], _context: &Context<'_>) -> Reply {
        let Some((one, Ok(id))) = answered.first().map(|one| (one, &one.outcome)) else {
            return Reply::text(500, "");
        };
        let view =
            |one: &Answered<'_>| json!({"reference": one.message.reference, "parts": one.message.parts()});
        let messages: Vec<Value> = answered.iter().map(view).collect();
        let parts = one.message.parts();
        Reply::json(201, &json!({"id": id, "status": "accepted", "parts": parts, "messages": messages}))
    }

    fn refuse(&self, refusal: Refusal) -> Reply {
        let (status, code, words) = fault(refusal);
        error(status, code, words).for_refusal(refusal)
    }

    fn found(&self, _search: &Search, found: &[Found], _context: &Context<'_>) -> Reply {
        let view = |found: &Found| {
            let (sms, message) = (&found.sms, &found.sms.message);
            json!({"id": sms.id, "reference": message.reference, "to": format!("+{}", message.to),
                "status": found.stage.as_str(), "parts": message.parts()})
        };
        Reply::json(200, &json!({"messages": found.iter().map(view).collect::<Vec<_>>()}))
    }

    fn receipt(&self, report: &Report<'_>, context: &Context<'_>) -> Option<Callback> {
        let (sms, message) = (report.sms, &report.sms.message);
        let status = if report.stage == Stage::Unknown { "evaporated" } else { report.stage.as_str() };
        let failed = !matches!(report.stage, Stage::Sent | Stage::Delivered);
        let body = json!({
            "id": sms.id,
            "reference": message.reference,
            "to": format!("+{}", message.to),
            "status": status,
            "error": if failed { json!(status) } else { Value::Null },
            "at": utc(report.done_ms, TIME),
        });
        Some(Callback::json(context.receipt_url(message)?, &body))
    }

    fn inbound(&self, inbound: &Inbound, context: &Context<'_>) -> Option<Callback> {
        let body = json!({
            "id": format!("i{}", inbound.n),
            "from": format!("+{}", inbound.from),
            "to": &*inbound.to,
            "text": inbound.text,
            "at": utc(inbound.at_ms, TIME),
        });
        Some(Callback::json(context.urls.inbound.clone()?, &body))
    }
}

fn error(status: u16, code: &str, words: &str) -> Reply {
    Reply::json(status, &json!({"error": {"code": code, "message": words}}))
}

fn invalid(words: &str) -> Reply {
    error(400, "invalid_request", words)
}

fn read_submit(request: &Request<'_>) -> Result<Vec<Message>, Reply> {
    let body = request.json().ok_or_else(|| invalid("the body is not a JSON object"))?;
    match body["messages"].as_array() {
        Some(several) if (1..=MESSAGES_MAX).contains(&several.len()) => {
            several.iter().map(read_one).collect()
        }
        Some(_) => Err(invalid("none, or too many messages")),
        None => read_one(&body).map(|message| vec![message]),
    }
}

fn read_one(body: &Value) -> Result<Message, Reply> {
    let field = |name: &str| body[name].as_str().filter(|value| !value.is_empty());
    let to = field("to").ok_or_else(|| invalid("to is missing"))?;
    let (from, text) = (field("from").unwrap_or_default(), field("text").unwrap_or_default());
    let mut message = Message::new(from, to, text);
    if !is_originator(from) {
        message.refused = Some(Refusal::Sender);
    } else if text.is_empty() {
        message.refused = Some(Refusal::Text);
    } else if !to.starts_with('+') {
        message.refused = Some(Refusal::Number);
    }
    message.reference = field("reference").map(Into::into);
    message.receipt_url = field("callback").map(Into::into);
    message.validity = body["validity_seconds"].as_u64().map(Duration::from_secs);
    Ok(message)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::http::config::Contract;
    use crate::http::raw::Bench;

    const HEAD: &str = "POST /messages HTTP/1.1\r\nauthorization: Bearer secret\r\n\r\n";
    const GOOD: &str = r#"{"from":"Burgernet","to":"+31612345678","text":"Let op","reference":"018f"}"#;

    #[test]
    fn a_message_is_taken_found_and_reported() {
        let bench = Bench::new(Contract::Http);
        let (status, body) = bench.json(&format!("{HEAD}{GOOD}"));
        assert_eq!(
            (status, body),
            (
                201,
                json!({"id": bench.first_id(), "status": "accepted", "parts": 1,
            "messages": [{"reference": "018f", "parts": 1}]})
            )
        );
        let get = "GET /messages?reference=018f HTTP/1.1\r\nauthorization: Bearer secret\r\n\r\n";
        let found = json!({"messages": [{"id": bench.first_id(), "reference": "018f", "to": "+31612345678", "status": "delivered", "parts": 1}]});
        assert_eq!(bench.json(get), (200, found));
        let receipt: Value = serde_json::from_slice(&bench.receipt(Stage::Rejected).body).unwrap();
        assert_eq!(
            receipt,
            json!({"id": bench.first_id(), "reference": "018f", "to": "+31612345678", "status": "rejected",
                "error": "rejected", "at": "2026-11-23T16:00:00Z"})
        );
        let inbound: Value = serde_json::from_slice(&bench.inbound("Gezien").body).unwrap();
        assert_eq!((&inbound["from"], &inbound["text"]), (&json!("+31612345678"), &json!("Gezien")));
    }

    #[rstest]
    #[case("[]", 400, "invalid_request")]
    #[case(r#"{"from":"1000","text":"x"}"#, 400, "invalid_request")]
    #[case(r#"{"to":"+31612345678","text":"x"}"#, 400, "invalid_sender")]
    #[case(r#"{"from":"1000","to":"+31612345678"}"#, 400, "invalid_text")]
    #[case(r#"{"from":"1000","to":"31612345678","text":"x"}"#, 422, "invalid_number")]
    fn what_is_wrong_has_its_code(#[case] body: &str, #[case] status: u16, #[case] code: &str) {
        let (answered, body) = Bench::new(Contract::Http).json(&format!("{HEAD}{body}"));
        assert_eq!((answered, &body["error"]["code"]), (status, &json!(code)));
    }

    #[test]
    fn a_token_is_asked_for() {
        let bench = Bench::new(Contract::Http);
        assert_eq!(bench.json(&format!("{HEAD}{GOOD}").replace("secret", "guess")).0, 401);
        assert_eq!(bench.json(&format!("{HEAD}{GOOD}").replace("authorization", "x-token")).0, 401);
    }
}
