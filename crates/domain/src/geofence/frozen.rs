//! The copy of a geofence that is stored with an alert: an area of the library may change, what was sent may not.
//!
//! `{"shapes": [{"circle": {"latitude", "longitude", "radius_m"}}, {"polygon": [[[lon, lat], ..], ..]}]}`

use geo::Coord;
use serde_json::{Value, json};

use super::Shape;
use super::circle::Circle;
use super::outline::Outline;
use crate::point::Point;

pub(super) fn write(shapes: &[Shape]) -> Value {
    let shape = |shape: &Shape| match shape {
        Shape::Circle(circle) => json!({"circle": {
            "latitude": circle.center.latitude(),
            "longitude": circle.center.longitude(),
            "radius_m": circle.radius_m,
        }}),
        Shape::Outline(outline) => json!({"polygon": coordinates(outline.rings())}),
    };
    json!({"shapes": shapes.iter().map(shape).collect::<Vec<_>>()})
}

/// `GeoJSON` coordinates of a polygon.
pub(super) fn coordinates(rings: &[Vec<Coord>]) -> Value {
    let ring = |ring: &Vec<Coord>| ring.iter().map(|c| json!([c.x, c.y])).collect::<Value>();
    rings.iter().map(ring).collect()
}

pub(super) fn read(json: &Value) -> Option<Vec<Shape>> {
    json.get("shapes")?.as_array()?.iter().map(read_shape).collect()
}

fn read_shape(shape: &Value) -> Option<Shape> {
    if let Some(circle) = shape.get("circle") {
        let number = |member: &str| circle.get(member)?.as_f64();
        let center = Point::wgs84(number("latitude")?, number("longitude")?).ok()?;
        return Circle::new(center, number("radius_m")?).ok().map(Shape::Circle);
    }
    let rings: Option<Vec<Vec<Coord>>> = shape.get("polygon")?.as_array()?.iter().map(read_ring).collect();
    rings.filter(|rings| !rings.is_empty()).map(|rings| Shape::Outline(Outline::new(rings)))
}

/// Reads a `GeoJSON` geometry that was validated before, as the validation read it.
pub(super) fn read_geojson(geometry: &Value) -> Option<Vec<Shape>> {
    let coordinates = geometry.get("coordinates")?;
    let polygons = match geometry.get("type")?.as_str()? {
        "Polygon" => std::slice::from_ref(coordinates),
        "MultiPolygon" => coordinates.as_array()?.as_slice(),
        _ => return None,
    };
    polygons.iter().map(read_polygon).collect()
}

fn read_polygon(rings: &Value) -> Option<Shape> {
    let rings: Vec<Vec<Coord>> = rings.as_array()?.iter().map(read_validated_ring).collect::<Option<_>>()?;
    (!rings.is_empty()).then(|| Shape::Outline(Outline::new(rings)))
}

/// Heights are left out and positions that are repeated at once are one, as in the validation.
fn read_validated_ring(ring: &Value) -> Option<Vec<Coord>> {
    let coord = |position: &Value| {
        let [x, y, ..] = position.as_array()?.as_slice() else { return None };
        Some(Coord { x: x.as_f64()? + 0.0, y: y.as_f64()? + 0.0 })
    };
    let mut ring: Vec<Coord> = ring.as_array()?.iter().map(coord).collect::<Option<_>>()?;
    ring.dedup();
    is_ring(&ring).then_some(ring)
}

fn is_ring(coords: &[Coord]) -> bool {
    coords.len() >= 4 && coords.first() == coords.last()
}

/// Only what the computations cannot do without: four numbers pairs, closed. [`write()`] wrote nothing else.
fn read_ring(ring: &Value) -> Option<Vec<Coord>> {
    let coord = |position: &Value| {
        let [x, y] = position.as_array()?.as_slice() else { return None };
        Some(Coord { x: x.as_f64()?, y: y.as_f64()? })
    };
    let ring: Vec<Coord> = ring.as_array()?.iter().map(coord).collect::<Option<_>>()?;
    is_ring(&ring).then_some(ring)
}
