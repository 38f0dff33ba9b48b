//! `GeoJSON` (RFC 7946) Polygon and `MultiPolygon` into rings that are safe to compute with, or everything wrong with them.
//!
//! Sizes are looked at first, then every position, then whether the rings are simple: nothing later in this module
//! sees a number that is not finite or a ring that crosses itself.

use geo::Coord;
use serde_json::Value;

use super::mend::{self, Mend};
use super::outline::{Bounds, Outline, Position};
use super::simple::{self, Clash};
use super::{GeofenceError, GeofenceMend};
use crate::point;

/// Corners of all rings together, without the position that closes each ring. A municipality at full detail has some 5,000.
pub const VERTICES_MAX: usize = 10_000;
/// Rings of all polygons together.
pub const RINGS_MAX: usize = 50;
/// Polygons of a `MultiPolygon`.
pub const POLYGONS_MAX: usize = 20;
/// After this number of errors the rest is not worth reading.
pub const ERRORS_MAX: usize = 20;

/// Reads a geometry.
///
/// # Errors
/// Returns every mistake in the geometry, at most [`ERRORS_MAX`], with pointers below the geometry.
pub(super) fn parse(geometry: &Value) -> Result<Vec<Outline>, Vec<GeofenceError>> {
    read(geometry, |_| None)
}

/// Reads a geometry and mends the rings that meet themselves although their inside is clear. Returns what was mended, too.
///
/// # Errors
/// As [`parse`], with the mistakes that cannot be mended.
pub(super) fn parse_mended(
    geometry: &Value,
) -> Result<(Vec<Outline>, Vec<GeofenceMend>), Vec<GeofenceError>> {
    let mut mends = Vec::new();
    let outlines = read(geometry, |rings| {
        let (outlines, found) = mend_polygon(rings)?;
        mends.extend(found);
        Some(outlines)
    })?;
    let rings: usize = outlines.iter().map(|outline| outline.rings().len()).sum();
    if let Some(first) = mends.first().filter(|_| outlines.len() > POLYGONS_MAX || rings > RINGS_MAX) {
        let detail = "the ring touches itself so often that it would fall apart into too many polygons: simplify the shape";
        return Err(vec![error(first.pointer.clone(), detail)]);
    }
    mends.truncate(ERRORS_MAX);
    Ok((outlines, mends))
}

/// `mend` is asked for the outlines of a polygon whose ring meets itself.
fn read(
    geometry: &Value,
    mut mend: impl FnMut(&[Ring]) -> Option<Vec<Outline>>,
) -> Result<Vec<Outline>, Vec<GeofenceError>> {
    let polygons = polygons(geometry).map_err(|error| vec![error])?;
    within_limits(&polygons).map_err(|error| vec![error])?;
    let mut errors = Vec::new();
    let rings: Vec<Vec<Ring>> = polygons.iter().map(|p| p.rings(&mut errors)).collect();
    look_swapped(&rings, &mut errors);
    spans_half_the_earth(&rings, &mut errors);
    let mut outlines = Vec::new();
    if errors.is_empty() {
        for polygon in &rings {
            match outline(polygon) {
                Ok(outline) => outlines.push(outline),
                Err(error) => match mend(polygon) {
                    Some(mended) => outlines.extend(mended),
                    None => errors.push(error),
                },
            }
        }
    }
    errors.truncate(ERRORS_MAX);
    if errors.is_empty() { Ok(outlines) } else { Err(errors) }
}

fn error(pointer: impl Into<String>, detail: impl Into<String>) -> GeofenceError {
    GeofenceError { pointer: pointer.into(), detail: detail.into(), other: None }
}

/// One polygon as it came in.
struct RawPolygon<'a> {
    pointer: String,
    rings: &'a [Value],
}

/// A closed ring without repeated positions; `positions[i]` is where corner `i` stood in the input.
struct Ring {
    pointer: String,
    coords: Vec<Coord>,
    positions: Vec<usize>,
}

impl Ring {
    fn at(&self, corner: usize) -> String {
        format!("{}/{}", self.pointer, self.positions.get(corner).unwrap_or(&0))
    }
}

