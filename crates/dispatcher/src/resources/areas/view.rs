//! Areas as they are sent and shown.

use klaroen_domain::time::Timestamp;
use klaroen_store::areas::Area;
use serde::Serialize;
use serde_json::Value;
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::problem::FieldError;
use crate::resources::schemas;

/// An area without its shape.
#[derive(Debug, Serialize, ToSchema)]
pub struct AreaSummary {
    /// The code: `BU03440011`, or one of your own.
    pub code: String,
    /// The name that people use.
    pub name: String,
    /// Municipality, district, neighbourhood, …
    pub kind: String,
    /// When the area was changed last.
    #[schema(schema_with = schemas::time)]
    pub updated_at: Timestamp,
}

impl From<Area> for AreaSummary {
    fn from(area: Area) -> Self {
        let Area { code, name, kind, updated_at, .. } = area;
        Self { code, name, kind, updated_at }
    }
}

/// The result of putting areas into the library.
#[derive(Debug, Serialize, ToSchema)]
pub struct PutAreas {
    /// Number of areas in the collection.
    pub areas: u64,
    /// Number of new areas.
    pub created: u64,
    /// Number of areas that were replaced.
    pub updated: u64,
    /// The first 1,000 places of shapes that were mended: a spike that was cut off, or a ring that touched itself and was parted.
    pub mended: Vec<Mended>,
}

/// A place of a shape that was mended.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Mended {
    /// JSON Pointer (RFC 6901) into the request body, such as `/features/3/geometry/coordinates/0/7`.
    pub pointer: String,
    /// The change, and its reason.
    pub detail: String,
}

impl From<FieldError> for Mended {
    fn from(FieldError { pointer, detail }: FieldError) -> Self {
        Self { pointer, detail }
    }
}

/// An area as a `GeoJSON` Feature (RFC 7946).
#[derive(Debug, ToSchema)]
pub struct AreaFeature {
    /// `Feature`.
    #[schema(schema_with = schemas::feature)]
    pub r#type: String,
    /// The code.
    pub id: String,
    /// The code, name and kind of the area.
    pub properties: AreaProperties,
    /// The shape of the area: longitude before latitude.
    #[schema(value_type = Geometry)]
    pub geometry: Value,
    /// Places of the shape that this request had mended. Absent if there are none, ignored in requests.
    pub mended: Option<Vec<Mended>>,
}

/// The properties of an area.
#[derive(Debug, ToSchema)]
pub struct AreaProperties {
    /// The code: `BU03440011`, or one of your own.
    pub code: String,
    /// The name that people use.
    pub name: String,
    /// Municipality, district, neighbourhood, …
    pub kind: String,
    /// When the area was changed last.
    #[schema(schema_with = schemas::time)]
    pub updated_at: String,
}

/// A shape: a `GeoJSON` Polygon or `MultiPolygon` (RFC 7946) of at most 20 polygons, 50 rings and 10,000 corners.
#[derive(Debug)]
pub struct Geometry;

impl ToSchema for Geometry {}

impl PartialSchema for Geometry {
    fn schema() -> RefOr<Schema> {
        RefOr::T(Schema::OneOf(schemas::geometry()))
    }
}

/// An area to be stored, as a `GeoJSON` Feature (RFC 7946). Other members and properties are ignored.
#[derive(Debug, ToSchema)]
pub struct AreaFeatureRequest {
    /// `Feature`.
    #[schema(schema_with = schemas::feature)]
    pub r#type: String,
    /// The code, if `properties` has none under any of its names.
    pub id: Option<String>,
    /// The code, name and kind of the area.
    pub properties: AreaPropertiesRequest,
    /// The shape of the area: longitude before latitude.
    #[schema(value_type = Geometry)]
    pub geometry: Value,
}

/// The properties of an area to be stored. Code and name are read as statistics offices call them, too (`buurtcode` and `buurtnaam`,
/// `wijkcode`, `gemeentecode`, `statcode`, `BU_CODE`, … in any case).
#[derive(Debug, ToSchema)]
pub struct AreaPropertiesRequest {
    /// The code: `BU03440011`, or one of your own.
    #[schema(min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9_.-]+$")]
    pub code: Option<String>,
    /// The name that people use.
    #[schema(min_length = 1, max_length = 200)]
    pub name: String,
    /// Municipality, district, neighbourhood, … `area` if absent.
    #[schema(min_length = 1, max_length = 64)]
    pub kind: Option<String>,
}

/// A `GeoJSON` `FeatureCollection` (RFC 7946), in WGS84 or ETRS89, or in the system that a `crs` names on the collection, a
/// feature or a geometry: RD New (`EPSG:28992`, `EPSG:7415`) is converted.
#[derive(Debug, ToSchema)]
pub struct AreaCollection {
    /// `FeatureCollection`.
    #[schema(schema_with = schemas::feature_collection)]
    pub r#type: String,
    /// The areas.
    #[schema(min_items = 1, max_items = 20_000)]
    pub features: Vec<AreaFeatureRequest>,
}
