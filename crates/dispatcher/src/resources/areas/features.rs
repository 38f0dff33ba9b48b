//! Areas as GeoJSON (RFC 7946): shared by `PUT /v1/areas` and `klaroen areas import`.

use std::collections::HashSet;

use klaroen_domain::geofence::Geofence;
use klaroen_domain::time::Timestamp;
use klaroen_store::areas::Area;
use serde_json::{Value, json};

use crate::problem::{FieldError, Problem};
use crate::request::fields::{Members, NO_CODE, Node, Report, is_code};

/// Areas in one collection: all neighbourhoods of the Netherlands are 14,500.
const FEATURES_MAX: usize = 20_000;
/// The kind of an area if its file has none.
const DEFAULT_KIND: &str = "area";

/// Reads a Feature or a `FeatureCollection`, whole. Each feature carries `properties: {code, name, kind}`; `id` stands in for
/// a missing code, and `kind` is `area` if absent. Other properties and members are left alone: files of
/// statistics offices are full of them (RFC 7946 §6.1).
///
/// # Errors
/// Everything that is wrong (the first 100), with pointers such as `/features/3/geometry/coordinates/0`.
pub fn parse_areas(document: &Value, now: Timestamp) -> Result<Vec<Area>, Vec<FieldError>> {
    let report = Report::default();
    let areas = read_document(&Node::root(document, &report), now);
    match areas {
        Some(areas) if report.is_clean() => Ok(areas),
        _ => Err(report.into_errors()),
    }
}

fn read_document(root: &Node<'_>, now: Timestamp) -> Option<Vec<Area>> {
    let mut members = root.object()?;
    match root.value().get("type").and_then(Value::as_str) {
        Some("Feature") => read_feature(root, None, now).map(|area| vec![area]),
        Some("FeatureCollection") => {
            if !names_wgs84(root.value().get("crs")) {
                refuse_crs(&mut members);
            }
            let features = members.read("features", |n| n.array(1..=FEATURES_MAX))?;
            let areas: Vec<Option<Area>> = features.iter().map(|f| read_feature(f, None, now)).collect();
            let mut codes = HashSet::new();
            for (area, feature) in areas.iter().zip(&features) {
                if let Some(area) = area
                    && !codes.insert(area.code.as_str())
                {
                    feature.wrong_below("/properties/code", format!("the code {} is given twice", area.code));
                }
            }
            areas.into_iter().collect()
        }
        _ => {
            root.wrong_below("/type", "must be Feature or FeatureCollection");
            None
        }
    }
}

/// Reads one Feature whose code must be `code`, the one in its path.
///
/// # Errors
/// 422 with everything that is wrong.
pub(crate) fn read_one(document: &Value, code: &str, now: Timestamp) -> Result<Area, Problem> {
    let report = Report::default();
    let area = read_feature(&Node::root(document, &report), Some(code), now);
    report.finish(area)
}

fn read_feature(node: &Node<'_>, code: Option<&str>, now: Timestamp) -> Option<Area> {
    let mut members = node.object()?;
    refuse_crs(&mut members);
    let is_feature =
        members.read("type", |n| if n.value() == "Feature" { Some(()) } else { n.wrong("must be Feature") });
    let geometry = members.read("geometry", |n| read_geometry(&n));
    let id = members.optional("id");
    let mut properties = members.read("properties", |n| n.object())?;
    let given = properties.optional("code");
    let name = properties.read("name", |n| n.text(200).map(str::to_owned));
    let kind = properties.read_optional("kind", |n| n.text(64).map(str::to_owned));
    let code = read_code(node, given.or(id), code);
    is_feature?;
    let kind = kind?.unwrap_or_else(|| DEFAULT_KIND.to_owned());
    Some(Area { code: code?, name: name?, kind, geometry: geometry?, updated_at: now })
}

fn read_code(feature: &Node<'_>, given: Option<Node<'_>>, expected: Option<&str>) -> Option<String> {
    let Some(given) = given else {
        if expected.is_none() {
            feature.wrong_below("/properties/code", "is missing, and there is no id to use instead");
        }
        return expected.map(str::to_owned);
    };
    // An id may be a number (RFC 7946 §3.2).
    let code = if given.value().is_u64() { given.value().to_string() } else { given.text(64)?.to_owned() };
    if !is_code(&code) {
        return given.wrong(NO_CODE);
    }
    match expected {
        Some(expected) if expected != code => given.wrong(format!("must be {expected}, as in the path")),
        _ => Some(code),
    }
}

/// Refuses another reference system than that of `GeoJSON` (RFC 7946 §4): its numbers would be read as degrees.
fn refuse_crs(members: &mut Members<'_>) {
    if let Some(crs) = members.optional("crs") {
        crs.wrong::<()>("is not supported: GeoJSON is WGS84, [longitude, latitude] in degrees");
    }
}

/// Programs that write the `GeoJSON` of 2008 name the system of every collection; this name is that of RFC 7946.
fn names_wgs84(crs: Option<&Value>) -> bool {
    const CRS84: &str = "urn:ogc:def:crs:OGC:1.3:CRS84";
    crs.and_then(|crs| crs.pointer("/properties/name")).is_some_and(|name| name == CRS84)
}

