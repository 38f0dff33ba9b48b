//! `MessageBird`'s signed requests: a JWT (RFC 7519) over the hashes of URL and body.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use sha2::{Digest, Sha256, Sha384, Sha512};
use subtle::ConstantTimeEq;

use crate::http::fields::hex;
use crate::sms::{CallbackError, RawCallback};

/// Seconds that the provider's clock may differ from ours.
const SKEW_S: i64 = 1;
/// Nothing that the provider signs is longer.
const TOKEN_LEN_MAX: usize = 4_096;

#[derive(Deserialize)]
struct Header {
    alg: String,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    nbf: i64,
    exp: i64,
    jti: String,
    url_hash: String,
    payload_hash: Option<String>,
}

/// Verifies the request that `callback` is, called at `url`, and returns the id of the token, which comes once.
///
/// # Errors
/// Returns [`CallbackError::Signature`] if the signature is missing or wrong, and [`CallbackError::Expired`] if it is right and
/// its time is not.
pub(in crate::http) fn verify(
    token: &str,
    key: &str,
    url: &str,
    callback: &RawCallback<'_>,
) -> Result<String, CallbackError> {
    let claims = claims(token, key).ok_or(CallbackError::Signature)?;
    let now = callback.received_at.as_millis().div_euclid(1_000);
    let body_hash = claims.payload_hash.as_deref();
    let body_right = match (callback.body.is_empty(), body_hash) {
        (true, None) => true,
        (_, Some(hash)) => same_hash(callback.body, hash),
        (false, None) => false,
    };
    if claims.iss != "MessageBird"
        || claims.jti.is_empty()
        || claims.jti.len() > 200
        || !same_hash(url.as_bytes(), &claims.url_hash)
        || !body_right
    {
        return Err(CallbackError::Signature);
    }
    if now < claims.nbf.saturating_sub(SKEW_S) || now > claims.exp.saturating_add(SKEW_S) {
        return Err(CallbackError::Expired);
    }
    Ok(claims.jti)
}

/// The claims of a token whose signature is right. Only HMAC: `none` and what is made with a public key are refused.
fn claims(token: &str, key: &str) -> Option<Claims> {
    if token.len() > TOKEN_LEN_MAX {
        return None;
    }
    let (signed, signature) = token.rsplit_once('.')?;
    let (header, payload) = signed.split_once('.')?;
    let header: Header = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).ok()?).ok()?;
    let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
    let (key, signed) = (key.as_bytes(), signed.as_bytes());
    let right = match header.alg.as_str() {
        "HS256" => Hmac::<Sha256>::new_from_slice(key).ok()?.chain_update(signed).verify_slice(&signature),
        "HS384" => Hmac::<Sha384>::new_from_slice(key).ok()?.chain_update(signed).verify_slice(&signature),
        "HS512" => Hmac::<Sha512>::new_from_slice(key).ok()?.chain_update(signed).verify_slice(&signature),
        _ => return None,
    };
    right.ok()?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
}

fn same_hash(bytes: &[u8], claimed: &str) -> bool {
    hex(&Sha256::digest(bytes)).as_bytes().ct_eq(claimed.to_ascii_lowercase().as_bytes()).into()
}
