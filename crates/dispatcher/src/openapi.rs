//! The description of the API (OpenAPI 3.1), made from the code, and a page to read it.

mod components;

use std::sync::Arc;

use axum::Router;
use axum::http::Method;
use utoipa::openapi::path::{Operation, Parameter, ParameterIn, PathItem};
use utoipa::openapi::schema::Type;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::server::ServerBuilder;
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{
    Components, Content, InfoBuilder, LicenseBuilder, ObjectBuilder, OpenApi, Ref, RefOr, Response,
    ResponseBuilder,
};
use utoipa::{PartialSchema, ToSchema};
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::auth::permissions::roles_with;
use crate::middleware::route_table::RouteTable;
use crate::middleware::route_table::RouteTrait::{
    self, ChangesAlert, EmptyBody, Makes, OneAtATime, StreamedBody,
};
use crate::problem::{FieldError, PROBLEM_JSON, Problem};
use crate::request::idempotency::{self, IDEMPOTENCY_KEY};
use crate::state::App;

/// The name of the security scheme.
const KEY: &str = "key";

const DESCRIPTION: &str = "Citizen alerts by SMS: report an incident, ask the residents and businesses inside a \
    geofence to look out, follow receipts and replies, and send an end message to exactly the people who were reached. \
    \n\nTimes are RFC 3339 with an offset. GeoJSON is longitude before latitude. Unknown members of a request and unknown \
    query parameters are errors. Every error is an `application/problem+json` (RFC 9457) that names all wrong fields at once.";

const NO_IDEMPOTENCY_KEY: &str = "The call takes no `Idempotency-Key` and refuses a request that has one, because it could not \
    recognise the repetition.";

const TAGS: [(&str, &str); 9] = [
    ("incidents", "Reports of the control room"),
    ("alerts", "SMS to the participants in an area"),
    ("replies", "SMS from participants"),
    ("opt-outs", "Phone numbers that get no messages"),
    ("registry", "Participants, groups and areas"),
    ("gateways", "Connections to SMS providers"),
    ("keys", "API keys and their roles"),
    ("audit", "The log of all actions"),
    ("operations", "Health and metrics, without a key"),
];

/// The description of the API: the paths as the handlers have them, completed with what holds for all.
#[must_use]
pub fn document(paths: impl IntoIterator<Item = OpenApi>, table: &RouteTable) -> OpenApi {
    let mut openapi = OpenApi::default();
    for described in paths {
        openapi.merge(described);
    }
    openapi.info = InfoBuilder::new()
        .title("Klaroen")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(DESCRIPTION))
        .license(Some(LicenseBuilder::new().name("EUPL-1.2").identifier(Some("EUPL-1.2")).build()))
        .build();
    // First, so that the page tries calls on the address that it was opened under.
    openapi.servers = Some(vec![ServerBuilder::new().url("/").build()]);
    let tag = |(name, description)| TagBuilder::new().name(name).description(Some(description)).build();
    openapi.tags = Some(TAGS.map(tag).to_vec());
    let components = openapi.components.get_or_insert_with(Components::new);
    components.schemas.insert("Problem".to_owned(), Problem::schema());
    components.schemas.insert("FieldError".to_owned(), FieldError::schema());
    let mut more = Vec::new();
    crate::resources::alerts::view::CountsEvent::schemas(&mut more);
    more.push(("CountsEvent".to_owned(), crate::resources::alerts::view::CountsEvent::schema()));
    components.schemas.extend(more);
    let mut scheme = Http::new(HttpAuthScheme::Bearer);
    scheme.description = Some("An API key, `klr_…`. It belongs to one organisation and has one role.".into());
    components.security_schemes.insert(KEY.to_owned(), SecurityScheme::Http(scheme).into());
    components::name_list_items(components);
    for (path, item) in &mut openapi.paths.paths {
        complete(path, item, table);
    }
    components::complete_requests(&mut openapi);
    components::name_words(&mut openapi);
    openapi
}

/// Adds to the operations of a path what holds for all of them.
fn complete(path: &str, item: &mut PathItem, table: &RouteTable) {
    for (method, operation) in all_mut(item) {
        describe_idempotency_key(operation);
        let Some(permission) = table.permission(&method, path) else {
            operation.security = Some(Vec::new());
            continue;
        };
        operation.security = Some(vec![SecurityRequirement::new(KEY, Vec::<String>::new())]);
        let roles = roles_with(permission);
        let role = format!("Role: {roles}.");
        let description = operation.description.take();
        let once = refuses_idempotency_key(&method, operation).then_some(NO_IDEMPOTENCY_KEY);
        let paragraphs = description.as_deref().into_iter().chain(once).chain([role.as_str()]);
        operation.description = Some(paragraphs.collect::<Vec<_>>().join("\n\n"));
        let traits = table.find(&method, path).map_or(&[][..], |rules| rules.traits);
        for (status, detail) in problems_of(operation, traits) {
            let responses = &mut operation.responses.responses;
            responses.entry(status.to_owned()).or_insert_with(|| RefOr::T(problem_response(detail)));
        }
    }
}

