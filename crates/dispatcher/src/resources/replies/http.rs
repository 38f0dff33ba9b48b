//! The calls about replies.

use axum::Json;
use axum::extract::{Path, State};

use super::{MarkRequest, Reply, ReplyFilter, ReplyKindFilter, read_mark};
use crate::auth::caller::Caller;
use crate::problem::Problem;
use crate::request::body::JsonBody;
use crate::request::fields::path_id;
use crate::request::query::{List, PageParameters, Parameters};
use crate::request::words::REPLY_KINDS;
use crate::state::App;

/// List the replies to an alert, oldest first
#[utoipa::path(get, path = "/v1/alerts/{id}/replies", tag = "replies", operation_id = "list_replies",
    params(("id" = uuid::Uuid, Path, description = "The alert"), ReplyKindFilter, PageParameters),
    responses((status = 200, description = "A page", body = List<Reply>)))]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    parameters: Parameters,
) -> Result<Json<List<Reply>>, Problem> {
    let alert = path_id(&id, "alert")?;
    let report = parameters.report();
    let kind = parameters.word("kind", REPLY_KINDS, &report);
    let page = parameters.page(&report);
    let page = report.finish(Some(page))?;
    super::list(&app, &caller, alert, kind, &page).await.map(Json)
}

/// List the replies of all alerts and of none, oldest first
///
/// A reply belongs to the active alert that its number received; if there are several, to a real one before an exercise, then
/// to the one of the highest priority, then to the newest. If none is active, it belongs to the one whose incident reference
/// it names, or to the newest of the last 24 hours. If alerts of several organisations are equal in this, each sees the reply.
///
/// A reply that belongs to no alert is listed with `unattributed=true` for the organisations that the number is registered
/// with and for those that have sent a message to it. A reply from a number that no organisation knows is listed if the
/// installation has only one organisation.
#[utoipa::path(get, path = "/v1/replies", tag = "replies", operation_id = "list_all_replies",
    params(ReplyFilter, PageParameters),
    responses((status = 200, description = "A page", body = List<Reply>)))]
pub(crate) async fn list_all(
    State(app): State<App>,
    caller: Caller,
    parameters: Parameters,
) -> Result<Json<List<Reply>>, Problem> {
    let report = parameters.report();
    let unattributed = parameters.flag("unattributed", &report);
    let kind = parameters.word("kind", REPLY_KINDS, &report);
    let page = parameters.page(&report);
    let page = report.finish(Some(page))?;
    super::list_all(&app, &caller, unattributed, kind, &page).await.map(Json)
}

/// Mark a reply, or give it to an alert
///
/// A reply that belongs to no alert can be given to one with `alert_id`. To give it to the same alert again has no effect.
#[utoipa::path(patch, path = "/v1/replies/{id}", tag = "replies", operation_id = "mark_reply",
    params(("id" = uuid::Uuid, Path, description = "The reply")),
    request_body = MarkRequest,
    responses((status = 200, description = "The reply", body = Reply),
              (status = 409, description = "The reply belongs to another alert", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn mark(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    body: JsonBody,
) -> Result<Json<Reply>, Problem> {
    let reply = path_id(&id, "reply")?;
    super::mark(&app, &caller, reply, read_mark(&body.value)?).await.map(Json)
}
