//! Kannel `sendsms`: fields in a query or a form, a line of text out. Receipts and inbound SMS call URLs with escapes.

use std::time::Duration;

use hyper::Method;

use crate::http::config::Account;
use crate::http::contract::{Answered, Asked, Context, Inbound, Report, Traits, Wire};
use crate::http::form::{self, Form};
use crate::http::message::{Message, Refusal, Stage};
use crate::http::wire::{Callback, Reply, Request, uuid};
use crate::text::Alphabet;

/// What is called for an inbound SMS where the URL has no escapes of its own.
const INBOUND_QUERY: &str = "id=%I&ts=%T&sender=%p&to=%P&message=%a&coding=%c";

/// `%d` and `%A`.
const STAGES: [(Stage, (&str, &str)); 7] = [
    (Stage::Sent, ("8", "ACK/")),
    (Stage::Delivered, ("1", "stat:DELIVRD err:000")),
    (Stage::Undelivered, ("2", "stat:UNDELIV err:001")),
    (Stage::Expired, ("2", "stat:EXPIRED err:027")),
    (Stage::Rejected, ("16", "NACK/11/Invalid Destination Address")),
    (Stage::Blocked, ("16", "NACK/102/Blocked")),
    (Stage::Unknown, ("64", "")),
];

pub(crate) struct Kannel;

impl Wire for Kannel {
    fn traits(&self) -> Traits {
        // `http-request-retry` is 0 unless somebody sets it.
        Traits {
            refuses_numbers: false,
            refuses_blocked: false,
            balance: false,
            repeat: |_| None,
            ..Traits::USUAL
        }
    }

    fn id(&self, n: u64) -> String {
        uuid(n)
    }

    fn read(&self, request: &Request<'_>, account: &Account) -> Result<Asked, Reply> {
        let method = request.method == Method::GET || request.method == Method::POST;
        if !method || request.path != "/cgi-bin/sendsms" {
            return Err(Reply::text(404, "Unknown request."));
        }
        let form = Form::both(request.query, request.body);
        let field = |name: &str| form.text(name).unwrap_or_default();
        if !account.is_user(&field("username")) || !account.is_secret(&field("password")) {
            return Err(Reply::text(403, "Authorization failed for sendsms"));
        }
        let to = field("to");
        if to.split_whitespace().next().is_none() {
            return Err(Reply::text(400, "Missing receiver number, rejected"));
        }
        let from = field("from");
        if from.is_empty() {
            return Err(Reply::text(400, "Sender missing and no global set, rejected"));
        }
        let text = text(&form)?;
        let minutes = number(&form, "validity")?;
        let mask = number(&form, "dlr-mask")?.and_then(|mask| u8::try_from(mask).ok()).unwrap_or(0);
        let messages = to.split_whitespace().map(|to| {
            let mut message = Message::new(&from, to, &text);
            message.receipt_url = form.text("dlr-url").map(|url| url.as_str().into());
            message.reported = mask;
            message.validity = minutes.map(|minutes| Duration::from_secs(minutes * 60));
            // Kannel does not look at numbers; whatever is wrong with one comes as a receipt.
            message.refused = None;
            message
        });
        Ok(Asked::Send(messages.collect()))
    }

    fn answer(&self, _answered: &[Answered<'_>], _context: &Context<'_>) -> Reply {
        Reply::text(202, "0: Accepted for delivery")
    }

    fn refuse(&self, refusal: Refusal) -> Reply {
        match refusal {
            Refusal::Throttled { .. } | Refusal::Internal => {
                Reply::text(503, "Temporal failure, try again later.")
            }
            _ => Reply::text(400, "Charset or body misformed, rejected"),
        }
        .for_refusal(refusal)
    }

    fn receipt(&self, report: &Report<'_>, context: &Context<'_>) -> Option<Callback> {
        let message = &report.sms.message;
        let (value, words) = report.stage.row(&STAGES)?;
        let url = context.receipt_url(message)?;
        let seconds = report.done_ms.div_euclid(1_000).to_string();
        Some(Callback::get(fill(&url, |escape| match escape {
            'd' => Some(value),
            'p' => Some(&message.from),
            'P' => Some(&message.to_written),
            'T' => Some(&seconds),
            'F' | 'I' => Some(&report.sms.id),
            'A' => Some(words),
            'i' => Some("simulated"),
            _ => None,
        })))
    }

    fn inbound(&self, inbound: &Inbound, context: &Context<'_>) -> Option<Callback> {
        let url = context.urls.inbound.clone()?;
        let url = if url.contains('%') { url } else { form::with_query(&url, INBOUND_QUERY) };
        let (id, seconds) = (uuid(inbound.n), inbound.at_ms.div_euclid(1_000).to_string());
        let coding = if klaroen_domain::text::gsm7::encode(&inbound.text).is_some() { "0" } else { "2" };
        let from = format!("+{}", inbound.from);
        Some(Callback::get(fill(&url, |escape| match escape {
            'I' => Some(&id),
            'T' => Some(&seconds),
            'p' => Some(&from),
            'P' => Some(&inbound.to),
            'a' | 'b' => Some(&inbound.text),
            'c' => Some(coding),
            'i' => Some("simulated"),
            'u' => Some(""),
            _ => None,
        })))
    }

    /// The whole answer to an inbound SMS goes to the handset.
    fn spoken(&self, answer: &[u8]) -> Option<String> {
        (!answer.is_empty()).then(|| String::from_utf8_lossy(answer).into_owned())
    }
}

/// A URL with its escapes filled in; what is no escape stays as it is.
fn fill<'a>(url: &str, value: impl Fn(char) -> Option<&'a str>) -> String {
    let mut filled = String::with_capacity(url.len() * 2);
    let mut rest = url;
    while let Some((before, after)) = rest.split_once('%') {
        filled.push_str(before);
        let escape = after.chars().next();
        let known = escape.and_then(|escape| value(escape).map(|value| (escape.len_utf8(), value)));
        if let Some((length, value)) = known {
            filled.push_str(&form::escape(value.as_bytes()));
            rest = &after[length..];
        } else {
            filled.push('%');
            rest = after;
        }
    }
    filled + rest
}

