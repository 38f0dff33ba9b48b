//! Replies of participants, as operators see them. Storing an inbound SMS is in [`crate::replies::inbound`].

use std::time::Duration;

use klaroen_domain::id::{AlertId, OrganisationId, ParticipantId, ReplyId};
use klaroen_domain::incoming::InboundSms;
use klaroen_domain::keyword::{Keyword, classify};
use klaroen_domain::outcome::storable;
use klaroen_domain::participant::Language;
use klaroen_domain::phone::{Country, PhoneNumber};
use klaroen_domain::reply::reaction::is_reaction;
use klaroen_domain::text::MessageText;
use klaroen_domain::time::Timestamp;
use tokio::time::Instant;
use uuid::Uuid;

use crate::engine::db::{Sql, on_db};
use crate::engine::from_row::from_row;
use crate::engine::page::uuid_cursor;
use crate::{Page, PageRequest, Result, Store, StoreError};

/// How long a STOP waits for what is under way to that number, and how often it looks.
const SETTLE: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// An SMS that came in. `Debug` is not derived: it holds a number and a text.
#[derive(Clone)]
pub struct IncomingReply {
    /// Through which gateway.
    pub gateway: String,
    /// Makes a repetition known.
    pub dedupe_key: String,
    /// The sender as it came.
    pub from: String,
    /// The sender as a phone number, if it is one.
    pub phone: Option<PhoneNumber>,
    /// The text.
    pub text: String,
    /// The keyword in the text. If there is none, the reply is for the operator.
    pub keyword: Option<Keyword>,
    /// When it came.
    pub received_at: Timestamp,
}

/// The longest key that is kept, in characters.
const DEDUPE_KEY_LENGTH_MAX: usize = 200;

impl IncomingReply {
    /// Turns an SMS that a gateway read into the form that is kept: whose number it is and what it asks for. Numbers without
    /// a country code belong to `country`.
    #[must_use]
    pub fn of(gateway: &str, sms: InboundSms, country: Country) -> Self {
        Self {
            gateway: gateway.to_owned(),
            dedupe_key: storable(sms.dedupe_key, DEDUPE_KEY_LENGTH_MAX),
            phone: PhoneNumber::parse_sender(&sms.from, country),
            from: sms.from,
            keyword: sms.keyword.or_else(|| classify(&sms.text)),
            text: sms.text,
            received_at: sms.received_at,
        }
    }

    /// Whether a phone wrote it for a reaction of its owner. A keyword that the provider saw is a keyword.
    #[must_use]
    pub fn is_reaction(&self) -> bool {
        self.keyword.is_none() && is_reaction(&self.text)
    }

    /// The phone that says STOP, if the text does.
    #[must_use]
    pub fn stops(&self) -> Option<&PhoneNumber> {
        self.phone.as_ref().filter(|_| self.keyword == Some(Keyword::Stop))
    }
}

/// An automatic answer, in the participant's language.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AutoReply {
    /// STOP was carried out.
    OptOutConfirmed,
    /// START was carried out.
    OptInConfirmed,
    /// Explains this service, and how to leave it.
    Help,
    /// The alert is over: call 112 or 0900-8844.
    AlertOver,
}

/// The texts of automatic answers: given by the caller, who knows the configuration.
pub trait AutoReplyTexts: Send + Sync {
    /// The text of `reply` in `language`.
    fn text(&self, reply: AutoReply, language: Language) -> MessageText;
}

/// The result for an inbound SMS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyStored {
    /// It came before: nothing was done.
    Repeated,
    /// The number has opted out, everywhere.
    OptedOut,
    /// The number gets alerts again.
    OptedIn,
    /// The participant asked for help.
    Helped,
    /// It stands under an alert: the newest, if it concerns several organisations.
    ForAlert(AlertId),
    /// It is a reaction, such as a thumb up.
    Reaction,
    /// It belongs to no alert: none is active, none was heard of in the last 24 hours, or the number is unknown.
    Unattributed,
}

