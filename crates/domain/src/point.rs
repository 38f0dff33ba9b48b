//! Points on the ground: WGS84, and RD New (EPSG:28992) which becomes WGS84.
//!
//! Latitudes and longitudes of the Netherlands do not overlap, and neither do x and y of RD New, so the usual
//! slips (swapped numbers, kilometres for metres) are recognised and named instead of placing a person at sea.

use std::sync::LazyLock;

use geo::{Distance, Geodesic};
use h3o::{LatLng, Resolution};
use proj4rs::Proj;

/// The resolution of `places.cell`: cells of some 0.1 km², 200 m from centre to corner.
pub const CELL_RESOLUTION: Resolution = Resolution::Nine;

/// RD New (EPSG:28992) with the seven-parameter datum shift: right to 0.1 m, while a plain ellipsoid is off by 100 m.
const RD_NEW: &str = "+proj=sterea +lat_0=52.1561605555556 +lon_0=5.38763888888889 +k=0.9999079 +x_0=155000 \
    +y_0=463000 +ellps=bessel +towgs84=565.4171,50.3319,465.5524,-0.398957388243134,0.343987817378283,\
    -1.87740163998045,4.0725 +units=m +no_defs";

/// Source and target of the conversion, built once.
static PROJECTIONS: LazyLock<Option<(Proj, Proj)>> = LazyLock::new(|| {
    let rd_new = Proj::from_proj_string(RD_NEW).ok()?;
    let wgs84 = Proj::from_proj_string("+proj=longlat +datum=WGS84 +no_defs").ok()?;
    Some((rd_new, wgs84))
});

/// A point in WGS84, in degrees: finite, and inside -90..=90 and -180..=180.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    latitude: f64,
    longitude: f64,
}

/// The reason why two numbers are not a point. The texts hold no coordinates: a place may be a person's home.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PointError {
    /// NaN or infinite.
    #[error("{member} must be a finite number")]
    NotFinite {
        /// The member of a point in the API: `latitude`, `longitude`, `rd_x` or `rd_y`.
        member: &'static str,
    },
    /// Latitude outside -90..=90.
    #[error("latitude must be between -90 and 90 degrees (in the Netherlands between 50.7 and 53.7)")]
    LatitudeOutOfRange,
    /// Longitude outside -180..=180.
    #[error("longitude must be between -180 and 180 degrees (in the Netherlands between 3.2 and 7.3)")]
    LongitudeOutOfRange,
    /// Inside the Netherlands once swapped.
    #[error(
        "latitude and longitude are likely swapped: in the Netherlands latitude is 50.7 to 53.7 and longitude 3.2 to 7.3"
    )]
    Swapped,
    /// On the grid of RD New.
    #[error("latitude and longitude look like RD New, in metres: give them as rd_x and rd_y")]
    LooksRdNew,
    /// `rd_x` outside the grid.
    #[error("rd_x must be between 0 and 280000 metres (RD New, EPSG:28992)")]
    RdXOutOfGrid,
    /// `rd_y` outside the grid.
    #[error("rd_y must be between 300000 and 625000 metres (RD New, EPSG:28992)")]
    RdYOutOfGrid,
    /// Inside the grid once swapped.
    #[error("rd_x and rd_y are likely swapped: in RD New rd_y is always greater than rd_x")]
    RdSwapped,
    /// Inside the grid once multiplied by 1,000.
    #[error("rd_x and rd_y are likely in kilometres: RD New is in metres, such as 155000 and 463000")]
    RdKilometres,
    /// The conversion to WGS84 failed.
    #[error("the RD New coordinates cannot be converted to WGS84")]
    Conversion,
}

