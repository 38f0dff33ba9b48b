//! Requests, outcomes, capabilities and questions of every adapter, against a provider on this machine.

use std::fmt::Write;
use std::io;
use std::sync::{Arc, Mutex};

use klaroen_domain::outcome::{Scope, SubmitOutcome};
use klaroen_domain::phone::Country;
use klaroen_domain::time::Timestamp;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tracing_subscriber::fmt::MakeWriter;

use super::provider::{Provider, Reply, Seen};
use super::specimen::{Body, DIGITS, Expect, NOW_S, Request, TEXT, sms, sms_of};
use super::specimens;
use crate::http::client::Answer;
use crate::sms::StatusAnswer;

/// Everything that is logged while a test runs.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

fn check_request(seen: &Seen, expected: &Request, what: &str) {
    assert_eq!(
        (seen.method.as_str(), seen.target.as_str()),
        (expected.method, expected.target.as_str()),
        "{what}"
    );
    for (name, value) in &expected.headers {
        assert_eq!(seen.header(name), Some(value.as_str()), "{what}: {name}");
    }
    match &expected.body {
        Body::Json(value) => {
            let body: Value = serde_json::from_slice(&seen.body).unwrap();
            assert_eq!(&body, value, "{what}");
            assert_eq!(seen.header("content-type"), Some("application/json"), "{what}");
        }
        Body::Form(fields) => {
            let body: Vec<(String, String)> = form_urlencoded::parse(&seen.body).into_owned().collect();
            let fields: Vec<(String, String)> =
                fields.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect();
            assert_eq!(body, fields, "{what}");
            assert_eq!(seen.header("content-type"), Some("application/x-www-form-urlencoded"), "{what}");
        }
        Body::Empty => assert!(seen.body.is_empty(), "{what}"),
    }
}

#[tokio::test]
async fn the_request_is_to_the_letter_what_the_contract_says() {
    for specimen in specimens() {
        let accepted = specimen.accepted();
        let provider = Provider::start([Reply::json(accepted.status, &accepted.body)]).await;
        let outcome = specimen.gateway(&provider.url).submit(&sms()).await;
        accepted.expected[0].check(&outcome, specimen.kind);
        let seen = provider.finish().await;
        check_request(&seen[0], &specimen.request, specimen.kind);
    }
}

#[tokio::test]
async fn every_answer_of_the_contract_has_its_outcome() {
    for specimen in specimens() {
        let replies = specimen.cases.iter().map(|case| Reply::json(case.status, &case.body));
        let provider = Provider::start(replies).await;
        let gateway = specimen.gateway(&provider.url);
        for case in &specimen.cases {
            let outcome = gateway.submit(&sms()).await;
            case.expected[0].check(&outcome, &format!("{}, {}", specimen.kind, case.name));
        }
        assert_eq!(provider.connections(), 1, "{}: the connection is kept", specimen.kind);
        provider.finish().await;
    }
}

#[test]
fn the_cases_cover_what_a_contract_can_say() {
    for specimen in specimens() {
        let has = |wanted: fn(&Expect) -> bool| specimen.cases.iter().any(|case| wanted(&case.expected[0]));
        let kind = specimen.kind;
        assert!(has(|e| matches!(e, Expect::Rejected(Scope::Recipient, _))), "{kind}: this number");
        assert!(has(|e| matches!(e, Expect::Rejected(Scope::Message, _))), "{kind}: this text");
        assert!(has(|e| matches!(e, Expect::Rejected(Scope::Gateway, _))), "{kind}: this gateway");
        assert!(has(|e| matches!(e, Expect::Unknown(_))), "{kind}: in doubt");
    }
}

