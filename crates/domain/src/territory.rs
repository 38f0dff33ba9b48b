//! Whether a place lies where the service works: in the country of its numbers, or at most 50 km outside it.
//!
//! The bounds are boxes around the extreme points of each country, overseas parts in boxes of their own, as maps have
//! them to 0.01°. They are there to find slips (swapped numbers, a lost sign, a place that was not found), not to draw borders: a
//! box of the Netherlands holds Antwerp. A country that is not in the table is not checked.

use crate::phone::Country;
use crate::point::{Point, PointError};

/// Kilometres outside the bounds that are still right: people who live across the border, and alerts that reach over it.
const MARGIN_KM: f64 = 50.0;
/// Kilometres of a degree of latitude.
const DEGREE_KM: f64 = 111.2;
/// Degrees around 0, 0 that a geocoder means when it means nothing.
const ZERO_DEG: f64 = 0.01;

/// South, north, west, east in degrees.
type Bounds = [f64; 4];

/// The bounds of the countries that are known (ISO 3166-1 alpha-2).
const COUNTRIES: [(&str, &[Bounds]); 27] = [
    ("AT", &[[46.37, 49.03, 9.53, 17.17]]),
    ("AW", &[[12.41, 12.63, -70.07, -69.86]]),
    ("BE", &[[49.49, 51.51, 2.54, 6.41]]),
    ("CH", &[[45.81, 47.81, 5.95, 10.50]]),
    ("CW", &[[12.03, 12.40, -69.17, -68.73]]),
    ("CZ", &[[48.55, 51.06, 12.09, 18.87]]),
    ("DE", &[[47.27, 55.06, 5.86, 15.05]]),
    ("DK", &[[54.55, 57.76, 8.07, 15.20]]),
    ("EE", &[[57.50, 59.83, 21.76, 28.21]]),
    // Spain, and the Canary Islands.
    ("ES", &[[35.16, 43.80, -9.31, 4.34], [27.63, 29.42, -18.17, -13.41]]),
    ("FI", &[[59.50, 70.10, 19.08, 31.59]]),
    // France, Guadeloupe and Martinique, Guiana, Réunion, Mayotte.
    (
        "FR",
        &[
            [41.33, 51.09, -5.15, 9.57],
            [14.38, 16.52, -61.81, -60.80],
            [2.11, 5.78, -54.61, -51.61],
            [-21.39, -20.87, 55.21, 55.84],
            [-13.01, -12.63, 45.01, 45.31],
        ],
    ),
    ("GB", &[[49.86, 60.86, -8.65, 1.77]]),
    ("IE", &[[51.42, 55.44, -10.68, -5.99]]),
    ("IT", &[[35.48, 47.10, 6.62, 18.53]]),
    ("LI", &[[47.04, 47.28, 9.47, 9.64]]),
    ("LT", &[[53.89, 56.46, 20.93, 26.84]]),
    ("LU", &[[49.44, 50.19, 5.73, 6.54]]),
    ("LV", &[[55.67, 58.09, 20.96, 28.25]]),
    // The Netherlands, Bonaire, Saba and Sint Eustatius.
    ("NL", &[[50.75, 53.56, 3.35, 7.23], [12.02, 12.32, -68.43, -68.19], [17.46, 17.66, -63.26, -62.94]]),
    ("NO", &[[57.95, 71.19, 4.50, 31.17]]),
    ("PL", &[[49.00, 54.84, 14.12, 24.15]]),
    // Portugal, the Azores, Madeira.
    ("PT", &[[36.95, 42.16, -9.52, -6.18], [36.92, 39.73, -31.28, -24.77], [30.02, 33.13, -17.27, -15.85]]),
    ("SE", &[[55.33, 69.07, 10.95, 24.17]]),
    ("SK", &[[47.73, 49.62, 16.83, 22.57]]),
    ("SR", &[[1.83, 6.01, -58.08, -53.97]]),
    ("SX", &[[18.00, 18.07, -63.14, -62.99]]),
];

