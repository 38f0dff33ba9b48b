//! Receipts and inbound messages of every adapter, and all that is not the provider's.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use klaroen_domain::keyword::Keyword;
use klaroen_domain::outcome::ReceiptStatus;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rstest::rstest;
use serde_json::{Map, Value, json};

use super::specimen::{Called, DIGITS, FORM, INBOUND, JSON, REFERENCE, Specimen, get, posted};
use super::specimens;
use crate::sms::{CallbackError, GatewayEvent, SmsGateway};

/// An adapter whose provider is never called.
fn gateway(specimen: &Specimen) -> std::sync::Arc<dyn SmsGateway> {
    specimen.gateway("http://127.0.0.1:9")
}

#[tokio::test]
async fn every_callback_of_the_contract_is_read() {
    for specimen in specimens() {
        let gateway = gateway(&specimen);
        for callback in &specimen.callbacks {
            let what = format!("{}, {}", specimen.kind, callback.name);
            let called = Called::signed(callback, &specimen);
            let first = called.parse(&*gateway).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(first.events.len(), callback.events.len(), "{what}: {:?}", first.events);
            for (expected, event) in callback.events.iter().zip(&first.events) {
                expected.check(event, &what);
            }
            assert!((200..300).contains(&first.answer.status), "{what}");
            // A repetition says the same and can be told from a new message.
            let again = called.parse(&*gateway).unwrap();
            assert_eq!(format!("{first:?}"), format!("{again:?}"), "{what}");
            for (one, other) in first.events.iter().zip(&again.events) {
                if let (GatewayEvent::Inbound(one), GatewayEvent::Inbound(other)) = (one, other) {
                    assert_eq!(one.dedupe_key, other.dedupe_key, "{what}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_status_that_is_in_no_table_is_kept_and_accepted() {
    for specimen in specimens() {
        let (callback, expected) = &specimen.unknown_status;
        let verified = Called::signed(callback, &specimen).parse(&*gateway(&specimen)).unwrap();
        let [GatewayEvent::Receipt(receipt)] = verified.events.as_slice() else {
            panic!("{}", specimen.kind)
        };
        assert_eq!(receipt.status, *expected, "{}", specimen.kind);
        let kept =
            ["77", "64", "teleported", "TELEPORTED", "X"].iter().any(|word| receipt.raw.contains(word));
        assert!(kept, "{}: {}", specimen.kind, receipt.raw);
    }
}

#[tokio::test]
async fn one_unreadable_entry_does_not_keep_the_others_back() {
    let mut lists = 0;
    for specimen in specimens() {
        for callback in
            specimen.callbacks.iter().filter(|c| c.name.contains("unreadable") || c.name == "replies")
        {
            let verified = Called::signed(callback, &specimen).parse(&*gateway(&specimen)).unwrap();
            lists += verified.unreadable;
        }
    }
    assert_eq!(lists, 2);
}

#[tokio::test]
async fn who_does_not_know_the_token_or_calls_from_elsewhere_is_not_heard() {
    for specimen in specimens() {
        let gateway = gateway(&specimen);
        let called = Called::signed(&specimen.callbacks[0], &specimen);
        for token in ["", "token-0123456789-abcdeF", "token-0123456789-abcdef2", "token-0123456789-abcde"] {
            let called = Called { token: token.to_owned(), ..called.clone() };
            assert_eq!(called.parse(&*gateway).unwrap_err(), CallbackError::Token, "{}", specimen.kind);
        }
        for (peer, allowed) in [
            (IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7)), false),
            (IpAddr::V6(Ipv6Addr::LOCALHOST), false),
            (IpAddr::V6(Ipv4Addr::new(192, 0, 2, 9).to_ipv6_mapped()), true),
        ] {
            let result = Called { peer, ..called.clone() }.parse(&*gateway);
            assert_eq!(result.is_ok(), allowed, "{} {peer}", specimen.kind);
            assert!(allowed || result.unwrap_err() == CallbackError::Address);
        }
        let closed = specimen.gateway_with("http://127.0.0.1:9", &json!({"callback_token": null}));
        assert_eq!(called.parse(&*closed).unwrap_err(), CallbackError::NotSupported, "{}", specimen.kind);
        let changing =
            json!({"callback_token": format!("another-token-0123456789 {}", super::specimen::TOKEN)});
        assert!(
            called.parse(&*specimen.gateway_with("http://127.0.0.1:9", &changing)).is_ok(),
            "{}",
            specimen.kind
        );
    }
}

#[tokio::test]
async fn a_signed_callback_is_refused_when_anything_in_it_changed() {
    for specimen in specimens().into_iter().filter(|specimen| specimen.sign.is_some()) {
        let gateway = gateway(&specimen);
        for callback in specimen.callbacks.iter().filter(|callback| !callback.events.is_empty()) {
            let what = format!("{}, {}", specimen.kind, callback.name);
            let good = Called::signed(callback, &specimen);
            let refused = |called: &Called, how: &str| match called.parse(&*gateway) {
                Ok(verified) => panic!("{what}, {how}: {:?}", verified.events),
                Err(error) => assert!(matches!(error.status(), 403 | 400), "{what}, {how}: {error}"),
            };
            refused(&Called::unsigned(callback), "unsigned");
            for index in 0..good.body.len() {
                let mut changed = good.clone();
                changed.body[index] ^= 1;
                if !same_signed(specimen.kind, &changed, &good) {
                    refused(&changed, &format!("byte {index} of the body"));
                }
            }
            let mut longer = good.clone();
            longer.target.push_str(if good.target.contains('?') {
                "&status=delivered"
            } else {
                "?status=delivered"
            });
            refused(&longer, "a parameter more");
            let mut elsewhere = good.clone();
            elsewhere.target = good.target.replace("/gateways/", "/gateway/");
            if specimen.kind != "vonage" {
                refused(&elsewhere, "another path");
            }
            for (index, (name, value)) in
                good.headers.iter().enumerate().filter(|(_, (n, _))| n != "content-type")
            {
                for changed in [
                    String::new(),
                    format!("{value}A"),
                    value.replacen(['a', 'b', 'c', 'd', 'e', 'f'], "Z", 1),
                ] {
                    let mut called = good.clone();
                    called.headers[index].1 = changed;
                    refused(&called, name);
                }
            }
        }
    }
}

/// Whether two callbacks are the same to those who sign them.
fn same_signed(kind: &str, a: &Called, b: &Called) -> bool {
    let form = |bytes: &[u8]| form_urlencoded::parse(bytes).into_owned().collect::<Vec<(String, String)>>();
    let json = |body: &[u8]| serde_json::from_slice::<Map<String, Value>>(body).ok();
    match kind {
        // Names and values without a mark between them, each field once.
        "twilio" => {
            let words = |called: &Called| {
                let fields: BTreeSet<(String, String)> = form(&called.body).into_iter().collect();
                fields.into_iter().map(|(name, value)| name + &value).collect::<String>()
            };
            a.target == b.target && words(a) == words(b)
        }
        // No path; two characters in values count as a third, and hexadecimal comes in any case.
        "vonage" => {
            let fields = |called: &Called| {
                let query = called.target.split_once('?').map_or("", |(_, query)| query);
                let body = match json(&called.body) {
                    Some(members) => members
                        .into_iter()
                        .map(|(name, value)| (name, value.as_str().map_or(value.to_string(), str::to_owned)))
                        .collect(),
                    None => form(&called.body),
                };
                let plain = |(name, value): (String, String)| {
                    let value =
                        if name == "sig" { value.to_lowercase() } else { value.replace(['&', '='], "_") };
                    (name, value)
                };
                form(query.as_bytes()).into_iter().chain(body).map(plain).collect::<BTreeSet<_>>()
            };
            fields(a) == fields(b)
        }
        _ => a.target == b.target && a.body == b.body,
    }
}

#[tokio::test]
async fn an_old_signature_is_refused_and_a_fresh_one_can_be_known_again() {
    for specimen in
        specimens().into_iter().filter(|specimen| matches!(specimen.kind, "messagebird" | "vonage"))
    {
        let gateway = gateway(&specimen);
        let callback = specimen.callbacks.iter().find(|callback| !callback.events.is_empty()).unwrap();
        let good = Called::signed(callback, &specimen);
        let key = good.parse(&*gateway).unwrap().replay_key;
        assert!(key.is_some_and(|key| !key.is_empty()), "{}", specimen.kind);
        for seconds in [-301, 301, 86_400] {
            let late = Called { now_s: good.now_s + seconds, ..good.clone() };
            assert_eq!(
                late.parse(&*gateway).unwrap_err(),
                CallbackError::Expired,
                "{} {seconds}",
                specimen.kind
            );
        }
    }
}

/// Twilio acts upon words of the account's own list, and upon none of ours that it does not know.
#[rstest]
#[case("STOP", "arret", Some(Keyword::Stop))]
#[case("START", "oui", Some(Keyword::Start))]
#[case("HELP", "?", Some(Keyword::Help))]
#[case("START", "STOP", Some(Keyword::Start))]
#[case("", "STOP", None)]
#[case("OTHER", "STOP", None)]
#[tokio::test]
async fn the_keyword_that_a_provider_acted_upon_comes_with_the_text(
    #[case] acted_upon: &str,
    #[case] text: &str,
    #[case] keyword: Option<Keyword>,
) {
    let twilio = specimens().into_iter().find(|specimen| specimen.kind == "twilio").unwrap();
    let body = format!("MessageSid=SM9&From=%2B31612345678&To=1000&Body={text}&OptOutType={acted_upon}");
    let called = Called::signed(&posted("opt out", INBOUND, FORM, body, &[]), &twilio);
    let verified = called.parse(&*gateway(&twilio)).unwrap();
    let [GatewayEvent::Inbound(sms)] = verified.events.as_slice() else { panic!("{:?}", verified.events) };
    assert_eq!((sms.keyword, sms.text.as_str()), (keyword, text));
}

#[tokio::test]
async fn the_answer_to_an_inbound_message_becomes_no_sms() {
    for specimen in specimens() {
        for callback in &specimen.callbacks {
            let answer = Called::signed(callback, &specimen).parse(&*gateway(&specimen)).unwrap().answer;
            let expected = match (specimen.kind, callback.kind) {
                ("twilio", INBOUND) => ("<Response/>", Some("text/xml")),
                ("messagebird", _) => ("OK", Some("text/plain")),
                ("http", _) => ("ACK", Some("text/plain")),
                _ => ("", None),
            };
            assert_eq!((answer.body.as_ref(), answer.content_type.as_deref()), expected, "{}", specimen.kind);
        }
    }
}

#[tokio::test]
async fn a_callback_larger_than_the_contract_is_refused_unread() {
    for specimen in specimens() {
        let mut called = Called::signed(&specimen.callbacks[0], &specimen);
        called.body = vec![b'['; 1024 * 1024 + 1];
        assert_eq!(
            called.parse(&*gateway(&specimen)).unwrap_err(),
            CallbackError::TooLarge,
            "{}",
            specimen.kind
        );
        let many = "a=b&".repeat(1_000);
        for callback in [get("many", INBOUND, many.clone(), &[]), posted("many", INBOUND, FORM, many, &[])] {
            let found = Called::signed(&callback, &specimen).parse(&*gateway(&specimen));
            assert!(found.is_err() || found.unwrap().events.is_empty(), "{}", specimen.kind);
        }
    }
}

/// 10,000 for each adapter: noise, and callbacks of the contract with some of their bytes changed, whose signature is then
/// no longer one.
#[tokio::test]
async fn noise_neither_panics_nor_becomes_an_event() {
    let mut rng = StdRng::seed_from_u64(7);
    for specimen in specimens() {
        let gateway = gateway(&specimen);
        let mut read = 0;
        let originals: Vec<_> =
            specimen.callbacks.iter().map(|callback| Called::signed(callback, &specimen)).collect();
        for round in 0..10_000_u32 {
            let good = &originals[rng.random_range(0..originals.len())];
            let mut called = good.clone();
            if round % 4 == 0 {
                called.headers = vec![(
                    "content-type".to_owned(),
                    [JSON, FORM, "text/xml", ""][rng.random_range(0..4)].to_owned(),
                )];
                called.body = (0..rng.random_range(0..300)).map(|_| rng.random()).collect();
            } else {
                mutate(&mut called, &mut rng);
            }
            let Ok(verified) = called.parse(&*gateway) else { continue };
            read += verified.events.len();
            let is_theirs = specimen.sign.is_none() || same_signed(specimen.kind, &called, good);
            assert!(is_theirs || verified.events.is_empty(), "{}: {:?}", specimen.kind, verified.events);
            for event in &verified.events {
                assert!(!matches!(event, GatewayEvent::LateAnswer { .. }), "{}", specimen.kind);
                if let GatewayEvent::Inbound(sms) = event {
                    assert!(!sms.text.contains('\0') && !sms.from.contains('\0'), "{}", specimen.kind);
                }
            }
        }
        assert!(
            specimen.sign.is_some() || read > 100,
            "{}: mutations that leave nothing test nothing",
            specimen.kind
        );
    }
}

fn mutate(called: &mut Called, rng: &mut StdRng) {
    for _ in 0..rng.random_range(1..4) {
        let in_body = !called.body.is_empty() && rng.random_bool(0.7);
        let mut bytes = if in_body { called.body.clone() } else { called.target.clone().into_bytes() };
        if bytes.is_empty() {
            return;
        }
        let at = rng.random_range(0..bytes.len());
        match rng.random_range(0..4) {
            0 => bytes[at] = rng.random_range(0x20..0x7F),
            1 => drop(bytes.remove(at)),
            2 => bytes.insert(at, b"&=%\"{}<>0"[rng.random_range(0..9)]),
            _ => bytes.truncate(at),
        }
        if in_body {
            called.body = bytes;
        } else {
            called.target = String::from_utf8_lossy(&bytes).into_owned();
        }
    }
}

#[tokio::test]
async fn receipts_show_no_number_and_keep_what_tells_them_apart() {
    for specimen in specimens() {
        for callback in &specimen.callbacks {
            let verified = Called::signed(callback, &specimen).parse(&*gateway(&specimen)).unwrap();
            let shown = format!("{verified:?}");
            assert!(!shown.contains(DIGITS) && !shown.contains("gezien"), "{}: {shown}", specimen.kind);
            for event in &verified.events {
                if let GatewayEvent::Receipt(receipt) = event {
                    assert!(receipt.reference.as_ref().is_none_or(|reference| reference.0 == REFERENCE));
                    assert!(
                        receipt.status != ReceiptStatus::Delivered || receipt.error.is_none(),
                        "{}",
                        specimen.kind
                    );
                }
            }
        }
    }
}
