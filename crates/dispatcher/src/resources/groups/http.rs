//! The calls under `/v1/groups`.

use axum::Json;
use axum::extract::State;
use axum::response::Response;

use super::{Group, GroupRequest, read_group};
use crate::auth::caller::Caller;
use crate::problem::Problem;
use crate::request::body::JsonBody;
use crate::request::query::{List, PageParameters, Parameters, page_only};
use crate::resources::created;
use crate::state::App;

/// List the groups by code
#[utoipa::path(get, path = "/v1/groups", tag = "registry", operation_id = "list_groups", params(PageParameters),
    responses((status = 200, description = "A page", body = List<Group>)))]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    parameters: Parameters,
) -> Result<Json<List<Group>>, Problem> {
    super::list(&app, caller.organisation(), &page_only(&parameters)?).await.map(Json)
}

/// Create a group
#[utoipa::path(post, path = "/v1/groups", tag = "registry", operation_id = "create_group",
    request_body = GroupRequest,
    responses((status = 201, description = "Created", body = Group, headers(("Location" = String))),
              (status = 409, description = "Another group has this code", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn create(
    State(app): State<App>,
    caller: Caller,
    body: JsonBody,
) -> Result<Response, Problem> {
    let group = super::create(&app, &caller, &read_group(&body.value)?).await?;
    created("/v1/groups", &group)
}
