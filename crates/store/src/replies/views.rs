//! Replies of participants, as operators see them. Storing an inbound SMS is in [`crate::replies::inbound`].

use std::time::Duration;

use klaroen_domain::id::{AlertId, OrganisationId, ParticipantId, ReplyId};
use klaroen_domain::incoming::InboundSms;
use klaroen_domain::keyword::{Keyword, classify};
use klaroen_domain::outcome::storable;
use klaroen_domain::participant::Language;
use klaroen_domain::phone::{Country, PhoneNumber};
use klaroen_domain::text::MessageText;
use klaroen_domain::time::Timestamp;
use serde_json::json;
use tokio::time::Instant;
use uuid::Uuid;

use crate::engine::db::{Sql, on_db, on_tx};
use crate::engine::from_row::from_row;
use crate::engine::page::uuid_cursor;
use crate::tenancy::audit;
use crate::{Actor, Page, PageRequest, Result, Store, StoreError};

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
    /// It stands under an alert.
    ForAlert(AlertId),
    /// It stands nowhere: no alert in the last 24 hours, or an unknown number.
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
            Self::Unattributed => "unattributed",
        }
    }

    /// Whether an automatic answer may have been queued.
    #[must_use]
    pub const fn may_be_answered(self) -> bool {
        !matches!(self, Self::Repeated | Self::Unattributed)
    }
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
    "SELECT id, alert_id, participant_id, sender, text, after_end, state, useful, received_at FROM replies
     WHERE organisation_id = $1 AND alert_id = $2 AND shown AND (id > $3 OR $3 IS NULL) ORDER BY id LIMIT $4",
);
const GET: Sql = Sql::new(
    "SELECT id, alert_id, participant_id, sender, text, after_end, state, useful, received_at FROM replies
     WHERE organisation_id = $1 AND id = $2 AND shown",
);
const MARK: Sql = Sql::new(
    "UPDATE replies SET state = COALESCE($3, state), useful = COALESCE($4, useful)
     WHERE organisation_id = $1 AND id = $2 AND shown",
);

from_row! {
    struct ReplyRow {
        id: Uuid,
        alert_id: Option<Uuid>,
        participant_id: Option<Uuid>,
        sender: Vec<u8>,
        text: Vec<u8>,
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

    /// The replies of an alert, oldest first; `None` if the organisation has no such alert.
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
        page: &PageRequest,
    ) -> Result<Option<Page<ReplyView>>> {
        let after = page.after_uuid()?;
        if !self.has_alert(organisation, alert).await? {
            return Ok(None);
        }
        let rows: Vec<ReplyRow> = on_db!(read self.db, pool, d => sqlx::query_as(LIST.of(d))
            .bind(organisation.0).bind(alert.0).bind(after).bind(page.fetch()).fetch_all(pool).await?);
        let rows = Page::from_rows(rows, page, |row| uuid_cursor(row.id));
        let items = rows.items.into_iter().map(|row| self.reply_view(&row)).collect::<Result<Vec<_>>>()?;
        Ok(Some(Page { items, next_cursor: rows.next_cursor }))
    }

    /// Marks a reply; `None` if the organisation has no such reply.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the database does not answer or refuses the statement, [`StoreError::Corrupt`] if a
    /// stored row cannot be read, or [`StoreError::Unsealable`] if a sealed value does not open.
    pub async fn mark_reply(
        &self,
        organisation: OrganisationId,
        id: ReplyId,
        state: Option<ReplyState>,
        useful: Option<bool>,
        actor: Actor,
        now: Timestamp,
    ) -> Result<Option<ReplyView>> {
        let mut tx = self.db.begin().await?;
        let marked = on_tx!(&mut tx, conn, d => sqlx::query(MARK.of(d))
            .bind(organisation.0).bind(id.0).bind(state.map(ReplyState::as_str)).bind(useful)
            .execute(conn).await?.rows_affected());
        if marked == 0 {
            return Ok(None);
        }
        let detail = json!({ "state": state, "useful": useful });
        audit::append(&mut tx, organisation, actor, "reply.marked", &id.to_string(), detail, now).await?;
        let row: ReplyRow = on_tx!(&mut tx, conn, d => sqlx::query_as(GET.of(d))
            .bind(organisation.0).bind(id.0).fetch_one(conn).await?);
        let view = self.reply_view(&row)?;
        tx.commit().await?;
        Ok(Some(view))
    }

    fn reply_view(&self, row: &ReplyRow) -> Result<ReplyView> {
        let sender = self.keys.open(&row.sender, row.id.as_bytes())?;
        Ok(ReplyView {
            id: ReplyId(row.id),
            alert: row.alert_id.map(AlertId),
            participant: row.participant_id.map(ParticipantId),
            // A sender that is no phone number (a name, a short code) is not shown.
            phone: sender.starts_with('+').then(|| PhoneNumber::from_sealed(sender)),
            text: self.keys.open(&row.text, &text_row(row.id))?,
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
