//! `/v1/keys`: who may call. The secret is shown once.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use klaroen_domain::id::KeyId;
use klaroen_domain::role::Role;
use klaroen_domain::time::Timestamp;
use klaroen_store::keys::ApiKey;
use serde::Serialize;
use utoipa::ToSchema;

use crate::auth::caller::Caller;
use crate::problem::Problem;
use crate::request::body::JsonBody;
use crate::request::fields::{Node, Report, path_id};
use crate::request::query::{List, PageParameters, Parameters, page_only};
use crate::resources::{created, schemas};
use crate::state::App;

/// A key without its secret.
#[derive(Debug, Serialize, ToSchema)]
pub struct Key {
    /// Its id.
    #[schema(schema_with = schemas::id)]
    pub id: KeyId,
    /// What it may do.
    #[schema(schema_with = schemas::role)]
    pub role: Role,
    /// What it is called.
    pub name: String,
    /// When it was made.
    #[schema(schema_with = schemas::time)]
    pub created_at: Timestamp,
    /// From when it no longer works; `null`: never.
    #[schema(schema_with = schemas::time_or_null)]
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    #[schema(schema_with = schemas::time_or_null)]
    pub revoked_at: Option<Timestamp>,
}

impl From<ApiKey> for Key {
    fn from(key: ApiKey) -> Self {
        let ApiKey { id, role, name, created_at, expires_at, revoked_at, .. } = key;
        Self { id, role, name, created_at, expires_at, revoked_at }
    }
}

/// A key with its secret: this answer is the only place where it is shown.
#[derive(Serialize, ToSchema)]
pub struct CreatedKey {
    /// As it is listed.
    #[serde(flatten)]
    pub listed: Key,
    /// The whole key, `klr_…`, for the header `Authorization: Bearer`.
    pub key: String,
}

/// A key to be made.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyRequest {
    /// What it may do.
    #[schema(schema_with = schemas::role)]
    pub role: String,
    /// What it is called: who or what uses it.
    #[schema(min_length = 1, max_length = 100)]
    pub name: String,
    /// From when it no longer works; in the future.
    #[schema(schema_with = schemas::time)]
    pub expires_at: Option<String>,
}

/// The keys, oldest first
#[utoipa::path(get, path = "/v1/keys", tag = "keys", operation_id = "list_keys", params(PageParameters),
    responses((status = 200, description = "A page", body = List<Key>)))]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    parameters: Parameters,
) -> Result<Json<List<Key>>, Problem> {
    let page = app.store.list_keys(caller.organisation(), &page_only(&parameters)?).await?;
    Ok(Json(List::from_page(page, Key::from)))
}

/// Make a key
#[utoipa::path(post, path = "/v1/keys", tag = "keys", operation_id = "create_key", request_body = KeyRequest,
    responses((status = 201, description = "Made; `key` is shown this once", body = CreatedKey,
               headers(("Location" = String)))))]
pub(crate) async fn create(
    State(app): State<App>,
    caller: Caller,
    body: JsonBody,
) -> Result<Response, Problem> {
    let now = app.now();
    let report = Report::default();
    let read = Node::root(&body.value, &report).object().and_then(|mut members| {
        let roles: Vec<&str> = Role::ALL.iter().map(|r| r.as_str()).collect();
        let role: Option<Role> = members.read("role", |n| n.word(&roles));
        let name = members.read("name", |n| n.text(100).map(str::to_owned));
        let expires_at = members.read_optional("expires_at", |n| {
            let at = n.time()?;
            if at > now { Some(at) } else { n.wrong("must be in the future") }
        });
        members.finish();
        Some((role?, name?, expires_at?))
    });
    let (role, name, expires_at) = report.finish(read)?;
    let organisation = caller.organisation();
    let new = app.store.create_key(organisation, role, &name, expires_at, caller.actor(), now).await?;
    let location = format!("/v1/keys/{}", new.key.id);
    created(&location, &CreatedKey { listed: new.key.into(), key: new.token })
}

/// Revoke a key
#[utoipa::path(delete, path = "/v1/keys/{id}", tag = "keys", operation_id = "revoke_key",
    params(("id" = uuid::Uuid, Path, description = "The key")),
    responses((status = 204, description = "It no longer works")))]
pub(crate) async fn revoke(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let key = path_id(&id, "key")?;
    if app.store.revoke_key(caller.organisation(), key, caller.actor(), app.now()).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Problem::not_found("key"))
    }
}
