//! Receipts as they come.

use klaroen_domain::id::DeliveryId;
use klaroen_domain::incoming::Receipt;
use klaroen_domain::outcome::{Failure, ProviderId, ReceiptStatus, storable};
use klaroen_domain::time::Timestamp;

use crate::engine::seal::{Keys, Recipient};

/// One receipt.
#[derive(Clone, Debug, PartialEq)]
pub struct IncomingReceipt {
    /// The provider's id, canonical.
    pub provider_id: ProviderId,
    /// Our reference, if the provider echoes it: joins without the id.
    pub delivery: Option<DeliveryId>,
    /// The status that the receipt reports.
    pub status: ReceiptStatus,
    /// Error code, if there is one.
    pub error: Option<String>,
    /// Whose phone, if the receipt names it.
    pub recipient: Option<Recipient>,
    /// As it came, without addresses and text.
    pub raw: String,
    /// When it came.
    pub received_at: Timestamp,
}

/// The longest receipt that is kept, in characters.
const RAW_LENGTH_MAX: usize = 2_000;

impl IncomingReceipt {
    /// Turns a receipt that a gateway read into the form that is kept: the phone by its hash, texts as every database takes them.
    #[must_use]
    pub fn of(receipt: Receipt, keys: &Keys, received_at: Timestamp) -> Self {
        Self {
            provider_id: receipt.provider_id.kept(),
            delivery: receipt.reference.and_then(|reference| reference.delivery()),
            status: receipt.status,
            error: receipt.error.map(|error| storable(error, Failure::CODE_LENGTH_MAX)),
            recipient: receipt.recipient.map(|phone| keys.recipient(&phone)),
            raw: storable(receipt.raw, RAW_LENGTH_MAX),
            received_at,
        }
    }
}

/// The content of a receipt about a part of a delivery.
#[derive(Clone, Debug)]
pub(crate) struct PartReceipt {
    pub(crate) delivery: i64,
    pub(crate) part: i64,
    pub(crate) status: ReceiptStatus,
    pub(crate) error: Option<String>,
    pub(crate) at: i64,
}
