//! What participants send back.

use klaroen_domain::id::{AlertId, OrganisationId, ParticipantId, ReplyId};
use klaroen_domain::keyword::Keyword;
use klaroen_domain::participant::Language;
use klaroen_domain::phone::PhoneNumber;
use klaroen_domain::text::MessageText;
use klaroen_domain::time::Timestamp;

use crate::{Actor, Page, PageRequest, Result, Store};

/// An SMS that came in. `Debug` is not derived: it holds a number and a text.
#[derive(Clone)]
pub struct IncomingReply {
    /// Through which gateway.
    pub gateway: String,
    /// Makes a repetition known.
    pub dedupe_key: String,
    /// The sender as it came.
    pub from: String,
    /// The sender as a phone number, where it is one.
    pub phone: Option<PhoneNumber>,
    /// The text.
    pub text: String,
    /// What the text asks for; none: it is for the operator.
    pub keyword: Option<Keyword>,
    /// When it came.
    pub received_at: Timestamp,
}

/// An automatic answer, in the participant's language.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AutoReply {
    /// STOP was carried out.
    OptOutConfirmed,
    /// START was carried out.
    OptInConfirmed,
    /// What this service is, and how to leave.
    Help,
    /// The alert is over: call 112 or 0900-8844.
    AlertOver,
}

/// The texts of automatic answers: given by the caller, who knows the configuration.
pub trait AutoReplyTexts: Send + Sync {
    /// The text of `reply` in `language`.
    fn text(&self, reply: AutoReply, language: Language) -> MessageText;
}

/// What became of an inbound SMS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyStored {
    /// It came before: nothing was done.
    Repeated,
    /// The number has opted out, everywhere.
    OptedOut,
    /// The number gets alerts again.
    OptedIn,
    /// Somebody asked for help.
    Helped,
    /// It stands under an alert.
    ForAlert(AlertId),
    /// It stands nowhere: no alert in the last 24 hours, or an unknown number.
    Unattributed,
}

/// How an operator marked a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplyState {
    /// Nobody looked at it.
    New,
    /// Somebody did.
    Read,
    /// Somebody acted on it.
    Handled,
}

/// A reply as an operator sees it.
#[derive(Clone)]
pub struct ReplyView {
    /// Its id.
    pub id: ReplyId,
    /// The alert.
    pub alert: Option<AlertId>,
    /// Who.
    pub participant: Option<ParticipantId>,
    /// The sender (shown masked).
    pub phone: Option<PhoneNumber>,
    /// The text.
    pub text: String,
    /// Came after the alert was closed.
    pub after_end: bool,
    /// How it was marked.
    pub state: ReplyState,
    /// Whether it helped.
    pub useful: Option<bool>,
    /// When it came.
    pub received_at: Timestamp,
}

impl Store {
    /// Stores an inbound SMS and does what it asks for, in one transaction: STOP opts the number out everywhere, suppresses
    /// what is queued for it, and queues one confirmation.
    ///
    /// # Errors
    /// What the database says; it may not be acknowledged then.
    pub async fn store_reply(
        &self,
        _reply: &IncomingReply,
        _texts: &dyn AutoReplyTexts,
    ) -> Result<ReplyStored> {
        unimplemented!()
    }

    /// Deliveries for this number that are claimed but not settled: while there are any, a STOP is not acknowledged, because
    /// they may still leave.
    ///
    /// # Errors
    /// What the database says.
    pub async fn in_flight_to(&self, _phone: &PhoneNumber) -> Result<u64> {
        unimplemented!()
    }

    /// The replies of an alert, oldest first; `None` where the organisation has no such alert.
    ///
    /// # Errors
    /// What the database says, or a bad cursor.
    pub async fn list_replies(
        &self,
        _organisation: OrganisationId,
        _alert: AlertId,
        _page: &PageRequest,
    ) -> Result<Option<Page<ReplyView>>> {
        unimplemented!()
    }

    /// Marks a reply; `None` where the organisation has no such reply.
    ///
    /// # Errors
    /// What the database says.
    pub async fn mark_reply(
        &self,
        _organisation: OrganisationId,
        _id: ReplyId,
        _state: Option<ReplyState>,
        _useful: Option<bool>,
        _actor: Actor,
        _now: Timestamp,
    ) -> Result<Option<ReplyView>> {
        unimplemented!()
    }
}
