//! Properties of geofences on random shapes, against checks written here without any index.

use geo::{Destination, Geodesic};
use klaroen_domain::geofence::Geofence;
use klaroen_domain::point::Point;
use proptest::prelude::*;
use serde_json::{Value, json};

/// A star-shaped ring around `(lat, lon)`: corners at rising bearings, each at its own distance in degrees.
fn star(lat: f64, lon: f64, degrees: f64, radii: &[f64]) -> Vec<[f64; 2]> {
    let step = std::f64::consts::TAU / f64::from(u32::try_from(radii.len()).unwrap());
    let corner = |(i, r): (u32, &f64)| {
        let bearing = step * f64::from(i);
        [lon + degrees * r * bearing.cos(), lat + degrees * r * 0.6 * bearing.sin()]
    };
    let mut ring: Vec<[f64; 2]> = (0_u32..).zip(radii).map(corner).collect();
    ring.push(ring[0]);
    ring
}

#[derive(Debug, Clone)]
struct Shape {
    rings: Vec<Vec<[f64; 2]>>,
    center: (f64, f64),
    degrees: f64,
}

impl Shape {
    fn geojson(&self) -> Value {
        json!({"type": "Polygon", "coordinates": self.rings})
    }

    /// Crossings of a ray to the east, over all rings. Points of the test are never within rounding of an edge.
    fn contains(&self, lat: f64, lon: f64) -> bool {
        let edges = self.rings.iter().flat_map(|r| r.windows(2));
        let crossed = edges.filter(|e| {
            let ([x1, y1], [x2, y2]) = (e[0], e[1]);
            (y1 > lat) != (y2 > lat) && lon < x1 + (lat - y1) / (y2 - y1) * (x2 - x1)
        });
        crossed.count() % 2 == 1
    }

    /// Within rounding of an edge both answers are right.
    fn on_edge(&self, lat: f64, lon: f64) -> bool {
        self.rings.iter().flat_map(|r| r.windows(2)).any(|e| {
            let ([x1, y1], [x2, y2]) = (e[0], e[1]);
            let cross = (x2 - x1) * (lat - y1) - (y2 - y1) * (lon - x1);
            cross.abs() < 1e-11 * ((x2 - x1).abs() + (y2 - y1).abs())
        })
    }
}

/// Polygons of `degrees` across with a hole whose corners are all nearer than the exterior's.
fn shape(degrees: impl Strategy<Value = f64>) -> impl Strategy<Value = Shape> {
    let exterior = prop::collection::vec(0.5..1.0_f64, 3..40);
    let hole = prop::option::of(prop::collection::vec(0.05..0.2_f64, 3..12));
    let place = prop_oneof![
        4 => (50.7..53.7_f64, 3.2..7.3_f64),
        1 => (-60.0..60.0_f64, -150.0..150.0_f64),
    ];
    (place, degrees, exterior, hole)
        .prop_map(|((lat, lon), degrees, exterior, hole)| {
            let mut rings = vec![star(lat, lon, degrees, &exterior)];
            rings.extend(hole.map(|radii| star(lat, lon, degrees, &radii)));
            Shape { rings, center: (lat, lon), degrees }
        })
        .prop_filter("a triangle's sides may pass through the hole, and some places look swapped", |s| {
            Geofence::from_geojson(&s.geojson()).is_ok()
        })
}

/// Offsets from the middle, in parts of the shape's size.
fn offsets() -> impl Strategy<Value = Vec<(f64, f64)>> {
    prop::collection::vec((-1.1..1.1_f64, -1.1..1.1_f64), 150)
}

/// The cover leaves no point of the shape out, and says `inside` only of points that are inside.
fn cover_is_right(fence: &Geofence, points: impl Iterator<Item = Point>) -> Result<(), TestCaseError> {
    let cover = fence.cover();
    prop_assert!(cover.ranges.windows(2).all(|w| w[0].last < w[1].first));
    for point in points {
        let (range, inside) = (cover.find(point.cell()), fence.contains(&point));
        prop_assert!(!inside || range.is_some(), "left out: {point:?}");
        prop_assert!(inside || !range.is_some_and(|r| r.inside), "wrongly inside: {point:?}");
    }
    Ok(())
}

