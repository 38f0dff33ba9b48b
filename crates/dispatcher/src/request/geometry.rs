//! Shapes as clients send them: `GeoJSON` Polygon and `MultiPolygon`, in WGS84 or in RD New.

use std::borrow::Cow;

use klaroen_domain::geofence::{Geofence, GeofenceMend};
use klaroen_domain::phone::Country;
use klaroen_domain::point::Point;
use klaroen_domain::territory::{self, PlaceError};
use serde_json::{Value, json};

use super::crs::{self, Crs};
use crate::problem::FieldError;
use crate::request::fields::{Members, Node};

/// Positions that are named if they cannot be converted.
const ERRORS_MAX: usize = 20;
/// Digits after the point of a degree: a millimetre on the ground.
const DEGREES: f64 = 1e8;

/// A shape that was read.
#[derive(Debug)]
pub(crate) struct Shape<'a> {
    /// The shape.
    pub(crate) geofence: Geofence,
    /// The same as `GeoJSON` in WGS84: as it came, unless it had to be converted or mended.
    pub(crate) geojson: Cow<'a, Value>,
    /// What was mended in it, with pointers into the request.
    pub(crate) mends: Vec<FieldError>,
}

/// Whether a ring that meets itself is mended if its inside is clear all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mending {
    /// Yes: the answer says what was mended.
    Told,
    /// No: the people who would be asked are decided by this very shape.
    Refused,
}

/// Reads a geometry in the system that its own `crs` names, or in `inherited`. All of it must lie in `country` or at most 50 km
/// outside it. `finish` says whether other members are allowed.
pub(crate) fn read<'a>(
    node: &Node<'a>,
    inherited: Crs,
    country: Country,
    mending: Mending,
    finish: impl FnOnce(Members<'a>),
) -> Option<Shape<'a>> {
    let mut members = node.object()?;
    let crs = crs::read(&mut members, inherited);
    for known in ["type", "coordinates", "bbox"] {
        members.optional(known);
    }
    finish(members);
    let geojson = match crs? {
        Crs::Wgs84 => Cow::Borrowed(node.value()),
        Crs::RdNew => Cow::Owned(from_rd_new(node)?),
    };
    let read = match mending {
        Mending::Told => Geofence::mended(&geojson),
        Mending::Refused => Geofence::from_geojson(&geojson).map(|geofence| (geofence, Vec::new())),
    };
    let (geofence, mends) = match read {
        Ok(read) => read,
        Err(errors) => {
            for error in errors {
                let (pointer, detail) = error.below(node.pointer());
                node.wrong_at(pointer, detail);
            }
            return None;
        }
    };
    if let Some((pointer, error)) = elsewhere(geojson.get("coordinates")?, "/coordinates", country) {
        node.wrong_below(&pointer, error.to_string());
        return None;
    }
    let geojson = if mends.is_empty() { geojson } else { Cow::Owned(geofence.to_geojson()) };
    let told = |mend: GeofenceMend| FieldError {
        pointer: format!("{}{}", node.pointer(), mend.pointer),
        detail: mend.detail.to_owned(),
    };
    Some(Shape { geofence, geojson, mends: mends.into_iter().map(told).collect() })
}

/// The first position that does not lie in the country.
fn elsewhere(value: &Value, pointer: &str, country: Country) -> Option<(String, PlaceError)> {
    let items = value.as_array()?;
    if let [x, y, ..] = items.as_slice()
        && let (Some(longitude), Some(latitude)) = (x.as_f64(), y.as_f64())
    {
        let error = territory::wgs84(country, latitude, longitude).err()?;
        return Some((pointer.to_owned(), error));
    }
    items.iter().enumerate().find_map(|(i, item)| elsewhere(item, &format!("{pointer}/{i}"), country))
}

