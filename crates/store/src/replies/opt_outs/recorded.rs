//! Opt-outs that a person records, lists and lifts.

use klaroen_domain::id::{OptOutId, OrganisationId, ParticipantId};
use klaroen_domain::phone::PhoneNumber;
use klaroen_domain::time::Timestamp;
use serde_json::json;
use uuid::Uuid;

use super::{OPTED_OUT, OptOutSource, Origin, mark_places, stop, tell};
use crate::deliveries::deferred::{DeferredEffects, Entry};
use crate::engine::db::{Sql, Tx, on_db, on_tx};
use crate::engine::from_row::from_row;
use crate::engine::lock::{Lock, OptOuts};
use crate::engine::page::uuid_cursor;
use crate::engine::seal::Recipient;
use crate::replies::inbound::answer_to;
use crate::replies::senders::look_up;
use crate::replies::views::{AutoReply, AutoReplyTexts};
use crate::tenancy::idempotency::{self, Idempotency, Once, Seen};
use crate::{Actor, Page, PageRequest, Result, Store, StoreError};

/// The opt-outs that concern an organisation: those that its people recorded, those of numbers that answered its alerts, and those
/// of its participants.
const LIST: Sql = Sql::new(
    "SELECT o.id, o.recipient, o.source, o.organisation_id, o.phone, o.note, o.recorded_by, o.opted_out_at,
         (SELECT p.id FROM participants p WHERE p.organisation_id = $1 AND p.recipient = o.recipient ORDER BY p.id LIMIT 1)
             AS participant_id,
         (SELECT p.phone FROM participants p WHERE p.organisation_id = $1 AND p.recipient = o.recipient ORDER BY p.id LIMIT 1)
             AS participant_phone,
         NULL AS lifted_at, NULL AS lifted_by, NULL AS reason
     FROM opt_outs o
     WHERE (o.organisation_id = $1
            OR EXISTS (SELECT 1 FROM participants p WHERE p.organisation_id = $1 AND p.recipient = o.recipient))
         AND (o.id > $2 OR $2 IS NULL) AND (o.recipient = $3 OR $3 IS NULL)
     ORDER BY o.id LIMIT $4",
);
const GET: Sql = Sql::new(
    "SELECT o.id, o.recipient, o.source, o.organisation_id, o.phone, o.note, o.recorded_by, o.opted_out_at,
         (SELECT p.id FROM participants p WHERE p.organisation_id = $1 AND p.recipient = o.recipient ORDER BY p.id LIMIT 1)
             AS participant_id,
         (SELECT p.phone FROM participants p WHERE p.organisation_id = $1 AND p.recipient = o.recipient ORDER BY p.id LIMIT 1)
             AS participant_phone,
         NULL AS lifted_at, NULL AS lifted_by, NULL AS reason
     FROM opt_outs o
     WHERE o.id = $2
         AND (o.organisation_id = $1
              OR EXISTS (SELECT 1 FROM participants p WHERE p.organisation_id = $1 AND p.recipient = o.recipient))",
);
const GET_LIFTED: Sql = Sql::new(
    "SELECT o.id, o.recipient, o.source, o.organisation_id, o.phone, o.note, o.recorded_by, o.opted_out_at,
         (SELECT p.id FROM participants p WHERE p.organisation_id = $1 AND p.recipient = o.recipient ORDER BY p.id LIMIT 1)
             AS participant_id,
         (SELECT p.phone FROM participants p WHERE p.organisation_id = $1 AND p.recipient = o.recipient ORDER BY p.id LIMIT 1)
             AS participant_phone,
         o.lifted_at, o.lifted_by, o.reason
     FROM lifted_opt_outs o WHERE o.organisation_id = $1 AND o.id = $2",
);
const OWN: Sql = Sql::new("SELECT id FROM opt_outs WHERE recipient = $1 AND holder = $2");
const DELETE: Sql = Sql::new("DELETE FROM opt_outs WHERE id = $1");
const KEEP_LIFTED: Sql = Sql::new(
    "INSERT INTO lifted_opt_outs
         (id, organisation_id, recipient, source, phone, note, recorded_by, opted_out_at, lifted_at, lifted_by, reason)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
);

/// An opt-out that is to be recorded. `Debug` is not derived: the note may name a person.
#[derive(Clone)]
pub struct NewOptOut<'a> {
    /// The number that opts out.
    pub phone: &'a PhoneNumber,
    /// Who asked for it, and how.
    pub note: Option<&'a str>,
}

