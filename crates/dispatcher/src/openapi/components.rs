//! Completes the schemas of the description: what holds for every list and every request, whichever type made its schema.
//!
//! Programs make clients from these schemas, so they say exactly what the parsers take.

use std::collections::BTreeSet;

use serde_json::Value;
use utoipa::openapi::path::PathItem;
use utoipa::openapi::schema::{ArrayItems, OneOfBuilder, SchemaType, Type};
use utoipa::openapi::{Components, Object, ObjectBuilder, OpenApi, Ref, RefOr, Schema};

use super::{operations, operations_mut};
use crate::resources::schemas;

/// The beginning of the name of every page of a list.
const LIST: &str = "List_";
/// Its null has a meaning of its own (RFC 7396), which its type says.
const MERGE_PATCH: &str = "application/merge-patch+json";
const COMPONENTS: &str = "#/components/schemas/";

/// Lets the items of every list refer to a component of their own name: a generator would make a second type of each.
pub(super) fn name_list_items(components: &mut Components) {
    let lists: Vec<String> =
        components.schemas.keys().filter(|name| name.starts_with(LIST)).cloned().collect();
    for list in lists {
        let item = &list[LIST.len()..];
        let Some(RefOr::T(Schema::Object(page))) = components.schemas.get_mut(&list) else { continue };
        let Some(RefOr::T(Schema::Array(items))) = page.properties.get_mut("items") else { continue };
        let reference = RefOr::Ref(Ref::from_schema_name(item));
        let ArrayItems::RefOrSchema(inlined) = std::mem::replace(&mut items.items, ArrayItems::False) else {
            continue;
        };
        items.items = ArrayItems::RefOrSchema(Box::new(reference));
        components.schemas.entry(item.to_owned()).or_insert(*inlined);
    }
}

/// Lets every schema that is one of the sets of words of the API refer to the component of its name, in parameters too: a generator
/// would make a type for each place.
pub(super) fn name_words(openapi: &mut OpenApi) {
    let sets = schemas::named_words();
    let mut used = BTreeSet::new();
    let mut name = |slot: &mut RefOr<Schema>| {
        let RefOr::T(Schema::Object(object)) = slot else { return };
        let Some(words) = &object.enum_values else { return };
        let given: Vec<&Value> = words.iter().filter(|word| !word.is_null()).collect();
        let is_given = |set: &Object| set.enum_values.iter().flatten().eq(given.iter().copied());
        let Some((named, _)) = sets.iter().find(|(_, set)| is_given(set)) else { return };
        used.insert(*named);
        let mut reference = Ref::from_schema_name(*named);
        let or_null = words.contains(&Value::Null);
        reference.description = object.description.clone().unwrap_or_default();
        *slot = RefOr::Ref(reference);
        if or_null {
            allow_null(slot);
        }
    };
    let components = openapi.components.iter_mut().flat_map(|components| components.schemas.values_mut());
    components.for_each(|schema| visit(schema, &mut name));
    for item in openapi.paths.paths.values_mut() {
        for parameter in operations_mut(item).flat_map(|operation| operation.parameters.iter_mut().flatten())
        {
            if let RefOr::T(parameter) = parameter
                && let Some(schema) = &mut parameter.schema
            {
                visit(schema, &mut name);
            }
        }
    }
    let components = openapi.components.get_or_insert_default();
    for (named, set) in schemas::named_words().into_iter().filter(|(named, _)| used.contains(named)) {
        components.schemas.insert(named.to_owned(), RefOr::T(Schema::Object(set)));
    }
}

/// Shows a schema and all that stand in it to `see`, the inner ones first.
fn visit(slot: &mut RefOr<Schema>, see: &mut impl FnMut(&mut RefOr<Schema>)) {
    if let RefOr::T(schema) = slot {
        match schema {
            Schema::Object(object) => object.properties.values_mut().for_each(|member| visit(member, see)),
            Schema::Array(array) => {
                if let ArrayItems::RefOrSchema(items) = &mut array.items {
                    visit(items, see);
                }
            }
            Schema::OneOf(choice) => choice.items.iter_mut().for_each(|item| visit(item, see)),
            Schema::AllOf(all) => all.items.iter_mut().for_each(|item| visit(item, see)),
            Schema::AnyOf(any) => any.items.iter_mut().for_each(|item| visit(item, see)),
            _ => {}
        }
    }
    see(slot);
}

/// Completes the schemas of requests:
///
/// - A member that may be absent may be `null`, which every parser takes as absent.
/// - A member has no `default`, because generators then take it for one that is always there. Its description says what counts if
///   it is absent.
pub(super) fn complete_requests(openapi: &mut OpenApi) {
    let Requests { plain, patches } = requests(openapi);
    let Some(components) = &mut openapi.components else { return };
    for (name, schema) in &mut components.schemas {
        if plain.contains(name) {
            complete(schema, true);
        } else if patches.contains(name) {
            complete(schema, false);
        }
    }
}

