//! A registration as an administrator sends it, and the same with changes laid over it (RFC 7396).

use klaroen_domain::hours::WeeklyHours;
use klaroen_domain::participant::{Language, ParticipantKind};
use klaroen_domain::phone::{Country, PhoneNumber};
use klaroen_domain::time::Timestamp;
use klaroen_store::participants::{Consent, ParticipantDraft, Place};
use serde_json::{Map, Value, json};
use utoipa::{IntoParams, ToSchema};

use crate::problem::Problem;
use crate::request::fields::{Node, Report};
use crate::request::limits::{GROUPS_MAX, HOURS_MAX, NAME_MAX, PLACES_MAX, SHORT_MAX};
use crate::request::point::{self, PointRequest};
use crate::request::words::{LANGUAGES, PARTICIPANT_KINDS};
use crate::resources::schemas;

/// A participant to be enrolled.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ParticipantRequest {
    /// Resident or business.
    #[schema(schema_with = schemas::participant_kind)]
    pub kind: String,
    /// The name, if given.
    #[schema(min_length = 1, max_length = 200)]
    pub name: Option<String>,
    /// The mobile number, as people write it.
    #[schema(min_length = 1, max_length = 40, example = "+31612345678")]
    pub phone: String,
    /// The language of automatic texts. `nl` if absent.
    #[schema(schema_with = schemas::language)]
    pub language: Option<String>,
    /// The places for which the participant gets alerts.
    #[schema(min_items = 1, max_items = 5)]
    pub places: Vec<PlaceRequest>,
    /// The codes of the groups.
    #[schema(max_items = 50)]
    pub groups: Option<Vec<String>>,
    /// The id of the participant in your own system.
    #[schema(min_length = 1, max_length = 100)]
    pub external_id: Option<String>,
    /// The participant gets no alerts before this time.
    #[schema(schema_with = schemas::time)]
    pub paused_until: Option<String>,
    /// The evidence of consent.
    pub consent: ConsentRequest,
}

/// Changes to a participant: a JSON Merge Patch (RFC 7396) over the members of `POST`. If a member is absent, it stays
/// as it is. `null` clears a member that may be absent.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ParticipantPatch {
    /// Resident or business.
    #[schema(schema_with = schemas::participant_kind)]
    pub kind: Option<String>,
    /// The name.
    #[schema(min_length = 1, max_length = 200)]
    pub name: Option<String>,
    /// The mobile number, as people write it.
    #[schema(value_type = String, required = false, min_length = 1, max_length = 40, example = "+31612345678")]
    pub phone: Option<String>,
    /// The language of automatic texts. `null` for `nl`.
    #[schema(schema_with = schemas::language_or_null)]
    pub language: Option<String>,
    /// All places. They replace the present ones.
    #[schema(value_type = Vec<PlaceRequest>, required = false, min_items = 1, max_items = 5)]
    pub places: Option<Vec<PlaceRequest>>,
    /// The codes of all groups. They replace the present ones.
    #[schema(max_items = 50)]
    pub groups: Option<Vec<String>>,
    /// The id of the participant in your own system.
    #[schema(min_length = 1, max_length = 100)]
    pub external_id: Option<String>,
    /// The participant gets no alerts before this time.
    #[schema(schema_with = schemas::time_or_null)]
    pub paused_until: Option<String>,
    /// Changes to the evidence of consent.
    #[schema(value_type = ConsentPatch, required = false)]
    pub consent: Option<Value>,
}

/// Changes to the evidence of consent. If a member is absent, it stays as it is.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConsentPatch {
    /// When the participant consented: not in the future.
    #[schema(schema_with = schemas::time)]
    pub given_at: Option<String>,
    /// The way in which the participant consented: form, letter, web, …
    #[schema(value_type = String, required = false, min_length = 1, max_length = 100)]
    pub method: Option<String>,
}

