//! Areas as a `FeatureCollection`: shared by `PUT /v1/areas` and `klaroen areas import`.
//!
//! The text is read twice. The first time finds mistakes of JSON and what stands beside the features, wherever it stands. The
//! second time takes one feature after the other, so that no more than one is in memory as a tree.

use std::collections::HashSet;
use std::fmt;

use klaroen_domain::phone::Country;
use klaroen_domain::time::Timestamp;
use klaroen_store::areas::Area;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::features::{AreaRead, Context, Part, Pruned, prune, read_feature};
use crate::problem::{FieldError, Problem};
use crate::request::crs;
use crate::request::fields::{Node, Report};
use crate::request::json::{self, Budget, JsonError, Names, Skip, Tree};

/// Areas in one collection: all neighbourhoods of the Netherlands are 14,500.
const FEATURES_MAX: usize = 20_000;
/// Mistakes that are named; more are counted.
const ERRORS_MAX: usize = 1_000;

/// The areas of a document.
#[derive(Debug, Default)]
pub struct AreasRead {
    /// The areas without mistakes, in their order.
    pub areas: Vec<Area>,
    /// The first 1,000 places of shapes that were mended, with such pointers.
    pub mended: Vec<FieldError>,
    /// Number of features with mistakes.
    pub rejected: u64,
    /// The first 1,000 mistakes, with pointers such as `/features/3/geometry/coordinates/0`.
    pub errors: Vec<FieldError>,
}

/// The reason why nothing of a document can be read.
#[derive(Debug)]
pub enum AreasError {
    /// The text is no JSON.
    Json(JsonError),
    /// The document is no collection of areas.
    Document(Vec<FieldError>),
}

impl From<JsonError> for AreasError {
    fn from(error: JsonError) -> Self {
        Self::Json(error)
    }
}

impl From<AreasError> for Problem {
    fn from(error: AreasError) -> Self {
        match error {
            AreasError::Json(error) => error.into(),
            AreasError::Document(errors) => Self::invalid(errors),
        }
    }
}

/// Reads a Feature or a `FeatureCollection`, feature by feature: a wrong one costs the others nothing.
///
/// # Errors
/// [`AreasError`] if the text is no JSON, or is not a collection whose reference system is known.
pub fn read_areas(text: &[u8], country: Country, now: Timestamp) -> Result<AreasRead, AreasError> {
    let budget = Budget::new();
    let outside = json::read(text, Outside { budget: &budget })?;
    let report = Report::default();
    let (crs, count) = {
        let root = Node::root(&outside.members, &report);
        let mut members = root.object();
        match outside.members.get("type").and_then(Value::as_str) {
            Some("FeatureCollection") => {
                let crs = members.as_mut().and_then(|members| crs::read(members, crs::Crs::default()));
                match outside.features {
                    Some(1..=FEATURES_MAX) => {}
                    Some(_) => root.wrong_below("/features", format!("must have 1 to {FEATURES_MAX} items")),
                    None => root.wrong_below("/features", "is missing, or is not an array"),
                }
                (crs, outside.features)
            }
            Some("Feature") => (Some(crs::Crs::default()), None),
            _ => {
                if members.is_some() {
                    root.wrong_below("/type", "must be Feature or FeatureCollection");
                }
                (None, None)
            }
        }
    };
    let Some(crs) = crs.filter(|_| report.is_clean()) else {
        return Err(AreasError::Document(report.into_errors()));
    };
    let mut reading = Reading {
        read: AreasRead::default(),
        codes: HashSet::new(),
        context: Context { code: None, crs, country, now },
    };
    if count.is_some() {
        json::read(text, Features(&mut reading))?;
    } else {
        reading.take(&prune(text)?, "");
    }
    Ok(reading.read)
}

struct Reading<'a> {
    read: AreasRead,
    codes: HashSet<String>,
    context: Context<'a>,
}

