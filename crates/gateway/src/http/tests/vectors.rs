//! Signatures made by the providers' own libraries: `crates/gateway/vectors` says how.

use std::net::{IpAddr, Ipv4Addr};

use klaroen_domain::time::Timestamp;
use secrecy::SecretString;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::specimen::RECEIPTS;
use crate::http::SignatureMethod;
use crate::http::fields::Fields;
use crate::http::providers::jwt;
use crate::http::providers::twilio::signature as twilio_signature;
use crate::http::providers::vonage::signature as vonage_signature;
use crate::sms::{CallbackError, RawCallback};

fn read<T: DeserializeOwned>(text: &str, least: usize) -> Vec<T> {
    let vectors: Vec<T> = serde_json::from_str(text).unwrap();
    assert!(vectors.len() >= least);
    vectors
}

fn callback<'a>(
    url: &'a str,
    headers: &'a [(String, String)],
    body: &'a [u8],
    now_s: i64,
) -> RawCallback<'a> {
    RawCallback {
        kind: RECEIPTS,
        method: "POST",
        path_and_query: url,
        token: "",
        peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
        headers,
        body,
        received_at: Timestamp::from_millis(now_s * 1_000),
    }
}

/// Every text that differs from `text` in the lowest bit of one byte, and is still UTF-8.
fn with_one_bit_changed(text: &str) -> impl Iterator<Item = String> {
    (0..text.len()).filter_map(|index| {
        let mut bytes = text.as_bytes().to_vec();
        bytes[index] ^= 1;
        String::from_utf8(bytes).ok()
    })
}

#[derive(Deserialize)]
struct TwilioVector {
    name: String,
    key: String,
    algorithm: String,
    url: String,
    content_type: String,
    body: String,
    signature: String,
}

impl TwilioVector {
    fn verifies(&self, url: &str, body: &str, signature: &str, key: &str) -> bool {
        let headers = [
            ("content-type", self.content_type.clone()),
            ("x-twilio-signature", signature.to_owned()),
            ("x-twilio-webhooks-signature-settings", format!("key=k1,algorithm={}", self.algorithm)),
        ]
        .map(|(name, value)| (name.to_owned(), value));
        let key = SecretString::from(key);
        twilio_signature::verify(&callback(url, &headers, body.as_bytes(), 0), url, &key, Some(&key)).is_ok()
    }
}

#[test]
fn twilio_signatures_verify_and_changed_ones_do_not() {
    for vector in read::<TwilioVector>(include_str!("../../../vectors/twilio.json"), 100) {
        let TwilioVector { name, key, url, body, signature, .. } = &vector;
        assert!(vector.verifies(url, body, signature, key), "{name}");
        assert!(!vector.verifies(url, body, signature, &format!("{key}0")), "{name}: another key");
        assert!(
            with_one_bit_changed(url).all(|url| !vector.verifies(&url, body, signature, key)),
            "{name}: URL"
        );
        for changed in with_one_bit_changed(body) {
            let fields =
                |text: &str| form_urlencoded::parse(text.as_bytes()).into_owned().collect::<Vec<_>>();
            let same = vector.content_type.contains("form") && fields(&changed) == fields(body);
            assert!(same || !vector.verifies(url, &changed, signature, key), "{name}: {changed}");
        }
        for changed in with_one_bit_changed(signature) {
            assert!(!vector.verifies(url, body, &changed, key), "{name}: {changed}");
        }
    }
}

#[test]
fn a_shared_key_that_is_not_configured_verifies_nothing() {
    for vector in read::<TwilioVector>(include_str!("../../../vectors/twilio.json"), 100) {
        let headers = [
            ("content-type".to_owned(), vector.content_type.clone()),
            ("x-twilio-signature".to_owned(), vector.signature.clone()),
            ("x-twilio-webhooks-signature-settings".to_owned(), format!("algorithm={}", vector.algorithm)),
        ];
        let request = callback(&vector.url, &headers, vector.body.as_bytes(), 0);
        let verified = twilio_signature::verify(&request, &vector.url, &vector.key.clone().into(), None);
        assert_eq!(verified.is_ok(), vector.algorithm == "HMAC_SHA1", "{}", vector.name);
        let other = headers.clone().map(|(name, value)| (name, value.replace("HMAC_SHA", "HMAC_MD")));
        let request = callback(&vector.url, &other, vector.body.as_bytes(), 0);
        let key = vector.key.clone().into();
        let verified = twilio_signature::verify(&request, &vector.url, &key, Some(&key));
        assert_eq!(verified, Err(CallbackError::Signature), "{}: an algorithm that is none", vector.name);
    }
}