/// `coding` 0 is text in UTF-8, 2 is UCS-2 of 16 bits, big end first.
fn text(form: &Form) -> Result<String, Reply> {
    let misformed = || Reply::text(400, "Charset or body misformed, rejected");
    let octets = form.octets("text").unwrap_or_default();
    match form.text("coding").as_deref() {
        None | Some("0") => String::from_utf8(octets.to_vec()).map_err(|_| misformed()),
        Some("1") => Ok(Alphabet::Latin1.decode(octets)),
        Some("2") if octets.len().is_multiple_of(2) => Ok(Alphabet::Ucs2.decode(octets)),
        Some("2") => Err(misformed()),
        Some(_) => Err(Reply::text(400, "Coding field misformed, rejected")),
    }
}

fn number(form: &Form, name: &str) -> Result<Option<u64>, Reply> {
    let misformed = |_| Reply::text(400, &format!("{name} field misformed, rejected"));
    form.text(name).map(|value| value.parse::<u32>().map(u64::from).map_err(misformed)).transpose()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::http::contract::Contract;
    use crate::http::raw::Bench;

    const DLR: &str =
        "dlr-mask=31&dlr-url=http%3A%2F%2Fthere%2Fk%3Fid%3D018f%26status%3D%25d%26at%3D%25T%26text%3D%25A";

    fn get(query: &str) -> String {
        format!("GET /cgi-bin/sendsms?username=user&password=secret&{query} HTTP/1.1\r\n\r\n")
    }

    #[test]
    fn a_message_is_taken_and_its_receipt_fills_the_url() {
        let bench = Bench::new(Contract::Kannel);
        let answer = bench.text(&get(&format!("from=1000&to=%2B31612345678&text=Let+op&validity=60&{DLR}")));
        assert_eq!(answer, (202, "0: Accepted for delivery".into()));
        assert_eq!(&*bench.rings("31612345678")[0].text, "Let op");
        assert_eq!(bench.rings("31612345678")[0].validity, Some(Duration::from_hours(1)));
        let receipt = bench.receipt(Stage::Delivered);
        assert_eq!(
            receipt,
            Callback::get(
                "http://there/k?id=018f&status=1&at=1795449600&text=stat%3ADELIVRD+err%3A000".into()
            )
        );
    }

    #[test]
    fn ucs2_comes_as_octets_and_a_post_will_do() {
        let bench = Bench::new(Contract::Kannel);
        let post = "POST /cgi-bin/sendsms HTTP/1.1\r\ncontent-type: application/x-www-form-urlencoded\r\n\r\nusername=user&password=secret&from=1000&to=31612345678&coding=2&text=%04%16%00a";
        assert_eq!(bench.text(post).0, 202);
        assert_eq!(&*bench.rings("31612345678")[0].text, "Жa");
    }

    #[rstest]
    #[case("from=1000&text=x", 400, "Missing receiver number, rejected")]
    #[case("to=31612345678&text=x", 400, "Sender missing and no global set, rejected")]
    #[case("from=1000&to=31612345678&coding=2&text=%04", 400, "Charset or body misformed, rejected")]
    #[case("from=1000&to=31612345678&text=%ff", 400, "Charset or body misformed, rejected")]
    #[case("from=1000&to=31612345678&text=x&validity=long", 400, "validity field misformed, rejected")]
    fn what_is_wrong_is_told_in_a_line(#[case] query: &str, #[case] status: u16, #[case] line: &str) {
        assert_eq!(Bench::new(Contract::Kannel).text(&get(query)), (status, line.to_owned()));
    }

    #[test]
    fn a_wrong_password_is_a_403() {
        let wrong = get("from=1000&to=31612345678&text=x").replace("secret", "guess");
        let answer = Bench::new(Contract::Kannel).text(&wrong);
        assert_eq!(answer, (403, "Authorization failed for sendsms".into()));
    }

    #[test]
    fn an_inbound_sms_fills_the_usual_query() {
        let bench = Bench::new(Contract::Kannel);
        let url = bench.inbound("Gezien & wel").url;
        assert!(url.starts_with("http://there/mo?id="), "{url}");
        assert!(
            url.ends_with("&ts=1795449600&sender=%2B31612345678&to=1000&message=Gezien+%26+wel&coding=0"),
            "{url}"
        );
        assert_eq!(fill("http://a/%20?x=%a%", |escape| (escape == 'a').then_some("1")), "http://a/%20?x=1%");
    }
}