/// The reason why a place is refused. The texts hold no coordinates: a place may be a person's home.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TerritoryError {
    /// Latitude and longitude are 0.
    #[error("latitude and longitude are 0: likely an address that was not found; give the place itself")]
    ZeroIsland,
    /// Inside once swapped.
    #[error("latitude and longitude are likely swapped: the other way round they lie in {0}")]
    Swapped(Country),
    /// Inside once a sign is turned.
    #[error("latitude or longitude likely has the wrong sign: with the other one the place lies in {0}")]
    WrongSign(Country),
    /// Inside once divided by a power of ten.
    #[error("latitude and longitude likely lost their decimal point: with it the place lies in {0}")]
    LostPoint(Country),
    /// Elsewhere.
    #[error("lies more than 50 km outside {0}, the country of this service ([sending] country)")]
    Outside(Country),
}

/// The reason why two numbers are no place of a country.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// They are no point.
    #[error(transparent)]
    Point(#[from] PointError),
    /// The point is not in the country.
    #[error(transparent)]
    Territory(#[from] TerritoryError),
}

impl PlaceError {
    /// The member of a point that is wrong, or `None` if it is the pair.
    #[must_use]
    pub const fn member(&self) -> Option<&'static str> {
        match self {
            Self::Point(error) => error.member(),
            Self::Territory(_) => None,
        }
    }
}

/// A place of `country` from degrees.
///
/// # Errors
/// Returns [`PlaceError`] if the numbers are no point, or none in or near the country.
pub fn wgs84(country: Country, latitude: f64, longitude: f64) -> Result<Point, PlaceError> {
    match Point::wgs84(latitude, longitude) {
        Ok(point) => Ok(check(country, &point).map(|()| point)?),
        Err(error) if is_scaled(country, latitude, longitude) => {
            let lost = TerritoryError::LostPoint(country);
            Err(if error == PointError::LooksRdNew { error.into() } else { lost.into() })
        }
        Err(error) => Err(error.into()),
    }
}

/// A place of `country` from metres in RD New (EPSG:28992).
///
/// # Errors
/// Returns [`PlaceError`] if the numbers are no point, or none in or near the country.
pub fn rd_new(country: Country, x: f64, y: f64) -> Result<Point, PlaceError> {
    let point = Point::rd_new(x, y)?;
    Ok(check(country, &point).map(|()| point)?)
}

/// Checks that a point lies in `country` or at most 50 km outside it. Of a country that is not known, only 0, 0 is refused.
///
/// # Errors
/// Returns [`TerritoryError`] with the likely slip.
pub fn check(country: Country, point: &Point) -> Result<(), TerritoryError> {
    let (latitude, longitude) = (point.latitude(), point.longitude());
    if latitude.abs() < ZERO_DEG && longitude.abs() < ZERO_DEG {
        return Err(TerritoryError::ZeroIsland);
    }
    let Some(bounds) = bounds(country) else { return Ok(()) };
    let is_in = |latitude: f64, longitude: f64| bounds.iter().any(|of| is_near(of, latitude, longitude));
    if is_in(latitude, longitude) {
        return Ok(());
    }
    Err(if is_in(longitude, latitude) {
        TerritoryError::Swapped(country)
    } else if is_in(-latitude, longitude) || is_in(latitude, -longitude) || is_in(-latitude, -longitude) {
        TerritoryError::WrongSign(country)
    } else {
        TerritoryError::Outside(country)
    })
}

/// Whether both numbers lie in the country once each is divided by a power of ten: `52,09` became 5209.
fn is_scaled(country: Country, latitude: f64, longitude: f64) -> bool {
    let scaled = |number: f64| (0..=9).map(move |digits| number / 10_f64.powi(digits));
    bounds(country).is_some_and(|bounds| {
        scaled(latitude)
            .any(|north| scaled(longitude).any(|east| bounds.iter().any(|of| is_near(of, north, east))))
    })
}

