//! JSON without the parts that readers disagree about: no duplicate members (RFC 8259 §4), no numbers that overflow, UTF-8
//! alone (RFC 8259 §8.1). A tree of values costs many times its text, so it is reckoned while it grows, and parts
//! that no reader asks for are checked without being kept.

use std::cell::Cell;
use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::memory::Held;
use crate::problem::Problem;

/// Bytes that the values of one request may take: a geofence of 10,000 corners takes 5 MiB.
pub const TREE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Members of one object: their names are kept to find doubled ones.
const MEMBERS_MAX: usize = 10_000;

/// A JSON document, and how long it was as text.
#[derive(Debug)]
pub struct Document {
    /// The value of the text.
    pub value: Value,
    /// Bytes of its text.
    pub length: usize,
    /// The memory that the value counts for.
    pub held: Option<Held>,
}

/// The reason why a text is not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// The text is no JSON. It holds the error with its position (`… at line 3 column 7`), without the content.
    #[error("{0}")]
    Malformed(String),
    /// The values would take more than [`TREE_BYTES_MAX`].
    #[error("the body has too many values for one request; a shape has at most 10,000 corners")]
    TooManyValues,
}

impl From<JsonError> for Problem {
    fn from(error: JsonError) -> Self {
        match error {
            JsonError::Malformed(detail) => Self::malformed(detail),
            JsonError::TooManyValues => {
                Self::new(axum::http::StatusCode::PAYLOAD_TOO_LARGE, error.to_string())
            }
        }
    }
}

/// Memory that values may still take, in bytes.
#[derive(Debug)]
pub(crate) struct Budget(Cell<usize>);

impl Budget {
    /// Of [`TREE_BYTES_MAX`].
    pub(crate) const fn new() -> Self {
        Self(Cell::new(TREE_BYTES_MAX))
    }

    /// Whether something was left out because it did not fit.
    pub(crate) const fn is_spent(&self) -> bool {
        self.0.get() == 0
    }

    /// Returns whether `bytes` fit. Afterwards nothing fits any more if they did not.
    fn take(&self, bytes: usize) -> bool {
        let left = self.0.get().saturating_sub(bytes);
        self.0.set(left);
        left > 0
    }
}

/// The slot of a value in the list or object that holds it. A list doubles its room when it grows.
const SLOT_BYTES: usize = 3 * size_of::<Value>();
/// A list with one value has room for four, and the allocator its own words.
const LIST_BYTES: usize = 4 * size_of::<Value>() + 16;
/// A node of the tree of an object has room for eleven members, and is at least half full if there are several.
const OBJECT_BYTES: usize = 11 * (size_of::<Value>() + size_of::<String>()) + 32;
const MEMBER_BYTES: usize = OBJECT_BYTES / 4;
/// The allocator gives no less for a text.
const TEXT_BYTES: usize = 32;
/// The shortest text of the costliest value is `{"":0},`.
const TEXT_FACTOR: usize = 128 + TEXT_BYTES;

/// The parts of a document that a reader asks for. All of it is checked.
pub(crate) trait Keep: Copy {
    /// Whether the members of an object are kept: `None` leaves this one out.
    fn member(self, name: &str) -> Option<Self>;
    /// Whether the items of a list are kept.
    fn items(self) -> bool;
}

/// Everything is kept.
#[derive(Clone, Copy, Debug)]
struct Everything;

impl Keep for Everything {
    fn member(self, _: &str) -> Option<Self> {
        Some(self)
    }

    fn items(self) -> bool {
        true
    }
}

/// Reads a value whose objects name every member once. Lists and objects end early once the budget is spent.
#[derive(Clone, Copy)]
pub(crate) struct Tree<'b, K> {
    pub(crate) budget: &'b Budget,
    pub(crate) keep: K,
}

impl<'de, K: Keep> DeserializeSeed<'de> for Tree<'_, K> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, K: Keep> Visitor<'de> for Tree<'_, K> {
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
        Ok(if self.budget.take(value.len() + TEXT_BYTES) { value.into() } else { Value::Null })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        let mut fits = self.keep.items() && self.budget.take(LIST_BYTES);
        while fits {
            match seq.next_element_seed(self)? {
                None => return Ok(Value::Array(items)),
                Some(item) => items.push(item),
            }
            fits = self.budget.take(SLOT_BYTES);
        }
        while seq.next_element_seed(Skip)?.is_some() {}
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        let mut names = Names::default();
        while let Some(name) = map.next_key::<String>()? {
            names.add(&name)?;
            if members.is_empty() {
                self.budget.take(OBJECT_BYTES);
            }
            match self.keep.member(&name) {
                Some(keep) if self.budget.take(MEMBER_BYTES + name.len()) => {
                    let value = map.next_value_seed(Self { keep, ..self })?;
                    members.insert(name, value);
                }
                _ => map.next_value_seed(Skip)?,
            }
        }
        Ok(Value::Object(members))
    }
}

/// The names of the members of one object so far.
#[derive(Default)]
pub(crate) struct Names(HashSet<Box<str>>);

