//! `/v1/areas`: the library of named polygons.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use klaroen_domain::time::Timestamp;
use klaroen_store::areas::Area;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::auth::caller::Caller;
use crate::problem::Problem;
use crate::request::body::{AREA_BYTES_MAX, AREAS_BYTES_MAX, JsonText};
use crate::request::fields::{NO_CODE, is_code};
use crate::request::query::{List, PageParameters, Parameters, page_only};
use crate::resources::areas::features::{feature, parse_areas, read_one};
use crate::resources::{created, schemas};
use crate::state::App;

/// An area without its shape.
#[derive(Debug, Serialize, ToSchema)]
pub struct AreaSummary {
    /// `BU03440011`, or a code of one's own.
    pub code: String,
    /// What people call it.
    pub name: String,
    /// Municipality, district, neighbourhood, …
    pub kind: String,
    /// When it was last changed.
    #[schema(schema_with = schemas::time)]
    pub updated_at: Timestamp,
}

impl From<Area> for AreaSummary {
    fn from(area: Area) -> Self {
        let Area { code, name, kind, updated_at, .. } = area;
        Self { code, name, kind, updated_at }
    }
}

/// What came of a collection.
#[derive(Debug, Serialize, ToSchema)]
pub struct PutAreas {
    /// Areas in the collection.
    pub areas: u64,
    /// Of these, new.
    pub created: u64,
    /// Of these, replaced.
    pub updated: u64,
}

/// A `GeoJSON` Feature (RFC 7946); other properties are left alone.
#[derive(Debug, ToSchema)]
pub struct AreaFeature {
    /// `Feature`.
    #[schema(example = "Feature")]
    pub r#type: String,
    /// The code, where `properties` has none.
    pub id: Option<String>,
    /// What the area is.
    pub properties: AreaProperties,
    /// Its shape, longitude before latitude.
    #[schema(schema_with = schemas::geometry)]
    pub geometry: Value,
}

/// What an area is.
#[derive(Debug, ToSchema)]
pub struct AreaProperties {
    /// `BU03440011`, or a code of one's own.
    #[schema(min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9_.-]+$")]
    pub code: Option<String>,
    /// What people call it.
    #[schema(min_length = 1, max_length = 200)]
    pub name: String,
    /// Municipality, district, neighbourhood, …; `area` where it is missing.
    #[schema(min_length = 1, max_length = 64)]
    pub kind: Option<String>,
    /// When the area was last changed: in answers; in a request it is left alone.
    #[schema(schema_with = schemas::time)]
    pub updated_at: Option<String>,
}

/// A `GeoJSON` `FeatureCollection` (RFC 7946).
#[derive(Debug, ToSchema)]
pub struct AreaCollection {
    /// `FeatureCollection`.
    #[schema(example = "FeatureCollection")]
    pub r#type: String,
    /// The areas.
    #[schema(min_items = 1, max_items = 20_000)]
    pub features: Vec<AreaFeature>,
}

/// The library, by code
#[utoipa::path(get, path = "/v1/areas", tag = "registry", operation_id = "list_areas", params(PageParameters),
    responses((status = 200, description = "A page, without the shapes", body = List<AreaSummary>)))]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    parameters: Parameters,
) -> Result<Json<List<AreaSummary>>, Problem> {
    let page = app.store.list_areas(caller.organisation(), &page_only(&parameters)?).await?;
    Ok(Json(List::from_page(page, AreaSummary::from)))
}

/// Create or replace areas, all or none
#[utoipa::path(put, path = "/v1/areas", tag = "registry", operation_id = "put_areas",
    request_body(content = AreaCollection, content_type = "application/geo+json"),
    responses((status = 200, description = "Done", body = PutAreas)))]
pub(crate) async fn put_all(
    State(app): State<App>,
    caller: Caller,
    body: JsonText<AREAS_BYTES_MAX>,
) -> Result<Json<PutAreas>, Problem> {
    let now = app.now();
    let read = move || parse_areas(&body.parse()?, now).map_err(Problem::invalid);
    let areas = app.libraries.run(read).await??;
    let created = app.store.put_areas(caller.organisation(), &areas, caller.actor(), now).await?;
    let total = areas.len() as u64;
    Ok(Json(PutAreas { areas: total, created, updated: total.saturating_sub(created) }))
}

/// One area
#[utoipa::path(get, path = "/v1/areas/{code}", tag = "registry", operation_id = "get_area",
    params(("code" = String, Path, description = "The area")),
    responses((status = 200, description = "The area", body = AreaFeature)))]
pub(crate) async fn get(
    State(app): State<App>,
    caller: Caller,
    Path(code): Path<String>,
) -> Result<Json<Value>, Problem> {
    if !is_code(&code) {
        return Err(Problem::not_found("area"));
    }
    let area = app.store.area(caller.organisation(), &code).await?;
    area.map(|area| Json(feature(&area))).ok_or_else(|| Problem::not_found("area"))
}

/// Create or replace one area
#[utoipa::path(put, path = "/v1/areas/{code}", tag = "registry", operation_id = "put_area",
    params(("code" = String, Path, description = "The area: 1 to 64 of A-Z a-z 0-9 _ . -")),
    request_body(content = AreaFeature, content_type = "application/geo+json"),
    responses((status = 200, description = "Replaced", body = AreaFeature),
              (status = 201, description = "Made", body = AreaFeature, headers(("Location" = String)))))]
pub(crate) async fn put(
    State(app): State<App>,
    caller: Caller,
    Path(code): Path<String>,
    body: JsonText<AREA_BYTES_MAX>,
) -> Result<Response, Problem> {
    if !is_code(&code) {
        return Err(Problem::invalid_field("/properties/code", NO_CODE));
    }
    let now = app.now();
    let expected = code.clone();
    let area = app.shapes.run(move || read_one(&body.parse()?, &expected, now)).await??;
    let new =
        app.store.put_areas(caller.organisation(), std::slice::from_ref(&area), caller.actor(), now).await?;
    if new == 1 {
        return created(&format!("/v1/areas/{code}"), &feature(&area));
    }
    Ok((StatusCode::OK, Json(feature(&area))).into_response())
}
