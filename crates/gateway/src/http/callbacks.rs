//! Reading the callbacks of a gateway: its contract behind its gate.

use std::net::IpAddr;

use klaroen_domain::phone::Country;

use super::contract::{Contract, HttpConfig};
use super::gate::Gate;
use crate::settings::ConnectError;
use crate::sms::{CallbackError, CallbackKind, Capabilities, RawCallback, VerifiedCallback};

/// Reads what the provider of one gateway calls back with: its contract and its gate, without a connection.
pub struct Callbacks {
    contract: Box<dyn Contract>,
    gate: Gate,
}

impl std::fmt::Debug for Callbacks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Callbacks").field("open", &self.gate.is_open()).finish_non_exhaustive()
    }
}

impl Callbacks {
    /// # Errors
    /// Returns [`ConnectError::Config`] if the configuration is wrong.
    pub(crate) fn of(config: &dyn HttpConfig, country: Country) -> Result<Self, ConnectError> {
        Ok(Self {
            contract: config.contract(country).map_err(ConnectError::Config)?,
            gate: Gate::new(config.routing()).map_err(|fault| ConnectError::Config(vec![fault]))?,
        })
    }

    /// The capabilities of the gateway: those of its contract, without receipts and inbound SMS if it takes no callbacks.
    pub(crate) fn capabilities(&self) -> Capabilities {
        let can = self.contract.capabilities();
        let called = self.gate.is_open();
        Capabilities { receipts: can.receipts && called, inbound: can.inbound && called, ..can }
    }

    /// The contract of the provider.
    pub(super) fn contract(&self) -> &dyn Contract {
        &*self.contract
    }

    /// The capabilities of the provider if its callbacks were let in.
    #[must_use]
    pub fn possible(&self) -> Capabilities {
        self.contract.capabilities()
    }

    /// Whether callbacks are let in: there is a token.
    #[must_use]
    pub fn are_open(&self) -> bool {
        self.gate.is_open()
    }

    /// Whether a caller from `peer` with this token is heard: to be asked before anything of the body is read.
    ///
    /// # Errors
    /// Returns [`CallbackError::NotSupported`] if the gateway takes no callbacks, `Token` if the token is not ours, and `Address`
    /// if `peer` is not an address of the provider.
    pub fn admit(&self, token: &str, peer: IpAddr) -> Result<(), CallbackError> {
        self.gate.admit(token, peer)
    }

    /// Bytes that path, query and body of a callback have together at most.
    #[must_use]
    pub fn bytes_max(&self) -> usize {
        self.contract.callback_bytes_max()
    }

    /// Verifies token, address and signature over the raw bytes, then parses. Pure.
    ///
    /// # Errors
    /// Returns a [`CallbackError`] if the gateway has no callbacks, a check fails, or the body cannot be read. The caller answers
    /// with its [`CallbackError::status`].
    pub fn parse(&self, callback: &RawCallback<'_>) -> Result<VerifiedCallback, CallbackError> {
        self.admit(callback.token, callback.peer)?;
        if callback.body.len() + callback.path_and_query.len() > self.bytes_max() {
            return Err(CallbackError::TooLarge);
        }
        let url = self.gate.url_of(callback);
        let replay_key = self.contract.authenticate(callback, &url)?;
        let found = match callback.kind {
            CallbackKind::Receipts => self.contract.receipts(callback)?,
            CallbackKind::Inbound => self.contract.inbound(callback)?,
        };
        Ok(VerifiedCallback {
            events: found.events,
            unreadable: found.unreadable,
            replay_key,
            answer: self.contract.answer(callback.kind),
        })
    }
}