#[tokio::test]
async fn a_long_message_counts_its_segments_by_the_answer_or_by_our_own_count() {
    for specimen in specimens() {
        let told = specimen.cases.iter().find(|case| matches!(case.expected[0], Expect::Accepted(_, 2..)));
        let case = told.unwrap_or_else(|| specimen.accepted());
        let provider = Provider::start([Reply::json(case.status, &case.body)]).await;
        let long = sms_of(0x2a, &"Kijk uit naar een rode auto. ".repeat(8));
        assert_eq!(long.text.segments(), 2);
        let outcome = specimen.gateway(&provider.url).submit(&long).await;
        match (&outcome, case.expected[0]) {
            (SubmitOutcome::Accepted { segments, .. }, Expect::Accepted(_, counted)) => {
                let expected = if told.is_some() || counts_itself(specimen.kind) { counted } else { 2 };
                assert_eq!(*segments, expected, "{}", specimen.kind);
            }
            _ => panic!("{}: {outcome:?}", specimen.kind),
        }
        provider.finish().await;
    }
}

/// Providers whose answer has the number of parts.
fn counts_itself(kind: &str) -> bool {
    matches!(kind, "cm" | "messagebird" | "twilio" | "vonage" | "infobip")
}

#[tokio::test]
async fn no_secret_number_or_text_is_logged_or_told() {
    let log = Log::default();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(log.clone()).finish();
    let guard = tracing::subscriber::set_default(subscriber);
    let mut told = String::new();
    for specimen in specimens() {
        tracing::info!(kind = specimen.kind, "canary: the log is read");
        let echo = format!(r#"{{"code":"+{DIGITS}","errors":[{{"code":"{TEXT}"}}],"message":"{TEXT}"}}"#);
        let replies = specimen.cases.iter().map(|case| Reply::json(case.status, &case.body));
        let provider =
            Provider::start(replies.chain([Reply::json(400, &echo), Reply::json(500, &echo)])).await;
        let config = specimen.config(&provider.url, &json!({}));
        let gateway = specimen.gateway(&provider.url);
        for _ in 0..specimen.cases.len() + 2 {
            let outcome = gateway.submit(&sms()).await;
            writeln!(told, "{outcome:?}").unwrap();
        }
        for callback in &specimen.callbacks {
            let called = super::specimen::Called::signed(callback, &specimen);
            writeln!(told, "{:?}", called.parse(&*gateway).map(|verified| verified.replay_key.is_some()))
                .unwrap();
        }
        writeln!(told, "{config:?}\n{:?}", sms()).unwrap();
        provider.finish().await;
    }
    drop(guard);
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("canary: the log is read"));
    for specimen in specimens() {
        for secret in specimen.secrets.iter().copied().chain([DIGITS, "Kanarie", super::specimen::TOKEN]) {
            for (place, text) in [("log", &log), ("outcome", &told)] {
                let found = text.lines().find(|line| line.contains(secret));
                assert_eq!(found, None, "{}: `{secret}` in the {place}", specimen.kind);
            }
        }
    }
}

#[tokio::test]
async fn a_batch_is_one_request_where_the_contract_has_it_and_one_by_one_where_not() {
    for specimen in specimens() {
        let what = specimen.kind;
        let messages = [sms_of(0x2a, TEXT), sms_of(0x2b, TEXT)];
        if let Some(case) = &specimen.batch {
            let provider = Provider::start([Reply::json(case.status, &case.body)]).await;
            let gateway = specimen.gateway(&provider.url);
            assert!(gateway.capabilities().batch_max > 1, "{what}");
            let outcomes = gateway.submit_batch(&messages).await;
            assert_eq!(outcomes.len(), 2, "{what}");
            for (expected, outcome) in case.expected.iter().zip(&outcomes) {
                expected.check(outcome, what);
            }
            assert_eq!(provider.finish().await.len(), 1, "{what}: one request");
        } else {
            let accepted = specimen.accepted();
            let reply = Reply::json(accepted.status, &accepted.body);
            let provider = Provider::start([reply.clone(), reply]).await;
            let gateway = specimen.gateway(&provider.url);
            assert_eq!(gateway.capabilities().batch_max, 0, "{what}");
            assert_eq!(gateway.submit_batch(&messages).await.len(), 2, "{what}");
            provider.finish().await;
        }
    }
}