impl Reading<'_> {
    fn take(&mut self, feature: &Pruned, pointer: &str) {
        let report = Report::default();
        match read_feature(feature, pointer.to_owned(), &report, &self.context) {
            Some(AreaRead { area, mends }) if report.is_clean() => {
                if self.codes.insert(area.code.clone()) {
                    self.read.areas.push(area);
                    let room = ERRORS_MAX.saturating_sub(self.read.mended.len());
                    self.read.mended.extend(mends.into_iter().take(room));
                    return;
                }
                let detail = format!("the code {} is given twice", area.code);
                report.add(format!("{pointer}/properties/code"), detail);
            }
            _ => {}
        }
        self.read.rejected += 1;
        let room = ERRORS_MAX.saturating_sub(self.read.errors.len());
        self.read.errors.extend(report.into_errors().into_iter().take(room));
    }
}

/// The members beside the features, and how many of those there are.
#[derive(Default)]
struct Beside {
    members: Value,
    features: Option<usize>,
}

/// Reads what stands beside the features of a collection, and checks all of the text.
struct Outside<'b> {
    budget: &'b Budget,
}

impl<'de> DeserializeSeed<'de> for Outside<'_> {
    type Value = Beside;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Beside, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Outside<'_> {
    type Value = Beside;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a FeatureCollection or a Feature: an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Beside, A::Error> {
        let (mut members, mut features, mut names) = (Map::new(), None, Names::default());
        while let Some(name) = map.next_key::<String>()? {
            names.add(&name)?;
            match name.as_str() {
                "type" | "crs" => {
                    members
                        .insert(name, map.next_value_seed(Tree { budget: self.budget, keep: Part::Whole })?);
                }
                "features" => features = map.next_value_seed(Count)?,
                _ => map.next_value_seed(Skip)?,
            }
        }
        Ok(Beside { members: Value::Object(members), features })
    }
}

/// Counts the items of a list and checks them; `None` for anything else.
struct Count;

impl<'de> DeserializeSeed<'de> for Count {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<usize>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Count {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Option<usize>, E> {
        Ok(None)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Option<usize>, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Option<usize>, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Option<usize>, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Option<usize>, E> {
        Ok(None)
    }

