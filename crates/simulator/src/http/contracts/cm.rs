//! CM.com Business Messaging v1.0: `POST /v1.0/message`, JSON, the product token in the body.

use std::time::Duration;

use hyper::Method;
use serde_json::{Value, json};

use crate::http::config::Account;
use crate::http::contract::{Answered, Asked, Context, Inbound, Report, Traits, Wire};
use crate::http::message::{Message, Refusal, Stage, is_originator};
use crate::http::wire::{Callback, Reply, Request, utc};

const MESSAGES_MAX: usize = 100;
const RECIPIENTS_MAX: usize = 1_000;
const PARTS_MAX: u64 = 8;

/// HTTP status, `errorCode` and its words.
type Fault = (u16, u16, &'static str);

const AUTHENTICATION: Fault = (401, 101, "Authentication of the request failed");
const MALFORMED: Fault = (400, 202, "The request is malformed");
const MESSAGE_ARRAY: Fault = (400, 203, "The request's msg array is incorrect");
const FIELD: Fault = (400, 305, "A field is invalid");

const fn fault(refusal: Refusal) -> Fault {
    match refusal {
        Refusal::Throttled { .. } => (429, 999, "Too many requests"),
        Refusal::Internal => (500, 500, "Internal error"),
        Refusal::Balance => (403, 102, "The account has insufficient balance"),
        Refusal::Number => (400, 303, "This MSISDN is invalid"),
        Refusal::Blocked => (400, 402, "This number is blacklisted"),
        Refusal::Sender => (400, 301, "The from field is invalid"),
        Refusal::Text => (400, 304, "The body field is invalid"),
        Refusal::Duplicate => FIELD,
        Refusal::Flooding => (400, 401, "Classified as spam"),
    }
}

/// `status.code`, `status.errorCode`, `status.errorDescription`.
const STAGES: [(Stage, (&str, &str, &str)); 7] = [
    (Stage::Sent, ("0", "", "Accepted by the operator")),
    (Stage::Delivered, ("2", "", "Delivered")),
    (Stage::Undelivered, ("3", "5", "Failed, absent subscriber")),
    (Stage::Expired, ("3", "8", "Failed, expired")),
    (Stage::Rejected, ("1", "4", "Rejected by the operator")),
    (Stage::Blocked, ("1", "9", "Rejected, blacklisted")),
    (Stage::Unknown, ("17", "", "")),
];

pub(crate) struct Cm;

impl Wire for Cm {
    fn traits(&self) -> Traits {
        // Every 5 minutes; the month is cut to ten. Only a 200 will do.
        Traits { mixed: true, taken: (200, 200), repeat: |n| (n <= 10).then_some(5), ..Traits::USUAL }
    }

    fn read(&self, request: &Request<'_>, account: &Account) -> Result<Asked, Reply> {
        if !request.is(&Method::POST, "/v1.0/message") {
            return Err(Reply::text(404, ""));
        }
        let body = request.json().map(lower_keys).ok_or_else(|| refused(MALFORMED))?;
        let messages = &body["messages"];
        let shown = match messages["authentication"]["producttoken"].as_str() {
            Some(token) => token,
            None => request.header("x-cm-producttoken"),
        };
        if !account.is_secret(shown) {
            return Err(refused(AUTHENTICATION));
        }
        let list = messages["msg"].as_array().ok_or_else(|| refused(MALFORMED))?;
        if list.is_empty() || list.len() > MESSAGES_MAX {
            return Err(refused(MESSAGE_ARRAY));
        }
        let mut all = Vec::new();
        for one in list {
            read_one(one, &mut all)?;
        }
        Ok(Asked::Send(all))
    }

    fn answer(&self, answered: &[Answered<'_>], _context: &Context<'_>) -> Reply {
        let messages: Vec<Value> = answered.iter().map(answer_one).collect();
        let refused = answered.iter().filter(|one| one.outcome.is_err()).count();
        let (status, code, details) = match (refused, answered.len()) {
            (0, all) => (200, 0, format!("Created {all} message(s)")),
            (some, all) => {
                let status = if some == all { 400 } else { 200 };
                (status, 201, format!("{some} of {all} message(s) were not sent"))
            }
        };
        Reply::json(status, &json!({"details": details, "errorCode": code, "messages": messages}))
    }

    fn refuse(&self, refusal: Refusal) -> Reply {
        refused(fault(refusal)).for_refusal(refusal)
    }

    fn receipt(&self, report: &Report<'_>, context: &Context<'_>) -> Option<Callback> {
        let message = &report.sms.message;
        let (code, error, description) = report.stage.row(&STAGES)?;
        let body = json!({"messages": {"msg": {
            "received": utc(report.done_ms, "%Y-%m-%dT%H:%M:%S"),
            "to": format!("00{}", message.to),
            "reference": message.reference.as_deref().unwrap_or_default(),
            "status": {"code": code, "errorCode": error, "errorDescription": description},
            "operator": "20408",
        }}});
        Some(Callback::json(context.receipt_url(message)?, &body))
    }

    fn inbound(&self, inbound: &Inbound, context: &Context<'_>) -> Option<Callback> {
        let body = json!({
            "reference": inbound.reference.as_deref().unwrap_or_default(),
            "from": {"number": format!("+{}", inbound.from), "name": ""},
            "to": {"number": &*inbound.to},
            "message": {"text": inbound.text, "media": {"mediaUri": "", "contentType": "", "title": ""}, "custom": {}},
            "groupings": ["", "", ""],
            "timeUtc": utc(inbound.at_ms, "%Y-%m-%dT%H:%M:%S"),
            "channel": "SMS",
        });
        Some(Callback::json(context.urls.inbound.clone()?, &body))
    }
}

fn refused((status, code, words): Fault) -> Reply {
    Reply::json(status, &json!({"details": words, "errorCode": code, "messages": []}))
}

/// Keys are compared without case.
fn lower_keys(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            map.into_iter().map(|(key, value)| (key.to_ascii_lowercase(), lower_keys(value))).collect()
        }
        Value::Array(list) => list.into_iter().map(lower_keys).collect(),
        other => other,
    }
}