impl ReplyStored {
    /// Its word in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Repeated => "repeated",
            Self::OptedOut => "opted_out",
            Self::OptedIn => "opted_in",
            Self::Helped => "helped",
            Self::ForAlert(_) => "for_alert",
            Self::Reaction => "reaction",
            Self::Unattributed => "unattributed",
        }
    }

    /// Whether an automatic answer may have been queued.
    #[must_use]
    pub const fn may_be_answered(self) -> bool {
        !matches!(self, Self::Repeated | Self::Reaction | Self::Unattributed)
    }
}

/// What a reply is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplyKind {
    /// Somebody wrote it.
    Message,
    /// A phone wrote it, because its owner held a thumb or a heart to a message.
    Reaction,
}

/// How an operator marked a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplyState {
    /// No operator has looked at it.
    New,
    /// An operator has looked at it.
    Read,
    /// An operator acted on it.
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
    /// What it is.
    pub kind: ReplyKind,
    /// Came after the alert was closed.
    pub after_end: bool,
    /// How it was marked.
    pub state: ReplyState,
    /// Whether it helped.
    pub useful: Option<bool>,
    /// When it came.
    pub received_at: Timestamp,
}

const IN_FLIGHT: Sql =
    Sql::new("SELECT COUNT(*) FROM deliveries WHERE recipient = $1 AND state = 'sending' AND lane > 0");
const LIST: Sql = Sql::new(
    "SELECT id, alert_id, participant_id, sender, text, kind, after_end, state, useful, received_at FROM replies
     WHERE organisation_id = $1 AND alert_id = $2 AND shown AND (id > $3 OR $3 IS NULL) AND (kind = $5 OR $5 IS NULL)
     ORDER BY id LIMIT $4",
);
/// The replies of an organisation, of alerts or not.
const ALL: Sql = Sql::new(
    "SELECT id, alert_id, participant_id, sender, text, kind, after_end, state, useful, received_at FROM replies
     WHERE organisation_id = $1 AND shown AND (id > $2 OR $2 IS NULL) AND (kind = $4 OR $4 IS NULL) ORDER BY id LIMIT $3",
);
const UNATTRIBUTED: Sql = Sql::new(
    "SELECT id, alert_id, participant_id, sender, text, kind, after_end, state, useful, received_at FROM replies
     WHERE organisation_id = $1 AND alert_id IS NULL AND shown AND (id > $2 OR $2 IS NULL) AND (kind = $4 OR $4 IS NULL)
     ORDER BY id LIMIT $3",
);

from_row! {
pub(super) struct ReplyRow {
    id: Uuid,
    alert_id: Option<Uuid>,
    participant_id: Option<Uuid>,
    sender: Vec<u8>,
    text: Vec<u8>,
    kind: String,
    after_end: bool,
    state: String,
    useful: Option<bool>,
    received_at: i64,
}
}

/// The associated data of a reply's sealed text: the row, and that it is the text.
pub(crate) fn text_row(id: Uuid) -> Vec<u8> {
    [id.as_bytes().as_slice(), b"text"].concat()
}

impl ReplyKind {
    /// Every kind.
    pub const ALL: [Self; 2] = [Self::Message, Self::Reaction];

    /// The word as it stands in the API and the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Reaction => "reaction",
        }
    }
}

impl std::str::FromStr for ReplyKind {
    type Err = klaroen_domain::alert::UnknownWord;
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == s).ok_or(klaroen_domain::alert::UnknownWord)
    }
}

impl ReplyState {
    /// The word as it stands in the API and the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Read => "read",
            Self::Handled => "handled",
        }
    }
}

impl std::str::FromStr for ReplyState {
    type Err = klaroen_domain::alert::UnknownWord;
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        [Self::New, Self::Read, Self::Handled]
            .into_iter()
            .find(|state| state.as_str() == s)
            .ok_or(klaroen_domain::alert::UnknownWord)
    }
}

impl Store {
    /// Deliveries for this number that are claimed but not settled: while there are any, a STOP is not acknowledged, because
    /// they may still leave.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the database does not answer or refuses the statement.
    pub async fn in_flight_to(&self, phone: &PhoneNumber) -> Result<u64> {
        let recipient = self.keys.recipient(phone);
        let count: i64 = on_db!(read self.db, pool, d => sqlx::query_scalar(IN_FLIGHT.of(d))
            .bind(recipient.0.as_slice()).fetch_one(pool).await?);
        Ok(u64::try_from(count).unwrap_or(0))
    }

