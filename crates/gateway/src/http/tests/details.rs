//! The details that one provider has and the others have not.

use std::sync::Arc;

use klaroen_domain::outcome::{Scope, SubmitOutcome};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use tokio_rustls::TlsAcceptor;

use super::cases;
use super::provider::{Provider, Reply, Seen};
use super::specimen::{Expect, NAME, REFERENCE, Specimen, TOKEN, receipts_url, sms, sms_of};
use crate::sms::OutboundSms;

async fn sent(specimen: &Specimen, more: &Value, sms: &OutboundSms) -> Seen {
    let accepted = specimen.accepted();
    let provider = Provider::start([Reply::json(accepted.status, &accepted.body)]).await;
    specimen.gateway_with(&provider.url, more).submit(sms).await;
    provider.finish().await.remove(0)
}

fn form(seen: &Seen, name: &str) -> Option<String> {
    let mut fields = form_urlencoded::parse(&seen.body);
    fields.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

fn body(seen: &Seen) -> Value {
    serde_json::from_slice(&seen.body).unwrap()
}

#[tokio::test]
async fn a_certificate_has_to_be_trusted_before_anything_leaves() {
    let specimen = cases::messagebird::specimen();
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let ca_file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(ca_file.path(), cert.pem()).unwrap();

    let accepted = specimen.accepted();
    let reply = Reply::json(accepted.status, &accepted.body);
    let provider = Provider::start_tls([reply], acceptor.clone()).await;
    let trusting = specimen.gateway_with(&provider.url, &json!({"tls_ca_file": ca_file.path()}));
    accepted.expected[0].check(&trusting.submit(&sms()).await, "trusted");
    assert_eq!(provider.finish().await.len(), 1);

    let provider = Provider::start_tls([], acceptor).await;
    let outcome = specimen.gateway(&provider.url).submit(&sms()).await;
    Expect::NotTaken("tls").check(&outcome, "not trusted");
    assert!(provider.finish().await.is_empty());

    for content in ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        std::fs::write(ca_file.path(), content).unwrap();
        let config = specimen.config("https://127.0.0.1:9", &json!({"tls_ca_file": ca_file.path()}));
        let clock = Arc::new(klaroen_domain::time::SystemClock);
        let Err(error) = crate::connect(&config, 0, klaroen_domain::phone::Country::NL, clock) else {
            panic!()
        };
        assert!(error.to_string().starts_with("tls_ca_file:"), "{error}");
    }
}

#[tokio::test]
async fn kannel_gets_ucs2_as_raw_units_without_a_charset() {
    let seen = sent(&cases::kannel::specimen(), &json!({}), &sms_of(0x2a, "é🚗ж")).await;
    assert!(seen.target.contains("&coding=2&text=%00%E9%D8%3D%DE%97%04"), "{}", seen.target);
    assert!(!seen.target.contains("charset"));
}

#[tokio::test]
async fn without_callbacks_no_provider_is_told_an_address() {
    for specimen in super::specimens() {
        let seen = sent(&specimen, &json!({"callback_token": null}), &sms()).await;
        let written = format!("{} {}", seen.target, String::from_utf8_lossy(&seen.body));
        assert!(
            !written.contains("klaroen.example.nl") && !written.contains("dlr"),
            "{}: {written}",
            specimen.kind
        );
    }
}

#[tokio::test]
async fn twilio_can_leave_the_sender_to_a_messaging_service() {
    let seen = sent(
        &cases::twilio::specimen(),
        &json!({"messaging_service_sid": "MG1", "risk_check": true}),
        &sms(),
    )
    .await;
    assert_eq!((form(&seen, "MessagingServiceSid").as_deref(), form(&seen, "From")), (Some("MG1"), None));
    assert_eq!(form(&seen, "RiskCheck"), None);
}

#[tokio::test]
async fn vonage_is_told_how_many_parts_a_receipt_is_one_of() {
    let long = sms_of(0x2a, &"Kijk uit naar een rode auto. ".repeat(8));
    let seen = sent(&cases::vonage::specimen(), &json!({}), &long).await;
    assert_eq!(form(&seen, "client-ref"), Some(format!("{REFERENCE}-2")));
    let seen = sent(&cases::vonage::specimen(), &json!({}), &sms_of(0x2a, "ж")).await;
    assert_eq!(form(&seen, "type").as_deref(), Some("unicode"));
}

#[tokio::test]
async fn a_numeric_sender_is_written_as_each_provider_wants_it() {
    let number = json!({"sender": "+3197010200000"});
    let cm = body(&sent(&cases::cm::specimen(), &number, &sms()).await);
    assert_eq!(cm.pointer("/messages/msg/0/from").unwrap(), "003197010200000");
    let vonage = sent(&cases::vonage::specimen(), &number, &sms()).await;
    assert_eq!(form(&vonage, "from").as_deref(), Some("3197010200000"));
    let infobip = body(&sent(&cases::infobip::specimen(), &number, &sms()).await);
    assert_eq!(infobip.pointer("/messages/0/sender").unwrap(), "3197010200000");
    let twilio = sent(&cases::twilio::specimen(), &number, &sms()).await;
    assert_eq!(form(&twilio, "From").as_deref(), Some("+3197010200000"));
}

