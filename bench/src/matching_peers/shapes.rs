//! The shapes that are matched.

use anyhow::{Context, Result, anyhow};
use std::path::Path;

use klaroen_domain::geofence::Geofence;
use klaroen_domain::point::Point;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use super::country::{self, CITY, TOWN};

/// Each shape is drawn in so many places, so that no answer is that of a cache for one.
const VARIANTS: u32 = 12;
/// How far from the middle of the city they are drawn, and of the town that must stay inside.
const CITY_JITTER_KM: f64 = 0.3;
const TOWN_JITTER_KM: f64 = 0.03;
const MUNICIPALITY_KM: f64 = 7.0;
const MUNICIPALITY_CORNERS: u32 = 2_000;

/// One shape in some places.
pub struct Shape {
    pub name: String,
    pub variants: Vec<Geofence>,
    /// Whether PostGIS is asked for the very same shape. A circle it gets as a polygon of 64 corners within it.
    pub exact_as_polygon: bool,
}

/// The shapes of a bench; with the largest polygon of a folder of GeoJSON files where one is given.
pub fn all(geodata: Option<&Path>) -> Result<Vec<Shape>> {
    let mut shapes = Vec::new();
    for (name, radius_m) in [
        ("circle of 0.5 km", 500.0),
        ("circle of 1.5 km", 1_500.0),
        ("circle of 5 km", 5_000.0),
        ("circle of 15 km", 15_000.0),
    ] {
        shapes.push(circles(name, radius_m, CITY, CITY_JITTER_KM)?);
    }
    let name = format!("municipality, {MUNICIPALITY_CORNERS} corners");
    let polygons: Result<_, _> = centres(CITY, CITY_JITTER_KM).map(municipality).collect();
    shapes.push(Shape { name, variants: polygons?, exact_as_polygon: true });
    if let Some(folder) = geodata {
        let (name, polygon) = largest_in(folder)?;
        shapes.push(Shape { name, variants: vec![polygon], exact_as_polygon: true });
    }
    // The last: the one whose answer does not grow with the registry.
    shapes.push(circles("1.5 km, the same 4,000 people", 1_500.0, TOWN, TOWN_JITTER_KM)?);
    Ok(shapes)
}

fn centres(middle: (f64, f64), jitter_km: f64) -> impl Iterator<Item = (f64, f64)> {
    let mut random = StdRng::seed_from_u64(2);
    (0..VARIANTS).map(move |_| country::moved(middle, jitter_km * random.random::<f64>(), random.random()))
}

fn circles(name: &str, radius_m: f64, middle: (f64, f64), jitter_km: f64) -> Result<Shape> {
    let circle = |(latitude, longitude)| -> Result<Geofence> {
        Ok(Geofence::circle(Point::wgs84(latitude, longitude)?, radius_m)?)
    };
    let variants = centres(middle, jitter_km).map(circle).collect::<Result<_, _>>()?;
    Ok(Shape { name: name.to_owned(), variants, exact_as_polygon: false })
}

/// A border like that of a municipality: bays and headlands of all sizes. Seen from its middle it never turns back, so it
/// does not cross itself.
fn municipality(middle: (f64, f64)) -> Result<Geofence> {
    let mut random = StdRng::seed_from_u64(3);
    let waves: Vec<(f64, f64, f64)> = (1..=24_u32)
        .map(|n| (f64::from(n), 0.25 / f64::from(n), random.random::<f64>() * std::f64::consts::TAU))
        .collect();
    let mut ring: Vec<Value> = (0..MUNICIPALITY_CORNERS)
        .map(|corner| {
            let direction = f64::from(corner) / f64::from(MUNICIPALITY_CORNERS);
            let wave = |(n, height, phase): &(f64, f64, f64)| {
                height * (n * direction * std::f64::consts::TAU + phase).sin()
            };
            let bumps = waves.iter().map(wave).sum::<f64>() + 0.01 * random.random::<f64>();
            let (latitude, longitude) =
                country::moved(middle, MUNICIPALITY_KM * (1.0 + 0.5 * bumps), direction);
            json!([longitude, latitude])
        })
        .collect();
    ring.push(ring[0].clone());
    polygon(&json!({"type": "Polygon", "coordinates": [ring]}))
}

fn polygon(geometry: &Value) -> Result<Geofence> {
    Geofence::from_geojson(geometry)
        .map_err(|errors| anyhow!(errors.first().map_or_else(String::new, ToString::to_string)))
}

/// The feature with the most corners of all `*.geojson` in a folder.
fn largest_in(folder: &Path) -> Result<(String, Geofence)> {
    let mut best: Option<(String, Geofence)> = None;
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry.with_context(|| folder.display().to_string())?.path();
        if path.extension().is_none_or(|extension| extension != "geojson") {
            continue;
        }
        let collection: Value =
            serde_json::from_slice(&std::fs::read(&path).with_context(|| path.display().to_string())?)
                .with_context(|| path.display().to_string())?;
        for feature in collection["features"].as_array().into_iter().flatten() {
            let Ok(shape) = polygon(&feature["geometry"]) else { continue };
            if best.as_ref().is_none_or(|(_, best)| best.corners() < shape.corners()) {
                let name = feature["properties"]["name"].as_str().unwrap_or("area");
                best = Some((format!("{name}, {} corners", shape.corners()), shape));
            }
        }
    }
    best.ok_or_else(|| anyhow!("{}: no polygon in any *.geojson", folder.display()))
}

