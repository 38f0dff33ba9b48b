//! Twilio Messages 2010-04-01: a form in, JSON out, Basic authentication, callbacks as signed forms.

use std::collections::BTreeSet;
use std::time::Duration;

use hyper::Method;
use serde_json::{Value, json};

use crate::http::config::Account;
use crate::http::contracts::contract::{
    Answered, Asked, Context, Found, Inbound, Report, Search, Traits, Wire,
};
use crate::http::contracts::message::{Message, Refusal, Stage, is_originator};
use crate::http::wire::form::Form;
use crate::http::wire::signing::{basic, hmac_sha1_base64};
use crate::http::wire::{Callback, Reply, Request, hex_id, utc};

const TEXT_MAX: usize = 1_600;
const VERSION: &str = "2010-04-01";
/// RFC 2822.
const TIME: &str = "%a, %d %b %Y %H:%M:%S +0000";

/// HTTP status, `code`, `message`.
const fn fault(refusal: Refusal) -> (u16, u16, &'static str) {
    match refusal {
        Refusal::Throttled { .. } => (429, 20429, "Too Many Requests"),
        Refusal::Internal => (500, 20500, "Internal Server Error"),
        Refusal::Balance => (403, 30002, "Account suspended"),
        Refusal::Number => (400, 21211, "The 'To' number is not a valid phone number."),
        Refusal::Blocked => (400, 21610, "Attempt to send to unsubscribed recipient"),
        Refusal::Sender => (400, 21212, "The 'From' number is not a valid phone number."),
        Refusal::Text => (400, 21602, "Message body is required."),
        Refusal::Duplicate => (400, 20001, "Invalid parameter"),
        Refusal::Flooding => (400, 21611, "This 'From' number has exceeded its queue."),
    }
}

/// `MessageStatus` and `ErrorCode`.
const STAGES: [(Stage, (&str, Option<u16>)); 7] = [
    (Stage::Sent, ("sent", None)),
    (Stage::Delivered, ("delivered", None)),
    (Stage::Undelivered, ("undelivered", Some(30003))),
    (Stage::Expired, ("failed", Some(30410))),
    (Stage::Rejected, ("failed", Some(30007))),
    (Stage::Blocked, ("undelivered", Some(30004))),
    (Stage::Unknown, ("evaporated", None)),
];

pub(crate) struct Twilio;

impl Wire for Twilio {
    fn traits(&self) -> Traits {
        // Callbacks are not repeated unless the URL asks for it.
        Traits { repeat: |_| None, ..Traits::USUAL }
    }

    fn id(&self, n: u64) -> String {
        format!("SM{}", hex_id(n))
    }

    fn read(&self, request: &Request<'_>, account: &Account) -> Result<Asked, Reply> {
        let resource =
            request.path.strip_prefix("/2010-04-01/Accounts/").and_then(|path| path.split_once('/'));
        let Some((sid, resource)) = resource else { return Err(error(404, 20404, "Not found")) };
        let (user, password) = basic(request.header("authorization")).unwrap_or_default();
        if !account.is_user(&user) || !account.is_secret(&password) || user != sid {
            return Err(error(401, 20003, "Authenticate"));
        }
        match (request.method, resource) {
            (&Method::POST, "Messages.json") => {
                read_submit(request).map(|message| Asked::Send(vec![message]))
            }
            (&Method::GET, "Messages.json") => {
                let number = Form::parse(request.query.as_bytes()).text("To");
                Ok(Asked::Find(Search { number, ..Search::default() }))
            }
            (&Method::GET, "Balance.json") => Ok(Asked::Balance(|balance| {
                Reply::json(200, &json!({"balance": balance.to_string(), "currency": "EUR"}))
            })),
            (&Method::GET, path) => {
                let id = path.strip_prefix("Messages/").and_then(|path| path.strip_suffix(".json"));
                let id = id.ok_or_else(|| error(404, 20404, "Not found"))?.to_owned();
                Ok(Asked::Find(Search { id: Some(id), one: true, ..Search::default() }))
            }
            _ => Err(error(405, 20004, "Method not allowed")),
        }
    }