impl PointError {
    /// The member of a point that is wrong, or `None` if it is the pair.
    #[must_use]
    pub const fn member(&self) -> Option<&'static str> {
        match self {
            Self::NotFinite { member } => Some(member),
            Self::LatitudeOutOfRange => Some("latitude"),
            Self::LongitudeOutOfRange => Some("longitude"),
            Self::RdXOutOfGrid => Some("rd_x"),
            Self::RdYOutOfGrid => Some("rd_y"),
            Self::Swapped | Self::LooksRdNew | Self::RdSwapped | Self::RdKilometres | Self::Conversion => {
                None
            }
        }
    }
}

impl Point {
    /// From degrees.
    ///
    /// # Errors
    /// Returns [`PointError`] if a number is not finite or out of range, or if they are likely RD New, or swapped.
    pub fn wgs84(latitude: f64, longitude: f64) -> Result<Self, PointError> {
        require_finite("latitude", latitude)?;
        require_finite("longitude", longitude)?;
        if looks_rd_new(latitude, longitude) || looks_rd_new(longitude, latitude) {
            return Err(PointError::LooksRdNew);
        }
        if !(-90.0..=90.0).contains(&latitude) {
            return Err(PointError::LatitudeOutOfRange);
        }
        if !(-180.0..=180.0).contains(&longitude) {
            return Err(PointError::LongitudeOutOfRange);
        }
        if likely_swapped(latitude, longitude) {
            return Err(PointError::Swapped);
        }
        Ok(Self { latitude, longitude })
    }