/// A place for which a participant gets alerts.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PlaceRequest {
    /// Home, work, shop, …
    #[schema(min_length = 1, max_length = 100)]
    pub label: String,
    /// The location of the place.
    pub location: PointRequest,
    /// The hours in which the participant gets alerts, such as `Mo-Fr 08:00-18:00`. Always if absent.
    #[schema(min_length = 1, max_length = 200)]
    pub hours: Option<String>,
}

/// The evidence of consent.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConsentRequest {
    /// When the participant consented: not in the future.
    #[schema(schema_with = schemas::time)]
    pub given_at: String,
    /// The way in which the participant consented: form, letter, web, …
    #[schema(min_length = 1, max_length = 100)]
    pub method: String,
}

/// The participants to list.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ParticipantFilter {
    /// Only participants who have this number. Write the plus sign as `%2B`, or begin with `0031` instead.
    pub phone: Option<String>,
}

/// A registration that was read whole.
#[derive(Clone, Debug)]
pub struct Registration {
    /// The registration.
    pub draft: ParticipantDraft,
    /// The codes of groups as the request names them, so that a pointer has their place.
    pub given_groups: Vec<String>,
}

/// Reads a registration whole.
///
/// # Errors
/// 422 with everything that is wrong.
pub fn read_registration(
    document: &Value,
    country: Country,
    now: Timestamp,
) -> Result<Registration, Problem> {
    let report = Report::default();
    let draft = read(&Node::root(document, &report), country, now);
    let draft = report.finish(draft)?;
    Ok(Registration { draft, given_groups: given_groups(document) })
}

/// The codes of groups as the request names them, so that a pointer has their place.
fn given_groups(value: &Value) -> Vec<String> {
    let codes = value.get("groups").and_then(Value::as_array);
    codes.into_iter().flatten().filter_map(|c| c.as_str().map(|c| c.trim().to_owned())).collect()
}

/// Reads a registration.
#[must_use]
pub fn read(node: &Node<'_>, country: Country, now: Timestamp) -> Option<ParticipantDraft> {
    let mut members = node.object()?;
    let kind = members.read("kind", |n| n.word::<ParticipantKind>(&PARTICIPANT_KINDS));
    let name = members.read_optional("name", |n| n.text(NAME_MAX).map(str::to_owned));
    let phone = members.read("phone", |n| n.taken(PhoneNumber::parse(n.text(40)?, country)));
    let language = members.read_optional("language", |n| n.word::<Language>(&LANGUAGES));
    let places = members.read("places", |n| {
        let places: Vec<_> = n.array(1..=PLACES_MAX)?.iter().map(|n| read_place(n, country)).collect();
        places.into_iter().collect::<Option<Vec<_>>>()
    });
    let groups = members.read_optional("groups", |n| {
        let codes: Vec<_> = n.array(0..=GROUPS_MAX)?.iter().map(Node::code).collect();
        codes.into_iter().collect::<Option<Vec<_>>>()
    });
    let external_id = members.read_optional("external_id", |n| n.text(SHORT_MAX).map(str::to_owned));
    let paused_until = members.read_optional("paused_until", |n| n.time());
    let consent = members.read("consent", |n| read_consent(&n, now));
    members.finish();
    let mut groups = groups?.unwrap_or_default();
    groups.sort_unstable();
    groups.dedup();
    Some(ParticipantDraft {
        kind: kind?,
        name: name?,
        phone: phone?,
        language: language?.unwrap_or_default(),
        places: places?,
        groups,
        external_id: external_id?,
        paused_until: paused_until?,
        consent: consent?,
    })
}

fn read_place(node: &Node<'_>, country: Country) -> Option<Place> {
    let mut members = node.object()?;
    let label = members.read("label", |n| n.text(SHORT_MAX).map(str::to_owned));
    let location = members.read("location", |n| point::read(&n, country));
    let hours = members.read_optional("hours", |n| n.taken(n.text(HOURS_MAX)?.parse::<WeeklyHours>()));
    members.finish();
    Some(Place { label: label?, location: location?, hours: hours? })
}

