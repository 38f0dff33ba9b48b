//! Infobip SMS v3: `POST /sms/3/messages`, JSON; each destination has its own id, ours where we gave one, and its own
//! verdict. An id that was seen is refused (status 23).

use std::time::Duration;

use hyper::Method;
use serde_json::{Value, json};

use crate::http::config::Account;
use crate::http::contracts::contract::{
    Answered, Asked, Context, Found, Inbound, Report, Search, Traits, Wire,
};
use crate::http::contracts::message::{Message, Refusal, Stage};
use crate::http::wire::form::Form;
use crate::http::wire::signing::basic;
use crate::http::wire::{Callback, Reply, Request, utc, uuid};

/// Not RFC 3339: the offset has no colon.
const TIME: &str = "%Y-%m-%dT%H:%M:%S%.3f+0000";
const CALLBACK_DATA_MAX: usize = 4_000;
const DESTINATIONS_MAX: usize = 1_000;
/// Results in one push, as an account has it by default.
const REPORTS_MAX: usize = 100;

/// `groupId`, `groupName`, `id`, `name`.
type Status = (u8, &'static str, u16, &'static str);

const PENDING: Status = (1, "PENDING", 26, "PENDING_ACCEPTED");

const STAGES: [(Stage, Status); 7] = [
    (Stage::Sent, (1, "PENDING", 7, "PENDING_ENROUTE")),
    (Stage::Delivered, (3, "DELIVERED", 5, "DELIVERED_TO_HANDSET")),
    (Stage::Undelivered, (2, "UNDELIVERABLE", 9, "UNDELIVERABLE_NOT_DELIVERED")),
    (Stage::Expired, (4, "EXPIRED", 15, "EXPIRED_EXPIRED")),
    (Stage::Rejected, (5, "REJECTED", 6, "REJECTED_NETWORK")),
    (Stage::Blocked, (5, "REJECTED", 14, "REJECTED_DESTINATION")),
    (Stage::Unknown, (9, "EVAPORATED", 99, "EVAPORATED")),
];

const fn rejected(refusal: Refusal) -> Status {
    let (id, name) = match refusal {
        Refusal::Balance => (12, "REJECTED_NOT_ENOUGH_CREDITS"),
        Refusal::Number => (52, "REJECTED_DESTINATION"),
        Refusal::Blocked => (14, "REJECTED_DESTINATION"),
        Refusal::Sender => (13, "REJECTED_SENDER"),
        Refusal::Text => (25, "REJECTED_MESSAGE_TOO_LONG"),
        Refusal::Duplicate => (23, "REJECTED_DUPLICATE_MESSAGE_ID"),
        Refusal::Flooding => (20, "REJECTED_FLOODING_FILTER"),
        Refusal::Throttled { .. } | Refusal::Internal => (21, "REJECTED_SYSTEM_ERROR"),
    };
    (5, "REJECTED", id, name)
}

pub(crate) struct Infobip;

impl Wire for Infobip {
    fn traits(&self) -> Traits {
        // 1 min + 1 min * n².
        let repeat = |n: u32| (n <= 8).then(|| 1 + u64::from(n) * u64::from(n));
        Traits { mixed: true, dedupes: true, together: REPORTS_MAX, repeat }
    }

    fn id(&self, n: u64) -> String {
        uuid(n)
    }

    fn read(&self, request: &Request<'_>, account: &Account) -> Result<Asked, Reply> {
        let by_password = basic(request.header("authorization"))
            .is_some_and(|(user, password)| account.is_user(&user) && account.is_secret(&password));
        let by_token = ["App ", "Bearer "].iter().any(|scheme| account.is_secret(request.token(scheme)));
        if !by_password && !by_token {
            return Err(error(401, "UNAUTHORIZED", "Invalid login details"));
        }
        match (request.method, request.path) {
            (&Method::POST, "/sms/3/messages") => read_submit(request).map(Asked::Send),
            (&Method::GET, "/sms/3/logs") => {
                let query = Form::parse(request.query.as_bytes());
                let (id, number) = (query.text("messageId"), query.text("destination"));
                Ok(Asked::Find(Search { id, number, ..Search::default() }))
            }
            (&Method::GET, "/account/1/balance") => Ok(Asked::Balance(|balance| {
                Reply::json(200, &json!({"balance": balance, "currency": "EUR"}))
            })),
            _ => Err(error(404, "NOT_FOUND", "Requested URL not found")),
        }
    }