fn polygons<'a>(geometry: &'a Value) -> Result<Vec<RawPolygon<'a>>, GeofenceError> {
    let Some(geometry) = geometry.as_object() else {
        return Err(error("", "must be a GeoJSON geometry: an object with type and coordinates"));
    };
    let kind = geometry.get("type").and_then(Value::as_str);
    let coordinates = geometry.get("coordinates").and_then(Value::as_array);
    let is_multi = match kind {
        Some("Polygon") => false,
        Some("MultiPolygon") => true,
        Some("Feature" | "FeatureCollection") => {
            return Err(error(
                "/type",
                "must be a geometry, not a feature: send the feature's geometry member",
            ));
        }
        _ => return Err(error("/type", "must be Polygon or MultiPolygon")),
    };
    let Some(coordinates) = coordinates else { return Err(error("/coordinates", "must be an array")) };
    if coordinates.is_empty() {
        return Err(error("/coordinates", "must not be empty"));
    }
    if !is_multi {
        return Ok(vec![RawPolygon { pointer: "/coordinates".to_owned(), rings: coordinates }]);
    }
    let polygon = |(i, value): (usize, &'a Value)| {
        let pointer = format!("/coordinates/{i}");
        match value.as_array() {
            Some(rings) if !rings.is_empty() => Ok(RawPolygon { pointer, rings }),
            _ => Err(error(pointer, "must be an array of rings, the exterior first")),
        }
    };
    coordinates.iter().enumerate().map(polygon).collect()
}

fn within_limits(polygons: &[RawPolygon<'_>]) -> Result<(), GeofenceError> {
    let rings = || polygons.iter().flat_map(|p| p.rings);
    // The last position of a ring repeats the first: it is no corner of its own.
    let vertices: usize = rings().map(|r| r.as_array().map_or(0, |r| r.len().saturating_sub(1))).sum();
    for (count, max, what) in [
        (polygons.len(), POLYGONS_MAX, "polygons"),
        (rings().count(), RINGS_MAX, "rings"),
        (vertices, VERTICES_MAX, "corners"),
    ] {
        if count > max {
            return Err(error(
                "/coordinates",
                format!("has {count} {what}, at most {max} are allowed: simplify the shape"),
            ));
        }
    }
    Ok(())
}

impl RawPolygon<'_> {
    fn rings(&self, errors: &mut Vec<GeofenceError>) -> Vec<Ring> {
        let ring = |(i, value)| read_ring(format!("{}/{i}", self.pointer), value, errors);
        self.rings.iter().enumerate().map(ring).collect()
    }
}

/// Reads what can be read; a ring with errors is not looked at again.
fn read_ring(pointer: String, ring: &Value, errors: &mut Vec<GeofenceError>) -> Ring {
    let mut read = Ring { pointer, coords: Vec::new(), positions: Vec::new() };
    let Some(positions) = ring.as_array() else {
        errors
            .push(error(read.pointer.clone(), "must be a ring: an array of [longitude, latitude] positions"));
        return read;
    };
    let errors_before = errors.len();
    for (i, position) in positions.iter().enumerate() {
        if errors.len() >= ERRORS_MAX {
            return read;
        }
        match read_position(position) {
            // A position that is repeated at once adds nothing: surveys and rounding produce them.
            Ok(coord) if read.coords.last() == Some(&coord) => {}
            Ok(coord) => {
                read.coords.push(coord);
                read.positions.push(i);
            }
            Err(detail) => errors.push(error(format!("{}/{i}", read.pointer), detail)),
        }
    }
    if errors.len() > errors_before {
        return read;
    }
    if positions.len() < 4 {
        errors
            .push(error(read.pointer.clone(), "must have at least 4 positions, the last equal to the first"));
    } else if read.coords.first() != read.coords.last() {
        errors.push(error(read.pointer.clone(), "is not closed: the last position must equal the first"));
    } else if read.coords.len() < 4 {
        errors.push(error(read.pointer.clone(), "must have at least 3 different corners"));
    }
    read
}