    /// Waits a few seconds until nothing is under way to a number that said STOP, and returns whether that came about: a STOP is
    /// acknowledged only then. Otherwise the provider is to send it again, and the check is made again.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the database does not answer or refuses the statement.
    pub async fn settles_for(&self, phone: &PhoneNumber) -> Result<bool> {
        let patience = Instant::now() + SETTLE;
        loop {
            if self.in_flight_to(phone).await? == 0 {
                return Ok(true);
            }
            if Instant::now() >= patience {
                return Ok(false);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// The replies of an alert, oldest first, those of one `kind` if it is given; `None` if the organisation has no such alert.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the database does not answer or refuses the statement, [`StoreError::BadCursor`] if
    /// a list did not return the cursor of `page`, [`StoreError::Corrupt`] if a stored row cannot be read, or
    /// [`StoreError::Unsealable`] if a sealed value does not open.
    pub async fn list_replies(
        &self,
        organisation: OrganisationId,
        alert: AlertId,
        kind: Option<ReplyKind>,
        page: &PageRequest,
    ) -> Result<Option<Page<ReplyView>>> {
        let after = page.after_uuid()?;
        if !self.has_alert(organisation, alert).await? {
            return Ok(None);
        }
        let rows: Vec<ReplyRow> = on_db!(read self.db, pool, d => sqlx::query_as(LIST.of(d))
            .bind(organisation.0).bind(alert.0).bind(after).bind(page.fetch()).bind(kind.map(ReplyKind::as_str))
            .fetch_all(pool).await?);
        let rows = Page::from_rows(rows, page, |row| uuid_cursor(row.id));
        let items = rows.items.into_iter().map(|row| self.reply_view(&row)).collect::<Result<Vec<_>>>()?;
        Ok(Some(Page { items, next_cursor: rows.next_cursor }))
    }

    /// The replies of an organisation, oldest first; only those that belong to no alert if `unattributed` is set, and those
    /// of one `kind` if it is given.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the database does not answer or refuses the statement, [`StoreError::BadCursor`] if
    /// a list did not return the cursor of `page`, [`StoreError::Corrupt`] if a stored row cannot be read, or
    /// [`StoreError::Unsealable`] if a sealed value does not open.
    pub async fn list_all_replies(
        &self,
        organisation: OrganisationId,
        unattributed: bool,
        kind: Option<ReplyKind>,
        page: &PageRequest,
    ) -> Result<Page<ReplyView>> {
        let (after, statement) = (page.after_uuid()?, if unattributed { UNATTRIBUTED } else { ALL });
        let rows: Vec<ReplyRow> = on_db!(read self.db, pool, d => sqlx::query_as(statement.of(d))
            .bind(organisation.0).bind(after).bind(page.fetch()).bind(kind.map(ReplyKind::as_str)).fetch_all(pool).await?);
        let rows = Page::from_rows(rows, page, |row| uuid_cursor(row.id));
        let items = rows.items.into_iter().map(|row| self.reply_view(&row)).collect::<Result<Vec<_>>>()?;
        Ok(Page { items, next_cursor: rows.next_cursor })
    }

    pub(super) fn reply_view(&self, row: &ReplyRow) -> Result<ReplyView> {
        let sender = self.keys.open(&row.sender, row.id.as_bytes())?;
        Ok(ReplyView {
            id: ReplyId(row.id),
            alert: row.alert_id.map(AlertId),
            participant: row.participant_id.map(ParticipantId),
            // A sender that is no phone number (a name, a short code) is not shown.
            phone: sender.starts_with('+').then(|| PhoneNumber::from_sealed(sender)),
            text: self.keys.open(&row.text, &text_row(row.id))?,
            kind: row.kind.parse().map_err(|_| StoreError::Corrupt { table: "replies", column: "kind" })?,
            after_end: row.after_end,
            state: row
                .state
                .parse()
                .map_err(|_| StoreError::Corrupt { table: "replies", column: "state" })?,
            useful: row.useful,
            received_at: Timestamp::from_millis(row.received_at),
        })
    }
}
