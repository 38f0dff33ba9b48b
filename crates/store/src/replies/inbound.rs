//! Storing an inbound SMS and doing what it asks for, in one transaction.

use std::time::Duration;

use klaroen_domain::alert::{MessageKind, Priority};
use klaroen_domain::id::{MessageId, OrganisationId, ParticipantId};
use klaroen_domain::keyword::Keyword;
use klaroen_domain::participant::Language;
use klaroen_domain::text::MessageText;
use klaroen_domain::time::Timestamp;
use uuid::Uuid;

use crate::deliveries::deferred::DeferredEffects;
use crate::deliveries::messages::{self, FOLLOW_UP_VALIDITY, NewMessage};
use crate::engine::db::{Sql, Tx, on_tx};
use crate::engine::hex;
use crate::engine::lock::Lock;
use crate::engine::seal::Recipient;
use crate::replies::opt_outs::{self, OptOutSource, Origin};
use crate::replies::senders::{Registration, Seen, Sender, look_up, seen_by_nobody_else};
use crate::replies::views::{
    AutoReply, AutoReplyTexts, IncomingReply, ReplyKind, ReplyState, ReplyStored, text_row,
};
use crate::{Result, Store};

/// Equal answers within this time share a message, and a number gets each once: two machines that answer each other stop.
const SAME_ANSWER_WITHIN: Duration = Duration::from_hours(1);

const SEEN: Sql = Sql::new("SELECT EXISTS (SELECT 1 FROM replies WHERE gateway = $1 AND dedupe_key = $2)");
const INSERT: Sql = Sql::new(
    "INSERT INTO replies (id, organisation_id, alert_id, participant_id, recipient, sender, text, keyword, shown, after_end,
         state, gateway, dedupe_key, received_at, copy, kind)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)",
);
/// A command was answered as such, and a reaction was not.
const TOLD_BEFORE: Sql = Sql::new(
    "SELECT EXISTS (
         SELECT 1 FROM replies WHERE recipient = $1 AND alert_id = $2 AND after_end
             AND keyword IS NULL AND kind = 'message')",
);
const SERVICE_MESSAGE: Sql = Sql::new(
    "SELECT id FROM messages
     WHERE kind = 'service' AND organisation_id = $1 AND text = $2 AND alert_id IS NULL AND gateway IS NULL AND lane = 0
         AND created_at > $3
     ORDER BY id DESC LIMIT 1",
);
const QUEUE_ANSWER: Sql = Sql::new(
    "INSERT INTO deliveries
         (organisation_id, alert_id, message_id, participant_id, recipient, lane, state, due_at, changed_at)
     VALUES ($1, NULL, $2, $3, $4, 0, 'queued', $5, $5)
     ON CONFLICT (recipient, message_id) DO NOTHING",
);

/// An automatic answer that is to be queued.
pub(crate) struct Answer {
    pub(crate) organisation: OrganisationId,
    participant: ParticipantId,
    recipient: Recipient,
    text: MessageText,
    now: Timestamp,
}

impl Store {
    /// Stores an inbound SMS and does what it asks for, in one transaction: STOP opts the number out everywhere, suppresses
    /// what is queued for it, and queues one confirmation. A keyword changes something only for a number that is
    /// registered or heard of an alert; a STOP from any number is kept.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the database does not answer or refuses the statement, or [`StoreError::Corrupt`] if
    /// a stored row cannot be read. Then the caller may not acknowledge the SMS.
    pub async fn store_reply(
        &self,
        reply: &IncomingReply,
        texts: &dyn AutoReplyTexts,
    ) -> Result<ReplyStored> {
        let (mut tx, mut deferred) = (self.db.begin().await?, DeferredEffects::default());
        let stored = self.store_reply_in(&mut tx, reply, texts, &mut deferred).await?;
        deferred.write(&mut tx).await?;
        tx.commit().await?;
        Ok(stored)
    }

