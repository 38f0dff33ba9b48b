//! Straight lines through the Earth: whether two points are nearer to each other than a number of metres on the ground, at
//! a tenth of what the geodesic between them costs.

use crate::point::Point;

/// Semi-major axis of WGS84, in metres.
const A: f64 = 6_378_137.0;
/// Flattening of WGS84.
const F: f64 = 1.0 / 298.257_223_563;
/// Square of the first eccentricity.
const E2: f64 = F * (2.0 - F);
/// No arc on the ellipsoid is bent more than a meridian at the equator, with this radius in metres.
const SHARPEST_M: f64 = A * (1.0 - E2);
/// Well above what rounding does to either distance.
const SLACK_M: f64 = 0.001;

/// Metres from the centre of the Earth, of a point on the ellipsoid (EPSG method 9602).
#[derive(Clone, Copy, Debug, PartialEq)]
struct Geocentric {
    x: f64,
    y: f64,
    z: f64,
}

impl Geocentric {
    fn of(point: &Point) -> Self {
        let (sin_latitude, cos_latitude) = point.latitude().to_radians().sin_cos();
        let (sin_longitude, cos_longitude) = point.longitude().to_radians().sin_cos();
        let across = A / (1.0 - E2 * sin_latitude * sin_latitude).sqrt();
        Self {
            x: across * cos_latitude * cos_longitude,
            y: across * cos_latitude * sin_longitude,
            z: across * (1.0 - E2) * sin_latitude,
        }
    }

    fn chord2(&self, other: &Self) -> f64 {
        let (x, y, z) = (self.x - other.x, self.y - other.y, self.z - other.z);
        x * x + y * y + z * z
    }
}

/// Which points are surely within a distance on the ground, and which surely are not.
///
/// A chord is never longer than the geodesic s above it. And because that is nowhere bent more than a circle of
/// [`SHARPEST_M`], its chord is at least that of the circle, 2R sin(s/2R) (Schur's comparison theorem). Between the two lie 1 mm
/// at 1.5 km and 13 cm at 50 km.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Reach {
    center: Geocentric,
    within2: f64,
    beyond2: f64,
}

impl Reach {
    /// `radius_m`: at most 50 km; above 1 m.
    pub(super) fn new(center: &Point, radius_m: f64) -> Self {
        let diameter = 2.0 * SHARPEST_M;
        let within = diameter * (radius_m / diameter).sin() - SLACK_M;
        let beyond = radius_m + SLACK_M;
        Self { center: Geocentric::of(center), within2: within * within, beyond2: beyond * beyond }
    }

    /// Whether `point` is within it; `None` if it is too near to the line to say.
    pub(super) fn holds(&self, point: &Point) -> Option<bool> {
        let chord2 = self.center.chord2(&Geocentric::of(point));
        if chord2 <= self.within2 {
            return Some(true);
        }
        (chord2 > self.beyond2).then_some(false)
    }
}

#[cfg(test)]
mod tests {
    use geo::{Destination, Geodesic};
    use proptest::prelude::*;

    use super::*;

    /// Never swapped by mistake, as neither number is one of the Netherlands' other.
    fn point(latitude: f64, longitude: f64) -> Point {
        let longitude = (longitude + 540.0).rem_euclid(360.0) - 180.0;
        Point::wgs84(latitude, longitude)
            .unwrap_or_else(|_| Point::wgs84(latitude, longitude + 90.0).unwrap())
    }

    fn at(center: &Point, bearing: f64, metres: f64) -> Point {
        let from = geo::Point::new(center.longitude(), center.latitude());
        let to = Geodesic.destination(from, bearing, metres);
        point(to.y().clamp(-90.0, 90.0), to.x())
    }

    proptest! {
        /// Also at the poles and across the antimeridian.
        #[test]
        fn what_is_said_is_what_the_geodesic_says(
            latitude in prop_oneof![-90.0..=90.0, 50.0..54.0, 89.9..=90.0],
            longitude in prop_oneof![-180.0..=180.0, 179.9..=180.0],
            radius_m in 10.0..50_000.0,
            bearing in 0.0..360.0,
            off in prop_oneof![-0.3..0.3, -0.003..0.003, -9.0..10_000.0],
        ) {
            let center = point(latitude, longitude);
            let other = at(&center, bearing, radius_m + off);
            let said = Reach::new(&center, radius_m).holds(&other);
            let truth = center.distance_m(&other) <= radius_m;
            prop_assert!(said.is_none_or(|inside| inside == truth), "{said:?}, {truth}");
        }

        #[test]
        fn little_is_left_unsaid(
            latitude in -90.0..=90.0, longitude in -180.0..=180.0, radius_m in 10.0..50_000.0,
            bearing in 0.0..360.0, off in prop_oneof![0.15..9.0, -9.0..-0.15],
        ) {
            let center = point(latitude, longitude);
            let other = at(&center, bearing, radius_m + off);
            prop_assert_eq!(Reach::new(&center, radius_m).holds(&other), Some(off < 0.0));
        }
    }
}
