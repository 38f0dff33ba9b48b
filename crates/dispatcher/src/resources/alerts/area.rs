//! The area of an alert: a circle, a shape of its own, or areas of the library.

use klaroen_domain::geofence::{Geofence, RADIUS_M_MAX, RADIUS_M_MIN};
use klaroen_domain::id::OrganisationId;
use klaroen_domain::phone::Country;
use klaroen_store::areas::Area;
use serde_json::Value;
use tokio::runtime::Handle;
use utoipa::ToSchema;

use crate::problem::Problem;
use crate::request::crs::Crs;
use crate::request::fields::{Members, NamedCode, Node, Report};
use crate::request::geometry::{self, Mending};
use crate::request::point::{self, PointRequest};
use crate::resources::areas::view::Geometry;
use crate::state::App;

/// Areas in one alert.
const AREAS_MAX: usize = 100;
/// Corners of all areas in one alert: ten municipalities at full detail, or a hundred as they are published for maps. Each
/// corner is looked at for every cell of the cover near it.
const CORNERS_MAX: usize = 100_000;

/// An area: exactly one of the members.
#[derive(Debug, ToSchema)]
#[serde(untagged)]
pub enum AreaRequest {
    /// A circle.
    Circle(CircleArea),
    /// A shape of your own.
    Geometry(GeometryArea),
    /// Areas of the library.
    Areas(LibraryArea),
}

/// A circle.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CircleArea {
    /// The circle.
    pub circle: CircleRequest,
}

/// A circle on the ground.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CircleRequest {
    /// The centre of the circle.
    pub center: PointRequest,
    /// The radius on the ground, in metres.
    #[schema(minimum = 10, maximum = 50_000)]
    pub radius_m: f64,
}

/// A shape of your own.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GeometryArea {
    /// `GeoJSON` (RFC 7946): longitude before latitude.
    #[schema(value_type = Geometry)]
    pub geometry: Value,
}

/// Areas of the library.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LibraryArea {
    /// The codes of the areas.
    #[schema(min_items = 1, max_items = 100)]
    pub areas: Vec<String>,
}

/// An area, before the library was asked.
#[derive(Debug)]
enum AreaSpec {
    Shape(Geofence),
    Library { named: Vec<NamedCode>, pointer: String },
}

/// The area of a request, before the library was asked.
#[derive(Debug)]
pub struct AreaFields {
    spec: Option<AreaSpec>,
    given: Value,
}

impl AreaFields {
    /// Reads `{"circle"}`, `{"geometry"}` or `{"areas"}`.
    #[must_use]
    pub fn read(node: &Node<'_>, country: Country) -> Self {
        let mut given = node.value().clone();
        // As absent as if they were not there: the responses show one member.
        if let Value::Object(members) = &mut given {
            members.retain(|_, member| !member.is_null());
        }
        Self { spec: read_area(node, country), given }
    }

    /// Asks the library; gives the shape and the area as it was asked for.
    ///
    /// # Errors
    /// 503 if the database is not available, 500 if an area of the library is not readable.
    pub async fn resolve(
        self,
        app: &App,
        organisation: OrganisationId,
        report: &mut Report,
    ) -> Result<Option<(Geofence, Value)>, Problem> {
        let geofence = match self.spec {
            None => None,
            Some(AreaSpec::Shape(geofence)) => Some(geofence),
            Some(AreaSpec::Library { named, pointer }) => {
                match from_library(app, organisation, &named, report).await? {
                    Some(geofence) if geofence.corners() <= CORNERS_MAX => Some(geofence),
                    Some(_) => {
                        let detail = format!(
                            "together these areas have more than {CORNERS_MAX} corners; name fewer areas, or simplify them"
                        );
                        report.add(pointer, detail);
                        None
                    }
                    None => None,
                }
            }
        };
        Ok(geofence.map(|geofence| (geofence, self.given)))
    }
}

fn read_area(node: &Node<'_>, country: Country) -> Option<AreaSpec> {
    let mut members = node.object()?;
    let circle = members.optional("circle");
    let geometry = members.optional("geometry");
    let areas = members.optional("areas");
    members.finish();
    match (circle, geometry, areas) {
        (Some(circle), None, None) => read_circle(&circle, country).map(AreaSpec::Shape),
        (None, Some(geometry), None) => read_geometry(&geometry, country).map(AreaSpec::Shape),
        (None, None, Some(areas)) => {
            let pointer = areas.pointer().to_owned();
            areas.codes(AREAS_MAX).map(|named| AreaSpec::Library { named, pointer })
        }
        _ => node.wrong("give exactly one of circle, geometry and areas"),
    }
}

fn read_circle(node: &Node<'_>, country: Country) -> Option<Geofence> {
    let mut members = node.object()?;
    let center = members.read("center", |n| point::read(&n, country));
    let radius_m = members.read("radius_m", |n| {
        let range = RADIUS_M_MIN..=RADIUS_M_MAX;
        let in_range = n.number()?;
        if range.contains(&in_range) {
            return Some(in_range);
        }
        n.wrong(format!("must be between {RADIUS_M_MIN} and {RADIUS_M_MAX} metres"))
    });
    members.finish();
    match Geofence::circle(center?, radius_m?) {
        Ok(geofence) => Some(geofence),
        Err(error) => {
            node.wrong_below(&error.pointer, error.detail);
            None
        }
    }
}

fn read_geometry(node: &Node<'_>, country: Country) -> Option<Geofence> {
    geometry::read(node, Crs::default(), country, Mending::Refused, Members::finish)
        .map(|shape| shape.geofence)
}

/// Reads the areas in the blocking pool: a hundred of them are up to 40 MB of JSON.
async fn from_library(
    app: &App,
    organisation: OrganisationId,
    named: &[NamedCode],
    report: &mut Report,
) -> Result<Option<Geofence>, Problem> {
    let codes: Vec<String> = named.iter().map(|(code, _)| code.clone()).collect();
    let (store, runtime) = (app.store.clone(), Handle::current());
    let read = app.shapes.run(move || {
        let areas = runtime.block_on(store.areas_by_code(organisation, &codes))?;
        let unknown: Vec<String> =
            codes.into_iter().filter(|code| !areas.iter().any(|area| area.code == *code)).collect();
        Ok::<_, Problem>((union(&areas)?, unknown))
    });
    let (geofence, unknown) = read.await??;
    for (code, pointer) in named.iter().filter(|(code, _)| unknown.contains(code)) {
        report.add(pointer.clone(), format!("there is no area {code}"));
    }
    Ok((geofence.corners() > 0).then_some(geofence))
}

/// All areas as one shape; stops soon after [`CORNERS_MAX`].
fn union(areas: &[Area]) -> Result<Geofence, Problem> {
    let mut shapes = Vec::with_capacity(areas.len());
    let mut corners = 0;
    for area in areas {
        let geometry = serde_json::from_str(&area.geometry).ok();
        let shape = geometry.as_ref().and_then(Geofence::from_validated).ok_or_else(|| {
            tracing::error!(area = area.code, "could not read an area of the library");
            Problem::internal()
        })?;
        corners += shape.corners();
        shapes.push(shape);
        if corners > CORNERS_MAX {
            break;
        }
    }
    Ok(Geofence::union(shapes))
}