/// The geometry in WGS84. What is no position stays as it is, for the reader of the shape to refuse.
fn from_rd_new(node: &Node<'_>) -> Option<Value> {
    let mut geometry = node.value().clone();
    let mut errors = 0;
    if let Some(coordinates) = geometry.get_mut("coordinates") {
        convert(coordinates, node, "/coordinates", &mut errors);
    }
    if let Some(members) = geometry.as_object_mut() {
        // Both speak of the numbers as they were.
        members.remove("crs");
        members.remove("bbox");
    }
    (errors == 0).then_some(geometry)
}

fn convert(value: &mut Value, node: &Node<'_>, pointer: &str, errors: &mut usize) {
    let Value::Array(items) = value else { return };
    if let [x, y, ..] = items.as_mut_slice()
        && let (Some(east), Some(north)) = (x.as_f64(), y.as_f64())
    {
        match Point::rd_new(east, north) {
            Ok(point) => {
                *x = rounded(point.longitude());
                *y = rounded(point.latitude());
            }
            Err(error) => {
                *errors += 1;
                let degrees = east.abs() <= 180.0 && north.abs() <= 90.0;
                let detail = if degrees {
                    "crs says RD New, but these look like degrees: leave crs out".to_owned()
                } else {
                    error.to_string()
                };
                node.wrong_below(pointer, detail);
            }
        }
        return;
    }
    for (i, item) in items.iter_mut().enumerate() {
        if *errors >= ERRORS_MAX {
            return;
        }
        convert(item, node, &format!("{pointer}/{i}"), errors);
    }
}

fn rounded(degrees: f64) -> Value {
    json!((degrees * DEGREES).round() / DEGREES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::fields::Report;

    fn pointers(geometry: &Value, crs: Crs) -> Vec<String> {
        let report = Report::default();
        let read = read(&Node::root(geometry, &report), crs, Country::NL, Mending::Told, |_| {}).is_some();
        assert_eq!(read, report.is_clean());
        report.into_errors().into_iter().map(|e| format!("{}: {}", e.pointer, e.detail)).collect()
    }

    #[test]
    fn rd_new_is_converted_in_rings_of_rings() {
        let ring =
            json!([[155_000, 463_000], [156_000, 463_000, 12.5], [156_000, 464_000], [155_000, 463_000]]);
        for geometry in [
            json!({"type": "Polygon", "coordinates": [ring], "bbox": [155_000, 463_000, 156_000, 464_000]}),
            json!({"type": "MultiPolygon", "coordinates": [[ring]]}),
        ] {
            let report = Report::default();
            let shape = read(&Node::root(&geometry, &report), Crs::RdNew, Country::NL, Mending::Told, |_| {})
                .unwrap();
            // The centre of the grid, by PROJ 9.
            let centre = Point::wgs84(52.155_172, 5.387_204).unwrap();
            assert!(shape.geofence.distance_m(&centre) < 1.0);
            assert!((shape.geofence.area_km2() - 0.5).abs() < 0.001, "{}", shape.geofence.area_km2());
            assert_eq!(shape.geojson.get("bbox"), None);
        }
    }

    #[test]
    fn numbers_of_the_other_system_get_a_hint() {
        let degrees =
            json!({"type": "Polygon", "coordinates": [[[5.1, 52.0], [5.2, 52.0], [5.2, 52.1], [5.1, 52.0]]]});
        let hints = pointers(&degrees, Crs::RdNew);
        assert!(hints.len() == 4 && hints[0].starts_with("/coordinates/0/0: crs says RD New"), "{hints:?}");
        let metres = json!({"type": "Polygon", "coordinates": [[[155_000, 463_000], [156_000, 463_000], [156_000, 464_000], [155_000, 463_000]]]});
        let hints = pointers(&metres, Crs::Wgs84);
        assert!(hints[0].starts_with("/coordinates/0/0") && hints[0].contains("EPSG:28992"), "{hints:?}");
        let outside = json!({"type": "Polygon", "coordinates": vec![vec![json!([1, 1_000_000]); 100]]});
        assert_eq!(pointers(&outside, Crs::RdNew).len(), ERRORS_MAX);
        assert_eq!(pointers(&json!({"type": "Polygon", "coordinates": "x"}), Crs::RdNew).len(), 1);
    }
}
