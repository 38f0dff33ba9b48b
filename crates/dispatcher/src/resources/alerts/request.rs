//! Requests to create an alert. They are read whole, so that every error is reported at once.

use std::time::Duration;

use klaroen_domain::alert::Priority;
use klaroen_domain::id::OrganisationId;
use klaroen_domain::participant::ParticipantKind;
use klaroen_domain::phone::Country;
use klaroen_domain::text::MessageText;
use klaroen_domain::time::Timestamp;
use klaroen_store::Store;
use klaroen_store::alerts::AlertDraft;
use klaroen_store::matching::Audience;
use utoipa::{IntoParams, ToSchema};

use crate::problem::Problem;
use crate::request::fields::{Members, NamedCode, Node, Report};
use crate::request::json::Document;
use crate::request::words::PARTICIPANT_KINDS;
use crate::resources::alerts::area::{AreaFields, AreaRequest};
use crate::resources::schemas;
use crate::state::App;

/// A text longer than this is no SMS, whatever the limit of segments.
pub const TEXT_CHARACTERS_MAX: usize = 4_000;
/// Groups in one alert.
const GROUPS_MAX: usize = 100;
/// An alert that lives shorter is over before it was read.
const EXPIRES_IN_S_MIN: u64 = 60;
/// A day: a person who was seen yesterday is elsewhere.
const EXPIRES_IN_S_MAX: u64 = 86_400;
/// An hour: the end message comes 30 to 60 minutes after the start.
const EXPIRES_IN_S_DEFAULT: u64 = 3_600;
/// The beginning of the text of an exercise, so that no recipient calls 112 about it.
pub const EXERCISE_PREFIX: &str = "OEFENING: ";

/// An alert to be created.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AlertRequest {
    /// The area in which participants are asked.
    pub area: AreaRequest,
    /// The text of the SMS. Characters that GSM 7-bit does not have are replaced if it has an equivalent.
    #[schema(min_length = 1, max_length = 4000)]
    pub text: String,
    /// The participants that the alert is for. Everyone in the area if absent.
    pub audience: Option<AudienceRequest>,
    /// The priority of the alert. `urgent` if absent.
    #[schema(schema_with = schemas::priority_request)]
    pub priority: Option<String>,
    /// Seconds until the alert expires. Nothing of it is sent after that. 3600 if absent.
    #[schema(minimum = 60, maximum = 86_400)]
    pub expires_in_s: Option<u32>,
    /// Whether the alert is an exercise. The text of an exercise begins with `OEFENING: `. `false` if absent.
    pub exercise: Option<bool>,
}

/// The participants that an alert is for.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AudienceRequest {
    /// Only participants of these kinds. Every kind if absent.
    #[schema(schema_with = schemas::participant_kinds)]
    pub kinds: Option<Vec<String>>,
    /// Only members of at least one of these groups, by their codes.
    #[schema(min_items = 1, max_items = 100)]
    pub groups: Option<Vec<String>>,
}

/// The alerts to list.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct AlertFilter {
    /// Only alerts in this state.
    #[param(schema_with = schemas::alert_state)]
    pub state: Option<String>,
}

/// The fields of a request, before the database was asked. A member that is wrong is `None`.
#[derive(Debug)]
pub struct AlertFields {
    area: Option<AreaFields>,
    text: Option<MessageText>,
    audience: Option<Audience>,
    groups: Vec<NamedCode>,
    priority: Option<Priority>,
    expires_in_s: Option<u64>,
    exercise: Option<bool>,
}

