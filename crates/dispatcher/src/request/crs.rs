//! The reference system of a `GeoJSON` object. RFC 7946 §4 knows one, WGS84; programs that write the `GeoJSON` of 2008 name it in a
//! member `crs`, each in its own spelling, and Dutch ones give RD New.

use serde_json::Value;

use crate::request::fields::Members;

/// A reference system that is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Crs {
    /// Degrees, longitude first. ETRS89 counts as WGS84: in 2026 they are 0.9 m apart, less than any outline of an area is sure of.
    #[default]
    Wgs84,
    /// Metres in RD New (EPSG:28992), with or without heights above NAP (EPSG:7415).
    RdNew,
}

/// The names that would be right.
const KNOWN: &str = "is not a reference system that is read here: give urn:ogc:def:crs:OGC:1.3:CRS84, EPSG:4326 or EPSG:4258 \
                     (degrees, longitude first) or EPSG:28992 or EPSG:7415 (RD New, metres)";

/// Reads the member `crs` of an object, or takes the system of the object around it. `null` says nothing, as in the `GeoJSON`
/// of 2008.
pub(crate) fn read(members: &mut Members<'_>, inherited: Crs) -> Option<Crs> {
    let Some(node) = members.optional("crs") else { return Some(inherited) };
    let below = node.value().get("properties");
    let name = below.and_then(|p| p.get("name").or_else(|| p.get("code")).or_else(|| p.get("href")));
    let read = match name.unwrap_or(node.value()) {
        Value::String(name) => named(name),
        Value::Number(code) => code.as_u64().and_then(of_code),
        _ => None,
    };
    read.or_else(|| node.wrong(KNOWN))
}

/// A name as people and programs write it: a URN (with or without a version, RFC 5165), a URL of opengis.net, `EPSG:4326`, a
/// plain number, or the name in the register.
fn named(name: &str) -> Option<Crs> {
    let name = name.trim().to_ascii_uppercase();
    match name.as_str() {
        "WGS84" | "WGS 84" | "WGS_1984" | "GCS_WGS_1984" | "WGS 84 (CRS84)" | "WGS 84 / CRS84" | "ETRS89" => {
            return Some(Crs::Wgs84);
        }
        "RD NEW" | "RD_NEW" | "AMERSFOORT / RD NEW" | "AMERSFOORT / RD NEW + NAP HEIGHT" => {
            return Some(Crs::RdNew);
        }
        _ => {}
    }
    // A compound system names the one of the ground first, then that of the heights (OGC 07-092r3 §7.5.4).
    let ground = name.strip_prefix("URN:OGC:DEF:CRS,").unwrap_or(&name);
    let ground = ground.split([',', '+']).next().unwrap_or(ground);
    let words: Vec<&str> = ground
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !matches!(*word, "" | "XML"))
        .collect();
    let numbers =
        words.iter().rposition(|word| *word == "EPSG").map_or(words.as_slice(), |at| &words[at + 1..]);
    // The version of the register stands between its name and the number.
    let is_number = |word: &&str| word.bytes().all(|b| b.is_ascii_digit());
    match numbers {
        [.., code] if numbers.iter().all(is_number) => code.parse().ok().and_then(of_code),
        _ => crs84(&words),
    }
}

/// Longitude and latitude of the Open Geospatial Consortium, whose order is that of `GeoJSON` whatever the name says.
fn crs84(words: &[&str]) -> Option<Crs> {
    let known = match words {
        [.., "CRS84" | "CRS84H"] => words.len() == 1 || words.contains(&"OGC"),
        [before @ .., "CRS", "84"] => before.is_empty() || before.contains(&"OGC"),
        _ => false,
    };
    known.then_some(Crs::Wgs84)
}

