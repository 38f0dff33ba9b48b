//! Points as clients write and see them.

use klaroen_domain::phone::Country;
use klaroen_domain::point::Point;
use klaroen_domain::territory;
use serde::Serialize;
use utoipa::ToSchema;

use crate::request::fields::Node;

/// A point: in WGS84, or in RD New (EPSG:28992).
#[derive(Debug, ToSchema)]
#[serde(untagged)]
pub enum PointRequest {
    /// A point in WGS84, in degrees.
    Wgs84(Wgs84Request),
    /// A point in RD New, in metres.
    RdNew(RdNewRequest),
}

/// A point in WGS84, in degrees.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Wgs84Request {
    /// Degrees north.
    #[schema(minimum = -90, maximum = 90, example = 52.09)]
    pub latitude: f64,
    /// Degrees east.
    #[schema(minimum = -180, maximum = 180, example = 5.12)]
    pub longitude: f64,
}

/// A point in RD New, in metres.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RdNewRequest {
    /// Metres east.
    #[schema(minimum = 0, maximum = 280_000, example = 136_500)]
    pub rd_x: f64,
    /// Metres north.
    #[schema(minimum = 300_000, maximum = 625_000, example = 455_900)]
    pub rd_y: f64,
}

/// A point in WGS84.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, ToSchema)]
pub struct PointView {
    /// Degrees north.
    pub latitude: f64,
    /// Degrees east.
    pub longitude: f64,
}

impl From<Point> for PointView {
    fn from(point: Point) -> Self {
        Self { latitude: point.latitude(), longitude: point.longitude() }
    }
}

/// Reads `{"latitude", "longitude"}` or `{"rd_x", "rd_y"}`: a place in `country` or at most 50 km outside it.
#[must_use]
pub fn read(node: &Node<'_>, country: Country) -> Option<Point> {
    let mut members = node.object()?;
    let given = node.value();
    let has = |name: &str| given.get(name).is_some();
    let in_rd = has("rd_x") || has("rd_y");
    if in_rd && (has("latitude") || has("longitude")) {
        return node.wrong("give latitude and longitude, or rd_x and rd_y, not both");
    }
    let names = if in_rd { ["rd_x", "rd_y"] } else { ["latitude", "longitude"] };
    let first = members.read(names[0], |n| n.number());
    let second = members.read(names[1], |n| n.number());
    members.finish();
    let (first, second) = (first?, second?);
    let point = if in_rd {
        territory::rd_new(country, first, second)
    } else {
        territory::wgs84(country, first, second)
    };
    match point {
        Ok(point) => Some(point),
        Err(error) => {
            let below = error.member().map_or_else(String::new, |member| format!("/{member}"));
            node.wrong_below(&below, error.to_string());
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;
    use crate::request::fields::Report;

    fn read_json(value: &Value) -> Result<Point, Vec<String>> {
        let report = Report::default();
        let point = read(&Node::root(value, &report), Country::NL);
        point.ok_or_else(|| report.into_errors().into_iter().map(|e| e.pointer).collect())
    }

    #[rstest]
    #[case(json!({"latitude": 5.12, "longitude": 52.09}), &[""])]
    #[case(json!({"latitude": 91, "longitude": 5.12}), &["/latitude"])]
    #[case(json!({"latitude": "52", "extra": 1}), &["/extra", "/latitude", "/longitude"])]
    #[case(json!({"latitude": 52.09, "longitude": 5.12, "rd_x": 1}), &[""])]
    #[case(json!({"rd_x": 136_500}), &["/rd_y"])]
    #[case(json!({"rd_x": 136.5, "rd_y": 455.9}), &[""])]
    #[case(json!([52.09, 5.12]), &[""])]
    #[case(json!({"latitude": 0, "longitude": 0}), &[""])]
    #[case(json!({"latitude": 48.85, "longitude": 2.35}), &[""])]
    #[case(json!({"latitude": 136_500, "longitude": 455_900}), &[""])]
    fn a_wrong_point_says_where(#[case] value: Value, #[case] pointers: &[&str]) {
        assert_eq!(read_json(&value).unwrap_err(), pointers);
    }

    #[test]
    fn both_systems_name_the_same_place() {
        let wgs84 = read_json(&json!({"latitude": 52.0907, "longitude": 5.1214})).unwrap();
        let rd_new = read_json(&json!({"rd_x": 136_781, "rd_y": 455_905})).unwrap();
        assert!(wgs84.distance_m(&rd_new) < 200.0, "{}", wgs84.distance_m(&rd_new));
    }
}