/// The problems that a call can return in addition to its own.
fn problems_of(operation: &Operation, traits: &[RouteTrait]) -> Vec<(&'static str, &'static str)> {
    let has = |wanted: RouteTrait| traits.contains(&wanted);
    let mut problems = vec![
        ("401", "The request has no API key that works"),
        ("403", "The role of the key does not allow the call"),
        ("422", "Fields, parameters or headers are not valid. `errors` has all of them"),
        ("429", "The key made too many requests. `Retry-After` has the seconds to wait"),
        ("500", "An internal error"),
        ("503", "The database is not available. `Retry-After` has the seconds to wait"),
    ];
    let has_body = operation.request_body.is_some();
    // An empty object is read too, and needs no media type.
    let reads_body = has_body || has(EmptyBody);
    if reads_body {
        problems.extend([("400", "The body is not readable"), ("408", "The body did not arrive in time")]);
    }
    if has_body {
        problems.push(("415", "The call takes another media type"));
    }
    if reads_body && !has(StreamedBody) {
        problems.push(("413", "The body is too large"));
    }
    if names(operation, &ParameterIn::Path).next().is_some() && !has(Makes) {
        problems.push(("404", "Your organisation has no resource of this id"));
    }
    if has(ChangesAlert) {
        problems.push(("409", "The state of the alert does not allow the change"));
    }
    if has(OneAtATime) {
        problems.push(("409", "Another test of this gateway is running"));
    }
    problems
}

/// Says what an `Idempotency-Key` looks like, for every call that takes one.
fn describe_idempotency_key(operation: &mut Operation) {
    let parameters = operation.parameters.iter_mut().flatten().filter_map(|parameter| match parameter {
        RefOr::T(parameter) => Some(parameter),
        RefOr::Ref(_) => None,
    });
    for parameter in parameters.filter(|p| p.name.eq_ignore_ascii_case(IDEMPOTENCY_KEY)) {
        let text = ObjectBuilder::new().schema_type(Type::String).pattern(Some(idempotency::PATTERN));
        parameter.schema = Some(text.min_length(Some(1)).max_length(Some(255)).into());
    }
}

fn problem_response(detail: &str) -> Response {
    let content = Content::new(Some(Ref::from_schema_name("Problem")));
    ResponseBuilder::new().description(detail).content(PROBLEM_JSON, content).build()
}

/// The operations of a path.
pub(crate) fn operations(item: &PathItem) -> impl Iterator<Item = (Method, &Operation)> {
    let all = [
        (Method::GET, &item.get),
        (Method::POST, &item.post),
        (Method::PUT, &item.put),
        (Method::PATCH, &item.patch),
        (Method::DELETE, &item.delete),
    ];
    all.into_iter().filter_map(|(method, operation)| Some((method, operation.as_ref()?)))
}

/// The same, to be changed, with their methods.
fn all_mut(item: &mut PathItem) -> impl Iterator<Item = (Method, &mut Operation)> {
    let all = [
        (Method::GET, &mut item.get),
        (Method::POST, &mut item.post),
        (Method::PUT, &mut item.put),
        (Method::PATCH, &mut item.patch),
        (Method::DELETE, &mut item.delete),
    ];
    all.into_iter().filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

/// The same without their methods.
fn operations_mut(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    all_mut(item).map(|(_, operation)| operation)
}

/// The names of the parameters of an operation in one place.
pub(crate) fn names<'a>(operation: &'a Operation, place: &'a ParameterIn) -> impl Iterator<Item = &'a str> {
    let written = |parameter: &'a RefOr<Parameter>| match parameter {
        RefOr::T(parameter) => Some(parameter),
        RefOr::Ref(_) => None,
    };
    let parameters = operation.parameters.iter().flatten().filter_map(written);
    parameters.filter(move |p| p.parameter_in == *place).map(|p| p.name.as_str())
}

/// Whether a call makes something, and cannot tell a repetition: the other calls can be repeated without harm.
pub(crate) fn refuses_idempotency_key(method: &Method, operation: &Operation) -> bool {
    let makes = *method == Method::POST && operation.responses.responses.contains_key("201");
    makes && !names(operation, &ParameterIn::Header).any(|name| name.eq_ignore_ascii_case(IDEMPOTENCY_KEY))
}

/// `/openapi.json`, the same at `/v1/openapi.json` (Dutch API Design Rules, rule publish-openapi), and `/docs`, which needs nothing from
/// the internet.
pub fn routes(mut document: OpenApi, public_url: Option<&str>) -> Router<App> {
    if let Some(url) = public_url {
        document.servers.get_or_insert_default().push(ServerBuilder::new().url(url).build());
    }
    // Without a validator: it would send the description to a stranger.
    let config = Config::default().validator_url("none").persist_authorization(false);
    let described = Arc::new(document.clone());
    let versioned = axum::routing::get(async move || axum::Json(Arc::clone(&described)));
    let docs: Router<App> = SwaggerUi::new("/docs").url("/openapi.json", document).config(config).into();
    docs.route("/v1/openapi.json", versioned)
}
