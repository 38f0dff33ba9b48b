//! The calls under `/v1/keys`.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;

use super::{CreatedKey, Key, KeyRequest, read_key};
use crate::auth::caller::Caller;
use crate::problem::Problem;
use crate::request::body::JsonBody;
use crate::request::fields::path_id;
use crate::request::query::{List, PageParameters, Parameters, page_only};
use crate::resources::created;
use crate::state::App;

/// List the API keys, oldest first
#[utoipa::path(get, path = "/v1/keys", tag = "keys", operation_id = "list_keys", params(PageParameters),
    responses((status = 200, description = "A page", body = List<Key>)))]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    parameters: Parameters,
) -> Result<Json<List<Key>>, Problem> {
    super::list(&app, caller.organisation(), &page_only(&parameters)?).await.map(Json)
}

/// Create an API key
#[utoipa::path(post, path = "/v1/keys", tag = "keys", operation_id = "create_key", request_body = KeyRequest,
    responses((status = 201, description = "Created. No other response shows `key`", body = CreatedKey,
               headers(("Location" = String)))))]
pub(crate) async fn create(
    State(app): State<App>,
    caller: Caller,
    body: JsonBody,
) -> Result<Response, Problem> {
    let made = super::create(&app, &caller, &read_key(&body.value, app.now())?).await?;
    created(&format!("/v1/keys/{}", made.listed.id), &made)
}

/// Revoke an API key
#[utoipa::path(delete, path = "/v1/keys/{id}", tag = "keys", operation_id = "revoke_key",
    params(("id" = uuid::Uuid, Path, description = "The key")),
    responses((status = 204, description = "The key no longer works")))]
pub(crate) async fn revoke(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    super::revoke(&app, &caller, path_id(&id, "key")?).await?;
    Ok(StatusCode::NO_CONTENT)
}
