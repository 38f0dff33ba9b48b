//! Bulk enrolment: batches of drafts, written set by set.

mod ledger;
mod merge;
mod plan;
mod prepared;

use std::collections::{HashMap, HashSet};

use klaroen_domain::id::{OrganisationId, ParticipantId};
use klaroen_domain::time::Timestamp;

use serde_json::json;
use uuid::Uuid;

use crate::engine::db::{Sql, Tx, on_tx};
use crate::engine::from_row::from_row;
use crate::engine::hex::Hex;
use crate::engine::lock::Lock;
use crate::engine::seal::Recipient;
use crate::engine::sql::sql;
use crate::registry::groups;
use crate::registry::participants::ParticipantDraft;
use crate::registry::participants::read::by_ids;
use crate::registry::participants::write::{Write, fingerprint, put, to_json};
use crate::tenancy::audit;
use crate::{Actor, Result, Store, StoreError};
use ledger::Unseen;
pub use ledger::{Counts, Ledger};
use plan::{Plan, Registered};
pub use prepared::ImportBatch;
use prepared::Prepared;

// Two index look-ups for each key, whatever the size of the registry.
const EXISTING: Sql = sql!(
    "SELECT id, external_id, recipient, fingerprint, paused_until FROM participants
     WHERE organisation_id = $1 AND external_id IN {texts($2)}
     UNION
     SELECT id, external_id, recipient, fingerprint, paused_until FROM participants
     WHERE organisation_id = $1 AND recipient IN {blobs($3)}"
);

/// Registrations of which one transaction takes what the file did not say.
const REMOVED_AT_ONCE: usize = 1_000;

/// The result for one draft.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Imported {
    /// A new participant.
    Created,
    /// One that was there was changed.
    Updated,
    /// One that was there says the same.
    Unchanged,
    /// Not written.
    UnknownGroups(Vec<String>),
    /// Not written: in this column it says something else than was said before with the same key.
    Differs(&'static str),
    /// Not written: it has no `external_id`, and the file names a registration of its number by one.
    NamedByExternalId,
    /// Not written: a draft without an `external_id` meant the same registration by its number.
    NamedByNumber,
}

/// The result for one draft of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The draft as a whole.
    pub imported: Imported,
    /// Its places (counted from 0) that were left out: with those of earlier batches they were too many.
    pub too_many: Vec<usize>,
}

impl From<Imported> for Answer {
    fn from(imported: Imported) -> Self {
        Self { imported, too_many: Vec::new() }
    }
}

impl Store {
    /// Creates or updates a batch, all in one transaction, behind which others wait. The key is `external_id`, else the phone
    /// number; the later of two with the same key counts, if number and kind are the same. A field that a draft does not
    /// contain, an `external_id` or a pause, stays as it is. `dry_run` answers the same and writes nothing. The result has
    /// the order of the batch.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the database does not answer or refuses the statement, [`StoreError::Corrupt`] if a
    /// stored row cannot be read, or [`StoreError::Unsealable`] if a sealed value does not open.
    pub async fn import_participants(
        &self,
        organisation: OrganisationId,
        batch: &[ParticipantDraft],
        dry_run: bool,
        now: Timestamp,
    ) -> Result<Vec<Imported>> {
        let mut ledger = Ledger::new(usize::MAX, dry_run).before_the_last_batch();
        let batch = self.prepare_import(batch, false);
        let answers = self.import_batch(organisation, &batch, &mut ledger, now).await?;
        Ok(answers.into_iter().map(|answer| answer.imported).collect())
    }

    /// The next batch of a file, prepared. A draft whose key an earlier batch wrote adds to that: see [`Ledger`]. After an error
    /// the same call may be made again; at the end of the file comes [`Store::finish_import`].
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the database does not answer or refuses the statement, [`StoreError::Corrupt`] if a
    /// stored row cannot be read, or [`StoreError::Unsealable`] if a sealed value does not open.
    pub async fn import_batch(
        &self,
        organisation: OrganisationId,
        batch: &ImportBatch<'_>,
        ledger: &mut Ledger,
        now: Timestamp,
    ) -> Result<Vec<Answer>> {
        let prepared = batch.prepared();
        let mut tx = self.db.begin().await?;
        Lock::Registry(organisation).take(&mut tx).await?;
        let mut registered = registered(&mut tx, organisation, &prepared).await?;
        self.add_stored(&mut tx, organisation, ledger, &prepared, &mut registered).await?;
        let stored = registered.iter().filter_map(|registered| registered.stored.as_ref());
        let codes = batch.drafts().iter().chain(stored).flat_map(|draft| &draft.groups);
        let known = groups::ids_by_code(&mut tx, organisation, codes).await?;
        let plan = Plan::new(&self.keys, ledger, &prepared, registered, &known);
        if !ledger.is_dry_run() {
            put(&mut tx, &self.keys, organisation, &plan.writes(&prepared), &known, now).await?;
            tx.commit().await?;
        }
        ledger.note(plan.notes);
        Ok(plan.answers)
    }

    /// Takes away what the whole file did not say of the registrations that it named, of some at a time: `true` as long as
    /// there are more.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the database does not answer or refuses the statement, [`StoreError::Corrupt`] if a
    /// stored row cannot be read, or [`StoreError::Unsealable`] if a sealed value does not open. The caller may make
    /// the same call again.
    pub async fn finish_import(
        &self,
        organisation: OrganisationId,
        ledger: &mut Ledger,
        now: Timestamp,
    ) -> Result<bool> {
        let unseen = ledger.some_unseen(REMOVED_AT_ONCE);
        if unseen.is_empty() {
            return Ok(false);
        }
        let removed = self.take_away(organisation, ledger, &unseen, now).await?;
        for (key, unseen) in unseen {
            ledger.note_removal(key, removed.contains(&unseen.id));
        }
        Ok(true)
    }

