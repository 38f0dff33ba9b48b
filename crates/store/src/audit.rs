//! The audit log: append-only, a hash chain for each organisation.

use klaroen_domain::id::OrganisationId;
use klaroen_domain::time::Timestamp;

use crate::db::Tx;
use crate::{Actor, Page, PageRequest, Result, Store};

/// One entry.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditEntry {
    /// 1, 2, 3, … without gaps.
    pub seq: i64,
    /// When.
    pub at: Timestamp,
    /// Who: `key:<id>`, `cli` or `system`.
    pub actor: String,
    /// What was done: `alert.started`.
    pub action: String,
    /// To what: the id of the thing.
    pub subject: String,
    /// Facts without phone numbers, names and texts.
    pub detail: serde_json::Value,
    /// SHA-256 over the entry and the hash before it, in hexadecimal.
    pub hash: String,
}

/// Appends an entry in the transaction of the change that it tells about.
pub(crate) async fn append(
    _tx: &mut Tx,
    _organisation: OrganisationId,
    _actor: Actor,
    _action: &str,
    _subject: &str,
    _detail: serde_json::Value,
    _now: Timestamp,
) -> Result<()> {
    unimplemented!()
}

impl Store {
    /// The log, newest first.
    ///
    /// # Errors
    /// What the database says, or a bad cursor.
    pub async fn list_audit(
        &self,
        _organisation: OrganisationId,
        _page: &PageRequest,
    ) -> Result<Page<AuditEntry>> {
        unimplemented!()
    }

    /// Recomputes the chain; the first entry that does not fit, if any.
    ///
    /// # Errors
    /// What the database says.
    pub async fn verify_audit(&self, _organisation: OrganisationId) -> Result<Option<i64>> {
        unimplemented!()
    }
}
