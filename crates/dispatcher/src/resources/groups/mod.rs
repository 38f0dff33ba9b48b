//! `/v1/groups`: named circles of participants.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use klaroen_domain::id::GroupId;
use klaroen_domain::time::Timestamp;
use klaroen_store::groups::Group as Stored;
use serde::Serialize;
use utoipa::ToSchema;

use crate::auth::caller::Caller;
use crate::problem::Problem;
use crate::request::body::JsonBody;
use crate::request::fields::{Node, Report};
use crate::request::query::{List, PageParameters, Parameters, page_only};
use crate::resources::{created, schemas};
use crate::state::App;

/// A group.
#[derive(Debug, Serialize, ToSchema)]
pub struct Group {
    /// Its id.
    #[schema(schema_with = schemas::id)]
    pub id: GroupId,
    /// The short name that requests and CSV files use.
    pub code: String,
    /// The full name.
    pub name: String,
    /// How many participants are in it.
    pub participants: u64,
    /// When it was made.
    #[schema(schema_with = schemas::time)]
    pub created_at: Timestamp,
}

impl From<Stored> for Group {
    fn from(group: Stored) -> Self {
        let Stored { id, code, name, participants, created_at } = group;
        Self { id, code, name, participants, created_at }
    }
}

/// A group to be made.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GroupRequest {
    /// The short name that requests and CSV files use.
    #[schema(min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9_.-]+$")]
    pub code: String,
    /// The full name.
    #[schema(min_length = 1, max_length = 200)]
    pub name: String,
}

/// The groups, by code
#[utoipa::path(get, path = "/v1/groups", tag = "registry", operation_id = "list_groups", params(PageParameters),
    responses((status = 200, description = "A page", body = List<Group>)))]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    parameters: Parameters,
) -> Result<Json<List<Group>>, Problem> {
    let page = app.store.list_groups(caller.organisation(), &page_only(&parameters)?).await?;
    Ok(Json(List::from_page(page, Group::from)))
}

/// Make a group
#[utoipa::path(post, path = "/v1/groups", tag = "registry", operation_id = "create_group",
    request_body = GroupRequest,
    responses((status = 201, description = "Made", body = Group, headers(("Location" = String))),
              (status = 409, description = "The code is taken", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn create(
    State(app): State<App>,
    caller: Caller,
    body: JsonBody,
) -> Result<Response, Problem> {
    let report = Report::default();
    let read = Node::root(&body.value, &report).object().and_then(|mut members| {
        let code = members.read("code", |n| n.code());
        let name = members.read("name", |n| n.text(200).map(str::to_owned));
        members.finish();
        Some((code?, name?))
    });
    let (code, name) = report.finish(read)?;
    let group =
        app.store.create_group(caller.organisation(), &code, &name, caller.actor(), app.now()).await?;
    let taken = || Problem::taken("/code", "another group has this code");
    let group = group.map(Group::from).ok_or_else(taken)?;
    created("/v1/groups", &group)
}
