//! Geofences: a circle in metres on the ground, or polygons. Boundary points are inside.
//!
//! Edges of polygons are straight lines in longitude and latitude (RFC 7946 §3.1.1).

mod chord;
mod circle;
pub mod cover;
mod frozen;
mod mend;
mod outline;
mod simple;
mod validate;

use geo::{Coord, Densify, Euclidean, GeodesicArea};
use serde_json::{Value, json};

pub use self::circle::{RADIUS_M_MAX, RADIUS_M_MIN};
pub use self::validate::{ERRORS_MAX, POLYGONS_MAX, RINGS_MAX, VERTICES_MAX};

use self::circle::Circle;
use self::outline::{Outline, Position};
use crate::point::Point;

/// A shape that was validated and can be asked about points.
#[derive(Clone, Debug)]
pub struct Geofence {
    shapes: Vec<Shape>,
}

#[derive(Clone, Debug)]
enum Shape {
    Circle(Circle),
    Outline(Outline),
}

/// One thing wrong with a shape.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{pointer}: {detail}{}", other.as_ref().map(|other| format!(" {other}")).unwrap_or_default())]
pub struct GeofenceError {
    /// JSON pointer below the shape, such as `/coordinates/0/3`; empty for the shape as a whole.
    pub pointer: String,
    /// The mistake, and what would be right.
    pub detail: String,
    /// The pointer to a second place below the shape, with which the sentence of `detail` ends.
    pub other: Option<String>,
}

impl GeofenceError {
    /// The pointer and the whole sentence, if the shape stands at `pointer` of a document.
    #[must_use]
    pub fn below(self, pointer: &str) -> (String, String) {
        let detail = match self.other {
            Some(other) => format!("{} {pointer}{other}", self.detail),
            None => self.detail,
        };
        (format!("{pointer}{}", self.pointer), detail)
    }
}

/// One thing that was mended in a shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GeofenceMend {
    /// JSON pointer below the shape, such as `/coordinates/0/3`.
    pub pointer: String,
    /// The change, and its reason.
    pub detail: &'static str,
}

impl Geofence {
    /// A circle. `radius_m` is metres on the ground, 10 to 50,000.
    ///
    /// # Errors
    /// Returns an error if the radius is not in range; its pointer is `/radius_m`.
    pub fn circle(center: Point, radius_m: f64) -> Result<Self, GeofenceError> {
        Ok(Self { shapes: vec![Shape::Circle(Circle::new(center, radius_m)?)] })
    }

    /// A `GeoJSON` Polygon or `MultiPolygon` (RFC 7946), lon,lat. Polygons of a `MultiPolygon` may touch or overlap: a
    /// point in any of them is inside. A third number (height) of a position is ignored.
    ///
    /// # Errors
    /// Returns every mistake in the geometry, at most [`ERRORS_MAX`].
    pub fn from_geojson(geometry: &Value) -> Result<Self, Vec<GeofenceError>> {
        let outlines = validate::parse(geometry)?;
        Ok(Self { shapes: outlines.into_iter().map(Shape::Outline).collect() })
    }

    /// As [`Geofence::from_geojson`], but mends a ring that meets itself if its inside is clear all the same: spikes and loops
    /// without width are cut off, and a ring that touches itself is parted into polygons and holes. Returns what was
    /// mended, at most [`ERRORS_MAX`] places.
    ///
    /// # Errors
    /// Returns every mistake that cannot be mended, at most [`ERRORS_MAX`].
    pub fn mended(geometry: &Value) -> Result<(Self, Vec<GeofenceMend>), Vec<GeofenceError>> {
        let (outlines, mends) = validate::parse_mended(geometry)?;
        Ok((Self { shapes: outlines.into_iter().map(Shape::Outline).collect() }, mends))
    }

    /// A geometry that [`Geofence::from_geojson`] took before, such as an area of the library: read without looking for
    /// mistakes again, which costs far more than reading. `None` if it is no Polygon or `MultiPolygon` at all.
    #[must_use]
    pub fn from_validated(geometry: &Value) -> Option<Self> {
        frozen::read_geojson(geometry).map(|shapes| Self { shapes })
    }

