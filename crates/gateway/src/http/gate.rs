//! The gate for callbacks: who does not know the token or calls from elsewhere is not heard.

use std::net::IpAddr;

use ipnet::IpNet;
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

use crate::settings::{ConfigFault, Routing};
use crate::sms::{CallbackError, RawCallback};

pub(super) struct Gate {
    tokens: Vec<SecretString>,
    addresses: Vec<IpNet>,
    public_url: String,
}

impl Gate {
    /// # Errors
    /// Returns the first [`ConfigFault`] of the keys for callbacks, if one of them is wrong.
    pub(super) fn new(routing: &Routing) -> Result<Self, ConfigFault> {
        Ok(Self {
            tokens: routing.callback_tokens()?,
            addresses: routing.callback_addresses()?,
            public_url: routing.callback_url()?.unwrap_or_default().to_owned(),
        })
    }

    /// Whether there are callbacks at all.
    pub(super) const fn is_open(&self) -> bool {
        !self.tokens.is_empty()
    }

    /// # Errors
    /// Returns [`CallbackError::NotSupported`] if the gateway takes no callbacks, `Token` if the token is not ours, and `Address`
    /// if `peer` is not an address of the provider.
    pub(super) fn admit(&self, token: &str, peer: IpAddr) -> Result<(), CallbackError> {
        if !self.is_open() {
            return Err(CallbackError::NotSupported);
        }
        let same = |ours: &SecretString| ours.expose_secret().as_bytes().ct_eq(token.as_bytes());
        // All are compared, so that the time does not tell which one it was.
        let known = self.tokens.iter().map(same).fold(subtle::Choice::from(0), |found, one| found | one);
        if !bool::from(known) {
            return Err(CallbackError::Token);
        }
        let peer = peer.to_canonical();
        if !self.addresses.is_empty() && !self.addresses.iter().any(|network| network.contains(&peer)) {
            return Err(CallbackError::Address);
        }
        Ok(())
    }

    /// The public URL that was called.
    pub(super) fn url_of(&self, callback: &RawCallback<'_>) -> String {
        format!("{}{}", self.public_url, callback.path_and_query)
    }
}
