//! Alerts and their messages as an operator sees them.

use klaroen_domain::alert::{AlertState, MessageKind, Outcome, Priority};
use klaroen_domain::delivery::DeliveryState;
use klaroen_domain::id::{AlertId, IncidentId, KeyId, MessageId};
use klaroen_domain::time::Timestamp;
use klaroen_store::alerts::{AlertView, MessageView};
use klaroen_store::doubts::{DoubtCounts, Resolution};
use klaroen_store::matching::Audience;
use klaroen_store::refusals::RefusalView;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::resources::schemas;

/// An alert.
#[derive(Debug, Serialize, ToSchema)]
pub struct Alert {
    /// Its id.
    #[schema(schema_with = schemas::id)]
    pub id: AlertId,
    /// What it is about.
    #[schema(schema_with = schemas::id)]
    pub incident_id: IncidentId,
    /// Where it stands.
    #[schema(schema_with = schemas::alert_state)]
    pub state: AlertState,
    /// How urgent.
    #[schema(schema_with = schemas::priority)]
    pub priority: Priority,
    /// Where, as it was asked for.
    #[schema(schema_with = schemas::object)]
    pub area: Value,
    /// Whom; a member that is missing means everybody.
    #[schema(schema_with = schemas::object)]
    pub audience: Audience,
    /// Training, not real.
    pub exercise: bool,
    /// When nothing of it is sent any more.
    #[schema(schema_with = schemas::time)]
    pub expires_at: Timestamp,
    /// What came of it, once ended.
    #[schema(schema_with = schemas::outcome_or_null)]
    pub outcome: Option<Outcome>,
    /// When it was made.
    #[schema(schema_with = schemas::time)]
    pub created_at: Timestamp,
    /// The key that made it.
    #[schema(schema_with = schemas::id)]
    pub created_by: KeyId,
    /// When it was closed.
    #[schema(schema_with = schemas::time_or_null)]
    pub closed_at: Option<Timestamp>,
    /// How many people were asked: those of the start messages. It still grows while a very large alert is being written.
    pub recipients: u64,
    /// Its messages, oldest first.
    pub messages: Vec<Message>,
    /// What came back.
    pub replies: ReplyCounts,
}

/// How many replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ReplyCounts {
    /// All.
    pub total: u64,
    /// Those that nobody looked at yet.
    pub new: u64,
}

/// The data of an event `counts`.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct CountsEvent {
    /// Where the alert stands.
    #[schema(schema_with = schemas::alert_state)]
    pub state: AlertState,
    /// Its messages with their counts.
    pub messages: Vec<Message>,
    /// How many replies.
    pub replies: ReplyCounts,
}

/// One text of an alert.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Message {
    /// Its id.
    #[schema(schema_with = schemas::id)]
    pub id: MessageId,
    /// What it is for.
    #[schema(schema_with = schemas::message_kind)]
    pub kind: MessageKind,
    /// The text as it goes out.
    pub text: String,
    /// The alphabet.
    #[schema(schema_with = schemas::encoding)]
    pub encoding: String,
    /// SMS each.
    pub segments: u8,
    /// How many people get it.
    pub recipients: u64,
    /// How many deliveries in each state; they add up to `recipients`.
    pub counts: Counts,
    /// How many were sent again after their answer was lost: those phones may have rung twice.
    pub in_doubt: u64,
    /// Submits whose answer was lost, and how each came to be known.
    pub doubts: Doubts,
    /// Gateways that refused this text, or its sender, for everybody: they take no more of it.
    pub refused: Vec<Refusal>,
    /// Queued deliveries that no gateway takes now, and why. Not in lists of alerts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Vec<Waiting>>,
    /// When the first one was handed over.
    #[schema(schema_with = schemas::time_or_null)]
    pub first_sent_at: Option<Timestamp>,
    /// When the last one was handed over.
    #[schema(schema_with = schemas::time_or_null)]
    pub last_sent_at: Option<Timestamp>,
    /// When it was made.
    #[schema(schema_with = schemas::time)]
    pub created_at: Timestamp,
}

/// Queued deliveries that no gateway takes now. They go out as soon as one does, until the alert ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Waiting {
    /// The country of the numbers (ISO 3166-1 alpha-2); null where it is not known.
    pub country: Option<String>,
    /// How many.
    pub deliveries: u64,
    /// What is the matter with each gateway that serves them, or that there is none.
    pub reason: String,
}

/// Deliveries by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Counts {
    /// Wait for their turn.
    pub queued: u64,
    /// Are being handed over.
    pub sending: u64,
    /// Taken by the provider.
    pub sent: u64,
    /// On the handset.
    pub delivered: u64,
    /// Given up by the network.
    pub undelivered: u64,
    /// Refused.
    pub failed: u64,
    /// May have been taken.
    pub unknown: u64,
    /// Not sent: the alert was over.
    pub expired: u64,
    /// Not sent: stopped by an operator.
    pub cancelled: u64,
    /// Not sent: opted out.
    pub suppressed: u64,
    /// Taken, and no receipt came in time.
    pub no_receipt: u64,
}