#[tokio::test]
async fn a_batch_of_more_than_fits_goes_in_several_requests_and_what_is_too_long_stays_here() {
    for specimen in specimens().into_iter().filter(|specimen| specimen.batch.is_some()) {
        let probe = specimen.gateway("http://127.0.0.1:9").capabilities();
        let most = usize::from(probe.batch_max);
        let mut messages: Vec<_> = (0..=most).map(|n| sms_of(i64::try_from(n).unwrap(), "kort")).collect();
        messages.push(sms_of(-1, &"lang ".repeat(700)));
        // Neither answer names these messages.
        let provider = Provider::start([Reply::json(200, "{}"), Reply::json(200, "{}")]).await;
        let outcomes = specimen.gateway(&provider.url).submit_batch(&messages).await;
        assert_eq!(outcomes.len(), most + 2, "{}", specimen.kind);
        let (last, others) = outcomes.split_last().unwrap();
        Expect::Rejected(Scope::Message, "too_long").check(last, specimen.kind);
        assert!(
            others.iter().all(|outcome| matches!(outcome, SubmitOutcome::Unknown(_))),
            "{}",
            specimen.kind
        );
        provider.finish().await;
    }
}

#[tokio::test]
async fn capabilities_are_what_the_adapter_does() {
    for specimen in specimens() {
        let what = specimen.kind;
        let accepted = specimen.accepted();
        let provider = Provider::start([Reply::json(accepted.status, &accepted.body)]).await;
        let gateway = specimen.gateway(&provider.url);
        let can = gateway.capabilities();
        gateway.submit(&sms()).await;
        let seen = provider.finish().await.remove(0);
        let written = format!("{} {}", seen.target, String::from_utf8_lossy(&seen.body));
        assert_eq!(can.client_reference, written.contains(super::specimen::REFERENCE), "{what}: reference");
        assert!(can.max_segments > 0, "{what}: segments");

        let has = |kind| {
            specimen.callbacks.iter().any(|callback| callback.kind == kind && !callback.events.is_empty())
        };
        assert_eq!(can.receipts, has(super::specimen::RECEIPTS), "{what}: receipts");
        assert_eq!(can.inbound, has(super::specimen::INBOUND), "{what}: inbound");
        assert_eq!(can.status_query, !specimen.questions.is_empty(), "{what}: questions");
        let silent =
            specimen.gateway_with("http://127.0.0.1:9", &json!({"callback_token": null})).capabilities();
        assert!(!silent.receipts && !silent.inbound, "{what}: without a token there are no callbacks");
    }
}

#[tokio::test]
async fn an_idempotent_provider_answers_a_repetition_with_acceptance() {
    for specimen in specimens() {
        let repeated = specimen.cases.iter().find(|case| case.name == "repeated");
        let can = specimen.gateway("http://127.0.0.1:9").capabilities();
        assert_eq!(can.idempotent_submit, repeated.is_some(), "{}", specimen.kind);
        if let Some(case) = repeated {
            assert!(matches!(case.expected[0], Expect::Accepted(..)), "{}", specimen.kind);
        }
    }
}

#[tokio::test]
async fn a_question_settles_or_says_that_it_does_not() {
    let since = Timestamp::from_millis((NOW_S - 60) * 1_000);
    for specimen in specimens() {
        if specimen.questions.is_empty() {
            let answer = specimen.gateway("http://127.0.0.1:9").query_status(&sms(), since).await;
            assert_eq!(answer, StatusAnswer::Unsupported, "{}", specimen.kind);
            continue;
        }
        let troubles =
            [Reply::html(200), Reply::json(500, "{}"), Reply::json(401, "{}"), Reply::Bytes(Vec::new())];
        let replies = specimen.questions.iter().map(|(_, body, _)| Reply::json(200, body));
        let provider = Provider::start(replies.chain(troubles.clone())).await;
        let gateway = specimen.gateway(&provider.url);
        for (target, _, expected) in &specimen.questions {
            assert_eq!(gateway.query_status(&sms(), since).await, *expected, "{} {target}", specimen.kind);
        }
        for trouble in troubles {
            let answer = gateway.query_status(&sms(), since).await;
            assert_eq!(answer, StatusAnswer::NoAnswer, "{} {trouble:?}", specimen.kind);
        }
        let seen = provider.finish().await;
        for (seen, (target, ..)) in seen.iter().zip(&specimen.questions) {
            assert_eq!((seen.method.as_str(), seen.target.as_str()), ("GET", *target), "{}", specimen.kind);
        }
    }
}

