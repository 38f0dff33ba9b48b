//! The description of every request and its parser agree: about what may be absent, `null` or a whole number.

use axum::body::Body;
use axum::http::{Method, Request, header};
use klaroen_domain::role::{Permission, Role};
use serde_json::{Map, Value, json};

use crate::middleware::route_table::Access;
use crate::routes::routes;
use crate::tests::fixture::{Answer, Fixture, incident};

/// The description of the API.
struct Document(Value);

impl Document {
    fn new() -> Self {
        Self(serde_json::to_value(crate::openapi()).unwrap())
    }

    fn resolved<'a>(&'a self, schema: &'a Value) -> &'a Value {
        match schema["$ref"].as_str() {
            Some(reference) => self.resolved(self.0.pointer(&reference[1..]).unwrap()),
            None => match schema["oneOf"].as_array() {
                // Of several forms, the first.
                Some(choices) => self.resolved(choices.iter().find(|one| one["type"] != "null").unwrap()),
                None => schema,
            },
        }
    }

    fn may_be_null(&self, schema: &Value) -> bool {
        if let Some(choices) = schema["oneOf"].as_array() {
            return choices.iter().any(|one| one["type"] == "null");
        }
        let schema = self.resolved(schema);
        schema["type"].as_array().is_some_and(|kinds| kinds.contains(&"null".into()))
    }

    /// A value with every member that the schema has. Its form is right; whether it makes sense does not matter here.
    fn example(&self, schema: &Value) -> Value {
        let schema = self.resolved(schema);
        if let Some(example) = schema.get("example") {
            return example.clone();
        }
        if let Some(words) = schema["enum"].as_array() {
            return words[0].clone();
        }
        let kind = schema["type"].as_array().map_or(&schema["type"], |kinds| &kinds[0]).as_str().unwrap();
        match kind {
            "object" => {
                let members = schema["properties"].as_object().into_iter().flatten();
                members
                    .map(|(name, member)| (name.clone(), self.example(member)))
                    .collect::<Map<_, _>>()
                    .into()
            }
            "array" => {
                let item = self.example(&schema["items"]);
                vec![item; schema["minItems"].as_u64().unwrap_or(1).try_into().unwrap()].into()
            }
            "string" if schema["format"] == "date-time" => "2026-01-31T10:00:00Z".into(),
            "string" if schema["format"] == "uuid" => "01931f00-0000-7000-8000-000000000000".into(),
            "string" => "a".into(),
            "integer" | "number" => schema.get("minimum").cloned().unwrap_or_else(|| 1.into()),
            "boolean" => true.into(),
            other => panic!("{other} has no example"),
        }
    }

    /// Every member in a schema with its pointer into [`Document::example`], and whether its object requires it.
    fn members<'a>(&'a self, schema: &'a Value, at: &str, found: &mut Vec<(String, &'a Value)>) {
        let schema = self.resolved(schema);
        for (name, member) in schema["properties"].as_object().into_iter().flatten() {
            let pointer = format!("{at}/{name}");
            found.push((pointer.clone(), member));
            self.members(member, &pointer, found);
        }
        if let Some(items) = schema.get("items") {
            self.members(items, &format!("{at}/0"), found);
        }
    }
}

/// A call that takes JSON.
struct Call<'a> {
    method: Method,
    path: String,
    permission: Permission,
    media_type: &'a str,
    body: &'a Value,
}

fn calls(document: &Document) -> Vec<Call<'_>> {
    let table = routes().table;
    let mut calls = Vec::new();
    for rules in table.iter() {
        let Access::Key(permission) = rules.access else { continue };
        let operation = &document.0["paths"][&rules.path][rules.method.as_str().to_lowercase()];
        let content = operation["requestBody"]["content"].as_object().into_iter().flatten();
        for (media_type, content) in content.filter(|(media_type, _)| media_type.ends_with("json")) {
            let (method, path) = (rules.method.clone(), rules.path.clone());
            calls.push(Call { method, path, permission, media_type, body: &content["schema"] });
        }
    }
    assert!(calls.len() > 10);
    calls
}

/// A service in which every path leads to something.
struct Service {
    fixture: Fixture,
    incident: Value,
    participant: Value,
}

impl Service {
    async fn new() -> Self {
        let fixture = Fixture::new().await;
        fixture.enrol(1).await;
        let incident = fixture.post(Role::Operator, "/v1/incidents", &incident()).await.json();
        let participant = fixture.get(Role::Admin, "/v1/participants").await.json()["items"][0].clone();
        Self { fixture, incident, participant }
    }

    async fn send(&self, call: &Call<'_>, body: &Value) -> Answer {
        let id = match call.path.split('/').nth(2).unwrap() {
            "incidents" => &self.incident["id"],
            "alerts" => &self.incident["alerts"][0]["id"],
            "participants" => &self.participant["id"],
            // Its body is read before it is looked for.
            _ => &json!("01931f00-0000-7000-8000-000000000000"),
        };
        let path = call.path.replace("{id}", id.as_str().unwrap());
        let path = path.replace("{code}", "a").replace("{name}", "dry");
        let role = Role::ALL.into_iter().find(|role| role.may(call.permission)).unwrap();
        let request = Request::builder()
            .method(&call.method)
            .uri(path)
            .header(header::AUTHORIZATION, format!("Bearer {}", self.fixture.token(role)))
            .header(header::CONTENT_TYPE, call.media_type)
            .body(Body::from(body.to_string()))
            .unwrap();
        self.fixture.send(request).await
    }

