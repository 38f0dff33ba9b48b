//! A `[[gateways]]` table as it is read: the keys that all gateways have in tables of their own, the others under the type.

use serde::de::Error;
use serde_json::{Map, Value};
use serde_path_to_error::{Path, Segment};

use super::endpoint::Endpoint;
use super::routing::Routing;
use super::secret;

/// Types that are no HTTP gateways: their `window` is their own.
const WITHOUT_ENDPOINT: [&str; 3] = ["smpp", "log", "simulator"];

/// `{type: keys}` of a `[[gateways]]` table, with its common keys under `routing` and, for a gateway over HTTP, `endpoint`. The
/// type goes outside so that an error knows its way to the value (serde forgets it behind a tag that is inside).
///
/// # Errors
/// An error of serde if there is no type; if a secret is no text, without quoting it; or if the table has a key `routing` or
/// `endpoint`, which are not keys of the file.
pub(crate) fn regroup(mut table: Map<String, Value>) -> Result<Value, serde_json::Error> {
    for (key, value) in &table {
        if secret::is_secret(key) && !value.is_string() && !value.is_null() {
            return Err(Error::custom(format!("{key}: must be text: write it in quotes")));
        }
    }
    let kind = match table.remove("type") {
        Some(Value::String(kind)) => kind,
        Some(_) => return Err(Error::custom("type: must be text, such as \"smpp\"")),
        None => return Err(Error::missing_field("type")),
    };
    let over_http = !WITHOUT_ENDPOINT.contains(&kind.as_str());
    let groups: [(&str, &[&str], bool); 2] =
        [("routing", &Routing::KEYS, true), ("endpoint", &Endpoint::KEYS, over_http)];
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
    Ok(Value::Object(Map::from_iter([(kind, Value::Object(table))])))
}

/// An error in the words of the file: the way to the value before it, without tables that nobody wrote; and where it lists the
/// keys that there are, those that were moved take the places of their tables.
pub(crate) fn in_words_of_the_file(error: &serde_json::Error, path: &Path) -> String {
    let listed = |keys: &[&str]| keys.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ");
    let error = error.to_string();
    let error = match error.split_once(", expected one of ") {
        Some((fault, keys)) => {
            let keys = keys
                .replace("`routing`", &listed(&Routing::KEYS))
                .replace("`endpoint`", &listed(&Endpoint::KEYS));
            format!("{fault}, expected one of {keys}")
        }
        None => error,
    };
    let key = key_of(path);
    if key.is_empty() { error } else { format!("{key}: {error}") }
}

/// The way to a value below its type: `answer.id`, `countries[1]`.
fn key_of(path: &Path) -> String {
    let mut way = String::new();
    for segment in path.iter().skip(1) {
        match segment {
            Segment::Map { key } if way.is_empty() && ["routing", "endpoint"].contains(&key.as_str()) => {}
            Segment::Map { key } | Segment::Enum { variant: key } => {
                let dot = if way.is_empty() { "" } else { "." };
                way.extend([dot, key]);
            }
            Segment::Seq { index } => way.extend(["[", &index.to_string(), "]"]),
            Segment::Unknown => {}
        }
    }
    way
}