#[tokio::test]
async fn no_validity_is_longer_than_the_alert_or_shorter_than_the_contract() {
    let of = |seconds| OutboundSms { validity: std::time::Duration::from_secs(seconds), ..sms() };
    for (seconds, minutes) in [(5, 1), (119, 1), (120, 2), (86_400, 1_440)] {
        let cm = body(&sent(&cases::cm::specimen(), &json!({}), &of(seconds)).await);
        assert_eq!(cm.pointer("/messages/msg/0/validity").unwrap(), &format!("{minutes}m"));
    }
    for (seconds, period) in [(0, "1"), (5, "5"), (86_400, "36000")] {
        let twilio = sent(&cases::twilio::specimen(), &json!({}), &of(seconds)).await;
        assert_eq!(form(&twilio, "ValidityPeriod").as_deref(), Some(period));
    }
    for (seconds, ttl) in [(5, "20000"), (60, "60000"), (1_000_000, "604800000")] {
        let vonage = sent(&cases::vonage::specimen(), &json!({}), &of(seconds)).await;
        assert_eq!(form(&vonage, "ttl").as_deref(), Some(ttl));
    }
}

/// A provider that answers in a line of text, as Jasmin does.
fn plain(provider: &str, more: &Value) -> crate::config::GatewayConfig {
    let mut table = json!({
        "type": "http", "name": NAME, "sender": "1000", "base_url": provider, "method": "GET", "username": "me",
        "api_secret": "s3cr&t", "callback_token": TOKEN, "callback_url": "https://klaroen.example.nl",
        "path": "/send?username={username}&password={secret}&to={to_digits}&content={text}&dlr-url={receipts_url}",
        "answer": {"id": "^Success \"([^\"]+)\"", "code": "^Error \"([^\"]+)\"", "message": ["Too long"],
            "gateway": ["Authentication failure"]},
    });
    for (key, value) in more.as_object().unwrap() {
        table[key] = value.clone();
    }
    serde_json::from_value(table).unwrap()
}

#[tokio::test]
async fn a_template_can_read_an_answer_by_regular_expression() {
    let answers = [
        (200, "Success \"07033084-5cfd\"", Expect::Accepted(&["07033084-5cfd"], 1)),
        (200, "Error \"Too long\"", Expect::Rejected(Scope::Message, "unreadable")),
        (403, "Error \"Authentication failure\"", Expect::Rejected(Scope::Gateway, "unreadable")),
        (200, "Hello", Expect::Unknown("http_200")),
        (400, "Hello", Expect::Rejected(Scope::Gateway, "http_400")),
    ];
    let provider =
        Provider::start(answers.map(|(status, text, _)| Reply::Answer(status, vec![], text.into()))).await;
    let clock = Arc::new(klaroen_domain::time::SystemClock);
    let config = plain(&provider.url, &json!({}));
    let channel = crate::connect(&config, 0, klaroen_domain::phone::Country::NL, clock).unwrap();
    for (_, text, expected) in answers {
        let outcome = channel.gateway.submit(&sms()).await;
        assert!(!matches!(outcome, SubmitOutcome::Throttled { .. }));
        expected.check(&outcome, text);
    }
    assert!(channel.gateway.capabilities().client_reference);
    let seen = provider.finish().await;
    let query = seen[0].target.split_once('?').unwrap().1;
    let fields: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let values: Vec<&str> = fields.iter().map(|(_, value)| value.as_str()).collect();
    let dlr = format!("{}?d={REFERENCE}", receipts_url());
    assert_eq!(values, ["me", "s3cr&t", super::specimen::DIGITS, super::specimen::TEXT, &dlr]);
}

#[test]
fn a_template_that_cannot_work_says_which_key_is_wrong() {
    for (more, fields) in [
        (json!({"path": "/send?to={msisdn}"}), vec!["path"]),
        (json!({"path": "send"}), vec!["path"]),
        (json!({"method": "DELETE"}), vec!["method", "body"]),
        (json!({"body": "{text}"}), vec!["body"]),
        (json!({"headers": {"X-Text": "{text}"}}), vec!["headers"]),
        (json!({"headers": {"X-To": "{msisdn}"}}), vec!["headers"]),
        (json!({"method": "POST", "body": "{to} {txt}"}), vec!["body"]),
        (json!({"headers": {"no name": "x"}}), vec!["headers"]),
        (json!({"batch_max": 3}), vec!["item"]),
        (
            json!({"method": "POST", "body": "[{items}]", "item": "{text}", "batch_max": 3}),
            vec!["answer.items"],
        ),
        (json!({"answer": {"id": "("}}), vec!["answer.id"]),
        (json!({"answer": {"code": "no group"}}), vec!["answer.code"]),
        (json!({"max_segments": 0}), vec!["max_segments"]),
        (json!({"reply": {"status": 500}}), vec!["reply.status"]),
        (json!({"receipts": {"status": "s"}}), vec!["receipts"]),
        (json!({}), vec![]),
    ] {
        let faults = plain("http://127.0.0.1:9", &more).validate();
        assert_eq!(faults.iter().map(|fault| fault.field).collect::<Vec<_>>(), fields, "{more}");
    }
}

#[test]
fn an_address_that_a_provider_refuses_is_told_before_the_first_message() {
    let fields = |specimen: &Specimen, url: Value| {
        let faults = specimen.config("http://127.0.0.1:9", &json!({"callback_url": url})).validate();
        faults.into_iter().map(|fault| fault.field).collect::<Vec<_>>()
    };
    let long = json!(format!("https://{}.example.nl", "klaroen".repeat(8)));
    assert_eq!(fields(&cases::vonage::specimen(), long), ["callback_url"]);
    assert_eq!(fields(&cases::twilio::specimen(), json!("https://my_host.example.nl")), ["callback_url"]);
    assert_eq!(fields(&cases::twilio::specimen(), Value::Null), ["callback_url"]);
    assert_eq!(fields(&cases::messagebird::specimen(), Value::Null), ["callback_url"]);
    assert_eq!(fields(&cases::infobip::specimen(), Value::Null), [""; 0]);
}
