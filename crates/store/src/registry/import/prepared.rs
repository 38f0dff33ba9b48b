//! The part of an import that needs no database: keyed hashes, sealing and making rows ready. An importer does it for the
//! next batch while the database writes the last.

use std::borrow::Cow;

use klaroen_domain::id::ParticipantId;

use crate::Store;
use crate::engine::db::Dialect;
use crate::engine::seal::{Keys, Recipient};
use crate::registry::participants::ParticipantDraft;
use crate::registry::participants::rows::Rows;
use crate::registry::participants::write::{Write, fingerprint};

/// A batch that is ready to be written: see [`Store::prepare_import`].
#[derive(Debug)]
pub struct ImportBatch<'a> {
    drafts: Cow<'a, [ParticipantDraft]>,
    parts: Vec<Part>,
}

#[derive(Debug)]
struct Part {
    id: ParticipantId,
    recipient: Recipient,
    fingerprint: [u8; 16],
    rows: Option<Rows>,
}

/// A draft and what can be said of it without a look at the registry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Prepared<'a> {
    pub(super) draft: &'a ParticipantDraft,
    /// The id that it gets if it is new.
    pub(super) id: ParticipantId,
    /// Who rings.
    pub(super) recipient: Recipient,
    /// Of the draft with its own `external_id`.
    pub(super) fingerprint: [u8; 16],
    /// As they are if it is new.
    pub(super) rows: Option<&'a Rows>,
}

impl Store {
    /// Does what can be done without the database. `likely_new`: the rows are sealed too, which is time lost for a registration
    /// that is there already; either way the import comes to the same.
    #[must_use]
    pub fn prepare_import<'a>(
        &self,
        drafts: impl Into<Cow<'a, [ParticipantDraft]>>,
        likely_new: bool,
    ) -> ImportBatch<'a> {
        let drafts = drafts.into();
        let dialect = self.db.dialect();
        let parts = drafts.iter().map(|draft| Part::new(dialect, &self.keys, draft, likely_new)).collect();
        ImportBatch { drafts, parts }
    }
}

impl Part {
    fn new(dialect: Dialect, keys: &Keys, draft: &ParticipantDraft, likely_new: bool) -> Self {
        let external_id = draft.external_id.as_deref();
        let (id, recipient) = (ParticipantId::generate(), keys.recipient(&draft.phone));
        let fingerprint = fingerprint(keys, draft, external_id);
        let rows = likely_new.then(|| {
            let paused_until = draft.paused_until;
            let write =
                Write { id, new: true, draft, external_id, paused_until, recipient, fingerprint, rows: None };
            Rows::new(dialect, keys, &write)
        });
        Self { id, recipient, fingerprint, rows }
    }
}

impl ImportBatch<'_> {
    /// The draft that it was made of.
    #[must_use]
    pub fn drafts(&self) -> &[ParticipantDraft] {
        &self.drafts
    }

    pub(super) fn prepared(&self) -> Vec<Prepared<'_>> {
        let drafts = self.drafts.iter().zip(&self.parts);
        drafts
            .map(|(draft, part)| Prepared {
                draft,
                id: part.id,
                recipient: part.recipient,
                fingerprint: part.fingerprint,
                rows: part.rows.as_ref(),
            })
            .collect()
    }
}
