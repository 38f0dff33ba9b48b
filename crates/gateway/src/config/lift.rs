//! Moves the keys that all gateways have into tables of their own.

use serde::de::Error;
use serde_json::{Map, Value};

use super::{Link, Routing, secret};

/// Types that are no HTTP gateways: their `window` is their own.
const WITHOUT_LINK: [&str; 3] = ["smpp", "log", "simulator"];

/// A `[[gateways]]` table with its common keys under `routing` and, for a gateway over HTTP, `link`.
///
/// # Errors
/// Where a secret is no text, without quoting it; and where such a table is there already, which nobody is to write.
pub(super) fn lift(mut table: Map<String, Value>) -> Result<Value, serde_json::Error> {
    for (key, value) in &table {
        if secret::is_secret(key) && !value.is_string() && !value.is_null() {
            return Err(Error::custom(format!("{key}: must be text: write it in quotes")));
        }
    }
    let over_http = !table.get("type").and_then(Value::as_str).is_some_and(|t| WITHOUT_LINK.contains(&t));
    let groups: [(&str, &[&str], bool); 2] =
        [("routing", &Routing::KEYS, true), ("link", &Link::KEYS, over_http)];
    for (name, keys, wanted) in groups {
        if table.contains_key(name) {
            return Err(Error::custom(format!("unknown field `{name}`")));
        }
        if wanted {
            let own = keys.iter().filter_map(|key| Some(((*key).to_owned(), table.remove(*key)?)));
            let own: Map<String, Value> = own.collect();
            table.insert(name.to_owned(), Value::Object(own));
        }
    }
    Ok(Value::Object(table))
}

/// An error in the words of the file: where it lists the keys that there are, those that were moved take the places of their
/// tables, which nobody can write.
pub(super) fn in_words_of_the_file(error: &serde_json::Error) -> String {
    let listed = |keys: &[&str]| keys.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ");
    let error = error.to_string();
    match error.split_once(", expected one of ") {
        Some((fault, keys)) => {
            let keys =
                keys.replace("`routing`", &listed(&Routing::KEYS)).replace("`link`", &listed(&Link::KEYS));
            format!("{fault}, expected one of {keys}")
        }
        None => error,
    }
}