fn read_one(one: &Value, all: &mut Vec<Message>) -> Result<(), Reply> {
    let to = one["to"].as_array().filter(|to| !to.is_empty() && to.len() <= RECIPIENTS_MAX);
    let Some(to) = to else { return Err(refused(MESSAGE_ARRAY)) };
    let from = one["from"].as_str().unwrap_or_default();
    let text = one["body"]["content"].as_str().unwrap_or_default();
    let parts_max = one["maximumnumberofmessageparts"].as_u64().unwrap_or(PARTS_MAX);
    let reference = one["reference"].as_str();
    let formed = |reference: &str| {
        (1..=32).contains(&reference.len()) && reference.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    let by_sms = one["allowedchannels"].as_array().is_none_or(|channels| channels.contains(&json!("SMS")));
    if !(1..=PARTS_MAX).contains(&parts_max) || !reference.is_none_or(formed) || !by_sms {
        return Err(refused(FIELD));
    }
    for recipient in to {
        let mut message = Message::new(from, recipient["number"].as_str().unwrap_or_default(), text);
        if !is_originator(from) {
            message.refused = Some(Refusal::Sender);
        } else if text.is_empty() || u64::from(message.parts()) > parts_max {
            message.refused = Some(Refusal::Text);
        }
        message.reference = reference.map(Into::into);
        message.validity = one["validity"].as_str().and_then(validity);
        all.push(message);
    }
    Ok(())
}

/// `2h` or `30m`; an absolute time is not looked at.
fn validity(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let seconds = match unit {
        "h" => 3_600,
        "m" => 60,
        _ => return None,
    };
    Some(Duration::from_secs(number.parse::<u32>().ok().map(u64::from)? * seconds))
}

fn answer_one(one: &Answered<'_>) -> Value {
    let (status, details, code) = match one.outcome {
        Ok(_) => ("Accepted", Value::Null, 0),
        Err(refusal) => {
            let (_, code, words) = fault(refusal);
            ("Rejected", json!(words), code)
        }
    };
    json!({
        "to": &*one.message.to_written,
        "status": status,
        "reference": one.message.reference,
        "parts": if code == 0 { one.message.parts() } else { 0 },
        "messageDetails": details,
        "messageErrorCode": code,
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::http::contract::Contract;
    use crate::http::raw::Bench;

    const HEAD: &str = "POST /v1.0/message HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n\r\n";

    fn submit(token: &str, msg: &str) -> String {
        format!(r#"{HEAD}{{"messages":{{"authentication":{{"productToken":"{token}"}},"msg":[{msg}]}}}}"#)
    }

    const GOOD: &str = r#"{"from":"Burgernet","to":[{"number":"0031612345678"}],"body":{"type":"auto","content":"Let op"},"reference":"018f3c","validity":"2h"}"#;

    #[test]
    fn a_message_is_taken_and_reported() {
        let bench = Bench::new(Contract::Cm);
        let (status, body) = bench.json(&submit("secret", GOOD));
        assert_eq!(status, 200);
        assert_eq!(
            body,
            json!({"details": "Created 1 message(s)", "errorCode": 0, "messages": [{
                "to": "0031612345678", "status": "Accepted", "reference": "018f3c", "parts": 1,
                "messageDetails": null, "messageErrorCode": 0}]})
        );
        let receipt = bench.receipt(Stage::Delivered);
        assert_eq!((receipt.method, receipt.url.as_str()), (Method::POST, "http://there/dlr"));
        assert_eq!(
            serde_json::from_slice::<Value>(&receipt.body).unwrap(),
            json!({"messages": {"msg": {"received": "2026-11-23T16:00:00", "to": "0031612345678",
                "reference": "018f3c", "operator": "20408",
                "status": {"code": "2", "errorCode": "", "errorDescription": "Delivered"}}}})
        );
        assert_eq!(&*bench.rings("31612345678")[0].text, "Let op");
        assert_eq!(bench.rings("31612345678")[0].validity, Some(Duration::from_hours(2)));
    }

    #[test]
    fn a_batch_is_answered_one_by_one() {
        let bench = Bench::new(Contract::Cm);
        let msg = r#"{"FROM":"1000","To":[{"Number":"0031612345678"},{"number":"0612345678"}],"body":{"content":"x"}}"#;
        let (status, body) = bench.json(&submit("secret", msg));
        assert_eq!((status, &body["errorCode"]), (200, &json!(201)));
        let codes: Vec<&Value> =
            body["messages"].as_array().unwrap().iter().map(|m| &m["messageErrorCode"]).collect();
        assert_eq!(codes, [&json!(0), &json!(303)]);
    }

    #[rstest]
    #[case("wrong", GOOD, 401, 101)]
    #[case("secret", "", 400, 203)]
    #[case("secret", r#"{"from":"1000","to":[],"body":{"content":"x"}}"#, 400, 203)]
    #[case(
        "secret",
        r#"{"from":"1000","to":[{"number":"0031612345678"}],"body":{"content":"x"},"reference":"a-b"}"#,
        400,
        305
    )]
    #[case("secret", r#"{"from":"1000","to":[{"number":"0031612345678"}],"body":{"content":"x"},"maximumNumberOfMessageParts":9}"#, 400, 305)]
    #[case(
        "secret",
        r#"{"from":"Burgernet 112","to":[{"number":"0031612345678"}],"body":{"content":"x"}}"#,
        400,
        201
    )]
    #[case("secret", r#"{"from":"1000","to":[{"number":"0031612345678"}],"body":{"content":""}}"#, 400, 201)]
    fn what_is_wrong_has_its_code(
        #[case] token: &str,
        #[case] msg: &str,
        #[case] http: u16,
        #[case] code: u16,
    ) {
        let (status, body) = Bench::new(Contract::Cm).json(&submit(token, msg));
        assert_eq!((status, body["errorCode"].as_u64()), (http, Some(u64::from(code))), "{body}");
    }

    #[test]
    fn an_sms_from_a_handset_says_what_it_answers() {
        let bench = Bench::new(Contract::Cm);
        bench.json(&submit("secret", GOOD));
        let callback = bench.inbound("Gezien");
        let body: Value = serde_json::from_slice(&callback.body).unwrap();
        assert_eq!((&body["reference"], &body["from"]["number"]), (&json!("018f3c"), &json!("+31612345678")));
        assert_eq!(
            (&body["message"]["text"], &body["timeUtc"]),
            (&json!("Gezien"), &json!("2026-11-23T16:00:00"))
        );
    }
}