    fn answer(&self, answered: &[Answered<'_>], context: &Context<'_>) -> Reply {
        let messages: Vec<Value> = answered.iter().map(|one| answer_one(one, context)).collect();
        Reply::json(200, &json!({"bulkId": uuid(context.nonce), "messages": messages}))
    }

    fn refuse(&self, refusal: Refusal) -> Reply {
        match refusal {
            Refusal::Throttled { .. } => error(429, "TOO_MANY_REQUESTS", "Too many requests"),
            Refusal::Internal => error(500, "GENERAL_ERROR", "Something went wrong. Please contact support."),
            _ => error(400, "BAD_REQUEST", "Bad Request"),
        }
        .for_refusal(refusal)
    }

    fn found(&self, _search: &Search, found: &[Found], _context: &Context<'_>) -> Reply {
        let log = |found: &Found| {
            let report = Report { sms: &found.sms, stage: found.stage, done_ms: found.changed_ms };
            report_view(&report)
        };
        Reply::json(200, &json!({"results": found.iter().map(log).collect::<Vec<_>>()}))
    }

    fn receipt(&self, report: &Report<'_>, context: &Context<'_>) -> Option<Callback> {
        self.receipts(std::slice::from_ref(report), context)
    }

    fn receipts(&self, reports: &[Report<'_>], context: &Context<'_>) -> Option<Callback> {
        let url = context.receipt_url(&reports.first()?.sms.message)?;
        let results: Vec<Value> = reports.iter().map(report_view).collect();
        Some(Callback::json(url, &json!({"results": results})))
    }

    fn inbound(&self, inbound: &Inbound, context: &Context<'_>) -> Option<Callback> {
        let keyword = inbound.text.split_whitespace().next().unwrap_or_default().to_uppercase();
        let body = json!({
            "results": [{
                "messageId": uuid(inbound.n),
                "from": &*inbound.from,
                "to": &*inbound.to,
                "text": inbound.text,
                "cleanText": inbound.text,
                "keyword": keyword,
                "receivedAt": utc(inbound.at_ms, TIME),
                "smsCount": 1,
                "price": {"pricePerMessage": 0, "currency": "EUR"},
                "callbackData": Value::Null,
            }],
            "messageCount": 1,
            "pendingMessageCount": 0,
        });
        Some(Callback::json(context.urls.inbound.clone()?, &body))
    }
}

fn error(status: u16, id: &str, words: &str) -> Reply {
    let exception = json!({"messageId": id, "text": words});
    Reply::json(status, &json!({"requestError": {"serviceException": exception}}))
}

fn bad(words: &str) -> Reply {
    error(400, "BAD_REQUEST", words)
}

fn read_submit(request: &Request<'_>) -> Result<Vec<Message>, Reply> {
    let body = request.json().ok_or_else(|| bad("The request is not JSON"))?;
    let list = body["messages"].as_array().filter(|list| !list.is_empty());
    let mut all = Vec::new();
    for one in list.ok_or_else(|| bad("messages : [must not be empty]"))? {
        read_one(one, &mut all)?;
    }
    if all.len() > DESTINATIONS_MAX {
        return Err(bad("Too many destinations"));
    }
    Ok(all)
}

fn read_one(one: &Value, all: &mut Vec<Message>) -> Result<(), Reply> {
    let text = one["content"]["text"].as_str().ok_or_else(|| bad("content.text : [must not be null]"))?;
    let sender = one["sender"].as_str().unwrap_or("InfoSMS");
    let destinations = one["destinations"].as_array().filter(|list| !list.is_empty());
    let destinations = destinations.ok_or_else(|| bad("destinations : [must not be empty]"))?;
    let webhooks = &one["webhooks"];
    let data = webhooks["callbackData"].as_str().unwrap_or_default();
    if data.len() > CALLBACK_DATA_MAX {
        return Err(bad("callbackData : [size must be between 0 and 4000]"));
    }
    let validity = validity(&one["options"]["validityPeriod"])?;
    let intermediate = webhooks["delivery"]["intermediateReport"] == true;
    for destination in destinations {
        let to = destination["to"].as_str().unwrap_or_default();
        let mut message = Message::new(sender, to, text);
        message.reference = destination["messageId"].as_str().filter(|id| !id.is_empty()).map(Into::into);
        message.receipt_url = webhooks["delivery"]["url"].as_str().map(Into::into);
        message.validity = Some(validity);
        if !intermediate {
            message.reported &= !Stage::Sent.bit();
        }
        all.push(message);
    }
    Ok(())
}

/// 48 hours where nothing is said; minutes where no unit is.
fn validity(period: &Value) -> Result<Duration, Reply> {
    if period.is_null() {
        return Ok(Duration::from_hours(48));
    }
    let seconds = match period["timeUnit"].as_str().unwrap_or("MINUTES") {
        "SECONDS" => 1,
        "MINUTES" => 60,
        "HOURS" => 3_600,
        "DAYS" => 86_400,
        _ => return Err(bad("validityPeriod.timeUnit : [unknown]")),
    };
    let amount = period["amount"].as_u64().and_then(|amount| u32::try_from(amount).ok());
    let amount = amount.ok_or_else(|| bad("validityPeriod.amount : [must be a number]"))?;
    Ok(Duration::from_secs(u64::from(amount) * seconds))
}

fn status_view((group, group_name, id, name): Status) -> Value {
    json!({"groupId": group, "groupName": group_name, "id": id, "name": name, "description": name.replace('_', " ").to_lowercase()})
}

fn answer_one(one: &Answered<'_>, context: &Context<'_>) -> Value {
    let status = match one.outcome {
        Ok(_) => PENDING,
        Err(refusal) => rejected(refusal),
    };
    let own = || one.outcome.clone().unwrap_or_else(|_| uuid(!context.nonce));
    json!({
        "messageId": one.message.reference.as_deref().map_or_else(own, str::to_owned),
        "status": status_view(status),
        "destination": &*one.message.to_written,
        "details": {"messageCount": one.message.parts()},
    })
}

fn report_view(report: &Report<'_>) -> Value {
    let (sms, message) = (report.sms, &report.sms.message);
    let status = report.stage.row(&STAGES).unwrap_or(PENDING);
    let error = match report.stage {
        Stage::Undelivered | Stage::Blocked | Stage::Rejected => {
            json!({"groupId": 1, "groupName": "HANDSET_ERRORS", "id": 27, "name": "EC_ABSENT_SUBSCRIBER",
                "description": "Absent Subscriber", "permanent": report.stage != Stage::Undelivered})
        }
        _ => json!({"groupId": 0, "groupName": "OK", "id": 0, "name": "NO_ERROR",
            "description": "No Error", "permanent": false}),
    };
    json!({
        "messageId": message.reference.as_deref().unwrap_or(&sms.id),
        "to": &*message.to,
        "sender": &*message.from,
        "sentAt": utc(sms.created_ms, TIME),
        "doneAt": utc(report.done_ms, TIME),
        "messageCount": message.parts(),
        "mccMnc": "20408",
        "price": {"pricePerMessage": 0.075, "currency": "EUR"},
        "status": status_view(status),
        "error": error,
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::http::config::Contract;
    use crate::http::raw::Bench;

    fn submit(messages: &str) -> String {
        format!(
            "POST /sms/3/messages HTTP/1.1\r\nauthorization: App secret\r\n\r\n{{\"messages\":[{messages}]}}"
        )
    }

    const GOOD: &str = r#"{"sender":"Burgernet","destinations":[{"to":"31612345678","messageId":"018f"},{"to":"0612345678","messageId":"018e"}],"content":{"text":"Let op"},"webhooks":{"delivery":{"url":"http://there/i?t=1"}},"options":{"validityPeriod":{"amount":2,"timeUnit":"HOURS"}}}"#;

    fn status_of(body: &Value, index: usize) -> (&Value, &Value) {
        let status = &body["messages"][index]["status"];
        (&status["groupName"], &status["id"])
    }

    #[test]
    fn each_destination_has_its_verdict() {
        let bench = Bench::new(Contract::Infobip);
        let (status, body) = bench.json(&submit(GOOD));
        assert_eq!((status, &body["messages"][0]["messageId"]), (200, &json!("018f")));
        assert_eq!(status_of(&body, 0), (&json!("PENDING"), &json!(26)));
        assert_eq!(status_of(&body, 1), (&json!("REJECTED"), &json!(52)));
        assert_eq!(bench.rings("31612345678")[0].validity, Some(Duration::from_hours(2)));
        let (_, log) =
            bench.json("GET /sms/3/logs?messageId=018f HTTP/1.1\r\nauthorization: App secret\r\n\r\n");
        assert_eq!(
            (&log["results"][0]["to"], &log["results"][0]["status"]["id"]),
            (&json!("31612345678"), &json!(5))
        );
        assert_eq!(log["results"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn an_id_that_was_seen_rings_nobody_again() {
        let bench = Bench::new(Contract::Infobip);
        bench.json(&submit(GOOD));
        let (status, body) = bench.json(&submit(GOOD));
        assert_eq!((status, status_of(&body, 0)), (200, (&json!("REJECTED"), &json!(23))));
        assert_eq!(bench.rings("31612345678").len(), 1);
        let twice = GOOD.replace("018f", "018d").replace("0612345678", "31687654321").replace("018e", "018d");
        let (_, body) = bench.json(&submit(&twice));
        assert_eq!(
            (status_of(&body, 0).1, status_of(&body, 1).1),
            (&json!(26), &json!(23)),
            "in one request"
        );
    }

    #[test]
    fn a_receipt_has_dates_without_a_colon_in_their_offset() {
        let bench = Bench::new(Contract::Infobip);
        bench.json(&submit(GOOD));
        let receipt = bench.receipt(Stage::Expired);
        assert_eq!(receipt.url, "http://there/i?t=1");
        let body: Value = serde_json::from_slice(&receipt.body).unwrap();
        let result = &body["results"][0];
        assert_eq!(result["doneAt"], "2026-11-23T16:00:00.000+0000");
        assert_eq!(
            (&result["messageId"], &result["status"]["groupName"]),
            (&json!("018f"), &json!("EXPIRED"))
        );
    }

    #[rstest]
    #[case("", "messages")]
    #[case(r#"{"destinations":[],"content":{"text":"x"}}"#, "destinations")]
    #[case(r#"{"destinations":[{"to":"31612345678"}]}"#, "content.text")]
    #[case(r#"{"destinations":[{"to":"31612345678"}],"content":{"text":"x"},"options":{"validityPeriod":{"amount":1,"timeUnit":"MOONS"}}}"#, "timeUnit")]
    fn what_is_wrong_is_named(#[case] messages: &str, #[case] named: &str) {
        let (status, body) = Bench::new(Contract::Infobip).json(&submit(messages));
        let exception = &body["requestError"]["serviceException"];
        assert_eq!((status, &exception["messageId"]), (400, &json!("BAD_REQUEST")));
        assert!(exception["text"].as_str().unwrap().contains(named), "{body}");
    }

    #[test]
    fn three_ways_to_authenticate_and_one_not_to() {
        let bench = Bench::new(Contract::Infobip);
        for (scheme, expected) in
            [("App secret", 200), ("Bearer secret", 200), ("Basic dXNlcjpzZWNyZXQ=", 200), ("App guess", 401)]
        {
            assert_eq!(bench.json(&submit(GOOD).replace("App secret", scheme)).0, expected, "{scheme}");
        }
    }
}