    /// Returns the registrations that had something to take away.
    async fn take_away(
        &self,
        organisation: OrganisationId,
        ledger: &Ledger,
        unseen: &[(u64, Unseen)],
        now: Timestamp,
    ) -> Result<HashSet<ParticipantId>> {
        let ids: Vec<ParticipantId> = unseen.iter().map(|(_, unseen)| unseen.id).collect();
        let facts: HashMap<ParticipantId, &[u64]> =
            unseen.iter().map(|(_, unseen)| (unseen.id, unseen.facts.as_slice())).collect();
        let mut tx = self.db.begin().await?;
        Lock::Registry(organisation).take(&mut tx).await?;
        let stored = by_ids(&mut tx, &self.keys, organisation, &ids).await?;
        let left: Vec<(ParticipantId, ParticipantDraft)> = stored
            .iter()
            .filter_map(|p| merge::without(ledger, &p.draft, facts.get(&p.id)?).map(|left| (p.id, left)))
            .collect();
        let removed = left.iter().map(|(id, _)| *id).collect();
        if ledger.is_dry_run() {
            return Ok(removed);
        }
        let codes = left.iter().flat_map(|(_, draft)| &draft.groups);
        let known = groups::ids_by_code(&mut tx, organisation, codes).await?;
        let writes = left.iter().map(|(id, draft)| Write {
            id: *id,
            new: false,
            draft,
            external_id: draft.external_id.as_deref(),
            paused_until: draft.paused_until,
            recipient: self.keys.recipient(&draft.phone),
            fingerprint: fingerprint(&self.keys, draft, draft.external_id.as_deref()),
            rows: None,
        });
        let writes: Vec<Write<'_>> = writes.collect();
        put(&mut tx, &self.keys, organisation, &writes, &known, now).await?;
        tx.commit().await?;
        Ok(removed)
    }

    /// Reads all that is said by registrations of which an earlier batch said something, or of which this one may leave
    /// something for a later batch to say: of those that say the same as a draft it does not.
    async fn add_stored(
        &self,
        tx: &mut Tx,
        organisation: OrganisationId,
        ledger: &Ledger,
        batch: &[Prepared<'_>],
        registered: &mut [Registered],
    ) -> Result<()> {
        let earlier = || batch.iter().filter(|prepared| ledger.has(ledger.key_of(prepared)));
        let external_ids: HashSet<&str> = earlier().filter_map(|p| p.draft.external_id.as_deref()).collect();
        let numbers: HashSet<Recipient> =
            earlier().filter(|p| p.draft.external_id.is_none()).map(|p| p.recipient).collect();
        let same: HashSet<[u8; 16]> = batch.iter().map(|prepared| prepared.fingerprint).collect();
        let is_needed = |r: &Registered| {
            r.external_id.as_deref().is_some_and(|id| external_ids.contains(id))
                || numbers.contains(&r.recipient)
                || ledger.room() > 0 && !same.contains(&r.fingerprint)
        };
        let ids: Vec<ParticipantId> = registered.iter().filter(|r| is_needed(r)).map(|r| r.id).collect();
        let stored = by_ids(tx, &self.keys, organisation, &ids).await?;
        let mut stored: HashMap<_, _> = stored.into_iter().map(|p| (p.id, p.draft)).collect();
        for registered in registered {
            registered.stored = stored.remove(&registered.id);
        }
        Ok(())
    }

    /// Writes the audit entry of a whole import.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the database does not answer or refuses the statement.
    pub async fn audit_import(
        &self,
        organisation: OrganisationId,
        actor: Actor,
        rows: u64,
        rejected: u64,
        now: Timestamp,
    ) -> Result<()> {
        let mut tx = self.db.begin().await?;
        let subject = organisation.to_string();
        let detail = json!({ "rows": rows, "rejected": rejected });
        audit::append(&mut tx, organisation, actor, "participants.imported", &subject, detail, now).await?;
        tx.commit().await
    }
}

from_row! {
    struct Row {
        id: Uuid,
        external_id: Option<String>,
        recipient: Vec<u8>,
        fingerprint: Vec<u8>,
        paused_until: Option<i64>,
    }
}

/// The registrations that the keys of the batch may mean.
async fn registered(
    tx: &mut Tx,
    organisation: OrganisationId,
    batch: &[Prepared<'_>],
) -> Result<Vec<Registered>> {
    let external_ids: Vec<&str> = batch.iter().filter_map(|k| k.draft.external_id.as_deref()).collect();
    let recipients: Vec<Hex<'_>> =
        batch.iter().filter(|k| k.draft.external_id.is_none()).map(|k| Hex(&k.recipient.0)).collect();
    let rows: Vec<Row> = on_tx!(tx, conn, d => sqlx::query_as(EXISTING.of(d))
        .bind(organisation.0).bind(to_json(&external_ids)).bind(to_json(&recipients))
        .fetch_all(conn).await?);
    rows.into_iter().map(Row::into_registered).collect()
}

impl Row {
    fn into_registered(self) -> Result<Registered> {
        let corrupt = |column| StoreError::Corrupt { table: "participants", column };
        Ok(Registered {
            id: ParticipantId(self.id),
            external_id: self.external_id,
            recipient: Recipient(self.recipient.try_into().map_err(|_| corrupt("recipient"))?),
            fingerprint: self.fingerprint.try_into().map_err(|_| corrupt("fingerprint"))?,
            paused_until: self.paused_until.map(Timestamp::from_millis),
            stored: None,
        })
    }
}

#[cfg(test)]
mod tests;
