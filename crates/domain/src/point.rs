//! Points on the ground: WGS84, and RD New (EPSG:28992) which becomes WGS84.

/// A point in WGS84, in degrees: finite, and inside -90..=90 and -180..=180.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    latitude: f64,
    longitude: f64,
}

/// Why two numbers are not a point.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PointError {
    /// Placeholder.
    #[error("out of range")]
    OutOfRange,
}

impl Point {
    /// From degrees.
    ///
    /// # Errors
    /// Where a number is not finite or out of range, or latitude and longitude are likely swapped.
    pub fn wgs84(_latitude: f64, _longitude: f64) -> Result<Self, PointError> {
        unimplemented!()
    }

    /// From metres in RD New (EPSG:28992).
    ///
    /// # Errors
    /// Where the numbers are outside the grid, swapped, or likely kilometres.
    pub fn rd_new(_x: f64, _y: f64) -> Result<Self, PointError> {
        unimplemented!()
    }

    /// Degrees north.
    #[must_use]
    pub const fn latitude(&self) -> f64 {
        self.latitude
    }

    /// Degrees east.
    #[must_use]
    pub const fn longitude(&self) -> f64 {
        self.longitude
    }

    /// The H3 cell (resolution 9) that the point lies in: `places.cell`.
    #[must_use]
    pub fn cell(&self) -> i64 {
        unimplemented!()
    }

    /// Metres on the ground to `other` (geodesic).
    #[must_use]
    pub fn distance_m(&self, _other: &Self) -> f64 {
        unimplemented!()
    }
}
