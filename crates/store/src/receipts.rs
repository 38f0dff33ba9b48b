//! Receipts: stored as they came, merged by `advance`, parked where their delivery is not known yet.

use klaroen_domain::id::DeliveryId;
use klaroen_domain::outcome::{ProviderId, ReceiptStatus};
use klaroen_domain::time::Timestamp;

use crate::seal::Recipient;
use crate::{Result, Store};

/// One receipt.
#[derive(Clone, Debug, PartialEq)]
pub struct IncomingReceipt {
    /// The provider's id, canonical.
    pub provider_id: ProviderId,
    /// Our reference, where the provider echoes it: joins without the id.
    pub delivery: Option<DeliveryId>,
    /// What it says.
    pub status: ReceiptStatus,
    /// Error code, where there is one.
    pub error: Option<String>,
    /// Whose phone, where the receipt names it.
    pub recipient: Option<Recipient>,
    /// As it came, without addresses and text.
    pub raw: String,
    /// When it came.
    pub received_at: Timestamp,
}

/// What a batch of receipts did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReceiptCounts {
    /// Moved a delivery.
    pub applied: u64,
    /// Said nothing new.
    pub unchanged: u64,
    /// No delivery has this id yet: parked.
    pub parked: u64,
}

impl Store {
    /// Stores a batch and moves the deliveries, in one transaction. Of a long message every part must be delivered.
    ///
    /// # Errors
    /// What the database says; nothing of the batch is stored then, and no receipt may be acknowledged.
    pub async fn store_receipts(&self, _gateway: &str, _batch: &[IncomingReceipt]) -> Result<ReceiptCounts> {
        unimplemented!()
    }
}
