//! Geofences: a circle in metres on the ground, or polygons. Boundary points are inside.

pub mod cover;

use crate::point::Point;

/// A shape that was validated and can be asked about points.
#[derive(Clone, Debug)]
pub struct Geofence {}

/// One thing wrong with a shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GeofenceError {
    /// JSON pointer below the shape, such as `/coordinates/0/3`; empty for the shape as a whole.
    pub pointer: String,
    /// What is wrong and what would be right.
    pub detail: String,
}

impl Geofence {
    /// A circle. `radius_m` is metres on the ground, 10 to 50,000.
    ///
    /// # Errors
    /// Where the radius is not in range; the pointer is `/radius_m`.
    pub fn circle(_center: Point, _radius_m: f64) -> Result<Self, GeofenceError> {
        unimplemented!()
    }

    /// A GeoJSON Polygon or MultiPolygon (RFC 7946), lon,lat.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn from_geojson(_geometry: &serde_json::Value) -> Result<Self, Vec<GeofenceError>> {
        unimplemented!()
    }

    /// Several shapes as one (areas from the library); a point in any of them is inside.
    #[must_use]
    pub fn union(_shapes: Vec<Self>) -> Self {
        unimplemented!()
    }

    /// The frozen copy that is stored with an alert; [`Geofence::from_json`] reads it back without validating again.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        unimplemented!()
    }

    /// Reads what [`Geofence::to_json`] wrote; `None` where it did not.
    #[must_use]
    pub fn from_json(_json: &serde_json::Value) -> Option<Self> {
        unimplemented!()
    }

    /// As GeoJSON geometry, for people and maps; a circle becomes a polygon of 64 corners.
    #[must_use]
    pub fn to_geojson(&self) -> serde_json::Value {
        unimplemented!()
    }

    /// Whether the point is inside or on the boundary.
    #[must_use]
    pub fn contains(&self, _point: &Point) -> bool {
        unimplemented!()
    }

    /// Metres on the ground from `point` to the nearest part; 0 inside.
    #[must_use]
    pub fn distance_m(&self, _point: &Point) -> f64 {
        unimplemented!()
    }

    /// Square kilometres (overlaps counted once or more).
    #[must_use]
    pub fn area_km2(&self) -> f64 {
        unimplemented!()
    }

    /// The H3 cells to read for this shape.
    #[must_use]
    pub fn cover(&self) -> cover::Cover {
        unimplemented!()
    }
}
