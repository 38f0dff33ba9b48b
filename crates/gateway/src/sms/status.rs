//! A provider's answer to a status query.

use klaroen_domain::outcome::{ProviderId, ReceiptStatus};

/// A provider's answer to a query about a message in doubt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StatusAnswer {
    /// The provider cannot be asked.
    Unsupported,
    /// The provider was asked and gave no answer that settles it: ask again.
    NoAnswer,
    /// The provider does not know the message: it was not taken.
    NotFound,
    /// The provider has it.
    Found {
        /// The provider's id, if it says so.
        provider_id: Option<ProviderId>,
        /// Its status.
        status: ReceiptStatus,
        /// Why it did not arrive; [`Failure::OPTED_OUT`](klaroen_domain::outcome::Failure::OPTED_OUT) where the recipient stopped messages at the provider.
        error: Option<String>,
    },
    /// The provider knows no reference of ours, and has these with the same number and text since that time: it is one that no
    /// other delivery of ours holds, if there is one.
    Alike {
        /// Each with its id, in the order of the provider.
        candidates: Vec<Candidate>,
        /// Whether there can be no others.
        complete: bool,
    },
}

/// A message at the provider that may be the one that is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The provider's id.
    pub provider_id: ProviderId,
    /// Its status.
    pub status: ReceiptStatus,
    /// As in [`StatusAnswer::Found`].
    pub error: Option<String>,
}

impl StatusAnswer {
    /// The provider has it, and that is all that it says of it.
    #[must_use]
    pub fn found(provider_id: impl Into<String>, status: ReceiptStatus) -> Self {
        Self::Found { provider_id: Some(ProviderId(provider_id.into())), status, error: None }
    }
}