fn read_position(position: &Value) -> Result<Coord, &'static str> {
    let numbers = position.as_array().map(Vec::as_slice).unwrap_or_default();
    if !(2..=3).contains(&numbers.len()) {
        return Err("must be a position: [longitude, latitude]");
    }
    let (Some(x), Some(y)) = (numbers[0].as_f64(), numbers[1].as_f64()) else {
        return Err("must hold numbers: [longitude, latitude]");
    };
    if !x.is_finite() || !y.is_finite() {
        return Err("must hold finite numbers");
    }
    if point::looks_rd_new(x, y) {
        return Err(
            "looks like RD New: name it with \"crs\": {\"type\": \"name\", \"properties\": {\"name\": \"EPSG:28992\"}}, or convert it to WGS84, [longitude, latitude] in degrees",
        );
    }
    if !(-180.0..=180.0).contains(&x) {
        return Err("longitude must be between -180 and 180");
    }
    if !(-90.0..=90.0).contains(&y) {
        return Err("latitude must be between -90 and 90");
    }
    // Plus zero: there is one zero afterwards, not two.
    Ok(Coord { x: x + 0.0, y: y + 0.0 })
}

/// Said once: whoever swaps one position swaps them all.
fn look_swapped(polygons: &[Vec<Ring>], errors: &mut Vec<GeofenceError>) {
    for ring in polygons.iter().flatten() {
        if let Some(corner) = ring.coords.iter().position(|c| point::likely_swapped(c.y, c.x)) {
            let detail = "longitude and latitude are likely swapped: GeoJSON is [longitude, latitude], in the Netherlands [3.2 to 7.3, 50.7 to 53.7]";
            errors.push(error(ring.at(corner), detail));
            return;
        }
    }
}

/// More than half the earth's girth is a shape across the antimeridian that was not cut (RFC 7946 §3.1.9).
fn spans_half_the_earth(polygons: &[Vec<Ring>], errors: &mut Vec<GeofenceError>) {
    let bounds = Bounds::around(polygons.iter().flatten().flat_map(|r| r.coords.iter().copied()));
    if bounds.max.x - bounds.min.x > 180.0 {
        let detail =
            "spans more than 180 degrees of longitude: shapes across the antimeridian are not supported";
        errors.push(error("/coordinates", detail));
    }
}

/// A polygon of rings that are simple, with its holes inside its outline.
fn outline(rings: &[Ring]) -> Result<Outline, GeofenceError> {
    let coords: Vec<Vec<Coord>> = rings.iter().map(|r| r.coords.clone()).collect();
    let simple = simple::check(&coords).map_err(|clash| describe(rings, clash))?;
    let alone: Vec<Outline> = coords.iter().map(|r| Outline::new(vec![r.clone()])).collect();
    // Rings that do not touch lie wholly on one side of each other: one corner speaks for all.
    let probes = if simple.rings_touch { usize::MAX } else { 1 };
    for (i, hole) in rings.iter().enumerate().skip(1) {
        if let Some(corner) = find(&hole.coords, probes, &alone[0], Position::Outside) {
            return Err(error(hole.at(corner), "the hole is not inside the exterior of its polygon"));
        }
        for (j, other) in
            alone.iter().enumerate().skip(1).filter(|(j, o)| *j != i && o.bounds().meets(alone[i].bounds()))
        {
            if let Some(corner) = find(&hole.coords, probes, other, Position::Inside) {
                let other = Some(rings[j].pointer.clone());
                let detail = "the hole lies inside another hole,";
                return Err(GeofenceError { other, ..error(hole.at(corner), detail) });
            }
        }
    }
    Ok(Outline::new(coords))
}

/// The first corner, or the start of the first edge whose middle, lies so relative to `other`. Middles matter if
/// a ring's corners all stand on the other's boundary.
fn find(ring: &[Coord], probes: usize, other: &Outline, wanted: Position) -> Option<usize> {
    ring.windows(2).take(probes).position(|edge| {
        let middle = Coord { x: f64::midpoint(edge[0].x, edge[1].x), y: f64::midpoint(edge[0].y, edge[1].y) };
        match (other.locate(edge[0]), other.locate(edge[1])) {
            (Position::Boundary, Position::Boundary) => other.locate(middle) == wanted,
            (start, _) => start == wanted,
        }
    })
}