/// The opt-out of a number.
#[derive(Clone)]
pub struct OptOut {
    /// Its id.
    pub id: OptOutId,
    /// Its source.
    pub source: OptOutSource,
    /// The number (shown masked); `None` if it is no participant's and was not recorded by a person of the organisation.
    pub phone: Option<PhoneNumber>,
    /// The participant of the organisation who has the number.
    pub participant: Option<ParticipantId>,
    /// What the person noted; `None` if another organisation recorded it.
    pub note: Option<String>,
    /// Who recorded it, as in the audit log; `None` for the number itself and its provider.
    pub recorded_by: Option<String>,
    /// Whose key recorded it; `None` for the number itself and its provider.
    pub holder: Option<OrganisationId>,
    /// When.
    pub opted_out_at: Timestamp,
    /// How it came to its end.
    pub lifted: Option<LiftedOptOut>,
}

/// How an opt-out came to its end.
#[derive(Clone)]
pub struct LiftedOptOut {
    /// When.
    pub at: Timestamp,
    /// Who did it, as in the audit log.
    pub by: String,
    /// Why; `None` if the participant was erased since then.
    pub reason: Option<String>,
}

/// The result of recording an opt-out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordedOptOut {
    /// Its id.
    pub id: OptOutId,
    /// Whether the organisation had not recorded it before.
    pub new: bool,
}

/// The result of lifting an opt-out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifted {
    /// It is gone now, or was lifted before.
    Done,
    /// The organisation has no such opt-out.
    Unknown,
    /// Another organisation recorded it.
    OfAnother,
}

from_row! {
struct Row {
    id: Uuid,
    recipient: Vec<u8>,
    source: String,
    organisation_id: Option<Uuid>,
    phone: Option<Vec<u8>>,
    note: Option<Vec<u8>>,
    recorded_by: Option<String>,
    opted_out_at: i64,
    participant_id: Option<Uuid>,
    participant_phone: Option<Vec<u8>>,
    lifted_at: Option<i64>,
    lifted_by: Option<String>,
    reason: Option<Vec<u8>>,
}
}

/// The associated data of a sealed column of an opt-out.
fn column(id: OptOutId, name: &str) -> Vec<u8> {
    [id.0.as_bytes().as_slice(), name.as_bytes()].concat()
}

