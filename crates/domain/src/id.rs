//! Identifiers. Public ones are UUID version 7 (RFC 9562 §5.7), so that they sort by age;
//! a delivery, of which there are many, is a 64-bit integer that the database assigns.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! uuid_id {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A new identifier, later than all that this process made before.
            #[must_use]
            pub fn generate() -> Self {
                Self(Uuid::now_v7())
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = uuid::Error;
            fn from_str(s: &str) -> Result<Self, Self::Err> {
                s.parse().map(Self)
            }
        }

        impl From<Uuid> for $name {
            fn from(uuid: Uuid) -> Self {
                Self(uuid)
            }
        }
    )+};
}

uuid_id! {
    /// A tenant: a police unit or a municipality.
    OrganisationId,
    /// A registered resident or business.
    ParticipantId,
    /// A place for which a participant wants alerts.
    PlaceId,
    /// A named circle of participants.
    GroupId,
    /// The event that was reported.
    IncidentId,
    /// The call to participants about an incident.
    AlertId,
    /// One text of an alert.
    MessageId,
    /// An SMS from a participant.
    ReplyId,
    /// The opt-out of a phone number.
    OptOutId,
    /// An API key.
    KeyId,
    /// A test message of a gateway.
    GatewayTestId,
}

/// One message to one participant; assigned by the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DeliveryId(pub i64);

impl DeliveryId {
    /// Stands for a delivery when a gateway is tested: `number` (from 1) below zero, where no delivery is.
    #[must_use]
    pub const fn of_test(number: i64) -> Self {
        Self(number.saturating_neg())
    }

    /// The number of the test that it stands for; `None` for a delivery.
    #[must_use]
    pub const fn test_number(self) -> Option<i64> {
        if self.0 < 0 { Some(self.0.saturating_neg()) } else { None }
    }
}

impl std::fmt::Display for DeliveryId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
