//! Spryng REST v1: `POST /v1/messages`, JSON, a bearer token. Receipts are a GET to a URL of the dashboard; inbound SMS
//! are not documented, so there are none.

use hyper::Method;
use serde_json::{Value, json};

use crate::http::config::Account;
use crate::http::contract::{Answered, Asked, Context, Found, Inbound, Report, Search, Traits, Wire};
use crate::http::form::{self, Form};
use crate::http::message::{Message, Refusal, Stage, is_originator};
use crate::http::wire::{Callback, Reply, Request, utc, uuid};

const RECIPIENTS_MAX: usize = 1_000;
const ENCODINGS: [&str; 3] = ["auto", "plain", "unicode"];
const TIME: &str = "%Y-%m-%dT%H:%M:%S+00:00";

/// `STATUS` and `REASONCODE`; there is no intermediate one.
const STAGES: [(Stage, (&str, &str)); 6] = [
    (Stage::Delivered, ("10", "0")),
    (Stage::Undelivered, ("20", "20")),
    (Stage::Expired, ("20", "22")),
    (Stage::Rejected, ("20", "32")),
    (Stage::Blocked, ("20", "31")),
    (Stage::Unknown, ("15", "0")),
];

pub(crate) struct Spryng;

impl Wire for Spryng {
    fn traits(&self) -> Traits {
        Traits { refuses_blocked: false, ..Traits::USUAL }
    }

    fn id(&self, n: u64) -> String {
        uuid(n)
    }

    fn read(&self, request: &Request<'_>, account: &Account) -> Result<Asked, Reply> {
        if !account.is_secret(request.token("Bearer ")) {
            return Err(Reply::json(401, &json!({"message": "Unauthenticated."})));
        }
        match (request.method, request.path) {
            (&Method::POST, "/v1/messages") => read_submit(request).map(Asked::Send),
            (&Method::GET, "/v1/messages") => {
                let query = Form::parse(request.query.as_bytes());
                let number = query.text("recipient_number");
                Ok(Asked::Find(Search { reference: query.text("reference"), number, ..Search::default() }))
            }
            (&Method::GET, "/v1/balance") => {
                Ok(Asked::Balance(|balance| Reply::json(200, &json!({"amount": balance}))))
            }
            (&Method::GET, path) => match path.strip_prefix("/v1/messages/") {
                Some(id) => Ok(Asked::Find(Search { id: Some(id.into()), one: true, ..Search::default() })),
                None => Err(Reply::json(404, &json!({"message": "Not Found"}))),
            },
            _ => Err(Reply::json(405, &json!({"message": "Method Not Allowed"}))),
        }
    }

    fn answer(&self, answered: &[Answered<'_>], context: &Context<'_>) -> Reply {
        let Some(first) = answered.first() else { return Reply::text(500, "") };
        let id = first.outcome.clone().unwrap_or_default();
        let to = answered.iter().map(|one| &*one.message.to);
        Reply::json(200, &resource(&id, first.message, to, "sent", context.now_ms))
    }

    fn refuse(&self, refusal: Refusal) -> Reply {
        match refusal {
            Refusal::Throttled { .. } => Reply::json(429, &json!({"message": "Too Many Attempts."})),
            Refusal::Internal => Reply::json(500, &json!({"message": "Server Error"})),
            Refusal::Balance => Reply::json(402, &json!({"message": "Insufficient credits."})),
            Refusal::Sender => invalid("originator", "The originator is invalid."),
            Refusal::Text => invalid("body", "The body is invalid."),
            Refusal::Duplicate => invalid("reference", "The reference has already been taken."),
            Refusal::Number | Refusal::Blocked | Refusal::Flooding => {
                invalid("recipients", "The recipients.0 is invalid.")
            }
        }
        .for_refusal(refusal)
    }

    fn found(&self, search: &Search, found: &[Found], _context: &Context<'_>) -> Reply {
        if search.one {
            return match found.first() {
                Some(found) => Reply::json(200, &view(found)),
                None => Reply::json(404, &json!({"message": "Not Found"})),
            };
        }
        let list: Vec<Value> = found.iter().map(view).collect();
        Reply::json(200, &json!({"data": list, "total": list.len()}))
    }

    fn receipt(&self, report: &Report<'_>, context: &Context<'_>) -> Option<Callback> {
        let (status, reason) = report.stage.row(&STAGES)?;
        let reference = report.sms.message.reference.as_deref()?;
        let query = form::encode([("STATUS", status), ("REASONCODE", reason), ("REFERENCE", reference)]);
        Some(Callback::get(form::with_query(context.urls.receipts.as_deref()?, &query)))
    }

    fn inbound(&self, _inbound: &Inbound, _context: &Context<'_>) -> Option<Callback> {
        None
    }
}

fn invalid(field: &str, words: &str) -> Reply {
    Reply::json(422, &json!({"message": "The given data was invalid.", "errors": {field: [words]}}))
}

fn read_submit(request: &Request<'_>) -> Result<Vec<Message>, Reply> {
    let body = request.json().ok_or_else(|| invalid("body", "The request is not JSON."))?;
    let field = |name: &str| body[name].as_str().filter(|value| !value.is_empty());
    let text = field("body").ok_or_else(|| invalid("body", "The body field is required."))?;
    let from = field("originator").filter(|from| is_originator(from));
    let from = from.ok_or_else(|| invalid("originator", "The originator is invalid."))?;
    if !field("encoding").is_none_or(|encoding| ENCODINGS.contains(&encoding)) {
        return Err(invalid("encoding", "The selected encoding is invalid."));
    }
    let recipients = body["recipients"].as_array().filter(|list| (1..=RECIPIENTS_MAX).contains(&list.len()));
    let recipients = recipients.ok_or_else(|| invalid("recipients", "The recipients field is required."))?;
    let messages = recipients.iter().map(|to| {
        // Digits only: a number with a plus sign is none here.
        let to = to.as_str().unwrap_or_default();
        let mut message = Message::new(from, to, text);
        if to.starts_with(['+', '0']) {
            message.refused = Some(Refusal::Number);
        }
        message.reference = field("reference").map(Into::into);
        message
    });
    Ok(messages.collect())
}

fn resource<'a>(
    id: &str,
    message: &Message,
    to: impl Iterator<Item = &'a str>,
    status: &str,
    created_ms: i64,
) -> Value {
    let to: Vec<&str> = to.collect();
    json!({
        "id": id,
        "encoding": "auto",
        "originator": &*message.from,
        "body": &*message.text,
        "reference": message.reference,
        "credits": usize::from(message.parts()) * to.len(),
        "route": "business",
        "status": status,
        "recipients": to.iter().map(|number| json!({"number": number, "status": status})).collect::<Vec<_>>(),
        "scheduled_at": Value::Null,
        "created_at": utc(created_ms, TIME),
        "updated_at": utc(created_ms, TIME),
        "links": {"self": format!("/v1/messages/{id}")},
    })
}

