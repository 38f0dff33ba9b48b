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

use crate::resources::alerts::area::AreaRequest;
use crate::resources::schemas;
use crate::resources::warning::Warning;

/// An alert.
#[derive(Debug, Serialize, ToSchema)]
pub struct Alert {
    /// The id of the alert.
    #[schema(schema_with = schemas::id)]
    pub id: AlertId,
    /// The incident that the alert is about.
    #[schema(schema_with = schemas::id)]
    pub incident_id: IncidentId,
    /// The state of the alert.
    #[schema(schema_with = schemas::alert_state)]
    pub state: AlertState,
    /// The priority of the alert.
    #[schema(schema_with = schemas::priority)]
    pub priority: Priority,
    /// The area as it was requested.
    #[schema(value_type = AreaRequest)]
    pub area: Value,
    /// The participants that the alert is for. If a member is absent, it limits nothing.
    #[schema(value_type = AlertAudience)]
    pub audience: Audience,
    /// Whether the alert is an exercise.
    pub exercise: bool,
    /// When the alert expires. Nothing of it is sent after that.
    #[schema(schema_with = schemas::time)]
    pub expires_at: Timestamp,
    /// The outcome. `null` until the alert is ended.
    #[schema(schema_with = schemas::outcome_or_null)]
    pub outcome: Option<Outcome>,
    /// When the alert was created.
    #[schema(schema_with = schemas::time)]
    pub created_at: Timestamp,
    /// The key that created the alert.
    #[schema(schema_with = schemas::id)]
    pub created_by: KeyId,
    /// When the alert was closed. `null` while it is open.
    #[schema(schema_with = schemas::time_or_null)]
    pub closed_at: Option<Timestamp>,
    /// Number of people who were asked: the recipients of the start messages. It still grows while a very large alert
    /// is being written.
    pub recipients: u64,
    /// The messages of the alert, oldest first.
    pub messages: Vec<Message>,
    /// Number of replies to the alert.
    pub replies: ReplyCounts,
    /// Warnings about the gateways while the alert is active. Absent in lists of alerts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warnings: Option<Vec<Warning>>,
}

/// The participants that an alert is for.
#[derive(Debug, ToSchema)]
pub struct AlertAudience {
    /// Only participants of these kinds.
    #[schema(schema_with = schemas::participant_kinds)]
    pub kinds: Option<Vec<String>>,
    /// Only members of at least one of these groups, by their codes.
    #[schema(value_type = Vec<String>, required = false)]
    pub groups: Option<Vec<String>>,
}

/// Numbers of replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ReplyCounts {
    /// All replies, reactions among them.
    pub total: u64,
    /// Replies that are not marked yet.
    pub new: u64,
}

/// The data of an event `counts`.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct CountsEvent {
    /// The state of the alert.
    #[schema(schema_with = schemas::alert_state)]
    pub state: AlertState,
    /// The messages of the alert with their counts.
    pub messages: Vec<Message>,
    /// Number of replies to the alert.
    pub replies: ReplyCounts,
}

/// One text of an alert, and the deliveries of it.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Message {
    /// The id of the message.
    #[schema(schema_with = schemas::id)]
    pub id: MessageId,
    /// The purpose of the message.
    #[schema(schema_with = schemas::message_kind)]
    pub kind: MessageKind,
    /// The text as it is sent.
    pub text: String,
    /// The alphabet of the text.
    #[schema(schema_with = schemas::encoding)]
    pub encoding: String,
    /// Number of SMS that each recipient gets.
    pub segments: u8,
    /// Number of people who get the message.
    pub recipients: u64,
    /// Number of deliveries in each state. They add up to `recipients`.
    pub counts: Counts,
    /// Number of deliveries that were sent again after their answer was lost. Those phones may have rung twice.
    pub in_doubt: u64,
    /// Submits whose answer was lost, and how the result became known.
    pub doubts: Doubts,
    /// Gateways that refused this text or its sender for every recipient. They get no more of the message.
    pub refused: Vec<Refusal>,
    /// Queued deliveries that no gateway takes now, and why. Absent in lists of alerts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Vec<Waiting>>,
    /// When the first delivery was handed over. `null` until then.
    #[schema(schema_with = schemas::time_or_null)]
    pub first_sent_at: Option<Timestamp>,
    /// When the last delivery so far was handed over. `null` until the first one was.
    #[schema(schema_with = schemas::time_or_null)]
    pub last_sent_at: Option<Timestamp>,
    /// When the message was created.
    #[schema(schema_with = schemas::time)]
    pub created_at: Timestamp,
}

/// Queued deliveries that no gateway takes now. They are sent as soon as a gateway takes them, until the alert ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Waiting {
    /// The country of the numbers (ISO 3166-1 alpha-2). `null` if it is not known.
    pub country: Option<String>,
    /// Number of deliveries.
    pub deliveries: u64,
    /// The reason why no gateway takes them: the state of each gateway that serves these numbers, or that none does.
    pub reason: String,
}

/// Number of deliveries in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Counts {
    /// Deliveries that wait for their turn.
    pub queued: u64,
    /// Deliveries that are being handed over.
    pub sending: u64,
    /// Deliveries that the provider accepted.
    pub sent: u64,
    /// Deliveries that reached the handset.
    pub delivered: u64,
    /// Deliveries that the network gave up.
    pub undelivered: u64,
    /// Deliveries that were refused.
    pub failed: u64,
    /// Deliveries that the provider may have accepted.
    pub unknown: u64,
    /// Deliveries that were not sent because the alert was over.
    pub expired: u64,
    /// Deliveries that were not sent because an operator stopped them.
    pub cancelled: u64,
    /// Deliveries that were not sent because the participant opted out.
    pub suppressed: u64,
    /// Deliveries that the provider accepted and for which no receipt came in time.
    pub no_receipt: u64,
}

/// Submits whose answer was lost. All members except `total` add up to `total`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Doubts {
    /// All submits whose answer was ever lost.
    pub total: u64,
    /// Submits whose result is not known yet.
    pub open: u64,
    /// Submits whose receipt came.
    pub receipt: u64,
    /// Submits that the provider confirmed when it was asked.
    pub lookup_found: u64,
    /// Submits that the provider did not know when it was asked. They went back to the queue.
    pub lookup_not_found: u64,
    /// Submits that were repeated under the same reference, with a provider where a repetition cannot ring twice.
    pub idempotent_resend: u64,
    /// Submits that were repeated although their result was not known. Those phones may ring twice.
    pub policy_resend: u64,
    /// Submits that were left as they are, because their result did not become known.
    pub policy_hold: u64,
    /// Submits whose answer came after all.
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

/// A gateway that refused a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Refusal {
    /// The name of the gateway.
    pub gateway: String,
    /// The provider's code.
    pub code: String,
    /// The meaning of the code.
    pub detail: String,
    /// When the gateway refused the message.
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
            warnings: None,
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
