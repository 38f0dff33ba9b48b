//! A circle in metres on the ground (geodesic on WGS84).

use geo::{Coord, Destination, Geodesic};

use super::GeofenceError;
use super::chord::Reach;
use crate::point::Point;

/// Smaller than the error of a good GPS fix is a typing error.
pub const RADIUS_M_MIN: f64 = 10.0;
/// Larger than a police region is a typing error (kilometres for metres).
pub const RADIUS_M_MAX: f64 = 50_000.0;
/// Enough corners for a map: at 64 a side bulges 0.1 % of the radius.
const CORNERS: u32 = 64;

/// All points at most `radius_m` from the centre.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Circle {
    pub(super) center: Point,
    pub(super) radius_m: f64,
    /// Says of nearly every point what a geodesic would.
    reach: Reach,
}

impl Circle {
    pub(super) fn new(center: Point, radius_m: f64) -> Result<Self, GeofenceError> {
        // A range holds no NaN.
        if (RADIUS_M_MIN..=RADIUS_M_MAX).contains(&radius_m) {
            return Ok(Self { center, radius_m, reach: Reach::new(&center, radius_m) });
        }
        let detail = format!("must be between {RADIUS_M_MIN} and {RADIUS_M_MAX} metres");
        Err(GeofenceError { pointer: "/radius_m".to_owned(), detail, other: None })
    }

    pub(super) fn contains(&self, point: &Point) -> bool {
        self.reach.holds(point).unwrap_or_else(|| self.center.distance_m(point) <= self.radius_m)
    }

    /// Metres from `point` to the circle; 0 inside. Exact.
    pub(super) fn distance_m(&self, point: &Point) -> f64 {
        (self.center.distance_m(point) - self.radius_m).max(0.0)
    }

    /// On a plane: 0.001 % too much at 50 km.
    pub(super) fn area_km2(&self) -> f64 {
        std::f64::consts::PI * self.radius_m * self.radius_m / 1e6
    }

    /// A closed ring for maps, counter-clockwise (RFC 7946 §3.1.6), its corners on the circle.
    pub(super) fn ring(&self) -> Vec<Coord> {
        let center = geo::Point::new(self.center.longitude(), self.center.latitude());
        let corner = |i: u32| {
            let bearing = 360.0 - 360.0 * f64::from(i % CORNERS) / f64::from(CORNERS);
            Geodesic.destination(center, bearing, self.radius_m).into()
        };
        (0..=CORNERS).map(corner).collect()
    }
}
