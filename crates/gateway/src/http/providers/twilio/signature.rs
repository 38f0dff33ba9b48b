//! Twilio's signatures: `X-Twilio-Signature` over the public URL and the fields of the form.
//!
//! Names and values are signed without a mark between them, so `NumMedia=0` and `NumMedia0=` have one signature: whoever holds
//! a signed request can rename its fields, but not make up new ones.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use crate::http::fields::{hex, pairs, query};
use crate::sms::{CallbackError, RawCallback};

/// Verifies the signature of a request to `url`. Twilio signs with HMAC-SHA1 and the account's token; a request that says
/// HMAC-SHA256 is signed with the shared key, and refused if there is none.
///
/// # Errors
/// Returns [`CallbackError::Signature`] if the signature is missing or wrong.
pub(in crate::http) fn verify(
    callback: &RawCallback<'_>,
    url: &str,
    auth_token: &SecretString,
    shared_key: Option<&SecretString>,
) -> Result<(), CallbackError> {
    let given = callback.header("x-twilio-signature").ok_or(CallbackError::Signature)?;
    let given = STANDARD.decode(given).map_err(|_| CallbackError::Signature)?;
    let settings = callback.header("x-twilio-webhooks-signature-settings").unwrap_or_default();
    let fields = signed_fields(callback)?;
    let algorithm = settings.split(',').filter_map(|part| part.split_once('='));
    let algorithm =
        algorithm.filter(|(name, _)| name.trim() == "algorithm").map(|(_, value)| value.trim()).next();
    let right = match algorithm.unwrap_or("HMAC_SHA1") {
        "HMAC_SHA1" => any::<Hmac<Sha1>>(auth_token, url, &fields, &given),
        "HMAC_SHA256" => shared_key.is_some_and(|key| any::<Hmac<Sha256>>(key, url, &fields, &given)),
        _ => false,
    };
    if right { Ok(()) } else { Err(CallbackError::Signature) }
}

/// The text that is signed behind the URL. It is empty for JSON: there the query, which is in the URL, carries the hash of the body.
fn signed_fields(callback: &RawCallback<'_>) -> Result<String, CallbackError> {
    let query = pairs(query(callback).as_bytes());
    let is_form = callback.header("content-type").is_none_or(|kind| kind.contains("form"));
    match query.iter().find(|(name, _)| name == "bodySHA256") {
        Some((_, hash)) if !is_form => {
            let right = hex(&Sha256::digest(callback.body)).as_bytes().ct_eq(hash.as_bytes());
            if bool::from(right) { Ok(String::new()) } else { Err(CallbackError::Signature) }
        }
        // A body that nothing signs is refused.
        _ if !is_form && !callback.body.is_empty() => Err(CallbackError::Signature),
        // Sorted by name and then by value, repetitions once.
        _ => {
            let fields: BTreeSet<(String, String)> = pairs(callback.body).into_iter().collect();
            Ok(fields.into_iter().flat_map(|(name, value)| [name, value]).collect())
        }
    }
}

/// Whether it is the signature of the URL as configured, or with the port that Twilio leaves out or puts in.
fn any<M: Mac + KeyInit>(key: &SecretString, url: &str, fields: &str, given: &[u8]) -> bool {
    let mut right = Choice::from(0);
    for url in with_and_without_port(url) {
        if let Ok(mac) = <M as KeyInit>::new_from_slice(key.expose_secret().as_bytes()) {
            let made =
                mac.chain_update(url.as_bytes()).chain_update(fields.as_bytes()).finalize().into_bytes();
            right |= made.as_slice().ct_eq(given);
        }
    }
    right.into()
}

fn with_and_without_port(url: &str) -> Vec<String> {
    let mut urls = vec![url.to_owned()];
    // By hand, because a parser would mend what was signed as it is.
    if let Some((scheme, after)) = url.split_once("://") {
        let (authority, rest) = after.split_at(after.find(['/', '?', '#']).unwrap_or(after.len()));
        let usual = if scheme == "https" { "443" } else { "80" };
        // The colons of an IPv6 address stand before its bracket.
        let with_port = authority.rsplit_once(':').filter(|(_, port)| !port.contains(']'));
        let (host, port) = with_port.unwrap_or((authority, usual));
        urls.push(format!("{scheme}://{host}{rest}"));
        urls.push(format!("{scheme}://{host}:{port}{rest}"));
    }
    urls
}