    /// The same in a transaction of the caller's.
    pub(crate) async fn store_reply_in(
        &self,
        tx: &mut Tx,
        reply: &IncomingReply,
        texts: &dyn AutoReplyTexts,
        deferred: &mut DeferredEffects,
    ) -> Result<ReplyStored> {
        let dedupe = self.dedupe(reply);
        Lock::Reply(&dedupe).take(tx).await?;
        if let Some(phone) = &reply.phone {
            Lock::Number(self.keys.recipient(phone)).take(tx).await?;
        }
        let seen: bool = on_tx!(&mut *tx, conn, d => sqlx::query_scalar(SEEN.of(d))
            .bind(&reply.gateway).bind(&dedupe).fetch_one(conn).await?);
        if seen {
            return Ok(ReplyStored::Repeated);
        }
        let sender = match &reply.phone {
            Some(phone) => {
                Some(look_up(tx, self.keys.recipient(phone), &reply.text, reply.received_at).await?)
            }
            None => None,
        };
        let (stored, answer) = match (&sender, reply.keyword) {
            (Some(sender), Some(keyword)) => obey(tx, sender, keyword, reply.received_at, deferred).await?,
            (_, None) if reply.is_reaction() => (ReplyStored::Reaction, None),
            (Some(sender), None) => belongs(tx, sender).await?,
            (None, _) => (ReplyStored::Unattributed, None),
        };
        self.insert_reply(tx, reply, &dedupe, sender.as_ref()).await?;
        let answer = answer.zip(sender.as_ref());
        if let Some(answer) =
            answer.and_then(|(answer, sender)| answer_to(sender, answer, texts, reply.received_at))
        {
            deferred.answer(answer);
        }
        Ok(stored)
    }

    /// Some gateways make the key from number and text: it is kept as a keyed hash.
    pub(crate) fn dedupe(&self, reply: &IncomingReply) -> String {
        hex::encode(&self.keys.fingerprint(reply.dedupe_key.as_bytes()))
    }

    /// Writes a row for each organisation that the SMS concerns.
    async fn insert_reply(
        &self,
        tx: &mut Tx,
        reply: &IncomingReply,
        dedupe: &str,
        sender: Option<&Sender>,
    ) -> Result<()> {
        let from = reply.phone.as_ref().map_or(reply.from.as_str(), |phone| phone.expose());
        let keyword = reply.keyword.map(|keyword| match keyword {
            Keyword::Stop => "stop",
            Keyword::Start => "start",
            Keyword::Help => "help",
        });
        // HELP may be meant: the operator sees it. STOP and START are carried out and say nothing to him.
        let shown = !matches!(reply.keyword, Some(Keyword::Stop | Keyword::Start));
        // A reaction asks nothing of the operator, so that it does not wait for him as new.
        let (kind, state) = if reply.is_reaction() {
            (ReplyKind::Reaction, ReplyState::Read)
        } else {
            (ReplyKind::Message, ReplyState::New)
        };
        let seen = match sender {
            Some(sender) if shown => sender.seen_by(tx).await?,
            Some(sender) => vec![sender.first()],
            None => vec![seen_by_nobody_else(tx).await?],
        };
        for (copy, Seen { organisation, participant, heard }) in (0_i64..).zip(seen) {
            let id = Uuid::now_v7();
            on_tx!(&mut *tx, conn, d => sqlx::query(INSERT.of(d))
                .bind(id).bind(organisation.map(|organisation| organisation.0)).bind(heard.map(|heard| heard.alert.0))
                .bind(participant.map(|participant| participant.0)).bind(sender.map(|s| s.recipient.0.to_vec()))
                .bind(self.keys.seal(from, id.as_bytes())).bind(self.keys.seal(&reply.text, &text_row(id)))
                .bind(keyword).bind(shown).bind(heard.is_some_and(|heard| !heard.active))
                .bind(state.as_str()).bind(&reply.gateway).bind(dedupe)
                .bind(reply.received_at.as_millis()).bind(copy).bind(kind.as_str())
                .execute(conn).await?.rows_affected());
        }
        Ok(())
    }
}

