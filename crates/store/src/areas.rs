//! The library of named polygons.

use klaroen_domain::id::OrganisationId;
use klaroen_domain::time::Timestamp;

use crate::{Actor, Page, PageRequest, Result, Store};

/// A named polygon.
#[derive(Clone, Debug, PartialEq)]
pub struct Area {
    /// `BU03440011`, or a code of one's own.
    pub code: String,
    /// What people call it.
    pub name: String,
    /// municipality, district, neighbourhood, …
    pub kind: String,
    /// GeoJSON Polygon or MultiPolygon, validated.
    pub geometry: serde_json::Value,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

impl Store {
    /// Creates or replaces areas, all or none. Gives how many were new.
    ///
    /// # Errors
    /// What the database says.
    pub async fn put_areas(
        &self,
        _organisation: OrganisationId,
        _areas: &[Area],
        _actor: Actor,
        _now: Timestamp,
    ) -> Result<u64> {
        unimplemented!()
    }

    /// One area.
    ///
    /// # Errors
    /// What the database says.
    pub async fn area(&self, _organisation: OrganisationId, _code: &str) -> Result<Option<Area>> {
        unimplemented!()
    }

    /// Several areas in the order of their codes; codes that do not exist are missing from the result.
    ///
    /// # Errors
    /// What the database says.
    pub async fn areas_by_code(&self, _organisation: OrganisationId, _codes: &[String]) -> Result<Vec<Area>> {
        unimplemented!()
    }

    /// The library, by code.
    ///
    /// # Errors
    /// What the database says, or a bad cursor.
    pub async fn list_areas(&self, _organisation: OrganisationId, _page: &PageRequest) -> Result<Page<Area>> {
        unimplemented!()
    }
}