impl Names {
    /// Notes one more.
    pub(crate) fn add<E: Error>(&mut self, name: &str) -> Result<(), E> {
        if self.0.len() == MEMBERS_MAX {
            return Err(E::custom(format!("an object has more than {MEMBERS_MAX} members")));
        }
        if !self.0.insert(name.into()) {
            return Err(E::custom("a member is given twice"));
        }
        Ok(())
    }
}

/// Checks a value as [`Tree`] does, and keeps nothing of it.
pub(crate) struct Skip;

impl<'de> DeserializeSeed<'de> for Skip {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Skip {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(Skip)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut names = Names::default();
        while let Some(name) = map.next_key::<String>()? {
            names.add(&name)?;
            map.next_value_seed(Skip)?;
        }
        Ok(())
    }
}

/// Reads JSON.
///
/// # Errors
/// [`JsonError`] if the text is no JSON, or its values would take too much memory.
pub fn parse(bytes: &[u8]) -> Result<Value, JsonError> {
    parse_reckoned(bytes).map(|(value, _)| value)
}

/// Reads JSON. Returns the bytes that its values take, too.
///
/// # Errors
/// As [`parse`].
pub(crate) fn parse_reckoned(bytes: &[u8]) -> Result<(Value, usize), JsonError> {
    let budget = Budget::new();
    let value = read(bytes, Tree { budget: &budget, keep: Everything })?;
    if budget.is_spent() {
        Err(JsonError::TooManyValues)
    } else {
        Ok((value, TREE_BYTES_MAX - budget.0.get()))
    }
}

/// The bytes that the values of a text of `length` bytes take at most, before it is read.
pub(crate) fn worst(length: usize) -> usize {
    length.saturating_mul(TEXT_FACTOR).saturating_add(OBJECT_BYTES).min(TREE_BYTES_MAX)
}

/// Reads a whole text with `seed`.
///
/// # Errors
/// [`JsonError::Malformed`] if the text is no JSON.
pub(crate) fn read<'de, S: DeserializeSeed<'de>>(bytes: &'de [u8], seed: S) -> Result<S::Value, JsonError> {
    let text = utf8(bytes)?;
    let mut json = serde_json::Deserializer::from_str(text);
    let read = seed.deserialize(&mut json).and_then(|value| json.end().map(|()| value));
    read.map_err(|error| JsonError::Malformed(error.to_string()))
}

/// The text without its byte order mark, which a reader may ignore (RFC 8259 §8.1). UTF-16 and UTF-32 are refused by name: an
/// ASCII character, with which every JSON text begins, has a zero beside it.
fn utf8(bytes: &[u8]) -> Result<&str, JsonError> {
    let not_utf8 =
        |what: &str| JsonError::Malformed(format!("the text is {what}: JSON is UTF-8; save it as UTF-8"));
    if bytes.starts_with(b"\xff\xfe")
        || bytes.starts_with(b"\xfe\xff")
        || bytes.iter().take(4).any(|b| *b == 0)
    {
        return Err(not_utf8("UTF-16 or UTF-32"));
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    std::str::from_utf8(bytes)
        .map_err(|error| not_utf8(&format!("not UTF-8 at byte {}", error.valid_up_to())))
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
        let error = parse(text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }

    #[test]
    fn a_mark_is_ignored_and_other_encodings_are_named() {
        assert_eq!(parse(b"\xef\xbb\xbf{}").unwrap(), Value::Object(Map::new()));
        let utf16 = |order: fn(u16) -> [u8; 2], mark: &str| -> Vec<u8> {
            format!("{mark}{{\"a\":1}}").encode_utf16().flat_map(order).collect()
        };
        for bytes in [
            utf16(u16::to_le_bytes, ""),
            utf16(u16::to_be_bytes, ""),
            utf16(u16::to_le_bytes, "\u{feff}"),
            utf16(u16::to_be_bytes, "\u{feff}"),
            b"\0\0\0{".to_vec(),
            b"{\0\0\0".to_vec(),
        ] {
            assert!(parse(&bytes).unwrap_err().to_string().contains("UTF-16"), "{bytes:?}");
        }
        let latin1 = parse(b"{\"a\":\"Zo\xeb\"}").unwrap_err().to_string();
        assert!(latin1.contains("UTF-8 at byte 8"), "{latin1}");
    }

    #[test]
    fn values_are_reckoned_and_what_is_too_much_is_refused() {
        for item in ["{\"a\":0},", "[1,1],", "[],", "\"\",", "0,", "{},"] {
            let text = format!("[{}0]", item.repeat(1024 * 1024 / item.len()));
            assert_eq!(parse(text.as_bytes()), Err(JsonError::TooManyValues), "{item}");
            let text = format!("[{}0]", item.repeat(1_000));
            let (_, reckoned) = parse_reckoned(text.as_bytes()).unwrap();
            assert!(reckoned <= worst(text.len()), "{item}: {reckoned}");
        }
        let ring = format!("[{}[1,1,1]]", "[5.123456789,52.123456789,1.5],".repeat(10_000));
        assert!(parse(ring.as_bytes()).is_ok());
        let broken = format!("[{}", "[1,1],".repeat(300_000));
        assert!(matches!(parse(broken.as_bytes()), Err(JsonError::Malformed(_))));
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