    fn visit_str<E>(self, _: &str) -> Result<Option<usize>, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Option<usize>, A::Error> {
        let mut count = 0;
        while seq.next_element_seed(Skip)?.is_some() {
            count += 1;
        }
        Ok(Some(count))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Option<usize>, A::Error> {
        Visitor::visit_map(Skip, map).map(|()| None)
    }
}

/// Takes the features one by one from a text that was checked.
struct Features<'r, 'a>(&'r mut Reading<'a>);

impl<'de> DeserializeSeed<'de> for Features<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Features<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a FeatureCollection")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<String>()? {
            if name == "features" {
                map.next_value_seed(Features(&mut *self.0))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        for i in 0_usize.. {
            let budget = Budget::new();
            let Some(value) = seq.next_element_seed(Tree { budget: &budget, keep: Part::Feature })? else {
                break;
            };
            self.0.take(&Pruned { value, too_large: budget.is_spent() }, &format!("/features/{i}"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::super::features::{feature, read_one};
    use super::*;

    fn parse_areas(document: &Value, now: Timestamp) -> Result<Vec<Area>, Vec<FieldError>> {
        match read_areas(document.to_string().as_bytes(), Country::NL, now) {
            Ok(read) if read.rejected == 0 => Ok(read.areas),
            Ok(read) => Err(read.errors),
            Err(AreasError::Document(errors)) => Err(errors),
            Err(error) => panic!("{error:?}"),
        }
    }

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
    fn a_reference_system_is_read_wherever_it_stands() {
        let named = |name: &str| json!({"type": "name", "properties": {"name": name}});
        let rd_ring =
            json!([[[155_000, 463_000], [156_000, 463_000], [156_000, 464_000], [155_000, 463_000]]]);
        let rd_new = json!({"type": "Feature", "properties": {"code": "a", "name": "x"},
                            "geometry": {"type": "Polygon", "coordinates": rd_ring}});
        for place in ["", "/features/0", "/features/0/geometry"] {
            let mut document = collection(std::slice::from_ref(&rd_new));
            document.pointer_mut(place).unwrap()["crs"] = named("EPSG:28992");
            let area = parse_areas(&document, NOW).unwrap().remove(0);
            let geometry: Value = serde_json::from_str(&area.geometry).unwrap();
            let corner = |i: usize| geometry["coordinates"][0][0][i].as_f64().unwrap();
            // The centre of the grid, by PROJ 9; a hundred-thousandth of a degree is a metre.
            assert!(
                (corner(0) - 5.387_204).abs() < 1e-5 && (corner(1) - 52.155_172).abs() < 1e-5,
                "{place}: {geometry}"
            );
            assert!(geometry.get("crs").is_none());

            document.pointer_mut(place).unwrap()["crs"] = named("EPSG:3857");
            assert_eq!(parse_areas(&document, NOW).unwrap_err()[0].pointer, format!("{place}/crs"));
            document.pointer_mut(place).unwrap()["crs"] = named("EPSG:4326");
            let hint = &parse_areas(&document, NOW).unwrap_err()[0];
            assert!(hint.detail.contains("EPSG:28992"), "{hint:?}");
        }
        // Also after the features.
        let text =
            format!(r#"{{"features":[{rd_new}],"crs":{},"type":"FeatureCollection"}}"#, named("EPSG:28992"));
        assert_eq!(read_areas(text.as_bytes(), Country::NL, NOW).unwrap().areas.len(), 1);
    }

    #[rstest]
    #[case(json!({"buurtcode": "BU0363AF01", "buurtnaam": "Kop Zeedijk", "wijkcode": "WK0363AF", "wijknaam": "Y", "gemeentecode": "GM0363", "gemeentenaam": "Amsterdam"}), ["BU0363AF01", "Kop Zeedijk", "neighbourhood"])]
    #[case(json!({"GM_NAAM": "Amsterdam", "GM_CODE": "GM0363", "BU_NAAM": "Kop Zeedijk", "BU_CODE": "BU0363AF01"}), ["BU0363AF01", "Kop Zeedijk", "neighbourhood"])]
    #[case(json!({"wijkcode": "WK036301", "wijknaam": "Centrum", "gemeentenaam": "Amsterdam", "gemeentecode": "GM0363"}), ["WK036301", "Centrum", "district"])]
    #[case(json!({"gemeentecode": "GM0363", "gemeentenaam": "Amsterdam", "water": "NEE"}), ["GM0363", "Amsterdam", "municipality"])]
    #[case(json!({"statcode": "PV27", "statnaam": "Noord-Holland", "jrstatcode": "2023PV27", "rubriek": "provincie"}), ["PV27", "Noord-Holland", "province"])]
    #[case(json!({"BUURTCODE": "BU03440011", "NAAM": "Binnenstad", "kind": "buurt"}), ["BU03440011", "Binnenstad", "buurt"])]
    #[case(json!({"code": "7", "buurtcode": "BU03440011", "name": "Mine", "buurtnaam": "Theirs"}), ["7", "Mine", "area"])]
    #[case(json!({"postcode4": 3511, "woonplaats": "Utrecht", "code": null}), ["3511", "Utrecht", "area"])]
    fn files_of_statistics_offices_name_their_areas(#[case] properties: Value, #[case] expected: [&str; 3]) {
        for id in [json!("buurten.1"), json!(1)] {
            let feature =
                json!({"type": "Feature", "id": id, "properties": properties, "geometry": square()});
            let area = parse_areas(&collection(&[feature]), NOW).unwrap().remove(0);
            assert_eq!([area.code.as_str(), &area.name, &area.kind], expected);
        }
    }

    #[test]
    fn a_text_that_readers_disagree_about_is_no_collection() {
        let good = collection(&[
            json!({"type": "Feature", "properties": {"code": "a", "name": "x"}, "geometry": square()}),
        ])
        .to_string();
        assert!(read_areas(good.as_bytes(), Country::NL, NOW).is_ok());
        assert!(read_areas(format!("\u{feff}{good}").as_bytes(), Country::NL, NOW).is_ok());
        for bad in [
            good.replace(r#""code":"a""#, r#""code":"a","code":"b""#),
            good.replace(r#""name":"x""#, r#""name":"x","more":{"a":1,"a":1}"#),
            good.replace(r#""name":"wijken""#, r#""name":"wijken","name":"buurten""#),
            good.replace("5.1", "1e999"),
            format!("{good} x"),
            String::new(),
            "[]".to_owned(),
        ] {
            assert!(
                matches!(read_areas(bad.as_bytes(), Country::NL, NOW), Err(AreasError::Json(_))),
                "{bad}"
            );
        }
        let utf16: Vec<u8> = good.encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert!(matches!(read_areas(&utf16, Country::NL, NOW), Err(AreasError::Json(_))));
    }

    #[test]
    fn a_ring_that_touches_itself_is_mended_and_a_crossing_is_refused_with_both_pointers() {
        let of = |code: &str, ring: Value| {
            json!({"type": "Feature", "properties": {"code": code, "name": "x"},
                   "geometry": {"type": "Polygon", "coordinates": [ring]}})
        };
        let spike = json!([
            [5.1, 52.0],
            [5.2, 52.0],
            [5.3, 52.0],
            [5.2, 52.0],
            [5.2, 52.1],
            [5.1, 52.1],
            [5.1, 52.0]
        ]);
        let bow_tie = json!([[5.1, 52.0], [5.2, 52.1], [5.2, 52.0], [5.1, 52.1], [5.1, 52.0]]);
        let document = collection(&[of("a", spike), of("b", bow_tie)]);
        let read = read_areas(document.to_string().as_bytes(), Country::NL, NOW).unwrap();
        assert_eq!((read.areas.len(), read.rejected, read.mended.len()), (1, 1, 1), "{read:?}");
        assert!(
            read.mended[0].pointer.starts_with("/features/0/geometry/coordinates/0/"),
            "{:?}",
            read.mended
        );
        let stored: Value = serde_json::from_str(&read.areas[0].geometry).unwrap();
        assert_eq!(stored["coordinates"][0].as_array().unwrap().len(), 5, "{stored}");
        let again = parse_areas(&feature(&read.areas[0]), NOW).unwrap();
        assert_eq!(again, read.areas, "what is shown can be sent");
        let FieldError { pointer, detail } = &read.errors[0];
        assert_eq!(pointer, "/features/1/geometry/coordinates/0/0");
        assert!(detail.ends_with(" /features/1/geometry/coordinates/0/2"), "{detail}");
    }

    #[test]
    fn a_shape_that_is_too_large_costs_the_others_nothing() {
        let good = |code: &str| json!({"type": "Feature", "properties": {"code": code, "name": "x"}, "geometry": square()});
        let mut large = good("b");
        large["geometry"]["coordinates"] = json!([vec![json!([5.1, 52.0]); 60_000]]);
        let text = collection(&[good("a"), large, good("c")]).to_string();
        let read = read_areas(text.as_bytes(), Country::NL, NOW).unwrap();
        let codes: Vec<&str> = read.areas.iter().map(|area| area.code.as_str()).collect();
        assert_eq!((codes, read.rejected), (vec!["a", "c"], 1));
        assert!(
            read.errors[0].pointer.starts_with("/features/1") && read.errors[0].detail.contains("simplify"),
            "{:?}",
            read.errors
        );
    }

    #[test]
    fn a_code_in_the_path_wins() {
        let document = |code: &str| json!({"type": "Feature", "properties": {"code": code, "name": "x"}, "geometry": square()});
        assert_eq!(
            read_one(document("a").to_string().as_bytes(), "a", Country::NL, NOW).unwrap().area.code,
            "a"
        );
        assert_eq!(
            read_one(document("b").to_string().as_bytes(), "a", Country::NL, NOW).unwrap_err().errors[0]
                .pointer,
            "/properties/code"
        );
        assert_eq!(parse_areas(&json!({"type": "Topology"}), NOW).unwrap_err()[0].pointer, "/type");
    }
}
