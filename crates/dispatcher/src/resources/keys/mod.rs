//! API keys. The secret of a key is shown once.

pub(crate) mod http;

use klaroen_domain::id::{KeyId, OrganisationId};
use klaroen_domain::role::Role;
use klaroen_domain::time::Timestamp;
use klaroen_store::PageRequest;
use klaroen_store::keys::{ApiKey, LONGEST_LIFE, USUAL_LIFE};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::auth::caller::Caller;
use crate::problem::Problem;
use crate::request::fields::{Node, Report};
use crate::request::query::List;
use crate::resources::schemas;
use crate::state::App;

/// An API key without its secret.
#[derive(Debug, Serialize, ToSchema)]
pub struct Key {
    /// The id of the key.
    #[schema(schema_with = schemas::id)]
    pub id: KeyId,
    /// The role of the key.
    #[schema(schema_with = schemas::role)]
    pub role: Role,
    /// The name of the key.
    pub name: String,
    /// When the key was created.
    #[schema(schema_with = schemas::time)]
    pub created_at: Timestamp,
    /// When the key expires.
    #[schema(schema_with = schemas::time)]
    pub expires_at: Timestamp,
    /// When the key was revoked. `null` if it was not.
    #[schema(schema_with = schemas::time_or_null)]
    pub revoked_at: Option<Timestamp>,
}

impl From<ApiKey> for Key {
    fn from(key: ApiKey) -> Self {
        let ApiKey { id, role, name, created_at, expires_at, revoked_at, .. } = key;
        Self { id, role, name, created_at, expires_at, revoked_at }
    }
}

/// An API key with its secret. No other response shows the secret.
#[derive(Serialize, ToSchema)]
pub struct CreatedKey {
    /// The key as it is listed.
    #[serde(flatten)]
    pub listed: Key,
    /// The whole key, `klr_…`, for the header `Authorization: Bearer`.
    pub key: String,
}

/// An API key to be created.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyRequest {
    /// The role of the key.
    #[schema(schema_with = schemas::role)]
    pub role: String,
    /// The name of the key: the person or system that uses it.
    #[schema(min_length = 1, max_length = 100)]
    pub name: String,
    /// When the key expires: in the future, at most two years from now. If absent, a year from now.
    #[schema(schema_with = schemas::time)]
    pub expires_at: Option<String>,
}

/// A key that is to be made, read whole.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// The role.
    pub role: Role,
    /// The name.
    pub name: String,
    /// The time from which the key no longer works.
    pub expires_at: Timestamp,
}

/// Reads a [`KeyRequest`].
///
/// # Errors
/// 422 with everything that is wrong.
pub fn read_key(document: &Value, now: Timestamp) -> Result<NewKey, Problem> {
    let report = Report::default();
    let read = Node::root(document, &report).object().and_then(|mut members| {
        let roles: Vec<&str> = Role::of_organisation().map(Role::as_str).collect();
        let role: Option<Role> = members.read("role", |n| n.word(&roles));
        let name = members.read("name", |n| n.text(100).map(str::to_owned));
        let expires_at = members.read_optional("expires_at", |n| {
            let at = n.time()?;
            if at <= now {
                n.wrong("must be in the future")
            } else if at > now.plus(LONGEST_LIFE) {
                n.wrong("must be at most two years from now: a key that is forgotten ends by itself")
            } else {
                Some(at)
            }
        });
        members.finish();
        Some(NewKey { role: role?, name: name?, expires_at: expires_at?.unwrap_or(now.plus(USUAL_LIFE)) })
    });
    report.finish(read)
}

/// One page of the keys, oldest first.
///
/// # Errors
/// 422 if the cursor is none of this list, 503 if the database is not available.
pub async fn list(app: &App, organisation: OrganisationId, page: &PageRequest) -> Result<List<Key>, Problem> {
    let page = app.store.list_keys(Some(organisation), page).await?;
    Ok(List::from_page(page, Key::from))
}

/// Makes a key and returns it with its secret, which is shown this once.
///
/// # Errors
/// 503 if the database is not available.
pub async fn create(app: &App, caller: &Caller, new: &NewKey) -> Result<CreatedKey, Problem> {
    let NewKey { role, name, expires_at } = new;
    let (organisation, actor) = (caller.organisation(), caller.actor());
    let made = app.store.create_key(Some(organisation), *role, name, *expires_at, actor, app.now()).await?;
    Ok(CreatedKey { listed: made.key.into(), key: made.token })
}

/// Revokes a key.
///
/// # Errors
/// 404 if the organisation has no such key, 503 if the database is not available.
pub async fn revoke(app: &App, caller: &Caller, key: KeyId) -> Result<(), Problem> {
    let revoked = app.store.revoke_key(Some(caller.organisation()), key, caller.actor(), app.now()).await?;
    if revoked { Ok(()) } else { Err(Problem::not_found("key")) }
}