    fn answer(&self, answered: &[Answered<'_>], context: &Context<'_>) -> Reply {
        let Some((one, Ok(id))) = answered.first().map(|one| (one, &one.outcome)) else {
            return Reply::text(500, "");
        };
        let sid = account_sid(context);
        Reply::json(201, &resource(id, &sid, one.message, ("queued", None), context.now_ms))
    }

    fn refuse(&self, refusal: Refusal) -> Reply {
        let (status, code, words) = fault(refusal);
        error(status, code, words).for_refusal(refusal)
    }

    fn found(&self, search: &Search, found: &[Found], context: &Context<'_>) -> Reply {
        let view = |found: &Found| {
            let row = found.stage.row(&STAGES).unwrap_or(("sent", None));
            resource(&found.sms.id, &account_sid(context), &found.sms.message, row, found.sms.created_ms)
        };
        if search.one {
            return found.first().map_or_else(
                || error(404, 20404, "The requested resource was not found"),
                |found| Reply::json(200, &view(found)),
            );
        }
        // The newest comes first.
        let messages: Vec<Value> = found.iter().rev().map(view).collect();
        Reply::json(
            200,
            &json!({"messages": messages, "page": 0, "page_size": 50, "next_page_uri": Value::Null}),
        )
    }

    fn receipt(&self, report: &Report<'_>, context: &Context<'_>) -> Option<Callback> {
        let (message, id) = (&report.sms.message, report.sms.id.as_str());
        let (status, code) = report.stage.row(&STAGES)?;
        let (to, sid) = (format!("+{}", message.to), account_sid(context));
        let code = code.map(|code| code.to_string());
        let mut pairs = vec![
            ("MessageSid", id),
            ("SmsSid", id),
            ("MessageStatus", status),
            ("SmsStatus", status),
            ("To", &to),
            ("From", &message.from),
            ("AccountSid", &sid),
            ("ApiVersion", VERSION),
        ];
        pairs.extend(code.as_deref().map(|code| ("ErrorCode", code)));
        Some(signed(context.receipt_url(message)?, &pairs, context))
    }

    fn inbound(&self, inbound: &Inbound, context: &Context<'_>) -> Option<Callback> {
        let (id, sid) = (self.id(inbound.n), account_sid(context));
        let (from, to) = (format!("+{}", inbound.from), inbound_to(&inbound.to));
        let pairs = [
            ("MessageSid", id.as_str()),
            ("SmsMessageSid", &id),
            ("SmsSid", &id),
            ("AccountSid", &sid),
            ("From", &from),
            ("To", &to),
            ("Body", &inbound.text),
            ("NumMedia", "0"),
            ("NumSegments", "1"),
            ("FromCountry", "NL"),
            ("SmsStatus", "received"),
            ("ApiVersion", VERSION),
        ];
        Some(signed(context.urls.inbound.clone()?, &pairs, context))
    }

    /// The text of a `<Message>` of `TwiML` is sent.
    fn spoken(&self, answer: &[u8]) -> Option<String> {
        let answer = String::from_utf8_lossy(answer);
        let (_, after) = answer.split_once("<Message")?;
        let (_, after) = after.split_once('>')?;
        after.split_once("</Message>").map(|(text, _)| text.to_owned())
    }
}

fn account_sid(context: &Context<'_>) -> String {
    context.account.user.clone().unwrap_or_else(|| format!("AC{}", hex_id(0)))
}

/// A short code stands as it is, a long number with its plus sign.
fn inbound_to(to: &str) -> String {
    if to.len() > 6 && to.bytes().all(|byte| byte.is_ascii_digit()) {
        format!("+{to}")
    } else {
        to.to_owned()
    }
}

/// With the signature over the URL and every name and value, sorted.
fn signed(url: String, pairs: &[(&str, &str)], context: &Context<'_>) -> Callback {
    let mut callback = Callback::form(url, pairs.iter().copied());
    if let Some(token) = &context.account.secret {
        let sorted: BTreeSet<&(&str, &str)> = pairs.iter().collect();
        let text = sorted.iter().fold(callback.url.clone(), |text, (name, value)| text + name + value);
        callback.headers.push(("x-twilio-signature", hmac_sha1_base64(token, &text)));
    }
    callback
}

fn error(status: u16, code: u16, words: &str) -> Reply {
    let more = format!("https://www.twilio.com/docs/errors/{code}");
    Reply::json(status, &json!({"code": code, "message": words, "more_info": more, "status": status}))
}

fn read_submit(request: &Request<'_>) -> Result<Message, Reply> {
    let form = Form::parse(request.body);
    let to = form.text("To").ok_or_else(|| error(400, 21604, "A 'To' phone number is required."))?;
    let service = form.text("MessagingServiceSid");
    let from = form.text("From").or(service.clone());
    let from = from.ok_or_else(|| error(400, 21603, "A 'From' phone number is required."))?;
    let text = form.text("Body").ok_or_else(|| error(400, 21602, "Message body is required."))?;
    if text.chars().count() > TEXT_MAX {
        return Err(error(400, 21617, "The concatenated message body exceeds the 1600 character limit."));
    }
    let mut message = Message::new(&from, &to, &text);
    if !to.starts_with('+') {
        message.refused = Some(Refusal::Number);
    } else if service.is_none() && !is_originator(&from) {
        message.refused = Some(Refusal::Sender);
    }
    if let Some(url) = form.text("StatusCallback") {
        if host(&url).is_none_or(|host| host.is_empty() || host.contains('_')) {
            return Err(error(400, 21609, "The 'StatusCallback' URL is not a valid URL."));
        }
        message.receipt_url = Some(url.as_str().into());
    }
    if let Some(seconds) = form.text("ValidityPeriod") {
        let seconds = seconds.parse().ok().filter(|seconds| (1..=36_000).contains(seconds));
        let seconds = seconds.ok_or_else(|| error(400, 20001, "Invalid ValidityPeriod"))?;
        message.validity = Some(Duration::from_secs(seconds));
    }
    Ok(message)
}

fn host(url: &str) -> Option<&str> {
    url.split_once("://")?.1.split(['/', '?', '#']).next()
}

fn resource(id: &str, account: &str, message: &Message, row: (&str, Option<u16>), at_ms: i64) -> Value {
    let service = message.from.starts_with("MG").then_some(&*message.from);
    json!({
        "sid": id,
        "account_sid": account,
        "api_version": VERSION,
        "status": row.0,
        "error_code": row.1,
        "error_message": Value::Null,
        "to": format!("+{}", message.to),
        "from": if service.is_some() { Value::Null } else { json!(&*message.from) },
        "messaging_service_sid": service,
        "body": &*message.text,
        "num_segments": if service.is_some() { "0".to_owned() } else { message.parts().to_string() },
        "num_media": "0",
        "direction": "outbound-api",
        "date_created": utc(at_ms, TIME),
        "date_updated": utc(at_ms, TIME),
        "date_sent": Value::Null,
        "price": Value::Null,
        "price_unit": "EUR",
        "uri": format!("/{VERSION}/Accounts/{account}/Messages/{id}.json"),
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::http::config::CallbackUrls;
    use crate::http::config::Contract;
    use crate::http::raw::Bench;

    // "user:secret"
    const BASIC: &str = "authorization: Basic dXNlcjpzZWNyZXQ=";

    fn submit(form: &str) -> String {
        format!("POST /2010-04-01/Accounts/user/Messages.json HTTP/1.1\r\n{BASIC}\r\n\r\n{form}")
    }

    const GOOD: &str = "To=%2B31612345678&From=Burgernet&Body=Let+op&StatusCallback=http%3A%2F%2Fthere%2Fs%3Fd%3D018f&ValidityPeriod=3600";

    #[test]
    fn a_message_is_taken_found_and_reported() {
        let bench = Bench::new(Contract::Twilio);
        let (status, body) = bench.json(&submit(GOOD));
        assert_eq!((status, &body["status"], &body["num_segments"]), (201, &json!("queued"), &json!("1")));
        assert_eq!(body["date_created"], "Mon, 23 Nov 2026 16:00:00 +0000");
        let sid = body["sid"].as_str().unwrap().to_owned();
        assert!(sid.starts_with("SM") && sid.len() == 34);
        for path in ["s.json?To=%2B31612345678".to_owned(), format!("s/{sid}.json")] {
            let (_, found) = bench
                .json(&format!("GET /2010-04-01/Accounts/user/Message{path} HTTP/1.1\r\n{BASIC}\r\n\r\n"));
            let one = if path.contains('?') { &found["messages"][0] } else { &found };
            assert_eq!(
                (&one["sid"], &one["status"], &one["body"]),
                (&json!(sid), &json!("delivered"), &json!("Let op"))
            );
        }
        let receipt = bench.receipt(Stage::Undelivered);
        assert_eq!(receipt.url, "http://there/s?d=018f");
        assert_eq!(
            String::from_utf8(receipt.body).unwrap(),
            format!(
                "MessageSid={sid}&SmsSid={sid}&MessageStatus=undelivered&SmsStatus=undelivered&To=%2B31612345678&From=Burgernet&AccountSid=user&ApiVersion=2010-04-01&ErrorCode=30003"
            )
        );
    }

    #[test]
    fn the_example_of_the_documentation_is_signed_alike() {
        let account = Account { secret: Some("12345".into()), ..Account::default() };
        let urls = CallbackUrls::default();
        let context = Context { account: &account, urls: &urls, now_ms: 0, nonce: 0, balance: 0 };
        let pairs = [
            ("Digits", "1234"),
            ("To", "+18005551212"),
            ("From", "+14158675309"),
            ("Caller", "+14158675309"),
            ("CallSid", "CA1234567890ABCDE"),
        ];
        let callback = signed("https://mycompany.com/myapp.php?foo=1&bar=2".into(), &pairs, &context);
        assert_eq!(callback.headers[1], ("x-twilio-signature", "RSOYDt4T1cUTdK1PDd93/VVr8B8=".into()));
    }

    #[rstest]
    #[case("From=1000&Body=x", 400, 21604)]
    #[case("To=%2B31612345678&Body=x", 400, 21603)]
    #[case("To=%2B31612345678&From=1000", 400, 21602)]
    #[case("To=0612345678&From=1000&Body=x", 400, 21211)]
    #[case("To=%2B31612345678&From=Much+too+long&Body=x", 400, 21212)]
    #[case("To=%2B31612345678&From=1000&Body=x&StatusCallback=http%3A%2F%2Fa_b%2F", 400, 21609)]
    #[case("To=%2B31612345678&From=1000&Body=x&ValidityPeriod=36001", 400, 20001)]
    fn what_is_wrong_has_its_code(#[case] form: &str, #[case] status: u16, #[case] code: u16) {
        let (answered, body) = Bench::new(Contract::Twilio).json(&submit(form));
        assert_eq!((answered, &body["code"], &body["status"]), (status, &json!(code), &json!(status)));
    }

    #[test]
    fn a_text_beyond_1600_characters_and_a_foreign_account() {
        let bench = Bench::new(Contract::Twilio);
        let long = format!("To=%2B31612345678&From=1000&Body={}", "x".repeat(1_601));
        assert_eq!(bench.json(&submit(&long)).1["code"], 21617);
        assert_eq!(bench.json(&submit(GOOD).replace("/user/", "/other/")).1["code"], 20003);
        assert_eq!(bench.json(&submit(GOOD).replace("Basic", "Bearer")).0, 401);
    }

    #[test]
    fn an_sms_from_a_handset_and_the_answer_that_is_sent_on() {
        let bench = Bench::new(Contract::Twilio);
        let body = String::from_utf8(bench.inbound("Gezien & wel").body).unwrap();
        assert!(body.contains("&From=%2B31612345678&To=1000&Body=Gezien+%26+wel&NumMedia=0&"), "{body}");
        assert_eq!(Twilio.spoken(b"<Response/>"), None);
        assert_eq!(
            Twilio.spoken(b"<Response><Message to=\"x\">Dank</Message></Response>").as_deref(),
            Some("Dank")
        );
    }
}