/// A shape as well-known binary (OGC 06-103r4 §8.2), little-endian: a circle as a polygon of 64 corners.
pub fn wkb(shape: &Geofence) -> Vec<u8> {
    let geometry = shape.to_geojson();
    if geometry["type"] == "Polygon" {
        return polygon_wkb(&geometry["coordinates"]);
    }
    let polygons = geometry["coordinates"].as_array().map_or(&[][..], Vec::as_slice);
    let mut bytes = head(6, polygons.len());
    bytes.extend(polygons.iter().flat_map(polygon_wkb));
    bytes
}

fn polygon_wkb(rings: &Value) -> Vec<u8> {
    let rings = rings.as_array().map_or(&[][..], Vec::as_slice);
    let mut bytes = head(3, rings.len());
    for ring in rings {
        let positions = ring.as_array().map_or(&[][..], Vec::as_slice);
        bytes.extend(length(positions.len()));
        for number in positions.iter().flat_map(|position| [&position[0], &position[1]]) {
            bytes.extend(number.as_f64().unwrap_or(f64::NAN).to_le_bytes());
        }
    }
    bytes
}

fn head(kind: u32, parts: usize) -> Vec<u8> {
    let mut bytes = vec![1];
    bytes.extend(kind.to_le_bytes());
    bytes.extend(length(parts));
    bytes
}

fn length(count: usize) -> [u8; 4] {
    u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes()
}

/// South-west and north-east of a shape, latitude first: what lies outside needs no exact check.
pub fn bounds(shape: &Geofence) -> ((f64, f64), (f64, f64)) {
    fn widen(value: &Value, bounds: &mut ((f64, f64), (f64, f64))) {
        let Some(items) = value.as_array() else { return };
        if let (Some(x), Some(y)) =
            (items.first().and_then(Value::as_f64), items.get(1).and_then(Value::as_f64))
        {
            bounds.0 = (bounds.0.0.min(y), bounds.0.1.min(x));
            bounds.1 = (bounds.1.0.max(y), bounds.1.1.max(x));
            return;
        }
        for item in items {
            widen(item, bounds);
        }
    }
    let mut found = ((f64::MAX, f64::MAX), (f64::MIN, f64::MIN));
    widen(&shape.to_geojson()["coordinates"], &mut found);
    // The 64 corners of a circle leave out up to 0.1 % of its radius, 50 m at most: half a thousandth of a degree.
    ((found.0.0 - 0.002, found.0.1 - 0.002), (found.1.0 + 0.002, found.1.1 + 0.002))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_shapes_are_valid_and_lie_apart() {
        let shapes = all(None).unwrap();
        assert_eq!(shapes.len(), 6);
        for shape in &shapes {
            assert_eq!(shape.variants.len(), 12, "{}", shape.name);
            assert_ne!(shape.variants[0].to_json(), shape.variants[1].to_json(), "{}", shape.name);
        }
        assert_eq!(shapes[4].variants[0].corners(), 2_000);
        let area = shapes[4].variants[0].area_km2();
        assert!((100.0..250.0).contains(&area), "{area}");
    }

    #[test]
    fn well_known_binary_is_what_the_standard_says() {
        let triangle =
            json!({"type": "Polygon", "coordinates": [[[5.0, 52.0], [6.0, 52.0], [6.0, 53.0], [5.0, 52.0]]]});
        let bytes = wkb(&polygon(&triangle).unwrap());
        assert_eq!(&bytes[..13], [1, 3, 0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0]);
        assert_eq!(bytes.len(), 13 + 4 * 16);
        assert_eq!(bytes[13..29], [5.0_f64.to_le_bytes(), 52.0_f64.to_le_bytes()].concat()[..]);
    }

    #[test]
    fn bounds_hold_every_point_inside() {
        let circle = Geofence::circle(Point::wgs84(52.0, 5.0).unwrap(), 50_000.0).unwrap();
        let (south_west, north_east) = bounds(&circle);
        // 50 km are 0.4494° of latitude and 0.7282° of longitude here.
        assert!(south_west.0 < 51.5506 && north_east.0 > 52.4494);
        assert!(south_west.1 < 4.2718 && north_east.1 > 5.7282);
        assert!(north_east.0 < 52.46);
    }

    #[test]
    fn the_largest_polygon_of_a_folder_is_taken() {
        let directory = tempfile::tempdir().unwrap();
        let triangle = json!([[[5.0, 52.0], [6.0, 52.0], [6.0, 53.0], [5.0, 52.0]]]);
        let square = json!([[[5.0, 52.0], [6.0, 52.0], [6.0, 53.0], [5.0, 53.0], [5.0, 52.0]]]);
        let feature = |name: &str, rings: &Value| json!({"type": "Feature", "properties": {"name": name}, "geometry": {"type": "Polygon", "coordinates": rings}});
        let features =
            json!({"features": [feature("three", &triangle), feature("four", &square), {"geometry": null}]});
        std::fs::write(directory.path().join("a.geojson"), features.to_string()).unwrap();
        std::fs::write(directory.path().join("b.txt"), "no").unwrap();
        assert_eq!(largest_in(directory.path()).unwrap().0, "four, 4 corners");
        assert!(all(Some(&directory.path().join("none"))).is_err());
    }
}
