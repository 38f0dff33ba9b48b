//! A made-up country of people's homes: as dense in its towns as a registry of two million would be, and empty of anybody's
//! real address. Place `number` is the same in every run and for everybody who is measured.

use anyhow::Result;
use std::sync::LazyLock;

use klaroen_domain::point::Point;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// Kilometres in a degree of latitude, and of longitude at 52°.
const KM: (f64, f64) = (111.25, 68.65);
/// South-west and north-east, some 200 km apart each way.
const SOUTH_WEST: (f64, f64) = (51.2, 4.0);
const NORTH_EAST: (f64, f64) = (53.0, 6.9);
/// The middle of the city where circles are drawn. With the shares below 1.5 km around it hold some 4,000 of 2,000,000
/// places, and 15 km some 68,000.
pub const CITY: (f64, f64) = (52.09, 5.12);
const CITY_SHARE: f64 = 0.025;
const CITY_KM: f64 = 3.77;
/// A town whose people are the first of every registry, with nobody else near: whatever the registry, the answer is the same.
pub const TOWN: (f64, f64) = (52.30, 5.60);
pub const TOWN_PEOPLE: u32 = 4_000;
const TOWN_KM: f64 = 1.4;
const TOWN_ALONE_KM: f64 = 2.0;
/// Half of all others live in one of so many towns.
const TOWNS: usize = 400;
const TOWNS_KM: f64 = 2.0;
const TOWNS_AWAY_KM: f64 = 25.0;

/// Latitude and longitude of place `number`, to seven decimals as in a file.
pub fn place(number: u32) -> (f64, f64) {
    // A small generator, because it is made anew for each place.
    let mut random = SmallRng::seed_from_u64(u64::from(number));
    if number < TOWN_PEOPLE {
        // The square root spreads them evenly over the disc.
        return moved(TOWN, TOWN_KM * random.random::<f64>().sqrt(), random.random());
    }
    loop {
        let at = anywhere(&mut random);
        if km(at, TOWN) > TOWN_ALONE_KM {
            return at;
        }
    }
}

/// The same as a point.
pub fn point(number: u32) -> Result<Point> {
    let (latitude, longitude) = place(number);
    Ok(Point::wgs84(latitude, longitude)?)
}

fn anywhere(random: &mut SmallRng) -> (f64, f64) {
    let kind: f64 = random.random();
    if kind < CITY_SHARE {
        return moved(CITY, normal(random, CITY_KM), random.random());
    }
    if kind < f64::midpoint(CITY_SHARE, 1.0) {
        let town = random.random_range(0..TOWNS);
        return moved(TOWN_CENTRES[town], normal(random, TOWNS_KM), random.random());
    }
    uniform(random)
}

fn uniform(random: &mut SmallRng) -> (f64, f64) {
    let latitude = random.random_range(SOUTH_WEST.0..NORTH_EAST.0);
    rounded((latitude, random.random_range(SOUTH_WEST.1..NORTH_EAST.1)))
}

/// Far enough from the city not to change it.
static TOWN_CENTRES: LazyLock<Vec<(f64, f64)>> = LazyLock::new(|| {
    let mut random = SmallRng::seed_from_u64(0);
    let anywhere = std::iter::repeat_with(|| uniform(&mut random));
    anywhere.filter(|at| km(*at, CITY) > TOWNS_AWAY_KM).take(TOWNS).collect()
});

/// How far from the middle of a town that thins out in both directions like a bell (Rayleigh).
fn normal(random: &mut SmallRng, km: f64) -> f64 {
    km * (-2.0 * (1.0 - random.random::<f64>()).ln()).sqrt()
}

/// So many kilometres from `center`, in a direction from 0 to 1.
pub fn moved(center: (f64, f64), km: f64, direction: f64) -> (f64, f64) {
    let angle = direction * std::f64::consts::TAU;
    rounded((center.0 + km * angle.cos() / KM.0, center.1 + km * angle.sin() / KM.1))
}

fn rounded((latitude, longitude): (f64, f64)) -> (f64, f64) {
    ((latitude * 1e7).round() / 1e7, (longitude * 1e7).round() / 1e7)
}

/// Good enough to lay out a country; geofences measure on the ellipsoid.
fn km(a: (f64, f64), b: (f64, f64)) -> f64 {
    ((a.0 - b.0) * KM.0).hypot((a.1 - b.1) * KM.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn within(center: (f64, f64), radius_km: f64, people: u32) -> u32 {
        let there = (0..people).filter(|number| km(place(*number), center) <= radius_km);
        u32::try_from(there.count()).unwrap()
    }

    #[test]
    fn the_city_is_as_dense_as_it_says() {
        // A tenth of two million: a tenth of the numbers above.
        let near = within(CITY, 1.5, 200_000);
        assert!((330..470).contains(&near), "{near}");
        let far = within(CITY, 15.0, 200_000);
        assert!((6_200..7_600).contains(&far), "{far}");
    }

    #[test]
    fn the_town_has_the_same_people_in_every_registry() {
        assert_eq!(within(TOWN, 1.45, 4_000), 4_000);
        assert_eq!(within(TOWN, 1.99, 300_000), 4_000);
    }
}
