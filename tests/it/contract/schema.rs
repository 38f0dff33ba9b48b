//! As much of JSON Schema (2020-12) as the description of the API uses. A member that no schema names is a violation: clients
//! generate types from the document.

use std::collections::BTreeSet;

use serde_json::Value;

/// The places at which `value` is not as `schema` says.
pub fn violations(document: &Value, schema: &Value, value: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    Walk { document, wrong: &mut wrong }.value(schema, value, "");
    wrong
}

struct Walk<'a> {
    document: &'a Value,
    wrong: &'a mut Vec<String>,
}

impl<'a> Walk<'a> {
    fn resolved(&self, schema: &'a Value) -> &'a Value {
        let Some(reference) = schema["$ref"].as_str() else { return schema };
        let found = self.document.pointer(reference.strip_prefix('#').unwrap());
        found.unwrap_or_else(|| panic!("{reference} leads nowhere"))
    }

    fn value(&mut self, schema: &'a Value, value: &Value, at: &str) {
        let schema = self.resolved(schema);
        self.kind(schema, value, at);
        self.words(schema, value, at);
        self.combined(schema, value, at);
        if let (Some(items), Some(item)) = (value.as_array(), schema.get("items")) {
            for (i, one) in items.iter().enumerate() {
                self.value(item, one, &format!("{at}/{i}"));
            }
        }
        if value.is_object() {
            self.members(schema, value, at);
        }
    }

    fn kind(&mut self, schema: &Value, value: &Value, at: &str) {
        let kinds: Vec<&str> = match &schema["type"] {
            Value::String(kind) => vec![kind],
            Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
            _ => return,
        };
        let fits = kinds.iter().any(|kind| match *kind {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            "null" => value.is_null(),
            other => panic!("no such type: {other}"),
        });
        if !fits {
            self.wrong.push(format!("{at}: {value} is not {kinds:?}"));
        }
    }

    fn words(&mut self, schema: &Value, value: &Value, at: &str) {
        if schema["enum"].as_array().is_some_and(|words| !words.contains(value)) {
            self.wrong.push(format!("{at}: {value} is not one of {}", schema["enum"]));
        }
        let Some(text) = value.as_str() else { return };
        let fits = match schema["format"].as_str() {
            Some("uuid") => text.parse::<uuid::Uuid>().is_ok(),
            Some("date-time") => klaroen_domain::time::Timestamp::parse(text).is_ok(),
            _ => true,
        };
        if !fits {
            self.wrong.push(format!("{at}: {text} is no {}", schema["format"]));
        }
    }

    fn combined(&mut self, schema: &'a Value, value: &Value, at: &str) {
        for part in schema["allOf"].as_array().into_iter().flatten() {
            // The members of all parts are known to the whole; see `members`.
            let part = self.resolved(part);
            self.kind(part, value, at);
            self.listed(part, value, at);
        }
        for choice in ["oneOf", "anyOf"] {
            let Some(choices) = schema[choice].as_array() else { continue };
            if !choices.iter().any(|one| violations(self.document, one, value).is_empty()) {
                self.wrong.push(format!("{at}: {value} is none of {choice}"));
            }
        }
    }

    /// The members that a schema lists, those that it requires among them.
    fn listed(&mut self, schema: &'a Value, value: &Value, at: &str) {
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if value.get(name).is_none() {
                self.wrong.push(format!("{at}/{name} is missing"));
            }
        }
        for (name, member) in schema["properties"].as_object().into_iter().flatten() {
            if let Some(given) = value.get(name) {
                self.value(member, given, &format!("{at}/{name}"));
            }
        }
    }

    fn members(&mut self, schema: &'a Value, value: &Value, at: &str) {
        self.listed(schema, value, at);
        let known = self.known(schema);
        // A schema that lists nothing is of any object.
        if known.is_empty() || schema.get("oneOf").is_some() {
            return;
        }
        for name in value.as_object().into_iter().flatten().map(|(name, _)| name) {
            if !known.contains(name) {
                self.wrong.push(format!("{at}/{name} is not documented"));
            }
        }
    }

    fn known(&self, schema: &'a Value) -> BTreeSet<String> {
        let schema = self.resolved(schema);
        let mut known: BTreeSet<String> =
            schema["properties"].as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect();
        for part in schema["allOf"].as_array().into_iter().flatten() {
            known.extend(self.known(part));
        }
        known
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_wrong_is_named() {
        let document = json!({"components": {"schemas": {"Id": {"type": "string", "format": "uuid"}}}});
        let schema = json!({
            "allOf": [{"type": "object", "required": ["id"], "properties": {"id": {"$ref": "#/components/schemas/Id"}}}],
            "type": "object", "properties": {"state": {"type": ["string", "null"], "enum": ["new", null]}},
        });
        let wrong = |value: Value| violations(&document, &schema, &value);
        assert!(wrong(json!({"id": "01890000-0000-7000-8000-000000000000", "state": null})).is_empty());
        let all = wrong(json!({"id": 7, "state": "old", "more": 1}));
        assert_eq!(all.len(), 3, "{all:?}");
        assert_eq!(wrong(json!({"state": "new"})), ["/id is missing"]);
    }
}
