//! Sealing of phone numbers, names and replies, and the keyed hash by which a number is looked up.
//!
//! XChaCha20-Poly1305 with a random 24-byte nonce and the row's id as associated data, so that a sealed value opens only in
//! its own row. The hash is the first 16 bytes of an HMAC-SHA-256: there are some 10^8 phone numbers, so an unkeyed hash
//! could be reversed by trying them all.

use std::fmt;

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac};
use klaroen_domain::phone::PhoneNumber;
use rand::Rng;
use sha2::Sha256;

use crate::{Result, StoreError};

/// Says how a value was sealed, so that another way can come.
const VERSION: u8 = 1;
const NONCE_LENGTH: usize = 24;

/// Who rings: a phone number as the database knows it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Recipient(pub [u8; 16]);

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recipient(…)")
    }
}

/// The secret keys of an installation.
#[derive(Clone)]
pub struct Keys {
    cipher: XChaCha20Poly1305,
    hasher: Hmac<Sha256>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(…)")
    }
}

impl Keys {
    /// From two independent random keys.
    #[must_use]
    pub fn new(sealing: &[u8; 32], hashing: &[u8; 32]) -> Self {
        let cipher = XChaCha20Poly1305::new(&Key::from(*sealing));
        let hasher = <Hmac<Sha256> as hmac::digest::KeyInit>::new_from_slice(hashing)
            .unwrap_or_else(|_| unreachable!("HMAC takes a key of any length"));
        Self { cipher, hasher }
    }

    /// Who rings at `phone`.
    #[must_use]
    pub fn recipient(&self, phone: &PhoneNumber) -> Recipient {
        let mut hasher = self.hasher.clone();
        hasher.update(phone.expose().as_bytes());
        let digest = hasher.finalize().into_bytes();
        let mut short = [0; 16];
        short.copy_from_slice(&digest[..16]);
        Recipient(short)
    }

    /// A keyed hash of anything else, such as the content of an imported row.
    #[must_use]
    pub fn fingerprint(&self, content: &[u8]) -> [u8; 16] {
        let mut hasher = self.hasher.clone();
        hasher.update(b"fingerprint\0");
        hasher.update(content);
        let digest = hasher.finalize().into_bytes();
        let mut short = [0; 16];
        short.copy_from_slice(&digest[..16]);
        short
    }

    /// Seals `plain` for the row `row`.
    #[must_use]
    pub fn seal(&self, plain: &str, row: &[u8]) -> Vec<u8> {
        let mut nonce = [0u8; NONCE_LENGTH];
        rand::rng().fill_bytes(&mut nonce);
        let sealed = self
            .cipher
            .encrypt(&XNonce::from(nonce), Payload { msg: plain.as_bytes(), aad: row })
            .unwrap_or_else(|_| unreachable!("only a text of many gigabytes cannot be sealed"));
        let mut out = Vec::with_capacity(1 + NONCE_LENGTH + sealed.len());
        out.push(VERSION);
        out.extend_from_slice(&nonce);
        out.extend_from_slice(&sealed);
        out
    }

    /// Opens what [`Keys::seal`] made for the same row.
    ///
    /// # Errors
    ///
    /// Returns [`StoreError::Unsealable`] for another key, another row, or changed bytes.
    pub fn open(&self, sealed: &[u8], row: &[u8]) -> Result<String> {
        let (version, rest) = sealed.split_first().ok_or(StoreError::Unsealable)?;
        let (nonce, text) = rest.split_at_checked(NONCE_LENGTH).ok_or(StoreError::Unsealable)?;
        let nonce: [u8; NONCE_LENGTH] = nonce.try_into().map_err(|_| StoreError::Unsealable)?;
        if *version != VERSION {
            return Err(StoreError::Unsealable);
        }
        let plain = self
            .cipher
            .decrypt(&XNonce::from(nonce), Payload { msg: text, aad: row })
            .map_err(|_| StoreError::Unsealable)?;
        String::from_utf8(plain).map_err(|_| StoreError::Unsealable)
    }

    /// Seals a phone number for its row.
    #[must_use]
    pub fn seal_phone(&self, phone: &PhoneNumber, row: &[u8]) -> Vec<u8> {
        self.seal(phone.expose(), row)
    }

    /// Opens a phone number.
    ///
    /// # Errors
    ///
    /// Returns the same errors as [`Keys::open`].
    pub fn open_phone(&self, sealed: &[u8], row: &[u8]) -> Result<PhoneNumber> {
        self.open(sealed, row).map(PhoneNumber::from_sealed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(n: u8) -> Keys {
        Keys::new(&[n; 32], &[n + 1; 32])
    }

    #[test]
    fn a_sealed_value_opens_only_with_its_key_in_its_row() {
        let sealed = keys(1).seal("+31612345678", b"row-1");
        assert_eq!(keys(1).open(&sealed, b"row-1").unwrap(), "+31612345678");
        assert!(keys(1).open(&sealed, b"row-2").is_err());
        assert!(keys(2).open(&sealed, b"row-1").is_err());
        for i in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[i] ^= 1;
            assert!(keys(1).open(&changed, b"row-1").is_err(), "byte {i}");
        }
        assert!(keys(1).open(&[], b"row-1").is_err());
    }

    #[test]
    fn sealing_twice_does_not_show_equality_but_the_hash_does() {
        let phone = PhoneNumber::from_sealed("+31612345678".into());
        let other = PhoneNumber::from_sealed("+31612345679".into());
        assert_ne!(keys(1).seal_phone(&phone, b"r"), keys(1).seal_phone(&phone, b"r"));
        assert_eq!(keys(1).recipient(&phone), keys(1).recipient(&phone));
        assert_ne!(keys(1).recipient(&phone), keys(1).recipient(&other));
        assert_ne!(keys(1).recipient(&phone), keys(2).recipient(&phone));
    }
}