#[test]
fn a_configuration_without_its_secret_or_without_tls_names_the_key() {
    for specimen in specimens() {
        let keys = specimen.keys.as_object().unwrap();
        let secrets = keys
            .iter()
            .filter(|(_, value)| value.as_str().is_some_and(|value| specimen.secrets.contains(&value)));
        for (key, value) in secrets {
            let fields = |more: &Value| {
                let faults = specimen.config("http://127.0.0.1:9", more).validate();
                faults.into_iter().map(|fault| fault.field.to_owned()).collect::<Vec<_>>()
            };
            let file_key = format!("{key}_file");
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), format!("{}\n", value.as_str().unwrap())).unwrap();
            assert_eq!(
                fields(&json!({key: null, &file_key: file.path()})),
                [""; 0],
                "{}: {file_key}",
                specimen.kind
            );
            assert_eq!(fields(&json!({&file_key: file.path()})), [key.as_str()], "{}: both", specimen.kind);
            assert_eq!(
                fields(&json!({key: null, &file_key: "/nowhere"})),
                [file_key.as_str()],
                "{}",
                specimen.kind
            );
            assert_eq!(fields(&json!({key: "two\nlines"})), [key.as_str()], "{}", specimen.kind);
        }
        if !matches!(specimen.kind, "kannel" | "http") {
            let faults = specimen.config("http://provider.example.com", &json!({})).validate();
            assert_eq!(
                faults.iter().map(|fault| fault.field).collect::<Vec<_>>(),
                ["base_url"],
                "{}",
                specimen.kind
            );
        }
        let faults =
            specimen.config("http://127.0.0.1:9", &json!({"sender": "Polizei!", "window": 0})).validate();
        let fields: Vec<_> = faults.iter().map(|fault| fault.field).collect();
        assert_eq!(fields, ["window", "sender"], "{}", specimen.kind);
    }
}

/// Answers of the contract with some of their bytes changed: one outcome for each message or none at all, and nothing of what
/// the provider wrote in them.
#[test]
fn no_answer_breaks_an_adapter_or_gets_into_a_failure() {
    let mut rng = StdRng::seed_from_u64(11);
    let batch = [sms_of(0x2a, TEXT), sms_of(0x2b, TEXT)];
    for specimen in specimens() {
        let config = specimen.config("http://127.0.0.1:9", &json!({}));
        let contract = config.over_http().unwrap().contract(Country::NL).unwrap();
        let mut read = 0;
        for _ in 0..5_000 {
            let case = &specimen.cases[rng.random_range(0..specimen.cases.len())];
            let mut body = case.body.clone().into_bytes();
            for _ in 0..rng.random_range(1..4) {
                let at = rng.random_range(0..body.len());
                match rng.random_range(0..3) {
                    0 => body[at] = rng.random(),
                    1 => body.insert(at, b"0123456789\"{}[],"[rng.random_range(0..16)]),
                    _ => drop(body.splice(at..=at, DIGITS.bytes())),
                }
            }
            let answer = Answer { status: case.status, retry_after: None, body: Some(body) };
            let batch = if specimen.batch.is_some() { &batch[..] } else { &batch[..1] };
            let Some(outcomes) = contract.outcomes(batch, &answer) else { continue };
            assert_eq!(outcomes.len(), batch.len(), "{}", specimen.kind);
            for outcome in outcomes {
                read += 1;
                if let SubmitOutcome::Rejected(failure)
                | SubmitOutcome::NotTaken(failure)
                | SubmitOutcome::Unknown(failure) = outcome
                {
                    let told = format!("{failure:?}");
                    assert!(!told.contains(DIGITS) && !told.contains("Kanarie"), "{}: {told}", specimen.kind);
                }
            }
        }
        assert!(read > 500, "{}: {read} changed answers could be read", specimen.kind);
    }
}
