//! Events that a provider tells in its own time: receipts and SMS that came in. Gateways make them, the store keeps them.

use crate::id::DeliveryId;
use crate::keyword::Keyword;
use crate::outcome::{ProviderId, ReceiptStatus};
use crate::phone::PhoneNumber;
use crate::time::Timestamp;

/// Seconds that a signed callback can be repeated in: the widest window of any gateway, both ways.
pub const REPLAY_WINDOW_S: i64 = 900;

/// Our reference for one delivery, in the form that providers echo.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClientReference(pub String);

impl ClientReference {
    /// The reference of a delivery.
    #[must_use]
    pub fn of(delivery: DeliveryId) -> Self {
        Self(format!("{:016x}", delivery.0))
    }

    /// The delivery that it is of; `None` if it is not one of ours (providers echo what others sent, too).
    #[must_use]
    pub fn delivery(&self) -> Option<DeliveryId> {
        let ours = self.0.len() == 16 && self.0.bytes().all(|byte| byte.is_ascii_hexdigit());
        // The ids of tests are below zero.
        ours.then(|| u64::from_str_radix(&self.0, 16).ok()).flatten().map(|id| DeliveryId(id.cast_signed()))
    }
}

/// A delivery receipt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The provider's id, canonical as in [`crate::outcome::SubmitOutcome::Accepted`].
    pub provider_id: ProviderId,
    /// Our reference, if the provider echoes it.
    pub reference: Option<ClientReference>,
    /// The status that the receipt reports.
    pub status: ReceiptStatus,
    /// Network or provider error code, if there is one.
    pub error: Option<String>,
    /// The phone that it is about, if the receipt names it.
    pub recipient: Option<PhoneNumber>,
    /// The receipt as it came, without addresses and message text: `id`, `stat`, `err`, dates.
    pub raw: String,
}

/// An SMS that came in. `Debug` shows neither number nor text.
#[derive(Clone)]
pub struct InboundSms {
    /// Identifies it for the provider, so that a repetition is known; made from the content if the provider sends no id.
    pub dedupe_key: String,
    /// The sender as the provider writes it.
    pub from: String,
    /// Our number that it was sent to.
    pub to: String,
    /// The whole text, parts joined.
    pub text: String,
    /// The keyword that the provider took it for and acts upon itself. It decides over the text: a provider that blocks us
    /// after a word of its own list refuses all that comes later.
    pub keyword: Option<Keyword>,
    /// When we got it.
    pub received_at: Timestamp,
}

impl std::fmt::Debug for InboundSms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InboundSms").field("received_at", &self.received_at).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_leads_back_to_its_delivery_and_others_lead_nowhere() {
        for id in [0, 1, 255, i64::MAX, -1, -255, i64::MIN] {
            assert_eq!(ClientReference::of(DeliveryId(id)).delivery(), Some(DeliveryId(id)));
        }
        assert_eq!(ClientReference("00000000000000FF".into()).delivery(), Some(DeliveryId(255)));
        for other in ["", "ff", "+0000000000000ff", "00000000000000fg", "000000000000000ff"] {
            assert_eq!(ClientReference(other.into()).delivery(), None, "{other}");
        }
    }
}
