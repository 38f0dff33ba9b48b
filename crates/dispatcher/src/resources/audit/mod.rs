//! `/v1/audit`: who did what and when, in a chain of hashes.

use axum::Json;
use axum::extract::State;
use klaroen_domain::time::Timestamp;
use klaroen_store::audit::AuditEntry;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::auth::caller::Caller;
use crate::problem::Problem;
use crate::request::query::{List, PageParameters, Parameters, page_only};
use crate::resources::schemas;
use crate::state::App;

/// One entry of the log.
#[derive(Debug, Serialize, ToSchema)]
pub struct Entry {
    /// 1, 2, 3, … without gaps.
    pub seq: i64,
    /// When.
    #[schema(schema_with = schemas::time)]
    pub at: Timestamp,
    /// Who: `key:<id>`, `cli` or `system`.
    pub actor: String,
    /// What was done: `alert.started`.
    pub action: String,
    /// To what: the id of the thing.
    pub subject: String,
    /// Facts without phone numbers, names and texts.
    #[schema(schema_with = schemas::object)]
    pub detail: Value,
    /// SHA-256 over the entry and the hash before it, in hexadecimal.
    pub hash: String,
}

impl From<AuditEntry> for Entry {
    fn from(entry: AuditEntry) -> Self {
        let AuditEntry { seq, at, actor, action, subject, detail, hash } = entry;
        Self { seq, at, actor, action, subject, detail, hash }
    }
}

/// The audit log, newest first
#[utoipa::path(get, path = "/v1/audit", tag = "audit", operation_id = "list_audit", params(PageParameters),
    responses((status = 200, description = "A page", body = List<Entry>)))]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    parameters: Parameters,
) -> Result<Json<List<Entry>>, Problem> {
    let page = app.store.list_audit(caller.organisation(), &page_only(&parameters)?).await?;
    Ok(Json(List::from_page(page, Entry::from)))
}