fn polygon_is_right(shape: &Shape, offsets: &[(f64, f64)]) -> Result<(), TestCaseError> {
    let fence = Geofence::from_geojson(&shape.geojson()).unwrap();
    let (lat, lon) = shape.center;
    let points = || {
        let at = |&(y, x): &(f64, f64)| Point::wgs84(lat + y * shape.degrees * 0.6, lon + x * shape.degrees);
        offsets.iter().filter_map(move |o| at(o).ok())
    };
    for point in points().filter(|p| !shape.on_edge(p.latitude(), p.longitude())) {
        let expected = shape.contains(point.latitude(), point.longitude());
        prop_assert_eq!(fence.contains(&point), expected, "{:?}", point);
        prop_assert_eq!(fence.distance_m(&point) <= 0.0, expected);
    }
    // Corners are inside: the boundary belongs to the shape and to its cover.
    let corners = || shape.rings.iter().flatten().filter_map(|&[x, y]| Point::wgs84(y, x).ok());
    for corner in corners() {
        prop_assert!(fence.contains(&corner));
    }
    cover_is_right(&fence, points().chain(corners()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn a_neighbourhood_to_a_municipality(shape in shape(0.0005..0.15_f64), offsets in offsets()) {
        polygon_is_right(&shape, &offsets)?;
    }

    #[test]
    fn a_circle(
        lat in -85.0..85.0_f64, lon in -180.0..180.0_f64, log_radius in 1.0..4.699_f64, offsets in offsets()
    ) {
        // The largest power is a little more than the largest radius.
        let radius_m = 10_f64.powf(log_radius).min(50_000.0);
        let Ok(center) = Point::wgs84(lat, lon) else { return Ok(()) };
        let fence = Geofence::circle(center, radius_m).unwrap();
        let degrees = radius_m / 111_000.0;
        let wrap = |lon: f64| if lon > 180.0 { lon - 360.0 } else if lon < -180.0 { lon + 360.0 } else { lon };
        let points = offsets.iter().filter_map(|(y, x)| {
            Point::wgs84(lat + y * degrees, wrap(lon + x * degrees / lat.to_radians().cos())).ok()
        });
        cover_is_right(&fence, points)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Large enough that the search stops at coarser cells.
    #[test]
    fn a_country_to_a_continent(shape in shape(3.0..40.0_f64), offsets in offsets()) {
        polygon_is_right(&shape, &offsets)?;
        let fence = Geofence::from_geojson(&shape.geojson()).unwrap();
        prop_assert!(fence.cover().ranges.len() < 40_000);
    }

    #[test]
    fn a_union(first in shape(0.01..0.1_f64), offsets in offsets(), shift in -0.1..0.1_f64, radius_m in 10.0..5000.0_f64) {
        let (lat, lon) = first.center;
        let Ok(center) = Point::wgs84(lat + shift / 3.0, lon + shift) else { return Ok(()) };
        let circle = Geofence::circle(center, radius_m).unwrap();
        let polygon = Geofence::from_geojson(&first.geojson()).unwrap();
        let both = Geofence::union(vec![polygon.clone(), circle.clone()]);
        let points: Vec<Point> = offsets.iter()
            .filter_map(|(y, x)| Point::wgs84(lat + y * 0.15, lon + x * 0.2).ok())
            .collect();
        for point in &points {
            prop_assert_eq!(both.contains(point), polygon.contains(point) || circle.contains(point));
        }
        cover_is_right(&both, points.into_iter())?;
    }
}

/// A cover goes wrong at a cell right at the rim: look at many points close to it.
#[test]
fn the_rim_of_a_circle_is_covered_metre_by_metre() {
    let center = Point::wgs84(52.3702, 4.8952).unwrap();
    for radius_m in [10.0, 150.0, 1500.0, 50_000.0] {
        let fence = Geofence::circle(center, radius_m).unwrap();
        let cover = fence.cover();
        let mut inside = 0;
        for i in 0..4000_u32 {
            // 0.03 % of the radius to both sides of the rim.
            let distance = radius_m * (1.0 + f64::from(i % 7) * 1e-4 - 3e-4);
            let at = Geodesic.destination(geo::Point::new(4.8952, 52.3702), f64::from(i) * 0.09, distance);
            let point = Point::wgs84(at.y(), at.x()).unwrap();
            let range = cover.find(point.cell());
            if fence.contains(&point) {
                inside += 1;
                assert!(range.is_some(), "{point:?} at {radius_m} m");
            } else {
                assert!(!range.is_some_and(|r| r.inside), "{point:?} at {radius_m} m");
            }
        }
        assert!((400..3600).contains(&inside), "the points lie on both sides: {inside} at {radius_m} m");
    }
}

/// The whole of a shape that H3 could mistake: over a pole, up to the antimeridian, over the equator.
#[test]
fn the_ends_of_the_earth_are_covered() {
    for [west, south, east, north] in [
        [170.0, 60.0, 180.0, 89.0],
        [-180.0, -90.0, -100.0, -60.0],
        [-5.0, -5.0, 5.0, 5.0],
        [0.0, 80.0, 170.0, 90.0],
    ] {
        let ring = json!([[west, south], [east, south], [east, north], [west, north], [west, south]]);
        let fence = Geofence::from_geojson(&json!({"type": "Polygon", "coordinates": [ring]})).unwrap();
        let cover = fence.cover();
        for i in 0..=40_u32 {
            for j in 0..=40_u32 {
                let part = |low: f64, high: f64, n: u32| low + (high - low) * f64::from(n) / 40.0;
                let point = Point::wgs84(part(south, north, i), part(west, east, j)).unwrap();
                assert!(fence.contains(&point) && cover.find(point.cell()).is_some(), "{point:?}");
            }
        }
    }
}

/// Ten thousand corners in the shapes that make other methods take n² steps.
#[test]
fn the_largest_shapes_are_validated() {
    let n = 4_990_u32;
    let comb = |slant: f64| -> Vec<[f64; 2]> {
        // Teeth to the north and back, each next to the other, then closed around the south.
        let tooth = |i: u32| {
            let x = 4.0 + f64::from(i) * 1e-4;
            [[x, 51.0], [x + 5e-5 + slant, 53.0]]
        };
        let mut ring: Vec<[f64; 2]> = (0..n).flat_map(tooth).collect();
        ring.push([4.0 + f64::from(n) * 1e-4, 50.0]);
        ring.push([3.9, 50.0]);
        ring.push(ring[0]);
        ring
    };
    for slant in [0.0, 1.5] {
        let geometry = json!({"type": "Polygon", "coordinates": [comb(slant)]});
        let fence = Geofence::from_geojson(&geometry).unwrap();
        assert!(fence.contains(&Point::wgs84(50.5, 4.2).unwrap()));
        // The last corner is moved across the first teeth: now it crosses.
        let mut ring = comb(slant);
        ring[2 * n as usize + 1] = [4.1, 52.0];
        let errors = Geofence::from_geojson(&json!({"type": "Polygon", "coordinates": [ring]})).unwrap_err();
        assert!(errors[0].detail.contains("crosses"), "{errors:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever comes in, an answer comes out; what is accepted can be asked anything.
    #[test]
    fn no_geometry_panics(
        rings in prop::collection::vec(prop::collection::vec(
            prop_oneof![3 => 0..5_i32, 1 => -200..200_i32].prop_flat_map(|x| (Just(x), 0..5_i32)), 0..9), 0..4),
        close in any::<bool>()
    ) {
        let mut rings: Vec<Vec<[i32; 2]>> =
            rings.into_iter().map(|r| r.into_iter().map(|(x, y)| [x, y]).collect()).collect();
        if close {
            for ring in &mut rings {
                ring.extend(ring.first().copied());
            }
        }
        match Geofence::from_geojson(&json!({"type": "Polygon", "coordinates": rings})) {
            Err(errors) => prop_assert!(!errors.is_empty() && errors.len() <= 20),
            Ok(fence) => {
                let point = Point::wgs84(2.0, 2.5).unwrap();
                prop_assert_eq!(fence.contains(&point), fence.distance_m(&point) <= 0.0);
                prop_assert!(fence.area_km2() > 0.0);
                let back = Geofence::from_json(&fence.to_json()).unwrap();
                prop_assert_eq!(back.contains(&point), fence.contains(&point));
            }
        }
    }
}