impl Store {
    /// Records that a number opts out, and does what its STOP would do: it gets nothing more of any organisation, what is
    /// queued for it is suppressed, and it gets one confirmation if it is registered.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the database does not answer or refuses the statement, or [`StoreError::Corrupt`] if
    /// a stored row cannot be read.
    pub async fn record_opt_out(
        &self,
        organisation: OrganisationId,
        new: &NewOptOut<'_>,
        idempotency: Option<&Idempotency>,
        actor: Actor,
        texts: &dyn AutoReplyTexts,
        now: Timestamp,
    ) -> Result<Once<RecordedOptOut>> {
        // The body has little but a phone number: who reads a plain hash of it finds the number by trying all. This one is keyed.
        let idempotency = idempotency.map(|Idempotency { key, fingerprint }| {
            let mut keyed = [0; 32];
            keyed[..16].copy_from_slice(&self.keys.fingerprint(fingerprint));
            Idempotency { key: key.clone(), fingerprint: keyed }
        });
        let mut tx = self.db.begin().await?;
        if let Some(idempotency) = &idempotency {
            match idempotency::look_up(&mut tx, organisation, idempotency).await? {
                Seen::Never => {}
                Seen::Same(id) => return Ok(Once::Repeated(id)),
                Seen::Other => return Ok(Once::KeyReused),
            }
        }
        let recipient = self.keys.recipient(new.phone);
        Lock::Number(recipient).take(&mut tx).await?;
        let own: Option<Uuid> = on_tx!(&mut tx, conn, d => sqlx::query_scalar(OWN.of(d))
            .bind(recipient.0.as_slice()).bind(organisation.0).fetch_optional(conn).await?);
        let id = own.map_or_else(OptOutId::generate, OptOutId);
        if let Some(idempotency) = &idempotency {
            idempotency::remember(&mut tx, organisation, idempotency, id.0, now).await?;
        }
        if own.is_none() {
            self.stop_for(&mut tx, organisation, id, new, actor, texts, now).await?;
        }
        tx.commit().await?;
        Ok(Once::Done(RecordedOptOut { id, new: own.is_none() }))
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one call")]
    async fn stop_for(
        &self,
        tx: &mut Tx,
        organisation: OrganisationId,
        id: OptOutId,
        new: &NewOptOut<'_>,
        actor: Actor,
        texts: &dyn AutoReplyTexts,
        now: Timestamp,
    ) -> Result<()> {
        let mut deferred = DeferredEffects::default();
        let mut sender = look_up(tx, self.keys.recipient(new.phone), "", now).await?;
        // The confirmation is this organisation's, if the number is registered there.
        sender.heard.retain(|heard| heard.organisation == organisation);
        sender.registrations.sort_by_key(|registration| registration.organisation != organisation);
        let origin = Origin {
            id,
            source: OptOutSource::Person,
            holder: Some(organisation),
            actor,
            phone: Some(self.keys.seal_phone(new.phone, &column(id, "phone"))),
            note: new.note.map(|note| self.keys.seal(note, &column(id, "note"))),
        };
        let first = stop(tx, &sender, &origin, now, &mut deferred).await?;
        if first && let Some(answer) = answer_to(&sender, AutoReply::OptOutConfirmed, texts, now) {
            deferred.answer(answer);
        }
        // Without the note: free text may name a person, and the log is for ever.
        let detail = json!({ "note_given": new.note.is_some() });
        let (action, subject) = ("opt_out.recorded", id.to_string());
        deferred.tell(Entry { organisation, actor, action, subject, detail, at: now });
        deferred.write(tx).await
    }

    /// The opt-outs that concern an organisation, oldest first: those that its people recorded, those of numbers that answered
    /// its alerts, and those of its participants; with `phone` only those of this number.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the database does not answer or refuses the statement, [`StoreError::BadCursor`] if
    /// a list did not return the cursor of `page`, [`StoreError::Corrupt`] if a stored row cannot be read, or
    /// [`StoreError::Unsealable`] if a sealed value does not open.
    pub async fn list_opt_outs(
        &self,
        organisation: OrganisationId,
        phone: Option<&PhoneNumber>,
        page: &PageRequest,
    ) -> Result<Page<OptOut>> {
        let after = page.after_uuid()?;
        let recipient = phone.map(|phone| self.keys.recipient(phone).0.to_vec());
        let rows: Vec<Row> = on_db!(read self.db, pool, d => sqlx::query_as(LIST.of(d))
            .bind(organisation.0).bind(after).bind(recipient).bind(page.fetch()).fetch_all(pool).await?);
        let rows = Page::from_rows(rows, page, |row| uuid_cursor(row.id));
        let items = rows.items.into_iter().map(|row| self.opt_out_view(row, organisation));
        Ok(Page { items: items.collect::<Result<_>>()?, next_cursor: rows.next_cursor })
    }

    /// One opt-out that concerns an organisation, or that it has lifted.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the database does not answer or refuses the statement, [`StoreError::Corrupt`] if a
    /// stored row cannot be read, or [`StoreError::Unsealable`] if a sealed value does not open.
    pub async fn opt_out(&self, organisation: OrganisationId, id: OptOutId) -> Result<Option<OptOut>> {
        for statement in [GET, GET_LIFTED] {
            let row: Option<Row> = on_db!(read self.db, pool, d => sqlx::query_as(statement.of(d))
                .bind(organisation.0).bind(id.0).fetch_optional(pool).await?);
            if let Some(row) = row {
                return self.opt_out_view(row, organisation).map(Some);
            }
        }
        Ok(None)
    }

    /// Lifts an opt-out, whatever its source, for a reason that is kept. The number gets messages again if it has no other. An
    /// opt-out that another organisation recorded stays.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the database does not answer or refuses the statement, or [`StoreError::Corrupt`] if
    /// a stored row cannot be read.
    pub async fn lift_opt_out(
        &self,
        organisation: OrganisationId,
        id: OptOutId,
        reason: &str,
        actor: Actor,
        now: Timestamp,
    ) -> Result<Lifted> {
        let mut tx = self.db.begin().await?;
        let Some(recipient) = self.recipient_of(&mut tx, organisation, id).await? else {
            let lifted: Option<Row> = on_tx!(&mut tx, conn, d => sqlx::query_as(GET_LIFTED.of(d))
                .bind(organisation.0).bind(id.0).fetch_optional(conn).await?);
            return Ok(if lifted.is_some() { Lifted::Done } else { Lifted::Unknown });
        };
        Lock::Number(recipient).take(&mut tx).await?;
        OptOuts::Change.take(&mut tx).await?;
        let row: Option<Row> = on_tx!(&mut tx, conn, d => sqlx::query_as(GET.of(d))
            .bind(organisation.0).bind(id.0).fetch_optional(conn).await?);
        // Somebody else lifted it meanwhile, or the number said START.
        let Some(row) = row else { return Ok(Lifted::Done) };
        let source = source(&row.source)?;
        if source == OptOutSource::Person && row.organisation_id != Some(organisation.0) {
            return Ok(Lifted::OfAnother);
        }
        on_tx!(&mut tx, conn, d =>
            sqlx::query(DELETE.of(d)).bind(id.0).execute(conn).await?.rows_affected());
        let reason = self.keys.seal(reason, &column(id, "reason"));
        on_tx!(&mut tx, conn, d => sqlx::query(KEEP_LIFTED.of(d))
            .bind(id.0).bind(organisation.0).bind(row.recipient).bind(row.source).bind(row.phone).bind(row.note)
            .bind(row.recorded_by).bind(row.opted_out_at).bind(now.as_millis()).bind(actor.to_string()).bind(reason)
            .execute(conn).await?.rows_affected());
        let others: bool = on_tx!(&mut tx, conn, d =>
            sqlx::query_scalar(OPTED_OUT.of(d)).bind(recipient.0.as_slice()).fetch_one(conn).await?);
        let mut deferred = DeferredEffects::default();
        if !others {
            mark_places(&mut tx, recipient, false).await?;
            let sender = look_up(&mut tx, recipient, "", now).await?;
            let actor_in = |of| if of == organisation { actor } else { Actor::System };
            tell(&mut deferred, &sender, "participant.opted_in", &json!({}), now, actor_in);
        }
        let (action, subject) = ("opt_out.lifted", id.to_string());
        let detail = json!({ "source": source, "still_opted_out": others });
        deferred.tell(Entry { organisation, actor, action, subject, detail, at: now });
        deferred.write(&mut tx).await?;
        tx.commit().await?;
        Ok(Lifted::Done)
    }

    async fn recipient_of(
        &self,
        tx: &mut Tx,
        organisation: OrganisationId,
        id: OptOutId,
    ) -> Result<Option<Recipient>> {
        let row: Option<Row> = on_tx!(tx, conn, d => sqlx::query_as(GET.of(d))
            .bind(organisation.0).bind(id.0).fetch_optional(conn).await?);
        let corrupt = |_| StoreError::Corrupt { table: "opt_outs", column: "recipient" };
        row.map(|row| row.recipient.try_into().map(Recipient).map_err(corrupt)).transpose()
    }

    fn opt_out_view(&self, row: Row, organisation: OrganisationId) -> Result<OptOut> {
        let id = OptOutId(row.id);
        let source = source(&row.source)?;
        let holder = row.organisation_id.filter(|_| source == OptOutSource::Person).map(OrganisationId);
        let ours = holder == Some(organisation);
        let open = |sealed: Option<Vec<u8>>, name: &str| {
            sealed.filter(|_| ours).map(|sealed| self.keys.open(&sealed, &column(id, name))).transpose()
        };
        let phone = match (row.participant_id, row.participant_phone) {
            (Some(participant), Some(sealed)) => Some(self.keys.open_phone(&sealed, participant.as_bytes())?),
            _ => open(row.phone, "phone")?.map(PhoneNumber::from_sealed),
        };
        let lifted = row.lifted_at.zip(row.lifted_by).map(|(at, by)| {
            let reason =
                row.reason.map(|sealed| self.keys.open(&sealed, &column(id, "reason"))).transpose()?;
            Ok::<_, StoreError>(LiftedOptOut { at: Timestamp::from_millis(at), by, reason })
        });
        Ok(OptOut {
            id,
            source,
            phone,
            participant: row.participant_id.map(ParticipantId),
            note: open(row.note, "note")?,
            recorded_by: row.recorded_by,
            holder,
            opted_out_at: Timestamp::from_millis(row.opted_out_at),
            lifted: lifted.transpose()?,
        })
    }
}

fn source(word: &str) -> Result<OptOutSource> {
    word.parse().map_err(|_| StoreError::Corrupt { table: "opt_outs", column: "source" })
}