impl AlertFields {
    /// Reads an alert request.
    #[must_use]
    pub fn read(node: &Node<'_>, max_segments: u8, country: Country) -> Option<Self> {
        let mut members = node.object()?;
        let exercise = members.read_optional("exercise", |n| n.boolean()).map(Option::unwrap_or_default);
        let in_exercise = exercise == Some(true);
        let text = members.read("text", |n| read_text(&n, max_segments, in_exercise));
        let area = members.read("area", |n| Some(AreaFields::read(&n, country)));
        let (audience, groups) = read_audience(&mut members);
        let words: Vec<&str> = Priority::ALL.iter().map(|p| p.as_str()).collect();
        let priority =
            members.read_optional("priority", |n| n.word(&words)).map(|p| p.unwrap_or(Priority::Urgent));
        let expires_in_s = members
            .read_optional("expires_in_s", |n| n.integer(EXPIRES_IN_S_MIN..=EXPIRES_IN_S_MAX))
            .map(|s| s.unwrap_or(EXPIRES_IN_S_DEFAULT));
        members.finish();
        Some(Self { area, text, audience, groups, priority, expires_in_s, exercise })
    }

    /// Asks the library and the groups; what they do not have goes into the report.
    ///
    /// # Errors
    /// 503 if the database is not available.
    pub async fn resolve(
        self,
        app: &App,
        organisation: OrganisationId,
        now: Timestamp,
        report: &mut Report,
    ) -> Result<Option<AlertDraft>, Problem> {
        name_unknown_groups(&app.store, organisation, &self.groups, report).await?;
        let area = match self.area {
            Some(area) => area.resolve(app, organisation, report).await?,
            None => None,
        };
        let draft = || {
            let (geofence, area) = area?;
            Some(AlertDraft {
                geofence,
                area,
                text: self.text?,
                audience: self.audience?,
                priority: self.priority?,
                expires_at: now.plus(Duration::from_secs(self.expires_in_s?)),
                exercise: self.exercise?,
            })
        };
        Ok(draft())
    }
}

/// Reads an alert request whole.
///
/// # Errors
/// 422 with everything that is wrong, 503 if the database is not available.
pub async fn read_alert(
    app: &App,
    organisation: OrganisationId,
    document: Document,
) -> Result<AlertDraft, Problem> {
    let (max_segments, country) = (app.settings.max_segments, app.settings.country);
    let (fields, mut report) =
        app.shapes.read(document, move |node| AlertFields::read(node, max_segments, country)).await?;
    let draft = match fields {
        Some(fields) => fields.resolve(app, organisation, app.now(), &mut report).await?,
        None => None,
    };
    report.finish(draft)
}

/// Reads a message text; of an exercise it begins with [`EXERCISE_PREFIX`].
#[must_use]
pub fn read_text(node: &Node<'_>, max_segments: u8, exercise: bool) -> Option<MessageText> {
    let text = node.text(TEXT_CHARACTERS_MAX)?;
    let prefixed = exercise && !text.starts_with(EXERCISE_PREFIX.trim_end());
    let text = if prefixed { format!("{EXERCISE_PREFIX}{text}") } else { text.to_owned() };
    node.taken(MessageText::parse(&text, max_segments))
}

fn read_audience(members: &mut Members<'_>) -> (Option<Audience>, Vec<NamedCode>) {
    let Some(node) = members.optional("audience") else { return (Some(Audience::default()), Vec::new()) };
    let Some(mut audience) = node.object() else { return (None, Vec::new()) };
    let kinds = audience.read_optional("kinds", |n| {
        let kinds: Vec<_> = n
            .array(1..=PARTICIPANT_KINDS.len())?
            .iter()
            .map(|kind| kind.word::<ParticipantKind>(&PARTICIPANT_KINDS))
            .collect();
        kinds.into_iter().collect::<Option<Vec<_>>>()
    });
    let groups = audience.read_optional("groups", |n| n.codes(GROUPS_MAX));
    audience.finish();
    let named = groups.clone().flatten().unwrap_or_default();
    let whom = || {
        let groups = groups?.unwrap_or_default().into_iter().map(|(code, _)| code).collect();
        Some(Audience { kinds: kinds?.unwrap_or_default(), groups })
    };
    (whom(), named)
}