    /// Several shapes as one (areas from the library); a point in any of them is inside.
    #[must_use]
    pub fn union(shapes: Vec<Self>) -> Self {
        Self { shapes: shapes.into_iter().flat_map(|s| s.shapes).collect() }
    }

    /// The frozen copy that is stored with an alert; [`Geofence::from_json`] reads it back without validating again.
    #[must_use]
    pub fn to_json(&self) -> Value {
        frozen::write(&self.shapes)
    }

    /// Reads the JSON that [`Geofence::to_json`] wrote; `None` for any other.
    #[must_use]
    pub fn from_json(json: &Value) -> Option<Self> {
        frozen::read(json).map(|shapes| Self { shapes })
    }

    /// As `GeoJSON` geometry, for people and maps; a circle becomes a polygon of 64 corners.
    #[must_use]
    pub fn to_geojson(&self) -> Value {
        let mut polygons: Vec<Value> = self.shapes.iter().map(Shape::coordinates).collect();
        match (polygons.len(), polygons.pop()) {
            (1, Some(only)) => json!({"type": "Polygon", "coordinates": only}),
            (_, last) => {
                polygons.extend(last);
                json!({"type": "MultiPolygon", "coordinates": polygons})
            }
        }
    }

    /// Corners of all polygons together; a circle has none.
    #[must_use]
    pub fn corners(&self) -> usize {
        let corners = |shape: &Shape| match shape {
            Shape::Circle(_) => 0,
            Shape::Outline(outline) => outline.edges().len(),
        };
        self.shapes.iter().map(corners).sum()
    }

    /// Whether the point is inside or on the boundary.
    #[must_use]
    pub fn contains(&self, point: &Point) -> bool {
        self.shapes.iter().any(|s| s.contains(point))
    }

    /// Metres on the ground from `point` to the nearest part; 0 inside. Exact for a circle. For a polygon the nearest
    /// point is found on a plane around `point`: good to 1 % within 100 km, and meant for a warning only.
    #[must_use]
    pub fn distance_m(&self, point: &Point) -> f64 {
        self.shapes.iter().map(|s| s.distance_m(point)).fold(f64::INFINITY, f64::min)
    }

    /// Square kilometres (overlaps counted once or more). The work grows with the length of the edges: some seconds for ten thousand
    /// that each span half the earth.
    #[must_use]
    pub fn area_km2(&self) -> f64 {
        self.shapes.iter().map(Shape::area_km2).sum()
    }

    /// The H3 cells to read for this shape: every point that it contains has its [`Point::cell`] in a range.
    #[must_use]
    pub fn cover(&self) -> cover::Cover {
        cover::cover(&self.shapes)
    }
}

impl Shape {
    fn contains(&self, point: &Point) -> bool {
        match self {
            Self::Circle(circle) => circle.contains(point),
            Self::Outline(outline) => outline.locate(coord(point)) != Position::Outside,
        }
    }

    fn distance_m(&self, point: &Point) -> f64 {
        match self {
            Self::Circle(circle) => circle.distance_m(point),
            Self::Outline(_) if self.contains(point) => 0.0,
            Self::Outline(outline) => {
                let near = outline.edges().iter().map(|edge| squared_degrees(point, *edge));
                let (_, at) =
                    near.fold(
                        (f64::INFINITY, coord(point)),
                        |best, next| {
                            if next.0 < best.0 { next } else { best }
                        },
                    );
                Point::wgs84(at.y, at.x).map_or(f64::INFINITY, |at| at.distance_m(point))
            }
        }
    }

    fn area_km2(&self) -> f64 {
        match self {
            Self::Circle(circle) => circle.area_km2(),
            Self::Outline(outline) => {
                let area = |ring: &Vec<Coord>| {
                    let drawn = geo::Polygon::new(ring.clone().into(), Vec::new());
                    Euclidean.densify(&drawn, STRAIGHT_DEG).geodesic_area_signed().abs() / 1e6
                };
                let mut rings = outline.rings().iter().map(area);
                rings.next().unwrap_or(0.0) - rings.sum::<f64>()
            }
        }
    }