fn view(found: &Found) -> Value {
    let message = &found.sms.message;
    resource(
        &found.sms.id,
        message,
        std::iter::once(&*message.to),
        found.stage.as_str(),
        found.sms.created_ms,
    )
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::http::contract::Contract;
    use crate::http::raw::Bench;

    const GOOD: &str = r#"{"encoding":"auto","body":"Let op","route":"business","originator":"Burgernet","recipients":["31612345678"],"reference":"018f"}"#;

    fn submit(body: &str) -> String {
        format!("POST /v1/messages HTTP/1.1\r\nauthorization: Bearer secret\r\n\r\n{body}")
    }

    #[test]
    fn a_message_is_taken_found_and_reported() {
        let bench = Bench::new(Contract::Spryng);
        let (status, body) = bench.json(&submit(GOOD));
        assert_eq!((status, &body["reference"], &body["credits"]), (200, &json!("018f"), &json!(1)));
        assert_eq!(body["created_at"], "2026-11-23T16:00:00+00:00");
        let id = body["id"].as_str().unwrap().to_owned();
        for path in ["?reference=018f".to_owned(), format!("/{id}")] {
            let get = format!("GET /v1/messages{path} HTTP/1.1\r\nauthorization: Bearer secret\r\n\r\n");
            let (status, body) = bench.json(&get);
            let one = if path.starts_with('?') { &body["data"][0] } else { &body };
            assert_eq!((status, &one["id"], &one["status"]), (200, &json!(id), &json!("delivered")));
        }
        let receipt = bench.receipt(Stage::Undelivered);
        assert_eq!(receipt, Callback::get("http://there/dlr?STATUS=20&REASONCODE=20&REFERENCE=018f".into()));
        assert_eq!(bench.rings("31612345678").len(), 1);
    }

    #[rstest]
    #[case(r#"{"body":"x","originator":"1000","recipients":["+31612345678"]}"#, 422, "recipients")]
    #[case(r#"{"body":"x","originator":"1000","recipients":[]}"#, 422, "recipients")]
    #[case(r#"{"body":"x","originator":"much too long","recipients":["31612345678"]}"#, 422, "originator")]
    #[case(r#"{"originator":"1000","recipients":["31612345678"]}"#, 422, "body")]
    #[case(
        r#"{"body":"x","encoding":"utf8","originator":"1000","recipients":["31612345678"]}"#,
        422,
        "encoding"
    )]
    #[case("{", 422, "body")]
    fn what_is_wrong_is_named(#[case] body: &str, #[case] status: u16, #[case] field: &str) {
        let bench = Bench::new(Contract::Spryng);
        let (answered, body) = bench.json(&submit(body));
        assert_eq!(answered, status);
        assert!(body["errors"][field].is_array(), "{body}");
    }

    #[test]
    fn without_its_token_nothing_is_told() {
        let bench = Bench::new(Contract::Spryng);
        let wrong = submit(GOOD).replace("secret", "guess");
        assert_eq!(bench.json(&wrong), (401, json!({"message": "Unauthenticated."})));
        assert_eq!(bench.rings("31612345678").len(), 0);
    }
}
