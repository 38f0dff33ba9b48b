//! Vonage's signed callbacks: `sig` over all other parameters.

use hmac::{Hmac, KeyInit, Mac};
use klaroen_domain::time::Timestamp;
use md5::Md5;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};
use subtle::ConstantTimeEq;

use crate::http::fields::{Fields, hex};
use crate::sms::CallbackError;

/// Seconds that `timestamp` may differ from our clock, either way.
const WINDOW_S: u64 = 300;

/// How the account signs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignatureMethod {
    /// MD5 of parameters and secret: what accounts begin with. Not safe; choose another in the account.
    Md5hash,
    /// HMAC-MD5.
    Md5,
    /// HMAC-SHA-1.
    Sha1,
    /// HMAC-SHA-256.
    #[default]
    Sha256,
    /// HMAC-SHA-512.
    Sha512,
}

/// Verifies `sig` and the time, and returns what is unique to the request.
///
/// # Errors
/// Returns [`CallbackError::Signature`] if `sig` is missing or wrong, and [`CallbackError::Expired`] if it is right and its time
/// is not.
pub(in crate::http) fn verify(
    fields: &Fields,
    secret: &SecretString,
    method: SignatureMethod,
    now: Timestamp,
) -> Result<String, CallbackError> {
    let given = fields.get("sig").ok_or(CallbackError::Signature)?.to_ascii_lowercase();
    let made = signature(fields, secret.expose_secret(), method).ok_or(CallbackError::Signature)?;
    let timestamp = fields.get("timestamp").and_then(|text| text.parse::<i64>().ok());
    let timestamp = timestamp.ok_or(CallbackError::Signature)?;
    if !bool::from(made.as_bytes().ct_eq(given.as_bytes())) {
        return Err(CallbackError::Signature);
    }
    if timestamp.abs_diff(now.as_millis().div_euclid(1_000)) > WINDOW_S {
        return Err(CallbackError::Expired);
    }
    // With a time inside of it the signature is as unique as a nonce.
    Ok(fields.get("nonce").unwrap_or(&given).chars().take(200).collect())
}

/// In lower-case hexadecimal; .NET writes upper case.
fn signature(fields: &Fields, secret: &str, method: SignatureMethod) -> Option<String> {
    let mut signed: Vec<(&str, &str)> = fields.iter().filter(|(name, _)| *name != "sig").collect();
    signed.sort_by_key(|(name, _)| *name);
    let text = signed
        .iter()
        .fold(String::new(), |text, (name, value)| text + "&" + name + "=" + &value.replace(['&', '='], "_"));
    Some(match method {
        SignatureMethod::Md5hash => hex(&Md5::digest(format!("{text}{secret}"))),
        SignatureMethod::Md5 => mac::<Hmac<Md5>>(secret, &text)?,
        SignatureMethod::Sha1 => mac::<Hmac<Sha1>>(secret, &text)?,
        SignatureMethod::Sha256 => mac::<Hmac<Sha256>>(secret, &text)?,
        SignatureMethod::Sha512 => mac::<Hmac<Sha512>>(secret, &text)?,
    })
}

fn mac<M: Mac + KeyInit>(secret: &str, text: &str) -> Option<String> {
    let mac = <M as KeyInit>::new_from_slice(secret.as_bytes()).ok()?;
    Some(hex(&mac.chain_update(text.as_bytes()).finalize().into_bytes()))
}