/// Does what a keyword asks for.
async fn obey(
    tx: &mut Tx,
    sender: &Sender,
    keyword: Keyword,
    now: Timestamp,
    deferred: &mut DeferredEffects,
) -> Result<(ReplyStored, Option<AutoReply>)> {
    match keyword {
        Keyword::Stop => {
            let origin = Origin::itself(OptOutSource::Sms);
            let new = opt_outs::stop(tx, sender, &origin, now, deferred).await?;
            // Confirmed once: a second STOP changes nothing and is not answered.
            Ok((ReplyStored::OptedOut, new.then_some(AutoReply::OptOutConfirmed)))
        }
        Keyword::Start => {
            let gone = opt_outs::start(tx, sender, now, deferred).await?;
            Ok((ReplyStored::OptedIn, gone.then_some(AutoReply::OptInConfirmed)))
        }
        Keyword::Help => Ok((ReplyStored::Helped, Some(AutoReply::Help))),
    }
}

/// Puts a message for the operator under its alerts. If all of them are over, its sender is told once whom to call.
async fn belongs(tx: &mut Tx, sender: &Sender) -> Result<(ReplyStored, Option<AutoReply>)> {
    let Some(newest) = sender.heard.first() else { return Ok((ReplyStored::Unattributed, None)) };
    let mut answer = None;
    for over in sender.heard.iter().filter(|heard| !heard.active) {
        let told: bool = on_tx!(&mut *tx, conn, d => sqlx::query_scalar(TOLD_BEFORE.of(d))
            .bind(sender.recipient.0.as_slice()).bind(over.alert.0).fetch_one(conn).await?);
        if !told {
            answer = Some(AutoReply::AlertOver);
        }
    }
    Ok((ReplyStored::ForAlert(newest.alert), answer))
}

/// An automatic answer. Unknown numbers are not answered: there is no participant to seal a number for, and a service that
/// answers any number can be made to send to any number.
pub(super) fn answer_to(
    sender: &Sender,
    answer: AutoReply,
    texts: &dyn AutoReplyTexts,
    now: Timestamp,
) -> Option<Answer> {
    let told = sender.heard.first().and_then(|heard| heard.participant);
    let told = sender.registrations.iter().find(|registration| Some(registration.participant) == told);
    let Registration { participant, organisation, language } = told.or(sender.registrations.first())?;
    Some(Answer {
        organisation: *organisation,
        participant: *participant,
        recipient: sender.recipient,
        text: texts.text(answer, language.parse::<Language>().unwrap_or_default()),
        now,
    })
}

/// Queues an automatic answer ahead of all else.
pub(crate) async fn queue_answer(tx: &mut Tx, answer: &Answer) -> Result<()> {
    let Answer { organisation, participant, recipient, text, now } = answer;
    let message = service_message(tx, *organisation, text, *now).await?;
    let added = on_tx!(&mut *tx, conn, d => sqlx::query(QUEUE_ANSWER.of(d))
        .bind(organisation.0).bind(message.0).bind(participant.0).bind(recipient.0.as_slice())
        .bind(now.as_millis())
        .execute(conn).await?.rows_affected());
    if added > 0 {
        messages::count_more(tx, message, added).await?;
    }
    Ok(())
}

/// The message of equal answers of this hour, or a new one.
async fn service_message(
    tx: &mut Tx,
    organisation: OrganisationId,
    text: &MessageText,
    now: Timestamp,
) -> Result<MessageId> {
    Lock::Answers(organisation).take(tx).await?;
    let kept: Option<Uuid> = on_tx!(&mut *tx, conn, d => sqlx::query_scalar(SERVICE_MESSAGE.of(d))
        .bind(organisation.0).bind(text.as_str()).bind(now.minus(SAME_ANSWER_WITHIN).as_millis())
        .fetch_optional(conn).await?);
    if let Some(id) = kept {
        return Ok(MessageId(id));
    }
    let id = MessageId::generate();
    let message = NewMessage {
        id,
        organisation,
        alert: None,
        kind: MessageKind::Service,
        priority: Priority::Urgent,
        text,
        expires_at: now.plus(FOLLOW_UP_VALIDITY),
        created_by: None,
        gateway: None,
        now,
    };
    messages::insert(tx, &message).await?;
    Ok(id)
}
