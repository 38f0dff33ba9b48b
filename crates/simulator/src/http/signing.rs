//! The arithmetic of signatures; what is signed stands with each contract.

use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER};
use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};
use sha1::Sha1;
use sha2::{Sha256, Sha512};

/// How Vonage signs, as set in the account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignatureMethod {
    /// The MD5 of the fields and the secret.
    #[default]
    Md5Hash,
    /// HMAC-MD5.
    Md5,
    /// HMAC-SHA1.
    Sha1,
    /// HMAC-SHA256.
    Sha256,
    /// HMAC-SHA512.
    Sha512,
}

impl SignatureMethod {
    /// Lower-case hexadecimal.
    pub(crate) fn sign(self, secret: &str, text: &str) -> String {
        let (key, text) = (secret.as_bytes(), text.as_bytes());
        let octets = match self {
            Self::Md5Hash => Md5::new().chain_update(text).chain_update(key).finalize().to_vec(),
            Self::Md5 => mac::<Hmac<Md5>>(key, text),
            Self::Sha1 => mac::<Hmac<Sha1>>(key, text),
            Self::Sha256 => mac::<Hmac<Sha256>>(key, text),
            Self::Sha512 => mac::<Hmac<Sha512>>(key, text),
        };
        HEXLOWER.encode(&octets)
    }
}

fn mac<M: Mac + KeyInit>(key: &[u8], message: &[u8]) -> Vec<u8> {
    let Ok(mut mac) = <M as KeyInit>::new_from_slice(key) else {
        unreachable!("RFC 2104 takes a key of any length")
    };
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}

/// Base64 of the HMAC-SHA1.
pub(crate) fn hmac_sha1_base64(key: &str, text: &str) -> String {
    BASE64.encode(&mac::<Hmac<Sha1>>(key.as_bytes(), text.as_bytes()))
}

/// Hexadecimal SHA-256.
pub(crate) fn sha256_hex(octets: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(octets))
}

/// A JSON Web Token with HS256 (RFC 7515, RFC 7519).
pub(crate) fn jwt(key: &str, claims: &serde_json::Value) -> String {
    let head = BASE64URL_NOPAD.encode(br#"{"alg":"HS256","typ":"JWT"}"#);
    let signed = format!("{head}.{}", BASE64URL_NOPAD.encode(claims.to_string().as_bytes()));
    let signature = mac::<Hmac<Sha256>>(key.as_bytes(), signed.as_bytes());
    format!("{signed}.{}", BASE64URL_NOPAD.encode(&signature))
}

/// The name and the password of an `Authorization: Basic` (RFC 7617).
pub(crate) fn basic(header: &str) -> Option<(String, String)> {
    let octets = BASE64.decode(header.strip_prefix("Basic ")?.trim().as_bytes()).ok()?;
    let (name, password) = std::str::from_utf8(&octets).ok()?.split_once(':')?;
    Some((name.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_test_vectors_of_the_standards_are_met() {
        // RFC 2202 and RFC 4231, test case 2; the MD5 of "abc" is in RFC 1321.
        let text = "what do ya want for nothing?";
        let signed = |method: SignatureMethod| method.sign("Jefe", text);
        assert_eq!(signed(SignatureMethod::Md5), "750c783e6ab0b503eaa86e310a5db738");
        assert_eq!(signed(SignatureMethod::Sha1), "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79");
        assert_eq!(
            signed(SignatureMethod::Sha256),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert!(
            signed(SignatureMethod::Sha512).starts_with("164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd6")
        );
        assert_eq!(SignatureMethod::Md5Hash.sign("c", "ab"), "900150983cd24fb0d6963f7d28e17f72");
    }

    #[test]
    fn a_name_and_a_password() {
        assert_eq!(
            basic("Basic QWxhZGRpbjpvcGVuOnNlc2FtZQ=="),
            Some(("Aladdin".into(), "open:sesame".into()))
        );
        assert_eq!(basic("Bearer x"), None);
    }
}