    /// From metres in RD New (EPSG:28992); the edges of the grid belong to it.
    ///
    /// # Errors
    /// Returns [`PointError`] if a number is not finite or outside the grid, or if they are swapped or likely kilometres.
    pub fn rd_new(x: f64, y: f64) -> Result<Self, PointError> {
        require_finite("rd_x", x)?;
        require_finite("rd_y", y)?;
        if !in_grid(x, y) {
            return Err(rd_error(x, y));
        }
        let (rd_new, wgs84) = PROJECTIONS.as_ref().ok_or(PointError::Conversion)?;
        let mut point = (x, y, 0.0);
        proj4rs::transform::transform(rd_new, wgs84, &mut point).map_err(|_| PointError::Conversion)?;
        Self::wgs84(point.1.to_degrees(), point.0.to_degrees())
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
    #[expect(clippy::missing_panics_doc, reason = "every Point was seen to be finite")]
    pub fn cell(&self) -> i64 {
        let at = LatLng::new(self.latitude, self.longitude).expect("a Point is finite");
        u64::from(at.to_cell(CELL_RESOLUTION)).cast_signed()
    }

    /// Metres on the ground to `other`: the geodesic on the WGS84 ellipsoid (Karney 2013).
    #[must_use]
    pub fn distance_m(&self, other: &Self) -> f64 {
        Geodesic.distance(
            geo::Point::new(self.longitude, self.latitude),
            geo::Point::new(other.longitude, other.latitude),
        )
    }
}

/// Whether the pair lies in the Netherlands (EPSG:28992's own bounds) only after swapping.
pub(crate) fn likely_swapped(latitude: f64, longitude: f64) -> bool {
    (3.2..=7.3).contains(&latitude) && (50.7..=53.7).contains(&longitude)
}

/// Whether the pair lies on the RD New grid of the Netherlands, in metres.
pub(crate) fn in_grid(x: f64, y: f64) -> bool {
    (0.0..=280_000.0).contains(&x) && (300_000.0..=625_000.0).contains(&y)
}

/// Whether the pair is likely RD New: the grid, and some kilometres of Germany to its east.
pub(crate) fn looks_rd_new(x: f64, y: f64) -> bool {
    (0.0..=300_000.0).contains(&x) && (300_000.0..=625_000.0).contains(&y)
}

const fn require_finite(member: &'static str, value: f64) -> Result<(), PointError> {
    if value.is_finite() { Ok(()) } else { Err(PointError::NotFinite { member }) }
}

/// Names the mistake in a pair that is not on the grid.
fn rd_error(x: f64, y: f64) -> PointError {
    if in_grid(y, x) {
        PointError::RdSwapped
    } else if in_grid(x * 1000.0, y * 1000.0) {
        PointError::RdKilometres
    } else if (0.0..=280_000.0).contains(&x) {
        PointError::RdYOutOfGrid
    } else {
        PointError::RdXOutOfGrid
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    /// Reference: PROJ 9, EPSG:28992 to EPSG:4326.
    #[rstest]
    #[case(155_000.0, 463_000.0, 52.155_172, 5.387_204)]
    #[case(120_700.0, 487_500.0, 52.374_301, 4.883_515)]
    #[case(280_000.0, 625_000.0, 53.596_201, 7.275_204)]
    fn rd_new_is_right_within_a_metre(#[case] x: f64, #[case] y: f64, #[case] lat: f64, #[case] lon: f64) {
        let converted = Point::rd_new(x, y).unwrap();
        let expected = Point::wgs84(lat, lon).unwrap();
        assert!(converted.distance_m(&expected) < 1.0, "{converted:?}");
    }

    #[rstest]
    #[case(463_000.0, 155_000.0, PointError::RdSwapped)]
    #[case(155.0, 463.0, PointError::RdKilometres)]
    #[case(-1.0, 463_000.0, PointError::RdXOutOfGrid)]
    #[case(280_001.0, 463_000.0, PointError::RdXOutOfGrid)]
    #[case(155_000.0, 299_999.0, PointError::RdYOutOfGrid)]
    #[case(155_000.0, 625_001.0, PointError::RdYOutOfGrid)]
    #[case(f64::NAN, 463_000.0, PointError::NotFinite { member: "rd_x" })]
    #[case(155_000.0, f64::INFINITY, PointError::NotFinite { member: "rd_y" })]
    fn a_wrong_rd_pair_is_named(#[case] x: f64, #[case] y: f64, #[case] expected: PointError) {
        assert_eq!(Point::rd_new(x, y), Err(expected));
    }

    #[rstest]
    #[case(5.12, 52.09, PointError::Swapped)]
    #[case(90.1, 5.0, PointError::LatitudeOutOfRange)]
    #[case(-90.1, 5.0, PointError::LatitudeOutOfRange)]
    #[case(52.0, 180.1, PointError::LongitudeOutOfRange)]
    #[case(f64::NAN, 5.0, PointError::NotFinite { member: "latitude" })]
    #[case(52.0, f64::NEG_INFINITY, PointError::NotFinite { member: "longitude" })]
    fn a_wrong_wgs84_pair_is_named(#[case] lat: f64, #[case] lon: f64, #[case] expected: PointError) {
        assert_eq!(Point::wgs84(lat, lon), Err(expected));
    }

    #[test]
    fn the_ends_of_the_earth_are_points() {
        for (lat, lon) in [(90.0, 180.0), (-90.0, -180.0), (0.0, 0.0), (12.1, -68.3)] {
            let point = Point::wgs84(lat, lon).unwrap();
            assert!(point.cell() > 0);
        }
    }

    #[test]
    fn distance_is_geodesic() {
        // One minute of latitude at 52° is 1854.4 m on WGS84 and 1853.2 m on a sphere.
        let a = Point::wgs84(52.0, 5.0).unwrap();
        let b = Point::wgs84(52.0 + 1.0 / 60.0, 5.0).unwrap();
        assert!((a.distance_m(&b) - 1854.4).abs() < 0.3, "{}", a.distance_m(&b));
    }

    #[test]
    fn the_cell_is_the_h3_cell_of_resolution_9() {
        let cell = Point::wgs84(52.0907, 5.1214).unwrap().cell();
        let index = h3o::CellIndex::try_from(cell.cast_unsigned()).unwrap();
        assert_eq!(index.resolution(), h3o::Resolution::Nine);
        let center = LatLng::from(index);
        assert!(center.distance_m(LatLng::new(52.0907, 5.1214).unwrap()) < 250.0);
    }
}