fn bounds(country: Country) -> Option<&'static [Bounds]> {
    COUNTRIES.iter().find(|(code, _)| *code == country.code()).map(|(_, bounds)| *bounds)
}

fn is_near([south, north, west, east]: &Bounds, latitude: f64, longitude: f64) -> bool {
    let up = MARGIN_KM / DEGREE_KM;
    // A degree of longitude is shortest at the end that is nearer to a pole.
    let aside = up / south.abs().max(north.abs()).to_radians().cos();
    (south - up..=north + up).contains(&latitude) && (west - aside..=east + aside).contains(&longitude)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn of(country: &str, latitude: f64, longitude: f64) -> Result<(), PlaceError> {
        wgs84(country.parse().unwrap(), latitude, longitude).map(|_| ())
    }

    #[rstest]
    #[case::utrecht("NL", 52.09, 5.12)]
    #[case::vaals("NL", 50.7539, 6.0208)]
    #[case::schiermonnikoog("NL", 53.49, 6.23)]
    #[case::bonaire("NL", 12.15, -68.27)]
    #[case::saba("NL", 17.63, -63.24)]
    #[case::across_the_border("NL", 51.84, 7.6)]
    #[case::arlon("BE", 49.68, 5.81)]
    #[case::tenerife("ES", 28.46, -16.25)]
    #[case::a_country_without_bounds("JP", 52.09, 5.12)]
    fn a_place_in_or_near_the_country_is_right(
        #[case] country: &str,
        #[case] latitude: f64,
        #[case] longitude: f64,
    ) {
        assert_eq!(of(country, latitude, longitude), Ok(()));
    }

    #[rstest]
    #[case::zero("NL", 0.0, 0.0, "not found")]
    #[case::zero_anywhere("JP", 0.0, -0.0, "not found")]
    #[case::nearly_zero("NL", 0.001, 0.0, "not found")]
    #[case::swapped("NL", 5.12, 52.09, "swapped")]
    #[case::swapped_in_belgium("BE", 4.35, 50.85, "swapped")]
    #[case::swapped_overseas("NL", -68.27, 12.15, "swapped")]
    #[case::west("NL", 52.09, -5.12, "sign")]
    #[case::south("NL", -52.09, 5.12, "sign")]
    #[case::paris("NL", 48.85, 2.35, "50 km outside NL")]
    #[case::half_a_place("NL", 52.09, 0.0, "50 km outside NL")]
    #[case::utrecht("BE", 52.09, 5.12, "50 km outside BE")]
    #[case::rd_new("NL", 136_500.0, 455_900.0, "RD New")]
    #[case::rd_new_swapped("NL", 455_900.0, 136_500.0, "RD New")]
    #[case::no_decimal_point("NL", 5209.0, 512.0, "decimal point")]
    #[case::millionths("NL", 52_090_700.0, 5_121_400.0, "decimal point")]
    #[case::nothing("NL", 91.0, 200.0, "latitude")]
    fn a_place_elsewhere_is_refused_with_the_likely_slip(
        #[case] country: &str,
        #[case] latitude: f64,
        #[case] longitude: f64,
        #[case] says: &str,
    ) {
        let error = of(country, latitude, longitude).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }

    #[test]
    fn the_margin_is_fifty_kilometres_on_the_ground() {
        // Along the southern edge of the box, and across its eastern one.
        let south = |km: f64| of("NL", 50.75 - km / 111.2, 5.7);
        assert!(south(49.0).is_ok() && south(51.0).is_err());
        let east = |km: f64| of("NL", 53.5, 7.23 + km / (111.32 * 53.5_f64.to_radians().cos()));
        assert!(east(49.0).is_ok() && east(51.0).is_err());
    }

    #[test]
    fn every_country_of_the_table_is_one_and_its_bounds_are_in_order() {
        for (code, bounds) in COUNTRIES {
            assert_eq!(code.parse::<Country>().unwrap().code(), code);
            for [south, north, west, east] in bounds {
                assert!(south < north && west < east && (-90.0..90.0).contains(south), "{code}");
            }
        }
    }
}
