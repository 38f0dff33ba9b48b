//! The calls about replies.

use axum::Json;
use axum::extract::{Path, State};

use super::{MarkRequest, Reply, read_mark};
use crate::auth::caller::Caller;
use crate::problem::Problem;
use crate::request::body::JsonBody;
use crate::request::fields::path_id;
use crate::request::query::{List, PageParameters, Parameters, page_only};
use crate::state::App;

/// List the replies to an alert, oldest first
#[utoipa::path(get, path = "/v1/alerts/{id}/replies", tag = "replies", operation_id = "list_replies",
    params(("id" = uuid::Uuid, Path, description = "The alert"), PageParameters),
    responses((status = 200, description = "A page", body = List<Reply>)))]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    parameters: Parameters,
) -> Result<Json<List<Reply>>, Problem> {
    let alert = path_id(&id, "alert")?;
    super::list(&app, &caller, alert, &page_only(&parameters)?).await.map(Json)
}

/// Mark a reply
#[utoipa::path(patch, path = "/v1/replies/{id}", tag = "replies", operation_id = "mark_reply",
    params(("id" = uuid::Uuid, Path, description = "The reply")),
    request_body = MarkRequest,
    responses((status = 200, description = "The reply", body = Reply)))]
pub(crate) async fn mark(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    body: JsonBody,
) -> Result<Json<Reply>, Problem> {
    let reply = path_id(&id, "reply")?;
    super::mark(&app, &caller, reply, read_mark(&body.value)?).await.map(Json)
}
