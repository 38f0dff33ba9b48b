//! Alerts: taking one, changing it, and what the operator sees of it.

use std::collections::BTreeMap;

use klaroen_domain::alert::{AlertState, MessageKind, Outcome, Priority};
use klaroen_domain::delivery::DeliveryState;
use klaroen_domain::geofence::Geofence;
use klaroen_domain::id::{AlertId, IncidentId, KeyId, MessageId, OrganisationId};
use klaroen_domain::text::MessageText;
use klaroen_domain::time::Timestamp;

use crate::idempotency::{Idempotency, Once};
use crate::incidents::IncidentDraft;
use crate::matching::{Audience, MatchRules};
use crate::{Page, PageRequest, Result, Store};

/// What a validated request says.
#[derive(Clone, Debug)]
pub struct AlertDraft {
    /// The shape.
    pub geofence: Geofence,
    /// As it was asked for (`{"circle":…}`), to be shown again.
    pub area: serde_json::Value,
    /// The text of the start message.
    pub text: MessageText,
    /// Whom.
    pub audience: Audience,
    /// How urgent.
    pub priority: Priority,
    /// When it is over.
    pub expires_at: Timestamp,
    /// Training, not real.
    pub exercise: bool,
}

/// Who takes an alert, and with what rules.
#[derive(Clone, Debug)]
pub struct Intake<'a> {
    /// The tenant.
    pub organisation: OrganisationId,
    /// The operator's key.
    pub operator: KeyId,
    /// Makes a repetition known.
    pub idempotency: Option<&'a Idempotency>,
    /// The rules about disturbing people.
    pub rules: &'a MatchRules,
    /// The present moment.
    pub now: Timestamp,
}

/// An alert that was taken: its first page of deliveries is on the disk, the rest is [`Store::continue_fanout`]'s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The incident.
    pub incident: IncidentId,
    /// The alert, where there was one in the request.
    pub alert: Option<AlertId>,
    /// How many will be asked.
    pub recipients: u64,
    /// Whether deliveries remain to be written.
    pub more: bool,
}

/// Why a change to an alert was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeRefused {
    /// The organisation has no such alert (or incident).
    NotFound,
    /// The alert is in a state that does not allow it.
    NotPossible(AlertState),
}

/// One message of an alert with what became of it.
#[derive(Clone, Debug, PartialEq)]
pub struct MessageView {
    /// Its id.
    pub id: MessageId,
    /// What it is for.
    pub kind: MessageKind,
    /// The text that goes out.
    pub text: String,
    /// `gsm7` or `ucs2`.
    pub encoding: String,
    /// SMS each.
    pub segments: u8,
    /// How many people.
    pub recipients: u64,
    /// How many deliveries in each state; every state is there, and they add up to `recipients`.
    pub counts: BTreeMap<DeliveryState, u64>,
    /// When the first one was handed over.
    pub first_sent_at: Option<Timestamp>,
    /// When the last one was handed over.
    pub last_sent_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// An alert as an operator sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertView {
    /// Its id.
    pub id: AlertId,
    /// What it is about.
    pub incident: IncidentId,
    /// Where it stands.
    pub state: AlertState,
    /// How urgent.
    pub priority: Priority,
    /// As it was asked for.
    pub area: serde_json::Value,
    /// Whom.
    pub audience: Audience,
    /// Training, not real.
    pub exercise: bool,
    /// When it is over.
    pub expires_at: Timestamp,
    /// What came of it, once ended.
    pub outcome: Option<Outcome>,
    /// When it was made.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: KeyId,
    /// When it was closed.
    pub closed_at: Option<Timestamp>,
    /// Its messages, oldest first.
    pub messages: Vec<MessageView>,
    /// Replies, all.
    pub replies_total: u64,
    /// Replies that nobody looked at yet.
    pub replies_new: u64,
}

impl Store {
    /// Takes an incident, with or without an alert, in one transaction.
    ///
    /// # Errors
    /// What the database says.
    pub async fn take_incident(
        &self,
        _intake: &Intake<'_>,
        _incident: &IncidentDraft,
        _alert: Option<&AlertDraft>,
    ) -> Result<Once<Taken>> {
        unimplemented!()
    }

    /// Takes an alert about an incident that is there.
    ///
    /// # Errors
    /// What the database says.
    pub async fn take_alert(
        &self,
        _intake: &Intake<'_>,
        _incident: IncidentId,
        _alert: &AlertDraft,
    ) -> Result<Result<Once<Taken>, ChangeRefused>> {
        unimplemented!()
    }

    /// One alert.
    ///
    /// # Errors
    /// What the database says.
    pub async fn alert(&self, _organisation: OrganisationId, _id: AlertId) -> Result<Option<AlertView>> {
        unimplemented!()
    }

    /// The alerts of an organisation, newest first.
    ///
    /// # Errors
    /// What the database says, or a bad cursor.
    pub async fn list_alerts(
        &self,
        _organisation: OrganisationId,
        _state: Option<AlertState>,
        _page: &PageRequest,
    ) -> Result<Page<AlertView>> {
        unimplemented!()
    }

    /// The alerts of one incident, oldest first.
    ///
    /// # Errors
    /// What the database says.
    pub async fn alerts_of_incident(
        &self,
        _organisation: OrganisationId,
        _incident: IncidentId,
    ) -> Result<Vec<AlertView>> {
        unimplemented!()
    }

    /// A text to those who were reached.
    ///
    /// # Errors
    /// What the database says.
    pub async fn update_alert(
        &self,
        _intake: &Intake<'_>,
        _id: AlertId,
        _text: &MessageText,
    ) -> Result<Result<Once<()>, ChangeRefused>> {
        unimplemented!()
    }

    /// Withdraws an alert: unsent starts are cancelled, those reached get the text.
    ///
    /// # Errors
    /// What the database says.
    pub async fn retract_alert(
        &self,
        _intake: &Intake<'_>,
        _id: AlertId,
        _text: &MessageText,
    ) -> Result<Result<Once<()>, ChangeRefused>> {
        unimplemented!()
    }

    /// Ends an alert: unsent starts are cancelled, those reached get the text.
    ///
    /// # Errors
    /// What the database says.
    pub async fn end_alert(
        &self,
        _intake: &Intake<'_>,
        _id: AlertId,
        _text: &MessageText,
        _outcome: Outcome,
    ) -> Result<Result<Once<()>, ChangeRefused>> {
        unimplemented!()
    }

    /// Stops what has not left.
    ///
    /// # Errors
    /// What the database says.
    pub async fn cancel_alert(
        &self,
        _intake: &Intake<'_>,
        _id: AlertId,
    ) -> Result<Result<Once<()>, ChangeRefused>> {
        unimplemented!()
    }

    /// Asks more people, with the start message, about an alert that runs. Those already asked are not asked again.
    /// `Taken::recipients` counts the new ones.
    ///
    /// # Errors
    /// What the database says.
    pub async fn extend_alert(
        &self,
        _intake: &Intake<'_>,
        _id: AlertId,
        _geofence: &Geofence,
        _area: &serde_json::Value,
    ) -> Result<Result<Once<Taken>, ChangeRefused>> {
        unimplemented!()
    }
}