/// Submits whose answer was lost: the members but `total` add up to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Doubts {
    /// All that ever were.
    pub total: u64,
    /// Not known yet what became of them.
    pub open: u64,
    /// Their receipt came.
    pub receipt: u64,
    /// The provider was asked, and has them.
    pub lookup_found: u64,
    /// The provider was asked, and does not know them: they went back to the queue.
    pub lookup_not_found: u64,
    /// Handed over again under the same reference, at a provider where that cannot ring twice.
    pub idempotent_resend: u64,
    /// Sent once more although nothing settled them: those phones may ring twice.
    pub policy_resend: u64,
    /// Left as they are, because nothing settled them.
    pub policy_hold: u64,
    /// Their answer came after all.
    pub late_answer: u64,
}

impl From<&DoubtCounts> for Doubts {
    fn from(counts: &DoubtCounts) -> Self {
        let of = |resolution| counts.settled.get(&resolution).copied().unwrap_or(0);
        Self {
            total: counts.total(),
            open: counts.open,
            receipt: of(Resolution::Receipt),
            lookup_found: of(Resolution::LookupFound),
            lookup_not_found: of(Resolution::LookupNotFound),
            idempotent_resend: of(Resolution::IdempotentResend),
            policy_resend: of(Resolution::PolicyResend),
            policy_hold: of(Resolution::PolicyHold),
            late_answer: of(Resolution::LateAnswer),
        }
    }
}

/// A gateway's refusal of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Refusal {
    /// Which gateway.
    pub gateway: String,
    /// The provider's code.
    pub code: String,
    /// What it means.
    pub detail: String,
    /// When.
    #[schema(schema_with = schemas::time)]
    pub at: Timestamp,
}

impl From<RefusalView> for Refusal {
    fn from(view: RefusalView) -> Self {
        Self { gateway: view.gateway, code: view.code, detail: view.detail, at: view.at }
    }
}

impl From<MessageView> for Message {
    fn from(view: MessageView) -> Self {
        let count = |state| view.counts.get(&state).copied().unwrap_or(0);
        let counts = Counts {
            queued: count(DeliveryState::Queued),
            sending: count(DeliveryState::Sending),
            sent: count(DeliveryState::Sent),
            delivered: count(DeliveryState::Delivered),
            undelivered: count(DeliveryState::Undelivered),
            failed: count(DeliveryState::Failed),
            unknown: count(DeliveryState::Unknown),
            expired: count(DeliveryState::Expired),
            cancelled: count(DeliveryState::Cancelled),
            suppressed: count(DeliveryState::Suppressed),
            no_receipt: count(DeliveryState::NoReceipt),
        };
        Self {
            id: view.id,
            kind: view.kind,
            text: view.text,
            encoding: view.encoding,
            segments: view.segments,
            recipients: view.recipients,
            counts,
            in_doubt: view.in_doubt,
            doubts: Doubts::from(&view.doubts),
            refused: view.refused.into_iter().map(Refusal::from).collect(),
            waiting: None,
            first_sent_at: view.first_sent_at,
            last_sent_at: view.last_sent_at,
            created_at: view.created_at,
        }
    }
}

impl From<AlertView> for Alert {
    fn from(view: AlertView) -> Self {
        let starts = view.messages.iter().filter(|m| m.kind == MessageKind::Start);
        Self {
            id: view.id,
            incident_id: view.incident,
            state: view.state,
            priority: view.priority,
            area: view.area,
            audience: view.audience,
            exercise: view.exercise,
            expires_at: view.expires_at,
            outcome: view.outcome,
            created_at: view.created_at,
            created_by: view.created_by,
            closed_at: view.closed_at,
            recipients: starts.map(|m| m.recipients).sum(),
            messages: view.messages.into_iter().map(Message::from).collect(),
            replies: ReplyCounts { total: view.replies_total, new: view.replies_new },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_resolution_has_its_count() {
        let settled = Resolution::ALL.into_iter().zip(1..).collect();
        let doubts = serde_json::to_value(Doubts::from(&DoubtCounts { open: 100, settled })).unwrap();
        for (resolution, count) in Resolution::ALL.into_iter().zip(1..) {
            assert_eq!(doubts[resolution.as_str()], count);
        }
        assert_eq!((&doubts["open"], &doubts["total"]), (&100.into(), &128.into()));
    }

    #[test]
    fn every_state_has_its_count() {
        let counts = serde_json::to_value(Counts::default()).unwrap();
        let names: Vec<&String> = counts.as_object().unwrap().keys().collect();
        assert_eq!(names.len(), DeliveryState::ALL.len());
        assert!(DeliveryState::ALL.iter().all(|s| counts.get(s.as_str()).is_some()));
    }
}