#[derive(Deserialize)]
struct VonageVector {
    name: String,
    key: String,
    method: SignatureMethod,
    now: i64,
    body: String,
}

impl VonageVector {
    fn verify(body: &str, key: &str, method: SignatureMethod, now_s: i64) -> Result<String, CallbackError> {
        let headers = [("content-type".to_owned(), "application/x-www-form-urlencoded".to_owned())];
        let fields = Fields::read(&callback("/receipts", &headers, body.as_bytes(), now_s)).unwrap();
        vonage_signature::verify(&fields, &key.into(), method, Timestamp::from_millis(now_s * 1_000))
    }
}

#[test]
fn vonage_signatures_verify_and_changed_ones_do_not() {
    for vector in read::<VonageVector>(include_str!("../../../vectors/vonage.json"), 30) {
        let VonageVector { name, key, method, now, body } = &vector;
        assert!(
            VonageVector::verify(body, key, *method, *now).is_ok_and(|replay_key| !replay_key.is_empty()),
            "{name}"
        );
        for seconds in [-300, 300] {
            assert!(VonageVector::verify(body, key, *method, now + seconds).is_ok(), "{name}: {seconds}");
        }
        for seconds in [-301, 301] {
            assert_eq!(
                VonageVector::verify(body, key, *method, now + seconds),
                Err(CallbackError::Expired),
                "{name}"
            );
        }
        assert!(
            VonageVector::verify(body, &format!("{key}0"), *method, *now).is_err(),
            "{name}: another key"
        );
        for other in [SignatureMethod::Md5hash, SignatureMethod::Md5, SignatureMethod::Sha256] {
            let result = VonageVector::verify(body, key, other, *now);
            assert_eq!(result.is_ok(), other == *method, "{name}: a method that the account does not have");
        }
        for changed in with_one_bit_changed(body) {
            let fields = |text: &str| {
                let pairs = form_urlencoded::parse(text.as_bytes()).into_owned();
                // The contract signs `&` and `=` within values as `_`, and hexadecimal in any case.
                let plain = |value: String| value.replace(['&', '='], "_");
                pairs
                    .map(
                        |(name, value)| {
                            if name == "sig" { (name, value.to_lowercase()) } else { (name, plain(value)) }
                        },
                    )
                    .collect::<Vec<_>>()
            };
            let same = fields(&changed) == fields(body);
            assert!(same || VonageVector::verify(&changed, key, *method, *now).is_err(), "{name}: {changed}");
        }
        let without_time = body.replace("timestamp", "timestomp");
        assert_eq!(
            VonageVector::verify(&without_time, key, *method, *now),
            Err(CallbackError::Signature),
            "{name}"
        );
    }
}

#[derive(Deserialize)]
struct MessagebirdVector {
    name: String,
    key: String,
    url: String,
    body: String,
    now: i64,
    token: String,
    valid: bool,
}

#[test]
fn messagebird_tokens_are_judged_as_their_library_does() {
    let vectors = read::<MessagebirdVector>(include_str!("../../../vectors/messagebird.json"), 43);
    assert!(vectors.iter().any(|vector| !vector.valid));
    for vector in &vectors {
        let MessagebirdVector { name, key, url, body, now, token, valid } = vector;
        let verify = |url: &str, body: &str, token: &str, key: &str| {
            jwt::verify(token, key, url, &callback(url, &[], body.as_bytes(), *now))
        };
        let judged = verify(url, body, token, key);
        assert_eq!(judged.is_ok(), *valid, "{name}: {judged:?}");
        if !valid {
            continue;
        }
        assert_eq!(judged.unwrap(), "a1b2-once", "{name}");
        assert!(verify(url, body, token, &format!("{key}0")).is_err(), "{name}: another key");
        assert!(with_one_bit_changed(url).all(|url| verify(&url, body, token, key).is_err()), "{name}: URL");
        assert!(
            with_one_bit_changed(body).all(|body| verify(url, &body, token, key).is_err()),
            "{name}: body"
        );
        assert!(
            with_one_bit_changed(token).all(|token| verify(url, body, &token, key).is_err()),
            "{name}: token"
        );
    }
}
