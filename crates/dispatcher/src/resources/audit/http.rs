//! The call `/v1/audit`.

use axum::Json;
use axum::extract::State;

use super::Entry;
use crate::auth::caller::Caller;
use crate::problem::Problem;
use crate::request::query::{List, PageParameters, Parameters, page_only};
use crate::state::App;

/// List the entries of the audit log, newest first
#[utoipa::path(get, path = "/v1/audit", tag = "audit", operation_id = "list_audit", params(PageParameters),
    responses((status = 200, description = "A page", body = List<Entry>)))]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    parameters: Parameters,
) -> Result<Json<List<Entry>>, Problem> {
    super::list(&app, caller.organisation(), &page_only(&parameters)?).await.map(Json)
}
