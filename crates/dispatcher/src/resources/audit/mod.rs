//! The audit log: all actions in a chain of hashes.

pub(crate) mod http;

use klaroen_domain::id::OrganisationId;
use klaroen_domain::time::Timestamp;
use klaroen_store::PageRequest;
use klaroen_store::audit::AuditEntry;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::problem::Problem;
use crate::request::query::List;
use crate::resources::schemas;
use crate::state::App;

/// One entry of the audit log.
#[derive(Debug, Serialize, ToSchema)]
pub struct Entry {
    /// The number of the entry: 1, 2, 3, … without gaps.
    pub seq: i64,
    /// When the action was taken.
    #[schema(schema_with = schemas::time)]
    pub at: Timestamp,
    /// The actor: `key:<id>`, `cli` or `system`.
    pub actor: String,
    /// The action, for example `alert.started`.
    pub action: String,
    /// The id of what the action was about.
    pub subject: String,
    /// Facts about the action, without phone numbers, names and texts.
    #[schema(schema_with = schemas::object)]
    pub detail: Value,
    /// SHA-256 over the entry and the hash of the entry before it, in hexadecimal.
    pub hash: String,
}

impl From<AuditEntry> for Entry {
    fn from(entry: AuditEntry) -> Self {
        let AuditEntry { seq, at, actor, action, subject, detail, hash } = entry;
        Self { seq, at, actor, action, subject, detail, hash }
    }
}

/// One page of the audit log, newest first.
///
/// # Errors
/// 422 if the cursor is none of this list, 503 if the database is not available.
pub async fn list(
    app: &App,
    organisation: OrganisationId,
    page: &PageRequest,
) -> Result<List<Entry>, Problem> {
    let page = app.store.list_audit(organisation, page).await?;
    Ok(List::from_page(page, Entry::from))
}
