//! An adapter: the contract of one provider, without I/O.

use std::path::PathBuf;

use klaroen_domain::outcome::{ProviderId, SubmitOutcome};
use klaroen_domain::phone::Country;
use klaroen_domain::time::Timestamp;
use secrecy::SecretString;

use super::client::{Answer, Call};
use crate::settings::{ConfigFault, Endpoint, Routing, secret, sender_fault};
use crate::sms::{
    CallbackAnswer, CallbackError, CallbackKind, Capabilities, ClientReference, GatewayEvent, OutboundSms,
    RawCallback, StatusAnswer,
};

/// More than any callback about one message; a contract with lists says more.
const CALLBACK_BYTES_MAX: usize = 64 * 1024;

/// Requests to a provider and the meaning of its answers. Nothing here does I/O or reads a clock.
pub(crate) trait Contract: Send + Sync {
    /// The capabilities of the provider, if its callbacks reach us.
    fn capabilities(&self) -> Capabilities;

    /// Whether two messages may go in one request, as far as the contract is concerned.
    fn together(&self, _a: &OutboundSms, _b: &OutboundSms) -> bool {
        true
    }

    /// The request that hands over `batch`: 1 to `batch_max` messages.
    fn submission(&self, batch: &[OutboundSms]) -> Call;

    /// The outcome of each message by the answer, in their order; `None` if the answer is not in the words of the contract. Never
    /// asked about redirects, 429, 502 and 504.
    fn outcomes(&self, batch: &[OutboundSms], answer: &Answer) -> Option<Vec<SubmitOutcome>>;

    /// The request that asks what became of a message; `None` if the provider cannot be asked.
    fn question(&self, _sms: &OutboundSms, _since: Timestamp) -> Option<Call> {
        None
    }

    /// The answer to the question.
    fn finding(&self, _sms: &OutboundSms, _since: Timestamp, _answer: &Answer) -> StatusAnswer {
        StatusAnswer::NoAnswer
    }

    /// Largest callback, query included.
    fn callback_bytes_max(&self) -> usize {
        CALLBACK_BYTES_MAX
    }

    /// Verifies the signature if the provider signs; `url` is the public one. Returns what is unique to the request.
    ///
    /// # Errors
    /// Returns [`CallbackError::Signature`] if the signature is missing or wrong, and [`CallbackError::Expired`] if its time is
    /// over or has not come.
    fn authenticate(&self, _callback: &RawCallback<'_>, _url: &str) -> Result<Option<String>, CallbackError> {
        Ok(None)
    }

    /// Reads receipts of a callback that is the provider's.
    ///
    /// # Errors
    /// [`CallbackError`] if nothing of it can be read, or the contract has none.
    fn receipts(&self, callback: &RawCallback<'_>) -> Result<Found, CallbackError>;

    /// Reads inbound messages of a callback that is the provider's.
    ///
    /// # Errors
    /// [`CallbackError`] if nothing of it can be read, or the contract has none.
    fn inbound(&self, callback: &RawCallback<'_>) -> Result<Found, CallbackError>;

    /// The answer once all is stored.
    fn answer(&self, _kind: CallbackKind) -> CallbackAnswer {
        CallbackAnswer::EMPTY
    }
}

/// The content of a callback.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) events: Vec<GatewayEvent>,
    /// Entries of a list that could not be read: they do not keep the others back.
    pub(crate) unreadable: usize,
}

impl Found {
    /// Reads a list of entries, each for itself.
    pub(crate) fn each<T>(
        entries: impl IntoIterator<Item = T>,
        read: impl Fn(T) -> Option<GatewayEvent>,
    ) -> Self {
        let mut found = Self::default();
        for entry in entries {
            match read(entry) {
                Some(event) => found.events.push(event),
                None => found.unreadable += 1,
            }
        }
        found
    }

