//! One area as a Feature of `GeoJSON` (RFC 7946).

use klaroen_domain::phone::Country;
use klaroen_domain::time::Timestamp;
use klaroen_store::areas::Area;
use serde_json::{Value, json};

use super::properties;
use crate::problem::{FieldError, Problem};
use crate::request::crs::{self, Crs};
use crate::request::fields::{Node, Report};
use crate::request::geometry::{self, Mending, Shape};
use crate::request::json::{self, Budget, JsonError, Keep, Tree};

/// The parts of a Feature that are read. Files of statistics offices are full of other properties (RFC 7946 §6.1).
#[derive(Clone, Copy, Debug)]
pub(super) enum Part {
    /// A Feature.
    Feature,
    /// Its properties.
    Properties,
    /// All of a value.
    Whole,
}

impl Keep for Part {
    fn member(self, name: &str) -> Option<Self> {
        match (self, name) {
            (Self::Feature, "properties") => Some(Self::Properties),
            (Self::Feature, "type" | "id" | "crs" | "geometry") | (Self::Whole, _) => Some(Self::Whole),
            (Self::Properties, name) => properties::is_asked_for(name).then_some(Self::Whole),
            (Self::Feature, _) => None,
        }
    }

    fn items(self) -> bool {
        matches!(self, Self::Whole)
    }
}

/// A Feature as values, and whether some were left out because they take too much memory.
#[derive(Debug)]
pub(super) struct Pruned {
    pub(super) value: Value,
    pub(super) too_large: bool,
}

/// An area, and what was mended in its shape.
#[derive(Debug)]
pub(crate) struct AreaRead {
    pub(crate) area: Area,
    pub(crate) mends: Vec<FieldError>,
}

/// Reads one Feature whose code must be `code`, the one in its path.
///
/// # Errors
/// 400 if the text is no JSON, 422 with everything that is wrong.
pub(crate) fn read_one(
    text: &[u8],
    code: &str,
    country: Country,
    now: Timestamp,
) -> Result<AreaRead, Problem> {
    let report = Report::default();
    let feature = prune(text)?;
    let area = read_feature(
        &feature,
        String::new(),
        &report,
        &Context { code: Some(code), crs: Crs::Wgs84, country, now },
    );
    report.finish(area)
}

/// A text that is one Feature.
pub(super) fn prune(text: &[u8]) -> Result<Pruned, JsonError> {
    let budget = Budget::new();
    let value = json::read(text, Tree { budget: &budget, keep: Part::Feature })?;
    Ok(Pruned { value, too_large: budget.is_spent() })
}

/// What a Feature is read with.
pub(super) struct Context<'a> {
    /// The code that it must have.
    pub(super) code: Option<&'a str>,
    /// The reference system of its collection.
    pub(super) crs: Crs,
    /// The country in which it must lie.
    pub(super) country: Country,
    /// The present moment.
    pub(super) now: Timestamp,
}

/// Reads a Feature: `properties: {code, name, kind}` in the spellings of [`properties`]. Other members are left alone.
pub(super) fn read_feature(
    feature: &Pruned,
    pointer: String,
    report: &Report,
    context: &Context<'_>,
) -> Option<AreaRead> {
    let node = Node::part(&feature.value, pointer, report);
    if feature.too_large {
        return node.wrong("is too large: a shape has at most 10,000 corners; simplify it");
    }
    let mut members = node.object()?;
    let crs = crs::read(&mut members, context.crs);
    let is_feature =
        members.read("type", |n| if n.value() == "Feature" { Some(()) } else { n.wrong("must be Feature") });
    // Without its system a shape cannot be judged.
    let geometry = crs.and_then(|crs| {
        members.read("geometry", |n| geometry::read(&n, crs, context.country, Mending::Told, drop))
    });
    let id = members.optional("id");
    let mut properties = members.read("properties", |n| n.object())?;
    let named = properties::read(&node, id, &mut properties, context.code);
    is_feature?;
    let named = named?;
    let Shape { geojson, mends, .. } = geometry?;
    let geometry = geojson.to_string();
    let area =
        Area { code: named.code, name: named.name, kind: named.kind, geometry, updated_at: context.now };
    Some(AreaRead { area, mends })
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
        "geometry": serde_json::from_str::<Value>(&area.geometry).unwrap_or_default(),
    })
}