async fn name_unknown_groups(
    store: &Store,
    organisation: OrganisationId,
    named: &[NamedCode],
    report: &mut Report,
) -> Result<(), Problem> {
    if named.is_empty() {
        return Ok(());
    }
    let codes: Vec<String> = named.iter().map(|(code, _)| code.clone()).collect();
    let unknown = store.unknown_groups(organisation, &codes).await?;
    for (code, pointer) in named.iter().filter(|(code, _)| unknown.contains(code)) {
        report.add(pointer.clone(), format!("there is no group {code}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    fn wrong(value: &Value) -> Vec<String> {
        let report = Report::default();
        let _ = AlertFields::read(&Node::root(value, &report), 3, Country::NL);
        report.into_errors().into_iter().map(|e| e.pointer).collect()
    }

    fn request() -> Value {
        json!({
            "area": {"circle": {"center": {"latitude": 52.09, "longitude": 5.12}, "radius_m": 1500}},
            "text": "Let op: vrouw, 80, rode jas. Gezien? Bel 112",
        })
    }

    #[test]
    fn every_wrong_field_is_named_at_once() {
        let value = json!({
            "area": {"circle": {"center": {"latitude": 152, "longitude": 5.12}, "radius_m": 5}},
            "text": "  ", "priority": "high", "expires_in_s": 59, "exercise": "no", "sender": "x",
            "audience": {"kinds": ["resident", "dog"], "groups": [], "ages": 1},
        });
        assert_eq!(
            wrong(&value),
            [
                "/area/circle/center/latitude",
                "/area/circle/radius_m",
                "/audience/ages",
                "/audience/groups",
                "/audience/kinds/1",
                "/exercise",
                "/expires_in_s",
                "/priority",
                "/sender",
                "/text",
            ]
        );
    }

    #[rstest]
    #[case(json!({}), &["/area"])]
    #[case(json!({"circle": {"center": {"latitude": 5.12, "longitude": 52.09}, "radius_m": 100}}), &["/area/circle/center"])]
    #[case(json!({"circle": {"center": {"latitude": 0, "longitude": 0}, "radius_m": 100}}), &["/area/circle/center"])]
    #[case(json!({"geometry": {"type": "Polygon", "coordinates": [[[5.1, 52.1], [9.2, 52.1], [9.2, 52.2], [5.1, 52.1]]]}}), &["/area/geometry/coordinates/0/1"])]
    #[case(json!({"circle": {}, "areas": ["a"]}), &["/area"])]
    #[case(json!({"areas": []}), &["/area/areas"])]
    #[case(json!({"areas": ["a", "b/c"]}), &["/area/areas/1"])]
    #[case(json!({"geometry": {"type": "Point", "coordinates": [5.1, 52.1]}}), &["/area/geometry/type"])]
    #[case(json!({"geometry": {"type": "Polygon", "crs": {}, "name": "x", "coordinates": [[[5.1, 52.1], [5.2, 52.1], [5.2, 52.2], [5.1, 52.1]]]}}), &["/area/geometry/crs", "/area/geometry/name"])]
    #[case(json!({"circle": {"center": {"latitude": 52.09, "longitude": 5.12}, "radius_m": 50_001}}), &["/area/circle/radius_m"])]
    fn a_wrong_area_says_where(#[case] area: Value, #[case] pointers: &[&str]) {
        let mut value = request();
        value["area"] = area;
        assert_eq!(wrong(&value), pointers);
    }

    #[test]
    fn the_defaults_are_those_of_the_contract() {
        let (value, report) = (request(), Report::default());
        let fields = AlertFields::read(&Node::root(&value, &report), 3, Country::NL).unwrap();
        assert_eq!(fields.priority, Some(Priority::Urgent));
        assert_eq!(fields.expires_in_s, Some(3_600));
        assert_eq!(fields.exercise, Some(false));
        assert_eq!(fields.audience, Some(Audience::default()));
        assert!(report.is_clean());
    }

    #[test]
    fn an_exercise_says_so_once() {
        for text in ["Zoek de man", "OEFENING: Zoek de man"] {
            let mut value = request();
            value["text"] = text.into();
            value["exercise"] = true.into();
            let report = Report::default();
            let fields = AlertFields::read(&Node::root(&value, &report), 3, Country::NL).unwrap();
            assert_eq!(fields.text.unwrap().as_str(), "OEFENING: Zoek de man");
        }
    }
}
