//! Schemas of values whose types belong to the domain, for the document of the API.

use klaroen_domain::alert::{AlertState, Outcome, Priority, SubjectKind};
use klaroen_domain::delivery::DeliveryState;
use klaroen_domain::gateway::{GatewayState, TestState};
use klaroen_domain::role::Role;
use klaroen_store::doubts::Resolution;
use klaroen_store::replies::OptOutSource;
use utoipa::openapi::schema::{KnownFormat, Object, ObjectBuilder, SchemaFormat, SchemaType, Type};
use utoipa::openapi::{Array, ArrayBuilder, OneOf, OneOfBuilder};

fn words(words: impl IntoIterator<Item = &'static str>) -> Object {
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words)).build()
}

fn words_or_null(all: impl IntoIterator<Item = &'static str>) -> Object {
    let values = all.into_iter().map(serde_json::Value::from).chain([serde_json::Value::Null]);
    ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::String, Type::Null]))
        .enum_values(Some(values))
        .build()
}

fn formatted(nullable: bool, format: KnownFormat) -> Object {
    let kind = if nullable { SchemaType::from_iter([Type::String, Type::Null]) } else { Type::String.into() };
    ObjectBuilder::new().schema_type(kind).format(Some(SchemaFormat::KnownFormat(format))).build()
}

/// The sets of words that have a name in the description, and the names.
pub(crate) fn named_words() -> [(&'static str, Object); 14] {
    [
        ("AlertState", alert_state()),
        ("Priority", priority()),
        ("Outcome", outcome()),
        ("DoubtResolution", words(Resolution::ALL.iter().map(|w| w.as_str()))),
        ("SubjectKind", subject_kind()),
        ("MessageKind", message_kind()),
        ("DeliveryState", delivery_state()),
        ("ReplyState", reply_state()),
        ("Encoding", encoding()),
        ("ParticipantKind", participant_kind()),
        ("Language", language()),
        ("GatewayState", gateway_state()),
        ("TestState", test_state()),
        ("Role", role()),
    ]
}

/// A time in RFC 3339.
pub(crate) fn time() -> Object {
    formatted(false, KnownFormat::DateTime)
}

/// A time in RFC 3339, or `null`.
pub(crate) fn time_or_null() -> Object {
    formatted(true, KnownFormat::DateTime)
}

/// A UUID, version 7.
pub(crate) fn id() -> Object {
    formatted(false, KnownFormat::Uuid)
}

/// A UUID, or `null`.
pub(crate) fn id_or_null() -> Object {
    formatted(true, KnownFormat::Uuid)
}

/// The state of an alert.
pub(crate) fn alert_state() -> Object {
    words(AlertState::ALL.iter().map(|w| w.as_str()))
}

/// The priority of an alert.
pub(crate) fn priority() -> Object {
    words(Priority::ALL.iter().map(|w| w.as_str()))
}

/// Priorities of alerts.
pub(crate) fn priorities() -> Array {
    ArrayBuilder::new().items(priority()).build()
}

/// The priority of a new alert.
pub(crate) fn priority_request() -> Object {
    let priority = ObjectBuilder::from(priority());
    priority.description(Some("The priority of the alert. `urgent` if absent.")).build()
}

/// The outcome of an incident.
pub(crate) fn outcome() -> Object {
    words(Outcome::ALL.iter().map(|w| w.as_str()))
}

/// The outcome of an incident, or `null` while it is open.
pub(crate) fn outcome_or_null() -> Object {
    words_or_null(Outcome::ALL.iter().map(|w| w.as_str()))
}

/// The way in which the result of a lost submit became known, or `null`.
pub(crate) fn resolution_or_null() -> Object {
    words_or_null(Resolution::ALL.iter().map(|w| w.as_str()))
}

/// The subject of a description.
pub(crate) fn subject_kind() -> Object {
    words(SubjectKind::ALL.iter().map(|w| w.as_str()))
}

/// The purpose of a message.
pub(crate) fn message_kind() -> Object {
    words(klaroen_domain::alert::MessageKind::ALL.iter().map(|w| w.as_str()))
}

/// The state of a delivery.
pub(crate) fn delivery_state() -> Object {
    words(DeliveryState::ALL.iter().map(|w| w.as_str()))
}

/// The state of a reply.
pub(crate) fn reply_state() -> Object {
    words(crate::request::words::REPLY_STATES)
}

/// The source of an opt-out.
pub(crate) fn opt_out_source() -> Object {
    words(OptOutSource::ALL.iter().map(|source| source.as_str()))
}

/// The kind of a reply.
pub(crate) fn reply_kind() -> Object {
    words(crate::request::words::REPLY_KINDS.iter().copied())
}

/// The alphabet of a text.
pub(crate) fn encoding() -> Object {
    words(["gsm7", "ucs2"])
}

/// The kind of a participant.
pub(crate) fn participant_kind() -> Object {
    words(crate::request::words::PARTICIPANT_KINDS)
}

/// Kinds of participants.
pub(crate) fn participant_kinds() -> Array {
    ArrayBuilder::new().items(participant_kind()).build()
}

/// The language of automatic texts, or `null` for that of a new participant.
pub(crate) fn language_or_null() -> Object {
    words_or_null(crate::request::words::LANGUAGES)
}

/// The language of automatic texts.
pub(crate) fn language() -> Object {
    words(crate::request::words::LANGUAGES)
}

/// The role of a key.
pub(crate) fn role() -> Object {
    words(Role::ALL.iter().map(|w| w.as_str()))
}

/// A `GeoJSON` Polygon or `MultiPolygon` (RFC 7946): at most 20 polygons, 50 rings, 10,000 corners.
pub(crate) fn geometry() -> OneOf {
    let polygon = shape("Polygon", rings());
    let several = shape("MultiPolygon", ArrayBuilder::new().min_items(Some(1)).items(rings()));
    OneOfBuilder::new().item(polygon).item(several).build()
}

fn shape(kind: &'static str, coordinates: ArrayBuilder) -> ObjectBuilder {
    let bounds = ArrayBuilder::new().items(number()).min_items(Some(4)).max_items(Some(6));
    ObjectBuilder::new()
        .schema_type(Type::Object)
        .title(Some(kind))
        .property("type", words([kind]))
        .required("type")
        .property("coordinates", coordinates)
        .required("coordinates")
        .property("bbox", bounds)
}

/// The rings of a polygon, the outer one first. The last position of a ring is the first one again.
fn rings() -> ArrayBuilder {
    let position = ArrayBuilder::new().items(number()).min_items(Some(2)).max_items(Some(4));
    let ring = ArrayBuilder::new().items(position).min_items(Some(4));
    ArrayBuilder::new().items(ring).min_items(Some(1))
}

fn number() -> Object {
    ObjectBuilder::new().schema_type(Type::Number).build()
}

/// The type of a `GeoJSON` Feature.
pub(crate) fn feature() -> Object {
    words(["Feature"])
}

/// The type of a `GeoJSON` `FeatureCollection`.
pub(crate) fn feature_collection() -> Object {
    words(["FeatureCollection"])
}

/// The state of a gateway.
pub(crate) fn gateway_state() -> Object {
    words(
        GatewayState::ALL.iter().map(|w| w.as_str()).chain([crate::resources::gateways::overview::UNSERVED]),
    )
}

/// The state of a test of a gateway.
pub(crate) fn test_state() -> Object {
    words(TestState::ALL.iter().map(|w| w.as_str()))
}

/// Any object.
pub(crate) fn object() -> Object {
    ObjectBuilder::new().schema_type(Type::Object).build()
}