fn read_geometry(node: &Node<'_>) -> Option<Value> {
    refuse_crs(&mut node.object()?);
    match Geofence::from_geojson(node.value()) {
        Ok(_) => Some(node.value().clone()),
        Err(errors) => {
            for error in errors {
                node.wrong_below(&error.pointer, error.detail);
            }
            None
        }
    }
}

/// An area as a Feature.
#[must_use]
pub(crate) fn feature(area: &Area) -> Value {
    json!({
        "type": "Feature",
        "id": area.code,
        "properties": {
            "code": area.code, "name": area.name, "kind": area.kind, "updated_at": area.updated_at,
        },
        "geometry": area.geometry,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(0);

    fn square() -> Value {
        json!({"type": "Polygon", "coordinates": [[[5.1, 52.0], [5.2, 52.0], [5.2, 52.1], [5.1, 52.1], [5.1, 52.0]]]})
    }

    fn collection(features: &[Value]) -> Value {
        json!({"type": "FeatureCollection", "name": "wijken", "features": features})
    }

    #[test]
    fn an_id_stands_in_for_a_code() {
        let properties = json!({"name": "Oost", "population": 7});
        let features = [
            json!({"type": "Feature", "id": "WK1", "properties": properties, "geometry": square()}),
            json!({"type": "Feature", "id": 42, "properties": {"name": "West", "kind": "wijk"}, "geometry": square()}),
        ];
        let areas = parse_areas(&collection(&features), NOW).unwrap();
        let read: Vec<_> = areas.iter().map(|a| (a.code.as_str(), a.kind.as_str())).collect();
        assert_eq!(read, [("WK1", "area"), ("42", "wijk")]);
        assert_eq!(parse_areas(&feature(&areas[0]), NOW).unwrap()[0], areas[0], "what is shown can be sent");
    }

    #[test]
    fn every_mistake_of_every_feature_is_named() {
        let swapped =
            json!({"type": "Polygon", "coordinates": [[[52.0, 5.1], [52.0, 5.2], [52.1, 5.2], [52.0, 5.1]]]});
        let features = [
            json!({"type": "Feature", "properties": {"name": "x"}, "geometry": square()}),
            json!({"type": "Feature", "properties": {"code": "a/b", "name": ""}, "geometry": square()}),
            json!({"type": "Feature", "properties": {"code": "c", "name": "x"}, "geometry": swapped}),
            json!({"type": "Feature", "properties": {"code": "d", "name": "x"}, "geometry": square()}),
            json!({"type": "Feature", "properties": {"code": "d", "name": "x"}, "geometry": square()}),
            json!({"type": "Feature", "properties": null, "geometry": null}),
        ];
        let errors = parse_areas(&collection(&features), NOW).unwrap_err();
        let has = |pointer: &str| errors.iter().any(|e| e.pointer == pointer);
        for pointer in [
            "/features/0/properties/code",
            "/features/1/properties/code",
            "/features/1/properties/name",
            "/features/4/properties/code",
            "/features/5/geometry",
            "/features/5/properties",
        ] {
            assert!(has(pointer), "{pointer} is not in {errors:?}");
        }
        let swap = errors.iter().find(|e| e.pointer.starts_with("/features/2/geometry")).unwrap();
        assert!(swap.detail.contains("swapped"), "{swap:?}");
    }

    #[test]
    fn another_reference_system_is_refused_wherever_it_stands() {
        let named = |name: &str| json!({"type": "name", "properties": {"name": name}});
        let rd_new = named("urn:ogc:def:crs:EPSG::28992");
        let plain =
            json!({"type": "Feature", "properties": {"code": "a", "name": "x"}, "geometry": square()});
        let pointers = |document: &Value| -> Vec<String> {
            let errors = parse_areas(document, NOW).err().unwrap_or_default();
            errors.into_iter().map(|e| e.pointer).collect()
        };
        for place in ["/crs", "/features/0/crs", "/features/0/geometry/crs"] {
            let mut document = collection(std::slice::from_ref(&plain));
            let (parent, _) = place.rsplit_once('/').unwrap();
            document.pointer_mut(parent).unwrap()["crs"] = rd_new.clone();
            assert_eq!(pointers(&document), [place]);
        }
        let mut document = collection(std::slice::from_ref(&plain));
        document["crs"] = named("urn:ogc:def:crs:OGC:1.3:CRS84");
        assert_eq!(pointers(&document), Vec::<String>::new(), "the system of RFC 7946 by its name");
    }

    #[test]
    fn a_code_in_the_path_wins() {
        let document = |code: &str| json!({"type": "Feature", "properties": {"code": code, "name": "x"}, "geometry": square()});
        assert_eq!(read_one(&document("a"), "a", NOW).unwrap().code, "a");
        assert_eq!(read_one(&document("b"), "a", NOW).unwrap_err().errors[0].pointer, "/properties/code");
        assert_eq!(parse_areas(&json!({"type": "Topology"}), NOW).unwrap_err()[0].pointer, "/type");
    }
}
