//! JSON without the parts that readers disagree about: no duplicate members (RFC 8259 §4), no numbers that overflow.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// A JSON document, and how long it was as text.
#[derive(Clone, Debug)]
pub struct Document {
    /// The value of the text.
    pub value: Value,
    /// Bytes of its text.
    pub length: usize,
}

/// A value whose objects name every member once.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Self)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(Strict(item)) = seq.next_element()? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            if members.contains_key(&name) {
                return Err(A::Error::custom("a member is given twice"));
            }
            let Strict(value) = map.next_value()?;
            members.insert(name, value);
        }
        Ok(Value::Object(members))
    }
}

/// Reads JSON.
///
/// # Errors
/// The error with its position (`… at line 3 column 7`), without the content.
pub fn parse(bytes: &[u8]) -> Result<Value, String> {
    serde_json::from_slice::<Strict>(bytes).map(|Strict(value)| value).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::duplicate(r#"{"a":1,"a":2}"#, "twice at line 1 column 10")]
    #[case::nested(r#"{"a":[{"b":1,"b":2}]}"#, "twice")]
    #[case::overflow("{\n\"a\": 1e999}", "out of range at line 2")]
    #[case::nan(r#"{"a":NaN}"#, "line 1")]
    #[case::trailing("{} x", "trailing")]
    #[case::empty("", "EOF")]
    #[case::lone_surrogate(r#"{"a":"\ud800"}"#, "line 1")]
    fn what_readers_disagree_about_is_refused(#[case] text: &str, #[case] says: &str) {
        let error = parse(text.as_bytes()).unwrap_err();
        assert!(error.contains(says), "{error}");
    }

    #[test]
    fn deep_nesting_is_refused_rather_than_overflowing_the_stack() {
        assert!(parse("[".repeat(100_000).as_bytes()).is_err());
    }

    #[test]
    fn the_rest_is_read_as_it_stands() {
        let text = r#"{"a":[1,-2,3.5,"x",null,true],"b":{"c":18446744073709551615}}"#;
        assert_eq!(parse(text.as_bytes()).unwrap(), serde_json::from_str::<Value>(text).unwrap());
    }
}