    fn coordinates(&self) -> Value {
        match self {
            Self::Circle(circle) => frozen::coordinates(&[circle.ring()]),
            Self::Outline(outline) => frozen::coordinates(outline.rings()),
        }
    }
}

/// An edge is a straight line of longitude and latitude (RFC 7946 §3.1.1), not the shortest way over the ground: over
/// half the earth that one may lead across a pole. Over 0.1° they part by some metres.
const STRAIGHT_DEG: f64 = 0.1;

fn coord(point: &Point) -> Coord {
    Coord { x: point.longitude(), y: point.latitude() }
}

/// The nearest point of an edge, and how far it is on a plane on which a degree of longitude is as long as at `from`.
fn squared_degrees(from: &Point, [a, b]: [Coord; 2]) -> (f64, Coord) {
    let narrow = from.latitude().to_radians().cos();
    let plane = |c: Coord| Coord { x: (c.x - from.longitude()) * narrow, y: c.y - from.latitude() };
    let (start, along) = (plane(a), plane(b) - plane(a));
    let length = along.x * along.x + along.y * along.y;
    let part = if length > 0.0 { -(start.x * along.x + start.y * along.y) / length } else { 0.0 };
    let part = part.clamp(0.0, 1.0);
    let nearest = start + along * part;
    (nearest.x * nearest.x + nearest.y * nearest.y, a + (b - a) * part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(latitude: f64, longitude: f64) -> Point {
        Point::wgs84(latitude, longitude).unwrap()
    }

    /// Longer than high on purpose: a swap of latitude and longitude shows.
    fn holed() -> Geofence {
        Geofence::from_geojson(&json!({"type": "Polygon", "coordinates": [
            [[5.0, 52.0], [5.4, 52.0], [5.4, 52.1], [5.0, 52.1], [5.0, 52.0]],
            [[5.1, 52.02], [5.1, 52.06], [5.2, 52.06], [5.2, 52.02], [5.1, 52.02]],
        ]}))
        .unwrap()
    }

    #[test]
    fn corners_edges_and_the_rim_of_a_hole_are_inside() {
        for (lat, lon) in [(52.0, 5.0), (52.1, 5.4), (52.05, 5.0), (52.0, 5.2), (52.02, 5.1), (52.06, 5.15)] {
            assert!(holed().contains(&point(lat, lon)), "{lat} {lon}");
        }
        for (lat, lon) in [(52.04, 5.15), (51.999_999, 5.2), (52.05, 5.400_001), (52.3, 5.05)] {
            assert!(!holed().contains(&point(lat, lon)), "{lat} {lon}");
        }
    }

    #[test]
    fn a_circle_is_metres_on_the_ground() {
        let circle = Geofence::circle(point(52.0, 5.0), 1000.0).unwrap();
        // 1,000 m is 0.014563° of longitude and 0.008987° of latitude here.
        assert!(circle.contains(&point(52.0, 5.0145)) && !circle.contains(&point(52.0, 5.0146)));
        assert!(circle.contains(&point(52.0089, 5.0)) && !circle.contains(&point(52.0091, 5.0)));
        assert!((circle.area_km2() - std::f64::consts::PI).abs() < 0.001);
        assert!((circle.distance_m(&point(52.0, 5.029_126)) - 1000.0).abs() < 1.0);
    }

    #[test]
    fn the_radius_has_limits() {
        for radius_m in [9.99, 50_000.1, -1.0, f64::NAN, f64::INFINITY] {
            let error = Geofence::circle(point(52.0, 5.0), radius_m).unwrap_err();
            assert_eq!(error.pointer, "/radius_m");
        }
        assert!(Geofence::circle(point(52.0, 5.0), 10.0).is_ok());
        assert!(Geofence::circle(point(52.0, 5.0), 50_000.0).is_ok());
    }

    #[test]
    fn the_frozen_copy_is_the_same_shape() {
        let circle = Geofence::circle(point(52.3, 5.05), 1500.0).unwrap();
        let both = Geofence::union(vec![holed(), circle]);
        let json = both.to_json();
        let back = Geofence::from_json(&json).unwrap();
        assert_eq!(back.to_json(), json);
        assert_eq!(json["shapes"][1]["circle"]["radius_m"], 1500.0);
        assert!(back.contains(&point(52.3, 5.05)) && back.contains(&point(52.05, 5.3)));
        assert!(!back.contains(&point(52.04, 5.15)));
        assert_eq!(back.cover(), both.cover());
        for other in [json!(null), json!({"shapes": [{}]}), json!({"shapes": [{"polygon": [[[1, 2]]]}]})] {
            assert!(Geofence::from_json(&other).is_none(), "{other}");
        }
    }

    #[test]
    fn what_was_validated_is_read_again_as_the_same_shape() {
        let square = json!([[[5, 52, 1], [5, 52, 9], [6, 52], [6, 53], [6, 53], [5, 52]]]);
        for geometry in [
            json!({"type": "Polygon", "coordinates": square}),
            json!({"type": "MultiPolygon", "coordinates": [square, [[[7, 52], [8, 52], [8, 53], [7, 52]]]]}),
        ] {
            let trusted = Geofence::from_validated(&geometry).unwrap();
            assert!([3, 6].contains(&trusted.corners()), "{}", trusted.corners());
            assert_eq!(trusted.to_json(), Geofence::from_geojson(&geometry).unwrap().to_json());
        }
        for other in [json!({"type": "Point", "coordinates": [5, 52]}), json!({"type": "Polygon"}), json!(7)]
        {
            assert!(Geofence::from_validated(&other).is_none(), "{other}");
        }
    }

    #[test]
    fn a_map_gets_valid_geojson() {
        let circle = Geofence::circle(point(52.0, 5.0), 1000.0).unwrap();
        let drawn = circle.to_geojson();
        assert_eq!(drawn["coordinates"][0].as_array().unwrap().len(), 65);
        let drawn = Geofence::from_geojson(&drawn).unwrap();
        assert!((drawn.area_km2() / circle.area_km2() - 1.0).abs() < 0.002);
        assert_eq!(holed().to_geojson()["type"], "Polygon");
        let both = Geofence::union(vec![holed(), circle]).to_geojson();
        assert_eq!(both["type"], "MultiPolygon");
        assert!(Geofence::from_geojson(&both).is_ok());
    }

    #[test]
    fn distance_is_to_the_nearest_edge() {
        assert!(holed().distance_m(&point(52.05, 5.3)).abs() < f64::EPSILON);
        // 0.01° of latitude is 1,112.7 m, 0.01° of longitude 686 m.
        assert!((holed().distance_m(&point(52.11, 5.2)) - 1112.7).abs() < 2.0);
        assert!((holed().distance_m(&point(52.05, 5.41)) - 685.5).abs() < 2.0);
        assert!((holed().distance_m(&point(52.04, 5.11)) - 685.5).abs() < 2.0, "in the hole");
    }

    #[test]
    fn area_leaves_the_holes_out() {
        // 0.4° × 0.1° less 0.1° × 0.04° at 52°: 27.45 × 11.13 - 6.86 × 4.45 km.
        assert!((holed().area_km2() - 275.0).abs() < 2.0, "{}", holed().area_km2());
    }

    /// A geodesic from one end of the equator's half to the other goes across a pole, and one along a parallel far
    /// to its north: neither is an edge.
    #[test]
    fn area_is_that_between_the_edges_as_they_are_drawn() {
        let area = |ring: Value| {
            Geofence::from_geojson(&json!({"type": "Polygon", "coordinates": [ring]})).unwrap().area_km2()
        };
        // Half of 180° × 1° at the equator, a degree being 111.32 and 110.57 km.
        let along_the_equator = area(json!([[0, 0], [0, 1], [180, 0], [0, 0]]));
        assert!((along_the_equator / 1_107_800.0 - 1.0).abs() < 0.001, "{along_the_equator}");
        // As many slices of 1° × 1° next to each other as it is wide.
        let slice = area(json!([[0, 52], [1, 52], [1, 53], [0, 53], [0, 52]]));
        let row = area(json!([[0, 52], [120, 52], [120, 53], [0, 53], [0, 52]]));
        assert!((row / (slice * 120.0) - 1.0).abs() < 1e-6, "{row} of {slice}");
    }
}