/// A system by its number in the register of EPSG.
const fn of_code(code: u64) -> Option<Crs> {
    match code {
        // WGS84 on the ground and with heights, ETRS89 likewise.
        4326 | 4979 | 4258 | 4937 => Some(Crs::Wgs84),
        28992 | 7415 => Some(Crs::RdNew),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;
    use crate::request::fields::{Node, Report};

    fn read_json(object: &Value) -> Result<Crs, String> {
        let report = Report::default();
        let mut members = Node::root(object, &report).object().unwrap();
        read(&mut members, Crs::Wgs84).ok_or_else(|| {
            let errors = report.into_errors();
            assert_eq!(errors[0].pointer, "/crs");
            errors[0].detail.clone()
        })
    }

    #[rstest]
    fn every_name_of_a_system_is_known(
        #[values(
            "urn:ogc:def:crs:OGC:1.3:CRS84",
            "urn:ogc:def:crs:OGC::CRS84",
            "URN:OGC:DEF:CRS:OGC:1.3:CRS84h",
            "OGC:CRS84",
            "CRS84",
            "CRS:84",
            "http://www.opengis.net/def/crs/OGC/1.3/CRS84",
            "https://www.opengis.net/def/crs/OGC/0/CRS84h",
            "EPSG:4326",
            "epsg:4326",
            "EPSG::4326",
            "4326",
            "urn:ogc:def:crs:EPSG::4326",
            "urn:ogc:def:crs:EPSG:6.9:4326",
            "urn:x-ogc:def:crs:EPSG:4326",
            "http://www.opengis.net/def/crs/EPSG/0/4326",
            "http://www.opengis.net/def/crs/EPSG/9.9.1/4258",
            "http://www.opengis.net/gml/srs/epsg.xml#4326",
            " WGS 84 ",
            "EPSG:4258",
            "urn:ogc:def:crs:EPSG::4979"
        )]
        name: &str,
    ) {
        assert_eq!(named(name), Some(Crs::Wgs84));
    }

    #[rstest]
    fn every_name_of_rd_new_is_known(
        #[values(
            "EPSG:28992",
            "urn:ogc:def:crs:EPSG::28992",
            "urn:ogc:def:crs:EPSG:6.9:28992",
            "28992",
            "EPSG:7415",
            "http://www.opengis.net/def/crs/EPSG/0/28992",
            "Amersfoort / RD New",
            "EPSG:28992+5709",
            "urn:ogc:def:crs,crs:EPSG::28992,crs:EPSG::5709"
        )]
        name: &str,
    ) {
        assert_eq!(named(name), Some(Crs::RdNew));
    }

    #[rstest]
    fn another_system_is_refused_with_the_right_names(
        #[values(
            "EPSG:3857",
            "EPSG:28991",
            "EPSG:31370",
            "urn:ogc:def:crs:EPSG::25831",
            "",
            "x",
            "EPSG:",
            "OGC:CRS83",
            "EPSG:43260",
            "urn:ogc:def:crs:OGC:1.3:CRS27",
            "NAD:CRS84"
        )]
        name: &str,
    ) {
        let detail = read_json(&json!({"crs": {"type": "name", "properties": {"name": name}}})).unwrap_err();
        for right in ["CRS84", "EPSG:4326", "EPSG:28992"] {
            assert!(detail.contains(right), "{detail}");
        }
    }

    #[test]
    fn it_stands_in_several_forms() {
        for crs in [
            json!({"type": "name", "properties": {"name": "EPSG:28992"}}),
            json!({"type": "EPSG", "properties": {"code": 28992}}),
            json!({"type": "EPSG", "properties": {"code": "28992"}}),
            json!("EPSG:28992"),
            json!(28992),
        ] {
            assert_eq!(read_json(&json!({"crs": crs})), Ok(Crs::RdNew), "{crs}");
        }
        assert_eq!(read_json(&json!({"crs": null})), Ok(Crs::Wgs84));
        assert_eq!(read_json(&json!({})), Ok(Crs::Wgs84));
        for crs in [
            json!({}),
            json!(true),
            json!([]),
            json!({"properties": 4}),
            json!({"properties": {"name": null}}),
        ] {
            assert!(read_json(&json!({"crs": crs})).is_err(), "{crs}");
        }
    }
}