/// The names of the schemas of requests.
#[derive(Default)]
struct Requests {
    /// Bodies, and all that they refer to.
    plain: BTreeSet<String>,
    /// Bodies that are laid over what is there.
    patches: BTreeSet<String>,
}

fn requests(openapi: &OpenApi) -> Requests {
    let mut found = Requests::default();
    for (media_type, named) in openapi.paths.paths.values().flat_map(bodies) {
        let into = if media_type == MERGE_PATCH { &mut found.patches } else { &mut found.plain };
        into.extend(named);
    }
    let component = |name: &String| openapi.components.as_ref()?.schemas.get(name);
    let mut open: Vec<String> = found.patches.iter().cloned().collect();
    while let Some(name) = open.pop() {
        let Some(RefOr::T(Schema::Object(patch))) = component(&name) else { continue };
        // An object in a patch is a patch; an array replaces what is there (RFC 7396 §2).
        for member in patch.properties.values() {
            let named = references(member);
            match member {
                RefOr::T(Schema::Array(_)) => found.plain.extend(named),
                _ => open.extend(named.into_iter().filter(|name| found.patches.insert(name.clone()))),
            }
        }
    }
    let mut open: Vec<String> = found.plain.iter().cloned().collect();
    while let Some(name) = open.pop() {
        let named = component(&name).map(references).unwrap_or_default();
        open.extend(named.into_iter().filter(|name| found.plain.insert(name.clone())));
    }
    found
}

/// The bodies that the operations of a path take: their media types, and the components that they refer to.
fn bodies(item: &PathItem) -> Vec<(String, BTreeSet<String>)> {
    let bodies = operations(item).filter_map(|(_, operation)| match &operation.request_body {
        Some(RefOr::T(body)) => Some(body),
        _ => None,
    });
    let contents = bodies.flat_map(|body| &body.content);
    contents.map(|(media_type, content)| (media_type.clone(), references(content))).collect()
}

/// The components that a part of the description refers to.
fn references(part: &impl serde::Serialize) -> BTreeSet<String> {
    fn walk(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(members) => {
                let name =
                    members.get("$ref").and_then(Value::as_str).and_then(|r| r.strip_prefix(COMPONENTS));
                found.extend(name.map(str::to_owned));
                members.values().for_each(|member| walk(member, found));
            }
            Value::Array(items) => items.iter().for_each(|item| walk(item, found)),
            _ => {}
        }
    }
    let mut found = BTreeSet::new();
    walk(&serde_json::to_value(part).unwrap_or_default(), &mut found);
    found
}

/// Completes a schema, and those that stand in it.
fn complete(slot: &mut RefOr<Schema>, absent_may_be_null: bool) {
    visit(slot, &mut |slot| {
        let RefOr::T(Schema::Object(object)) = slot else { return };
        object.default = None;
        for (_, member) in object.properties.iter_mut().filter(|(name, _)| !object.required.contains(name)) {
            if absent_may_be_null {
                allow_null(member);
            }
        }
    });
}

/// Lets a member be `null`.
fn allow_null(member: &mut RefOr<Schema>) {
    match member {
        RefOr::Ref(_) => {
            let null = ObjectBuilder::new().schema_type(Type::Null);
            let named = std::mem::replace(member, RefOr::T(Schema::Object(Object::new())));
            *member = RefOr::T(Schema::OneOf(OneOfBuilder::new().item(named).item(null).build()));
        }
        RefOr::T(Schema::Object(object)) => {
            add_null(&mut object.schema_type);
            if let Some(words) = &mut object.enum_values
                && !words.contains(&Value::Null)
            {
                words.push(Value::Null);
            }
        }
        RefOr::T(Schema::Array(array)) => add_null(&mut array.schema_type),
        RefOr::T(Schema::OneOf(choice)) => {
            let is_null = |item: &RefOr<Schema>| {
                matches!(
                    item,
                    RefOr::T(Schema::Object(Object { schema_type: SchemaType::Type(Type::Null), .. }))
                )
            };
            if !choice.items.iter().any(is_null) {
                choice.items.push(ObjectBuilder::new().schema_type(Type::Null).build().into());
            }
        }
        RefOr::T(_) => {}
    }
}

fn add_null(kinds: &mut SchemaType) {
    match kinds {
        SchemaType::Type(kind) if *kind != Type::Null => {
            *kinds = SchemaType::from_iter([kind.clone(), Type::Null]);
        }
        SchemaType::Array(all) if !all.contains(&Type::Null) => all.push(Type::Null),
        _ => {}
    }
}
