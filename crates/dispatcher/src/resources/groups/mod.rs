//! `/v1/groups`: named circles of participants.

pub(crate) mod http;

use klaroen_domain::id::{GroupId, OrganisationId};
use klaroen_domain::time::Timestamp;
use klaroen_store::PageRequest;
use klaroen_store::groups::Group as Stored;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::auth::caller::Caller;
use crate::problem::Problem;
use crate::request::fields::{Node, Report};
use crate::request::query::List;
use crate::resources::schemas;
use crate::state::App;

/// A group of participants.
#[derive(Debug, Serialize, ToSchema)]
pub struct Group {
    /// The id of the group.
    #[schema(schema_with = schemas::id)]
    pub id: GroupId,
    /// The short name that requests and CSV files use.
    pub code: String,
    /// The full name.
    pub name: String,
    /// Number of participants in the group.
    pub participants: u64,
    /// When the group was created.
    #[schema(schema_with = schemas::time)]
    pub created_at: Timestamp,
}

impl From<Stored> for Group {
    fn from(group: Stored) -> Self {
        let Stored { id, code, name, participants, created_at } = group;
        Self { id, code, name, participants, created_at }
    }
}

/// A group to be created.
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

/// A group that was read whole.
#[derive(Clone, Debug)]
pub struct NewGroup {
    /// The short name.
    pub code: String,
    /// The full name.
    pub name: String,
}

/// Reads a [`GroupRequest`].
///
/// # Errors
/// 422 with everything that is wrong.
pub fn read_group(document: &Value) -> Result<NewGroup, Problem> {
    let report = Report::default();
    let read = Node::root(document, &report).object().and_then(|mut members| {
        let code = members.read("code", |n| n.code());
        let name = members.read("name", |n| n.text(200).map(str::to_owned));
        members.finish();
        Some(NewGroup { code: code?, name: name? })
    });
    report.finish(read)
}

/// One page of the groups, by code.
///
/// # Errors
/// 422 if the cursor is none of this list, 503 if the database is not available.
pub async fn list(
    app: &App,
    organisation: OrganisationId,
    page: &PageRequest,
) -> Result<List<Group>, Problem> {
    let page = app.store.list_groups(organisation, page).await?;
    Ok(List::from_page(page, Group::from))
}

/// Makes a group.
///
/// # Errors
/// 409 if another group has the code, 503 if the database is not available.
pub async fn create(app: &App, caller: &Caller, new: &NewGroup) -> Result<Group, Problem> {
    let NewGroup { code, name } = new;
    let group = app.store.create_group(caller.organisation(), code, name, caller.actor(), app.now()).await?;
    group.map(Group::from).ok_or_else(|| Problem::taken("/code", "another group has this code"))
}