fn read_consent(node: &Node<'_>, now: Timestamp) -> Option<Consent> {
    let mut members = node.object()?;
    let given_at = members.read("given_at", |n| n.past(now, None));
    let method = members.read("method", |n| n.text(SHORT_MAX).map(str::to_owned));
    members.finish();
    Some(Consent { given_at: given_at?, method: method? })
}

/// A registration as a request that makes it.
#[must_use]
pub fn write(draft: &ParticipantDraft) -> Value {
    let place = |place: &Place| {
        let location =
            json!({"latitude": place.location.latitude(), "longitude": place.location.longitude()});
        let hours = place.hours.as_ref().map(ToString::to_string);
        json!({"label": place.label, "location": location, "hours": hours})
    };
    json!({
        "kind": draft.kind,
        "name": draft.name,
        "phone": draft.phone.expose(),
        "language": draft.language,
        "places": draft.places.iter().map(place).collect::<Vec<_>>(),
        "groups": draft.groups,
        "external_id": draft.external_id,
        "paused_until": draft.paused_until,
        "consent": {"given_at": draft.consent.given_at, "method": draft.consent.method},
    })
}

/// Lays a JSON Merge Patch over a document (RFC 7396 §2).
pub fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(members) = patch else {
        target.clone_from(patch);
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(object) = target else { return };
    for (name, value) in members {
        if value.is_null() {
            object.remove(name);
        } else {
            merge(object.entry(name.as_str()).or_insert(Value::Null), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        Timestamp::parse("2026-11-23T12:00:00Z").unwrap()
    }

    fn parse(value: &Value) -> Result<ParticipantDraft, Vec<String>> {
        let report = Report::default();
        let read = read(&Node::root(value, &report), Country::NL, now());
        if report.is_clean() {
            return Ok(read.unwrap());
        }
        Err(report.into_errors().into_iter().map(|e| e.pointer).collect())
    }

    fn registration() -> Value {
        json!({
            "kind": "resident", "name": "A", "phone": "06-12345678", "groups": ["b", "a", "b"], "external_id": "7",
            "places": [{"label": "thuis", "location": {"latitude": 52.09, "longitude": 5.12}, "hours": "Mo-Fr 08:00-18:00"}],
            "consent": {"given_at": "2026-01-31T10:00:00+01:00", "method": "web"},
        })
    }

    #[test]
    fn every_wrong_field_is_named_at_once() {
        let value = json!({
            "kind": "dog", "name": "", "phone": "030-1234567", "language": "xx", "groups": ["a b"], "id": 1,
            "places": [{"location": {"latitude": 5.12, "longitude": 52.09}, "hours": "always"}],
            "consent": {"given_at": "2027-01-31T10:00:00+01:00"},
        });
        assert_eq!(
            parse(&value).unwrap_err(),
            [
                "/consent/given_at",
                "/consent/method",
                "/groups/0",
                "/id",
                "/kind",
                "/language",
                "/name",
                "/phone",
                "/places/0/hours",
                "/places/0/label",
                "/places/0/location",
            ]
        );
    }

    #[test]
    fn what_is_written_is_read_back() {
        let draft = parse(&registration()).unwrap();
        assert_eq!(draft.groups, ["a", "b"]);
        assert_eq!(parse(&write(&draft)), Ok(draft));
    }

    #[test]
    fn a_patch_changes_what_it_names_and_null_clears() {
        let draft = parse(&registration()).unwrap();
        let mut document = write(&draft);
        merge(&mut document, &json!({"name": null, "consent": {"method": "letter"}, "phone": "06 87654321"}));
        let patched = parse(&document).unwrap();
        assert_eq!(patched.name, None);
        assert_eq!(patched.consent, Consent { method: "letter".into(), ..draft.consent });
        assert_eq!(patched.phone.expose(), "+31687654321");
        assert_eq!(patched.places, draft.places);
        merge(&mut document, &json!({"opted_out": true, "kind": null}));
        assert_eq!(parse(&document).unwrap_err(), ["/kind", "/opted_out"]);
    }
}