    /// Whether a value at this place is refused, at the place itself or at what holds it.
    async fn refuses(&self, call: &Call<'_>, body: &Value, at: &str) -> bool {
        let answer = self.send(call, body).await;
        assert!(answer.status.as_u16() < 500, "{} {}: {}", call.method, call.path, answer.text);
        answer.status.as_u16() == 422
            && answer.pointers(422).iter().any(|wrong| {
                wrong == at || at.strip_prefix(wrong.as_str()).is_some_and(|rest| rest.starts_with('/'))
            })
    }
}

#[tokio::test]
async fn null_is_taken_where_the_schema_says_so_and_nowhere_else() {
    let (document, service) = (Document::new(), Service::new().await);
    let mut nullable = 0;
    for call in calls(&document) {
        let example = document.example(call.body);
        let mut members = Vec::new();
        document.members(call.body, "", &mut members);
        for (at, schema) in members {
            let mut body = example.clone();
            *body.pointer_mut(&at).unwrap() = Value::Null;
            let what = format!("{} {}: null at {at}", call.method, call.path);
            if document.may_be_null(schema) {
                nullable += 1;
                assert!(!service.refuses(&call, &body, &at).await, "{what} is refused");
            } else {
                assert!(service.refuses(&call, &body, &at).await, "{what} is taken");
            }
        }
    }
    assert!(nullable > 20, "{nullable}");
}

#[tokio::test]
async fn a_whole_number_may_have_a_fraction_of_zero_and_no_other() {
    let (document, service) = (Document::new(), Service::new().await);
    let mut integers = 0;
    for call in calls(&document) {
        let example = document.example(call.body);
        let mut members = Vec::new();
        document.members(call.body, "", &mut members);
        for (at, schema) in members {
            let kinds = &document.resolved(schema)["type"];
            if *kinds != "integer" && *kinds != json!(["integer", "null"]) {
                continue;
            }
            integers += 1;
            let number = example.pointer(&at).unwrap().as_u64().unwrap();
            for (fraction, refused) in [("0", false), ("5", true)] {
                let mut body = example.clone();
                *body.pointer_mut(&at).unwrap() =
                    serde_json::from_str(&format!("{number}.{fraction}")).unwrap();
                let what = format!("{} {}: {number}.{fraction} at {at}", call.method, call.path);
                assert_eq!(service.refuses(&call, &body, &at).await, refused, "{what}");
            }
        }
    }
    assert!(integers > 0);
}

#[test]
fn no_request_has_a_default_and_every_item_of_a_list_has_a_name() {
    let document = Document::new();
    for call in calls(&document) {
        let mut members = Vec::new();
        document.members(call.body, "", &mut members);
        for (at, schema) in members {
            assert!(document.resolved(schema).get("default").is_none(), "{} {at}", call.path);
        }
    }
    let schemas = document.0["components"]["schemas"].as_object().unwrap();
    let lists: Vec<_> = schemas.iter().filter(|(name, _)| name.starts_with("List_")).collect();
    assert!(lists.len() > 8);
    for (name, list) in lists {
        let item = format!("#/components/schemas/{}", &name[5..]);
        assert_eq!(list["properties"]["items"]["items"], json!({"$ref": item}), "{name}");
    }
}

#[test]
fn headers_and_cursors_have_their_form() {
    let document = Document::new();
    let mut seen = [0, 0];
    for (path, item) in document.0["paths"].as_object().unwrap() {
        let operations = item.as_object().unwrap().values();
        for parameter in operations.flat_map(|o| o["parameters"].as_array().into_iter().flatten()) {
            let schema = &parameter["schema"];
            match parameter["name"].as_str().unwrap() {
                "Idempotency-Key" => {
                    seen[0] += 1;
                    assert_eq!(schema["pattern"], "^[!-~]{1,255}$", "{path}");
                    assert_eq!(schema["type"], "string", "{path}");
                }
                "cursor" => {
                    seen[1] += 1;
                    assert_eq!(schema["pattern"], "^[!-~]+$", "{path}");
                }
                _ => {}
            }
        }
    }
    assert!(seen.iter().all(|n| *n > 5), "{seen:?}");
}

#[test]
fn the_problems_of_a_call_are_those_of_its_line_in_the_table() {
    use crate::middleware::route_table::RouteTrait::{
        self, ChangesAlert, EmptyBody, Makes, OneAtATime, StreamedBody,
    };
    let (document, table) = (Document::new(), routes().table);
    let mut told: Vec<RouteTrait> = Vec::new();
    for rules in
        table.iter().filter(|rules| rules.path.starts_with("/v1") && rules.access != Access::Callback)
    {
        let operation = &document.0["paths"][&rules.path][rules.method.as_str().to_lowercase()];
        let what = format!("{} {}", rules.method, rules.path);
        let has = |status: &str| operation["responses"].get(status).is_some();
        let is = |one: RouteTrait| rules.traits.contains(&one);
        let body = operation.get("requestBody").is_some();
        assert!(!(body && is(EmptyBody)), "{what} takes a body or none");
        assert_eq!(has("400"), body || is(EmptyBody), "{what}");
        assert_eq!(has("408"), body || is(EmptyBody), "{what}");
        assert_eq!(has("415"), body, "{what}");
        assert_eq!(has("413"), (body || is(EmptyBody)) && !is(StreamedBody), "{what}");
        assert_eq!(has("404"), rules.path.contains('{') && !is(Makes), "{what}");
        assert!(has("409") || !(is(ChangesAlert) || is(OneAtATime)), "{what}");
        told.extend(rules.traits);
    }
    for one in [ChangesAlert, EmptyBody, Makes, OneAtATime, StreamedBody] {
        assert!(told.contains(&one), "no call is {one:?}");
    }
}
