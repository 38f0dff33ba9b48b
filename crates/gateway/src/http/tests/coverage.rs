//! The properties that the cases of every adapter must have, and what follows from them for texts of all kinds.

use klaroen_domain::outcome::ReceiptStatus::{Delivered, Undelivered};
use klaroen_domain::outcome::{Scope, SubmitOutcome};
use serde_json::Value;

use super::provider::{Provider, Reply};
use super::specimen::{Callback, Called, Event, Expect, INBOUND, sms_of};
use super::specimens;
use crate::sms::GatewayEvent;

/// Stands in every inbound message of the cases.
const WORD: &str = "gezien";

#[test]
fn the_cases_have_every_kind_of_callback_that_the_adapter_says_it_reads() {
    for specimen in specimens() {
        let kind = specimen.kind;
        let can = specimen.gateway("http://127.0.0.1:9").capabilities();
        let events: Vec<Event> =
            specimen.callbacks.iter().flat_map(|callback| callback.events.clone()).collect();
        let has = |wanted: &dyn Fn(&Event) -> bool| events.iter().any(wanted);
        assert!(has(&|e| matches!(e, Event::Receipt(_, _, Delivered, None))), "{kind}: delivered");
        assert!(
            has(&|e| matches!(e, Event::Receipt(_, _, Undelivered, Some(_)))),
            "{kind}: undelivered, and why"
        );
        assert!(has(&|e| matches!(e, Event::Receipt(_, None, ..))), "{kind}: another's reference");
        let words = specimen.callbacks.iter().filter(|callback| has_word(callback)).count();
        assert_eq!(can.inbound, words > 0, "{kind}: a reply");
    }
}

/// Too long is said here, and what just fits is tried: the number of segments is the provider's.
#[tokio::test]
async fn a_message_of_as_many_segments_as_it_takes_goes_out_and_one_more_does_not() {
    for specimen in specimens() {
        let accepted = specimen.accepted();
        let provider = Provider::start([Reply::json(accepted.status, &accepted.body)]).await;
        let gateway = specimen.gateway(&provider.url);
        let most = gateway.capabilities().max_segments;
        let fits = sms_of(0x2a, &"a".repeat(153 * usize::from(most)));
        let too_long = sms_of(0x2a, &"a".repeat(153 * usize::from(most) + 1));
        assert_eq!((fits.text.segments(), too_long.text.segments()), (most, most + 1));
        let outcome = gateway.submit(&fits).await;
        assert!(matches!(outcome, SubmitOutcome::Accepted { .. }), "{}: {outcome:?}", specimen.kind);
        let outcome = gateway.submit(&too_long).await;
        Expect::Rejected(Scope::Message, "too_long").check(&outcome, specimen.kind);
        assert_eq!(provider.finish().await.len(), 1, "{}", specimen.kind);
    }
}

fn has_word(callback: &Callback) -> bool {
    callback.kind == INBOUND && (callback.body.contains(WORD) || callback.query.contains(WORD))
}

/// The callback with another text, written as its place needs it.
fn with_text(callback: &Callback, text: &str) -> Callback {
    let url: String = form_urlencoded::byte_serialize(text.as_bytes()).collect();
    let quoted = Value::from(text).to_string();
    let body =
        if callback.content_type.contains("json") { &quoted[1..quoted.len() - 1] } else { url.as_str() };
    Callback {
        query: callback.query.replace(WORD, &url),
        body: callback.body.replace(WORD, body),
        ..callback.clone()
    }
}

#[tokio::test]
async fn a_reply_has_any_text() {
    let long = "é".repeat(2_048);
    let texts =
        ["", "🚗👮\u{200D}♀️ ж", "a\0b", "'; DROP TABLE \"x\" & <b> = %00 + \\", "regel\r\nregel\t", &long];
    for specimen in specimens() {
        let gateway = specimen.gateway("http://127.0.0.1:9");
        for callback in specimen.callbacks.iter().filter(|callback| has_word(callback)) {
            for text in texts {
                let what = format!("{}, {}: {text:.20?}", specimen.kind, callback.name);
                let called = Called::signed(&with_text(callback, text), &specimen);
                let verified = called.parse(&*gateway).unwrap_or_else(|error| panic!("{what}: {error}"));
                let Some(GatewayEvent::Inbound(sms)) = verified.events.first() else { panic!("{what}") };
                let Some(Event::Inbound(_, _, usual)) = callback.events.first() else { panic!("{what}") };
                assert_eq!(sms.text, usual.replace(WORD, text).replace('\0', ""), "{what}");
            }
        }
    }
}

/// Bytes that are no UTF-8 become U+FFFD in a query or form, and are no JSON and no XML.
#[tokio::test]
async fn a_reply_that_is_no_utf_8_is_shown_as_far_as_it_is_or_refused() {
    for specimen in specimens() {
        let gateway = specimen.gateway("http://127.0.0.1:9");
        for callback in specimen.callbacks.iter().filter(|callback| has_word(callback)) {
            let what = format!("{}, {}", specimen.kind, callback.name);
            let is_json = callback.content_type.contains("json");
            let mut broken = callback.clone();
            broken.query = callback.query.replace(WORD, "%FF%FE");
            if !is_json {
                broken.body = callback.body.replace(WORD, "%FF%FE");
            }
            let mut called = Called::unsigned(&broken);
            if is_json {
                let at = callback.body.find(WORD).unwrap();
                called.body.splice(at..at + WORD.len(), [0xFF, 0xFE]);
            }
            if let Some(sign) = specimen.sign.filter(|_| !is_json) {
                sign(&mut called);
            }
            match called.parse(&*gateway) {
                Ok(verified) => {
                    let Some(GatewayEvent::Inbound(sms)) = verified.events.first() else { panic!("{what}") };
                    assert!(!is_json && sms.text.contains("\u{FFFD}\u{FFFD}"), "{what}: {}", sms.text);
                }
                Err(error) => assert!(is_json && matches!(error.status(), 400 | 403), "{what}: {error}"),
            }
        }
    }
}

/// Receipts in whatever order: each says the same as it does alone, since nothing is remembered here.
#[tokio::test]
async fn receipts_say_the_same_in_any_order() {
    for specimen in specimens() {
        let read = |callbacks: Vec<&Callback>| {
            let gateway = specimen.gateway("http://127.0.0.1:9");
            callbacks
                .into_iter()
                .map(|callback| format!("{:?}", Called::signed(callback, &specimen).parse(&*gateway)))
                .collect::<Vec<_>>()
        };
        let forward = read(specimen.callbacks.iter().collect());
        let mut back = read(specimen.callbacks.iter().rev().collect());
        back.reverse();
        assert_eq!(forward, back, "{}", specimen.kind);
    }
}
