//! Deliveries as an operator sees them.

use klaroen_domain::delivery::DeliveryState;
use klaroen_domain::id::{AlertId, DeliveryId, MessageId, OrganisationId, ParticipantId};
use klaroen_domain::phone::PhoneNumber;
use klaroen_domain::time::Timestamp;

use crate::{Page, PageRequest, Result, Store};

/// One delivery.
#[derive(Clone, Debug, PartialEq)]
pub struct DeliveryView {
    /// Its id.
    pub id: DeliveryId,
    /// The message.
    pub message: MessageId,
    /// To whom.
    pub participant: ParticipantId,
    /// The number (shown masked); none where the participant was erased.
    pub phone: Option<PhoneNumber>,
    /// Where it stands.
    pub state: DeliveryState,
    /// How often it was handed to a gateway.
    pub attempts: u32,
    /// Why it stands there, where there is more to say: a provider's code, `opted_out`, `policy_hold`.
    pub reason: Option<String>,
    /// Which gateway connection took it.
    pub channel: Option<String>,
    /// When it was handed over.
    pub sent_at: Option<Timestamp>,
    /// When it last changed.
    pub changed_at: Timestamp,
}

impl Store {
    /// The deliveries of an alert, oldest first; `None` where the organisation has no such alert.
    ///
    /// # Errors
    /// What the database says, or a bad cursor.
    pub async fn list_deliveries(
        &self,
        _organisation: OrganisationId,
        _alert: AlertId,
        _state: Option<DeliveryState>,
        _page: &PageRequest,
    ) -> Result<Option<Page<DeliveryView>>> {
        unimplemented!()
    }
}
