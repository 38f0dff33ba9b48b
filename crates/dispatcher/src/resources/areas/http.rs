//! The calls under `/v1/areas`.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::collection::read_areas;
use super::features::{feature, read_one};
use super::library;
use super::view::{AreaCollection, AreaFeature, AreaFeatureRequest, AreaSummary, PutAreas};
use crate::auth::caller::Caller;
use crate::problem::Problem;
use crate::request::body::{AREA_BYTES_MAX, AREAS_BYTES_MAX, JsonText};
use crate::request::fields::{NO_CODE, is_code};
use crate::request::query::{List, PageParameters, Parameters, page_only};
use crate::resources::created;
use crate::state::App;

/// List the areas of the library by code
#[utoipa::path(get, path = "/v1/areas", tag = "registry", operation_id = "list_areas", params(PageParameters),
    responses((status = 200, description = "A page, without the shapes", body = List<AreaSummary>)))]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    parameters: Parameters,
) -> Result<Json<List<AreaSummary>>, Problem> {
    library::list(&app, caller.organisation(), &page_only(&parameters)?).await.map(Json)
}

/// Create or replace areas, all or none
#[utoipa::path(put, path = "/v1/areas", tag = "registry", operation_id = "put_areas",
    request_body(content = AreaCollection, content_type = "application/geo+json"),
    responses((status = 200, description = "The numbers of new and replaced areas", body = PutAreas)))]
pub(crate) async fn put_all(
    State(app): State<App>,
    caller: Caller,
    body: JsonText<AREAS_BYTES_MAX>,
) -> Result<Json<PutAreas>, Problem> {
    let (country, now) = (app.settings.country, app.now());
    let (text, held) = body.into_parts();
    let read = app.libraries.run(move || read_areas(&text, country, now)).await??;
    if read.rejected > 0 {
        return Err(Problem::invalid(read.errors));
    }
    let put = library::put(&app, &caller, &read.areas, read.mended).await?;
    // The areas take as much as their text did.
    drop((read.areas, held));
    Ok(Json(put))
}

/// Get an area
#[utoipa::path(get, path = "/v1/areas/{code}", tag = "registry", operation_id = "get_area",
    params(("code" = String, Path, description = "The area")),
    responses((status = 200, description = "The area", body = AreaFeature)))]
pub(crate) async fn get(
    State(app): State<App>,
    caller: Caller,
    Path(code): Path<String>,
) -> Result<Json<Value>, Problem> {
    let area = library::find(&app, caller.organisation(), &code).await?;
    Ok(Json(feature(&area)))
}

/// Create or replace an area
#[utoipa::path(put, path = "/v1/areas/{code}", tag = "registry", operation_id = "put_area",
    params(("code" = String, Path, description = "The area: 1 to 64 of A-Z a-z 0-9 _ . -")),
    request_body(content = AreaFeatureRequest, content_type = "application/geo+json"),
    responses((status = 200, description = "Replaced", body = AreaFeature),
              (status = 201, description = "Created", body = AreaFeature, headers(("Location" = String)))))]
pub(crate) async fn put(
    State(app): State<App>,
    caller: Caller,
    Path(code): Path<String>,
    body: JsonText<AREA_BYTES_MAX>,
) -> Result<Response, Problem> {
    if !is_code(&code) {
        return Err(Problem::invalid_field("/properties/code", NO_CODE));
    }
    let (country, now) = (app.settings.country, app.now());
    let expected = code.clone();
    let (text, held) = body.into_parts();
    let read = app.shapes.run(move || read_one(&text, &expected, country, now)).await??;
    let put = library::put(&app, &caller, std::slice::from_ref(&read.area), read.mends).await?;
    drop(held);
    let mut shown = feature(&read.area);
    if !put.mended.is_empty() {
        shown["mended"] = json!(put.mended);
    }
    if put.created == 1 {
        return created(&format!("/v1/areas/{code}"), &shown);
    }
    Ok((StatusCode::OK, Json(shown)).into_response())
}
