//! Areas as they are sent and shown.

use klaroen_domain::time::Timestamp;
use klaroen_store::areas::Area;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::resources::schemas;

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