    /// One event.
    pub(crate) fn one(event: GatewayEvent) -> Self {
        Self { events: vec![event], unreadable: 0 }
    }
}

/// The configuration of a gateway over HTTP.
pub(crate) trait HttpConfig {
    /// Name of the gateway, as the operator calls it.
    fn name(&self) -> &str;
    /// The sender that participants see.
    fn sender(&self) -> &str;
    /// Segments per second; 0 is no limit.
    fn segments_per_second(&self) -> u32;
    /// Address of the provider, and how it is talked to.
    fn endpoint(&self) -> &Endpoint;
    /// Keys that all gateways have.
    fn routing(&self) -> &Routing;
    /// The adapter. `country` is where numbers without a country code belong. Reads the files of secrets.
    ///
    /// # Errors
    /// Returns every fault of the configuration.
    fn contract(&self, country: Country) -> Result<Box<dyn Contract>, Vec<ConfigFault>>;
}

/// The accessors of [`HttpConfig`], which are the same for every struct that has the common fields.
macro_rules! common_keys {
    () => {
        fn name(&self) -> &str {
            &self.name
        }
        fn sender(&self) -> &str {
            &self.sender
        }
        fn segments_per_second(&self) -> u32 {
            self.segments_per_second
        }
        fn endpoint(&self) -> &$crate::settings::Endpoint {
            &self.endpoint
        }
        fn routing(&self) -> &$crate::settings::Routing {
            &self.routing
        }
    };
}
pub(super) use common_keys;

/// Collects faults, so that all are told at once.
#[derive(Debug, Default)]
pub(super) struct Faults(pub(super) Vec<ConfigFault>);

impl Faults {
    pub(super) fn take<T>(&mut self, result: Result<T, ConfigFault>) -> Option<T> {
        result.map_err(|fault| self.0.push(fault)).ok()
    }

    pub(super) fn secret(
        &mut self,
        names: [&'static str; 2],
        value: Option<&SecretString>,
        file: Option<&PathBuf>,
    ) -> Option<SecretString> {
        self.take(secret::read(names, value, file.map(PathBuf::as_path)))
    }

    /// One that need not be there.
    pub(super) fn optional_secret(
        &mut self,
        names: [&'static str; 2],
        value: Option<&SecretString>,
        file: Option<&PathBuf>,
    ) -> Option<SecretString> {
        if value.is_none() && file.is_none() { None } else { self.secret(names, value, file) }
    }

    pub(super) fn sender(&mut self, sender: &str) {
        self.0.extend(sender_fault(sender).map(|reason| ConfigFault::new("sender", reason)));
    }

    /// How many messages one request may have, if the provider takes `most`.
    pub(super) fn batch_max(&mut self, wanted: Option<u16>, most: u16) -> u16 {
        let size = wanted.unwrap_or(most);
        if !(1..=most).contains(&size) {
            self.0.push(ConfigFault::new("batch_max", format!("must be 1 to {most}")));
        }
        size
    }

    pub(super) fn require(&mut self, field: &'static str, value: &str) {
        if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_graphic()) {
            self.0.push(ConfigFault::new(field, "must be printable ASCII without blanks, and not empty"));
        }
    }
}

/// The address for receipts of one delivery, for providers that take one with each message: the path of the gateway
/// with our reference, so that a receipt is matched even before the answer to its submit.
pub(super) const REFERENCE_PARAMETER: &str = "d";

pub(super) fn receipts_url_of(receipts_url: &str, sms: &OutboundSms) -> String {
    format!("{receipts_url}?{REFERENCE_PARAMETER}={}", ClientReference::of(sms.delivery).0)
}

/// One id for the whole message, which the provider splits by itself.
pub(super) fn accepted(provider_id: impl Into<String>, segments: u8) -> SubmitOutcome {
    SubmitOutcome::Accepted { provider_ids: vec![ProviderId(provider_id.into())], segments: segments.max(1) }
}

/// Whole minutes of validity, never more than it is: no alert is to ring after its end.
pub(super) fn validity_minutes(sms: &OutboundSms) -> u64 {
    (sms.validity.as_secs() / 60).max(1)
}
