//! Who a message comes from, by the country of its number.

use klaroen_domain::outcome::SubmitOutcome;
use serde_json::{Value, json};

use super::cases;
use super::provider::{Provider, Reply, Seen};
use super::specimen::{Specimen, belgian_sms, sms, sms_of};
use super::specimens;
use crate::sms::OutboundSms;

/// Sends one message, and returns the request that goes out for it.
async fn sent(specimen: &Specimen, more: &Value, sms: &OutboundSms) -> Seen {
    let accepted = specimen.accepted();
    let provider = Provider::start([Reply::json(accepted.status, &accepted.body)]).await;
    specimen.gateway_with(&provider.url, more).submit(sms).await;
    let mut seen = provider.finish().await.remove(0);
    // The provider's port is another each time.
    seen.headers.retain(|(name, _)| name != "host");
    seen
}

/// To the letter what a gateway sends whose only sender that is.
#[tokio::test]
async fn a_number_of_a_country_gets_its_sender_and_the_others_get_the_usual_one() {
    for specimen in specimens() {
        for own in ["8850", "Politie", "+3225551234"] {
            let senders = json!({"senders": {"BE": own, "DE": "777"}});
            let alone = json!({"sender": own});
            let belgian = belgian_sms(0x2a);
            let what = format!("{} {own}", specimen.kind);
            assert_eq!(
                sent(&specimen, &senders, &belgian).await,
                sent(&specimen, &alone, &belgian).await,
                "{what}"
            );
            let (dutch, usual) =
                (sent(&specimen, &senders, &sms()).await, sent(&specimen, &json!({}), &sms()).await);
            assert_eq!(dutch, usual, "{what}");
            assert_ne!(dutch, sent(&specimen, &alone, &sms()).await, "{what}: the sender is in the request");
        }
    }
}

#[tokio::test]
async fn a_sender_of_a_country_that_is_none_names_the_country() {
    for specimen in specimens() {
        let senders = json!({"senders": {"BE": "Polizei!", "DE": "777", "XX": "1000"}});
        let faults = specimen.config("http://127.0.0.1:9", &senders).validate();
        let told: Vec<_> = faults.iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 2, "{}: {told:?}", specimen.kind);
        assert!(
            told[0].starts_with("senders: BE: a name has") && told[1].starts_with("senders: XX: "),
            "{told:?}"
        );
    }
}

#[tokio::test]
async fn a_batch_of_two_countries_says_who_sends_each() {
    for specimen in specimens().into_iter().filter(|specimen| specimen.batch.is_some()) {
        let messages = [sms(), belgian_sms(0x2b)];
        // A template may have the sender outside of its items: then each sender has its own request.
        let requests = if specimen.kind == "http" { 2 } else { 1 };
        let provider = Provider::start(vec![Reply::json(200, "{}"); requests]).await;
        let gateway = specimen.gateway_with(&provider.url, &json!({"senders": {"BE": "8850"}}));
        let outcomes = gateway.submit_batch(&messages).await;
        assert!(outcomes.len() == 2 && outcomes.iter().all(|o| matches!(o, SubmitOutcome::Unknown(_))));
        let seen = provider.finish().await;
        let bodies: Vec<String> =
            seen.iter().map(|seen| String::from_utf8(seen.body.clone()).unwrap()).collect();
        let written = bodies.concat();
        let at = |text: &str| written.find(text).unwrap_or_else(|| panic!("{}: {text}", specimen.kind));
        assert!(at("\"1000\"") < at("\"8850\""), "{}: {written}", specimen.kind);
        // Each message stands next to its sender, and before that of the other.
        let (dutch, belgian) = (at("31612345678"), at("32470123456"));
        assert!(dutch < belgian && (requests == 1 || bodies[0].contains("31612345678")), "{written}");
    }
}

#[tokio::test]
async fn messages_with_one_sender_stay_in_one_request() {
    let specimen = cases::template::specimen();
    let messages = [belgian_sms(0x2a), belgian_sms(0x2b)];
    let provider = Provider::start([Reply::json(200, "{}")]).await;
    let gateway = specimen.gateway_with(&provider.url, &json!({"senders": {"BE": "8850"}}));
    assert_eq!(gateway.submit_batch(&messages).await.len(), 2);
    assert_eq!(provider.finish().await.len(), 1);
    // In the items each has its own.
    let items = json!({"senders": {"BE": "8850"}, "body": r#"{"messages":[{items}]}"#,
        "item": r#"{"from":"{from}","to":"{to_digits}","ref":"{reference}"}"#});
    let provider = Provider::start([Reply::json(200, "{}")]).await;
    let gateway = specimen.gateway_with(&provider.url, &items);
    assert_eq!(gateway.submit_batch(&[sms_of(0x2a, "kort"), belgian_sms(0x2b)]).await.len(), 2);
    let body: Value = serde_json::from_slice(&provider.finish().await[0].body).unwrap();
    assert_eq!(
        (&body["messages"][0]["from"], &body["messages"][1]["from"]),
        (&json!("1000"), &json!("8850"))
    );
}

#[tokio::test]
async fn a_messaging_service_stands_in_for_the_usual_sender_only() {
    let specimen = cases::twilio::specimen();
    let keys = json!({"messaging_service_sid": "MG1", "senders": {"BE": "8850"}});
    for (message, service, from) in [(sms(), Some("MG1"), None), (belgian_sms(0x2a), None, Some("8850"))] {
        let seen = sent(&specimen, &keys, &message).await;
        let fields: Vec<(String, String)> = form_urlencoded::parse(&seen.body).into_owned().collect();
        let field = |name: &str| fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        assert_eq!((field("MessagingServiceSid"), field("From")), (service, from));
    }
}
