//! Texts and how much of them is under way.

use std::time::Duration;

use klaroen_domain::alert::{MessageKind, Priority};
use klaroen_domain::id::{AlertId, MessageId, OrganisationId};
use klaroen_domain::text::MessageText;
use klaroen_domain::time::Timestamp;

use crate::{Result, Store};

/// What a worker needs to know of a message; it never changes, so it can be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboundMessage {
    /// Its id.
    pub id: MessageId,
    /// Whose it is.
    pub organisation: OrganisationId,
    /// Its alert; none for an automatic answer.
    pub alert: Option<AlertId>,
    /// What it is for.
    pub kind: MessageKind,
    /// How urgent.
    pub priority: Priority,
    /// When it is over.
    pub expires_at: Timestamp,
    /// The text.
    pub text: MessageText,
}

/// How long an end, update or automatic answer may take to arrive: it is worth reading for hours.
pub const FOLLOW_UP_VALIDITY: Duration = Duration::from_secs(4 * 3600);

impl Store {
    /// One message.
    ///
    /// # Errors
    /// What the database says.
    pub async fn outbound_message(&self, _id: MessageId) -> Result<Option<OutboundMessage>> {
        unimplemented!()
    }
}
