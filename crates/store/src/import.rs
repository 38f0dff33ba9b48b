//! Bulk enrolment: batches of drafts, written set by set.

mod plan;
mod prepared;

use klaroen_domain::id::{OrganisationId, ParticipantId};
use klaroen_domain::time::Timestamp;

use serde_json::json;
use uuid::Uuid;

use crate::db::{Sql, Tx, on_tx};
use crate::lock::Lock;
use crate::participants::ParticipantDraft;
use crate::participants::write::put;
use crate::seal::Recipient;
use crate::{Actor, Result, Store, StoreError, audit, groups, hex};
use plan::{Plan, Registered};
pub use prepared::ImportBatch;
use prepared::Prepared;

// Two index look-ups for each key, whatever the size of the registry.
const EXISTING: Sql = Sql::each(
    "SELECT id, external_id, recipient, fingerprint, paused_until FROM participants
     WHERE organisation_id = $1 AND external_id IN (SELECT value FROM json_each($2))
     UNION
     SELECT id, external_id, recipient, fingerprint, paused_until FROM participants
     WHERE organisation_id = $1 AND recipient IN (SELECT unhex(value) FROM json_each($3))",
    "SELECT id, external_id, recipient, fingerprint, paused_until FROM participants
     WHERE organisation_id = $1 AND external_id IN (SELECT json_array_elements_text($2::json))
     UNION
     SELECT id, external_id, recipient, fingerprint, paused_until FROM participants
     WHERE organisation_id = $1 AND recipient IN (SELECT decode(value, 'hex') FROM json_array_elements_text($3::json))",
);

/// What became of one draft.
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
}

impl Store {
    /// Creates or updates a batch (some 1,000 at a time), all in one transaction. The key is `external_id`, else the phone
    /// number; the later of two with the same key counts. What a draft does not say, an `external_id` or a pause, stays as
    /// it is. `dry_run` answers the same and writes nothing. The result has the order of the batch.
    ///
    /// # Errors
    /// What the database says.
    pub async fn import_participants(
        &self,
        organisation: OrganisationId,
        batch: &[ParticipantDraft],
        dry_run: bool,
        now: Timestamp,
    ) -> Result<Vec<Imported>> {
        self.import_batch(organisation, &self.prepare_import(batch, false), dry_run, now).await
    }

    /// [`Store::import_participants`] of a batch that is prepared.
    ///
    /// # Errors
    /// What the database says.
    pub async fn import_batch(
        &self,
        organisation: OrganisationId,
        batch: &ImportBatch<'_>,
        dry_run: bool,
        now: Timestamp,
    ) -> Result<Vec<Imported>> {
        let prepared = batch.prepared();
        let mut tx = self.db.begin().await?;
        Lock::Registry(organisation).take(&mut tx).await?;
        let codes = batch.drafts().iter().flat_map(|draft| &draft.groups);
        let known = groups::ids_by_code(&mut tx, organisation, codes).await?;
        let registered = registered(&mut tx, organisation, &prepared).await?;
        let plan = Plan::new(&self.keys, &prepared, registered, &known);
        if dry_run {
            return Ok(plan.results);
        }
        put(&mut tx, &self.keys, organisation, &plan.writes(&prepared), &known, now).await?;
        tx.commit().await?;
        Ok(plan.results)
    }

    /// Writes the audit entry of a whole import.
    ///
    /// # Errors
    /// What the database says.
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

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    external_id: Option<String>,
    recipient: Vec<u8>,
    fingerprint: Vec<u8>,
    paused_until: Option<i64>,
}

/// The registrations that the keys of the batch may mean.
async fn registered(
    tx: &mut Tx,
    organisation: OrganisationId,
    batch: &[Prepared<'_>],
) -> Result<Vec<Registered>> {
    let external_ids: Vec<&str> = batch.iter().filter_map(|k| k.draft.external_id.as_deref()).collect();
    let recipients: Vec<String> =
        batch.iter().filter(|k| k.draft.external_id.is_none()).map(|k| hex::encode(&k.recipient.0)).collect();
    let rows: Vec<Row> = on_tx!(tx, conn, d => sqlx::query_as(EXISTING.of(d))
        .bind(organisation.0).bind(json!(external_ids).to_string()).bind(json!(recipients).to_string())
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
        })
    }
}

#[cfg(test)]
mod tests;
