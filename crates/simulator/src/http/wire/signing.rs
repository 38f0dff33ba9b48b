//! The arithmetic of signatures; what is signed stands with each contract.

use data_encoding::BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

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
    fn the_test_vector_of_the_standard_is_met() {
        // RFC 2202, test case 2.
        assert_eq!(hmac_sha1_base64("Jefe", "what do ya want for nothing?"), "7/zfauXrL6LSdBbV8YTfnCWafHk=");
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
