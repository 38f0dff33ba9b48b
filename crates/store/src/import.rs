//! Bulk enrolment: batches of drafts, written set by set.

use klaroen_domain::id::OrganisationId;
use klaroen_domain::time::Timestamp;

use crate::participants::ParticipantDraft;
use crate::{Actor, Result, Store};

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
    /// number. `dry_run` answers the same and writes nothing. The result has the order of the batch.
    ///
    /// # Errors
    /// What the database says.
    pub async fn import_participants(
        &self,
        _organisation: OrganisationId,
        _batch: &[ParticipantDraft],
        _dry_run: bool,
        _now: Timestamp,
    ) -> Result<Vec<Imported>> {
        unimplemented!()
    }

    /// Writes the audit entry of a whole import.
    ///
    /// # Errors
    /// What the database says.
    pub async fn audit_import(
        &self,
        _organisation: OrganisationId,
        _actor: Actor,
        _rows: u64,
        _rejected: u64,
        _now: Timestamp,
    ) -> Result<()> {
        unimplemented!()
    }
}