fn describe(rings: &[Ring], Clash { first, second }: Clash) -> GeofenceError {
    let (a, b) = (&rings[first.ring], &rings[second.ring]);
    let detail = if first.ring == second.ring {
        "the ring crosses or touches itself: the edge from here meets the edge from"
    } else {
        "rings cross or share an edge: the edge from here meets the edge from"
    };
    GeofenceError { other: Some(b.at(second.start)), ..error(a.at(first.start), detail) }
}

/// The outlines of a polygon of which a ring meets itself, and what was mended. `None` if its inside is not clear.
fn mend_polygon(rings: &[Ring]) -> Option<(Vec<Outline>, Vec<GeofenceMend>)> {
    let mut mends = Vec::new();
    let mut islands = |ring: &Ring| {
        if simple::check(std::slice::from_ref(&ring.coords)).is_ok() {
            return Some(vec![vec![ring.coords.clone()]]);
        }
        let mended = mend::mend(&ring.coords)?;
        mends.extend(mended.mends.iter().map(|(corner, mend)| {
            let detail = match mend {
                Mend::Spike => "the ring had a spike without width here, which was cut off",
                Mend::Touch => "the ring touched itself here, and was parted",
            };
            GeofenceMend { pointer: ring.at(*corner), detail }
        }));
        Some(mended.islands)
    };
    let (exterior, holes) = rings.split_first()?;
    let mut polygons = islands(exterior)?;
    let alone: Vec<Outline> = polygons.iter().map(|rings| Outline::new(vec![rings[0].clone()])).collect();
    for hole in holes {
        for island in islands(hole)? {
            // Ground inside a hole is a polygon of its own.
            let [hole] = <[Vec<Coord>; 1]>::try_from(island).ok()?;
            let around = alone.iter().position(|outline| mend::lies_in(&hole, outline))?;
            polygons[around].push(hole);
        }
    }
    let whole = |rings: Vec<Vec<Coord>>| {
        let ring = |coords: Vec<Coord>| Ring { pointer: String::new(), positions: Vec::new(), coords };
        outline(&rings.into_iter().map(ring).collect::<Vec<_>>()).ok()
    };
    let outlines = polygons.into_iter().map(whole).collect::<Option<Vec<_>>>()?;
    (!mends.is_empty()).then_some((outlines, mends))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    fn polygon(coordinates: &Value) -> Value {
        json!({"type": "Polygon", "coordinates": coordinates})
    }

    fn pointers(geometry: &Value) -> Vec<String> {
        parse(geometry).err().unwrap_or_default().into_iter().map(|e| e.pointer).collect()
    }

    #[rstest]
    #[case::not_an_object(json!(5), "")]
    #[case::no_type(json!({"coordinates": []}), "/type")]
    #[case::a_point(json!({"type": "Point", "coordinates": [5.1, 52.1]}), "/type")]
    #[case::a_feature(json!({"type": "Feature", "geometry": null}), "/type")]
    #[case::no_coordinates(json!({"type": "Polygon"}), "/coordinates")]
    #[case::empty(polygon(&json!([])), "/coordinates")]
    #[case::ring_not_array(polygon(&json!([7])), "/coordinates/0")]
    #[case::unclosed(polygon(&json!([[[5.0, 52.0], [5.1, 52.0], [5.1, 52.1], [5.0, 52.1]]])), "/coordinates/0")]
    #[case::three(polygon(&json!([[[5.0, 52.0], [5.1, 52.0], [5.0, 52.0]]])), "/coordinates/0")]
    #[case::one_corner(polygon(&json!([[[5, 52], [5, 52], [5, 52], [5, 52]]])), "/coordinates/0")]
    #[case::text(polygon(&json!([[[5.0, 52.0], ["5.1", 52.0], [5.1, 52.1], [5.0, 52.0]]])), "/coordinates/0/1")]
    #[case::one_number(polygon(&json!([[[5.0, 52.0], [5.1], [5.1, 52.1], [5.0, 52.0]]])), "/coordinates/0/1")]
    #[case::latitude(polygon(&json!([[[5.0, 52.0], [5.1, 95.0], [5.1, 52.1], [5.0, 52.0]]])), "/coordinates/0/1")]
    #[case::rd(polygon(&json!([[[155_000, 463_000], [5.1, 52.0], [5.1, 52.1], [155_000, 463_000]]])), "/coordinates/0/0")]
    #[case::bow_tie(polygon(&json!([[[5.0, 52.0], [5.4, 52.4], [5.4, 52.0], [5.0, 52.4], [5.0, 52.0]]])), "/coordinates/0/0")]
    #[case::antimeridian(polygon(&json!([[[179, 52], [-179, 52], [-179, 53], [179, 53], [179, 52]]])), "/coordinates")]
    fn what_is_wrong_is_pointed_at(#[case] geometry: Value, #[case] pointer: &str) {
        assert!(pointers(&geometry).iter().any(|p| p == pointer), "{:?}", parse(&geometry).err());
    }

    #[test]
    fn several_errors_are_told_at_once() {
        let geometry = json!({"type": "MultiPolygon", "coordinates": [
            [[[5.0, 52.0], [5.1, 99.0], [5.1, 52.1], [5.0, 52.0]]],
            [[[5.0, 52.0], [5.1, 52.0], [5.1, 52.1], [5.0, 52.1]]],
        ]});
        assert_eq!(pointers(&geometry), ["/coordinates/0/0/1", "/coordinates/1/0"]);
        let many: Vec<_> = (0..500).map(|_| json!([0, 99])).collect();
        assert_eq!(pointers(&polygon(&json!([many]))).len(), ERRORS_MAX);
    }

    #[test]
    fn swapped_coordinates_are_said_to_be_swapped() {
        let geometry = polygon(&json!([[[52.0, 5.0], [52.1, 5.0], [52.1, 5.2], [52.0, 5.0]]]));
        let errors = parse(&geometry).unwrap_err();
        assert_eq!(errors.len(), 1);
        assert!(errors[0].detail.contains("swapped"), "{errors:?}");
    }

    #[test]
    fn an_unclosed_ring_is_said_to_be_unclosed() {
        let geometry = polygon(&json!([[[5.0, 52.0], [5.1, 52.0], [5.1, 52.1], [5.0, 52.1]]]));
        assert!(parse(&geometry).unwrap_err()[0].detail.contains("not closed"));
    }

    #[rstest]
    #[case::outside([[9, 1], [10, 1], [10, 2], [9, 1]], Some("not inside"))]
    #[case::crossing([[7, 1], [9, 1], [9, 3], [7, 1]], Some("cross"))]
    #[case::in_the_other_hole([[2, 2], [3, 2], [3, 3], [2, 2]], Some("another hole"))]
    #[case::over_the_other_hole([[5, 5], [5, 7], [7, 5], [5, 5]], None)]
    #[case::touching_in_a_corner([[4, 4], [5, 4], [5, 5], [4, 4]], None)]
    fn holes_belong_inside_and_apart(#[case] hole: [[i32; 2]; 4], #[case] detail: Option<&str>) {
        let geometry = polygon(&json!([
            [[0, 0], [8, 0], [8, 8], [0, 8], [0, 0]],
            [[1, 1], [4, 1], [4, 4], [1, 4], [1, 1]],
            hole,
        ]));
        match (parse(&geometry), detail) {
            (Ok(outlines), None) => assert_eq!(outlines[0].rings().len(), 3),
            (Err(errors), Some(detail)) => assert!(errors[0].detail.contains(detail), "{errors:?}"),
            (result, _) => panic!("{result:?}"),
        }
    }

    #[test]
    fn a_hole_that_leaves_through_a_corner_is_refused() {
        // Its corners are inside, on the exterior's corner, and outside: no edge crosses another.
        let notch = [[0, 0], [8, 0], [8, 8], [4, 4], [0, 8], [0, 0]];
        let geometry = polygon(&json!([notch, [[3, 2], [4, 4], [4, 6], [3, 2]]]));
        assert!(parse(&geometry).is_err());
        // All corners on the boundary, an edge outside.
        let geometry = polygon(&json!([notch, [[8, 8], [0, 8], [4, 4], [8, 8]]]));
        assert!(parse(&geometry).is_err());
    }

    #[test]
    fn a_ring_that_touches_itself_is_mended_and_it_is_said() {
        // A spike in the exterior and in a hole, and a hole that was drawn as a touch of the exterior.
        let exterior =
            json!([[0, 0], [8, 0], [9, 0], [8, 0], [8, 8], [0, 8], [0, 0], [1, 2], [2, 1], [0, 0]]);
        let hole = json!([[4, 4], [6, 4], [6, 6], [5, 6], [5, 7], [5, 6], [4, 6], [4, 4]]);
        let geometry = polygon(&json!([exterior, hole]));
        assert!(parse(&geometry).is_err(), "only mended where it is asked for");
        let (outlines, mends) = parse_mended(&geometry).unwrap();
        assert_eq!((outlines.len(), outlines[0].rings().len()), (1, 3));
        assert_eq!(mends.len(), 3, "{mends:?}");
        assert!(mends.iter().any(|mend| mend.pointer.starts_with("/coordinates/1/")), "{mends:?}");
        for said in ["cut off", "parted"] {
            assert!(mends.iter().any(|mend| mend.detail.contains(said)), "{mends:?}");
        }
    }

    #[test]
    fn holes_stay_with_the_island_around_them() {
        let exterior = json!([[0, 0], [8, 0], [8, 8], [16, 8], [16, 16], [8, 16], [8, 8], [0, 8], [0, 0]]);
        let geometry = polygon(&json!([
            exterior,
            [[10, 10], [12, 10], [12, 12], [10, 10]],
            [[2, 2], [4, 2], [4, 4], [2, 2]]
        ]));
        let (outlines, mends) = parse_mended(&geometry).unwrap();
        let rings: Vec<usize> = outlines.iter().map(|outline| outline.rings().len()).collect();
        assert_eq!((rings, mends.len()), (vec![2, 2], 1));
    }

    #[test]
    fn a_real_crossing_is_refused_with_both_edges() {
        let bow_tie = json!([[5.0, 52.0], [5.4, 52.4], [5.4, 52.0], [5.0, 52.4], [5.0, 52.0]]);
        for geometry in
            [polygon(&json!([bow_tie])), json!({"type": "MultiPolygon", "coordinates": [[bow_tie]]})]
        {
            let error = parse_mended(&geometry).unwrap_err().remove(0);
            let (pointer, detail) = error.below("/features/7/geometry");
            let ring = pointer.strip_suffix("/0").unwrap();
            assert!(ring.starts_with("/features/7/geometry/coordinates/0"), "{pointer}");
            assert!(detail.ends_with(&format!("{ring}/2")), "{detail}");
        }
    }

    #[test]
    fn limits_are_looked_at_first() {
        let ring = json!([[5.0, 52.0], [5.1, 52.0], [5.1, 52.1], [5.0, 52.0]]);
        let many = |n: usize| json!({"type": "MultiPolygon", "coordinates": vec![vec![ring.clone()]; n]});
        assert!(parse(&many(POLYGONS_MAX)).is_ok());
        assert_eq!(pointers(&many(POLYGONS_MAX + 1)), ["/coordinates"]);
        assert_eq!(pointers(&polygon(&json!(vec![ring; RINGS_MAX + 1]))), ["/coordinates"]);
        let corners = |n: usize| polygon(&json!([vec![json!([5, 52]); n + 1]]));
        assert_eq!(pointers(&corners(VERTICES_MAX + 1)), ["/coordinates"]);
        assert_eq!(
            pointers(&corners(VERTICES_MAX)),
            ["/coordinates/0"],
            "the closing position is not counted"
        );
    }

    #[test]
    fn a_repeated_position_does_no_harm_and_heights_are_ignored() {
        let geometry = polygon(&json!([[[5, 52, 1], [5, 52, 9], [6, 52], [6, 53], [6, 53], [5, 52]]]));
        assert_eq!(parse(&geometry).unwrap()[0].rings()[0].len(), 4);
    }
}
