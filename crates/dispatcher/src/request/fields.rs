//! Walks a JSON document and collects everything that is wrong with it, each with its JSON Pointer (RFC 6901).
//!
//! A reader asks for each member once and goes on after a mistake, so that a client hears of all its mistakes at once.

use std::cell::RefCell;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use klaroen_domain::text::invisible;
use klaroen_domain::time::Timestamp;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::limits::CLOCK_SKEW;
use crate::problem::{FieldError, Problem};

/// More errors than this do not help a client, and a hostile document would make millions.
const ERRORS_MAX: usize = 100;

/// The answer to a text that is no code.
pub(crate) const NO_CODE: &str = "is not a code: use 1 to 64 of the characters A-Z a-z 0-9 _ . -";

/// A code of an area or a group, with the pointer to the place in the request that names it.
pub type NamedCode = (String, String);

/// The errors found so far.
#[derive(Debug, Default)]
pub struct Report(RefCell<Vec<FieldError>>);

impl Report {
    /// Notes something wrong.
    pub fn add(&self, pointer: impl Into<String>, detail: impl Into<String>) {
        let mut errors = self.0.borrow_mut();
        if errors.len() < ERRORS_MAX {
            errors.push(FieldError { pointer: pointer.into(), detail: detail.into() });
        }
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.0.borrow().is_empty()
    }

    /// Returns the errors in the order of their pointers.
    #[must_use]
    pub fn into_errors(self) -> Vec<FieldError> {
        let mut errors = self.0.into_inner();
        errors.sort_by(|a, b| a.pointer.cmp(&b.pointer));
        errors
    }

    /// Returns `read` if there are no errors.
    ///
    /// # Errors
    /// 422 with all errors.
    pub fn finish<T>(self, read: Option<T>) -> Result<T, Problem> {
        match read {
            Some(value) if self.is_clean() => Ok(value),
            None if self.is_clean() => {
                tracing::error!("a reader refused a field without a reason");
                Err(Problem::internal())
            }
            _ => Err(Problem::invalid(self.into_errors())),
        }
    }
}

/// A value of the document and its position.
#[derive(Clone, Debug)]
pub struct Node<'a> {
    value: &'a Value,
    pointer: String,
    report: &'a Report,
}

impl<'a> Node<'a> {
    /// The whole document.
    #[must_use]
    pub const fn root(value: &'a Value, report: &'a Report) -> Self {
        Self { value, pointer: String::new(), report }
    }

    /// A part of a document that is read piece by piece; `pointer` is its place in the whole.
    #[must_use]
    pub const fn part(value: &'a Value, pointer: String, report: &'a Report) -> Self {
        Self { value, pointer, report }
    }

    /// The value as it stands.
    #[must_use]
    pub const fn value(&self) -> &'a Value {
        self.value
    }

    /// The JSON Pointer to the value.
    #[must_use]
    pub fn pointer(&self) -> &str {
        &self.pointer
    }

    /// Notes that this value is wrong.
    pub fn wrong<T>(&self, detail: impl Into<String>) -> Option<T> {
        self.report.add(self.pointer.clone(), detail);
        None
    }

    /// Notes that something below this value is wrong; `below` is empty or begins with a slash.
    pub fn wrong_below(&self, below: &str, detail: impl Into<String>) {
        self.report.add(format!("{}{below}", self.pointer), detail);
    }

    /// Notes that something in the document is wrong; `pointer` is whole.
    pub fn wrong_at(&self, pointer: String, detail: String) {
        self.report.add(pointer, detail);
    }

    /// Returns the parsed value, or reports the error of the parser at this value.
    pub fn taken<T, E: Display>(&self, parsed: Result<T, E>) -> Option<T> {
        parsed.map_or_else(|error| self.wrong(error.to_string()), Some)
    }

    /// An object.
    #[must_use]
    pub fn object(&self) -> Option<Members<'a>> {
        let Value::Object(map) = self.value else { return self.wrong("must be an object") };
        Some(Members { map, pointer: self.pointer.clone(), report: self.report, known: Vec::new() })
    }

    /// An array with a number of items in `range`.
    #[must_use]
    pub fn array(&self, range: RangeInclusive<usize>) -> Option<Vec<Self>> {
        let Value::Array(items) = self.value else { return self.wrong("must be an array") };
        if !range.contains(&items.len()) {
            return self.wrong(format!("must have {} to {} items", range.start(), range.end()));
        }
        let item = |(i, value)| Node { value, pointer: format!("{}/{i}", self.pointer), report: self.report };
        Some(items.iter().enumerate().map(item).collect())
    }

    /// A text of 1 to `max` characters without control characters other than line feed and tab, without the white space
    /// around it.
    #[must_use]
    pub fn text(&self, max: usize) -> Option<&'a str> {
        let Value::String(text) = self.value else { return self.wrong("must be a string") };
        self.taken(plain_text(text, max))
    }

    /// `true` or `false`.
    #[must_use]
    pub fn boolean(&self) -> Option<bool> {
        self.value.as_bool().or_else(|| self.wrong("must be true or false"))
    }

    /// A number, finite by the nature of JSON.
    #[must_use]
    pub fn number(&self) -> Option<f64> {
        self.value.as_f64().or_else(|| self.wrong("must be a number"))
    }

    /// A whole number in `range`. A number with a fraction of zero, such as `1135.0` or `1e3`, is whole (JSON Schema, Validation
    /// §6.1.1).
    #[must_use]
    pub fn integer(&self, range: RangeInclusive<u64>) -> Option<u64> {
        match whole_number(self.value) {
            Some(n) if range.contains(&n) => Some(n),
            _ => self.wrong(format!("must be a whole number from {} to {}", range.start(), range.end())),
        }
    }

    /// One of some words.
    #[must_use]
    pub fn word<T: FromStr>(&self, words: &[&str]) -> Option<T> {
        match self.value.as_str().and_then(|word| invisible::visible(word).parse().ok()) {
            Some(value) => Some(value),
            None => self.wrong(format!("must be one of: {}", words.join(", "))),
        }
    }

    /// An id.
    #[must_use]
    pub fn id(&self) -> Option<Uuid> {
        match self.value.as_str().and_then(|text| text.parse().ok()) {
            Some(id) => Some(id),
            None => self.wrong("must be an id, such as 01890a5d-ac96-774b-bcce-b302099a8057"),
        }
    }

    /// A time in RFC 3339 with an offset.
    #[must_use]
    pub fn time(&self) -> Option<Timestamp> {
        let Value::String(text) = self.value else {
            return self.wrong("must be a string: a time in RFC 3339");
        };
        self.taken(Timestamp::parse(text))
    }

    /// A time that is over, and no longer ago than `age_max`; [`CLOCK_SKEW`] is allowed.
    #[must_use]
    pub fn past(&self, now: Timestamp, age_max: Option<Duration>) -> Option<Timestamp> {
        let at = self.time()?;
        if at > now.plus(CLOCK_SKEW) {
            return self.wrong("is in the future");
        }
        match age_max {
            Some(age) if at < now.minus(age) => self.wrong("is more than a year ago"),
            _ => Some(at),
        }
    }

    /// A code of an area or a group.
    #[must_use]
    pub fn code(&self) -> Option<String> {
        let Value::String(text) = self.value else { return self.wrong("must be a string") };
        let code = self.taken(plain_text(&invisible::visible(text), 64).map(str::to_owned))?;
        if is_code(&code) { Some(code) } else { self.wrong(NO_CODE) }
    }

    /// One to `max` codes of areas or groups.
    #[must_use]
    pub fn codes(&self, max: usize) -> Option<Vec<NamedCode>> {
        let read = |item: Self| Some((item.code()?, item.pointer().to_owned()));
        let codes: Vec<Option<NamedCode>> = self.array(1..=max)?.into_iter().map(read).collect();
        codes.into_iter().collect()
    }
}

/// The members of an object; [`Members::finish`] reports the members that no reader asked for.
#[derive(Debug)]
pub struct Members<'a> {
    map: &'a Map<String, Value>,
    pointer: String,
    report: &'a Report,
    known: Vec<&'static str>,
}

impl<'a> Members<'a> {
    /// A member that must be there; `null` is not there.
    pub fn required(&mut self, name: &'static str) -> Option<Node<'a>> {
        let node = self.optional(name);
        if node.is_none() {
            self.report.add(format!("{}/{name}", self.pointer), "is missing");
        }
        node
    }

    /// The value of the first member whose name is one of `names` in any case, with its own spelling. `null` is not there.
    #[must_use]
    pub fn spelled(&self, names: &[&str]) -> Option<Node<'a>> {
        let of = |name: &&str| {
            let mut members = self.map.iter().filter(|(_, value)| !value.is_null());
            members.find(|(given, _)| given.eq_ignore_ascii_case(name))
        };
        let (name, value) = names.iter().find_map(of)?;
        let pointer = format!("{}/{}", self.pointer, escaped(name));
        Some(Node { value, pointer, report: self.report })
    }

    /// A member that may be there; `null` is not there.
    pub fn optional(&mut self, name: &'static str) -> Option<Node<'a>> {
        self.known.push(name);
        let value = self.map.get(name).filter(|value| !value.is_null())?;
        Some(Node { value, pointer: format!("{}/{name}", self.pointer), report: self.report })
    }

    /// Reads a member that must be there.
    pub fn read<T>(&mut self, name: &'static str, read: impl FnOnce(Node<'a>) -> Option<T>) -> Option<T> {
        self.required(name).and_then(read)
    }

    /// Reads a member that may be there: `Some(None)` if it is absent, `None` if it is wrong.
    pub fn read_optional<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(Node<'a>) -> Option<T>,
    ) -> Option<Option<T>> {
        self.optional(name).map_or(Some(None), |node| read(node).map(Some))
    }

    /// Reports the members that no reader asked for.
    pub fn finish(self) {
        for name in self.map.keys().filter(|name| !self.known.contains(&name.as_str())) {
            let pointer = format!("{}/{}", self.pointer, escaped(name));
            self.report.add(pointer, format!("is unknown; known members: {}", self.known.join(", ")));
        }
    }
}

/// The number, if it is whole and not negative. Beyond 2^53 the digits of a fraction are gone, so such a number is none.
fn whole_number(value: &Value) -> Option<u64> {
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    if let Some(n) = value.as_u64() {
        return Some(n);
    }
    let n = value.as_f64().filter(|n| n.fract() == 0.0 && (0.0..=EXACT_MAX).contains(n))?;
    // Written without a fraction, and -0 without its sign.
    format!("{:.0}", n.abs()).parse().ok()
}

/// The name of a member in a pointer (RFC 6901 §3), cut if it is too long to be a typing error.
fn escaped(name: &str) -> String {
    name.chars().take(100).collect::<String>().replace('~', "~0").replace('/', "~1")
}

/// The reason why a text is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextProblem {
    /// Nothing but white space and characters that show nothing.
    #[error("must not be empty")]
    Empty,
    /// Too long.
    #[error("must not be longer than {max} characters")]
    TooLong {
        /// The allowed number of characters.
        max: usize,
    },
    /// Characters that no screen shows.
    #[error("must not contain control characters")]
    Control,
}

/// A text of 1 to `max` characters without control characters other than line feed and tab, trimmed.
///
/// # Errors
/// [`TextProblem`] if the text is empty, too long or has control characters.
pub fn plain_text(text: &str, max: usize) -> Result<&str, TextProblem> {
    let text = invisible::trim(text);
    if text.is_empty() {
        return Err(TextProblem::Empty);
    }
    if text.chars().count() > max {
        return Err(TextProblem::TooLong { max });
    }
    if text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t' | '\r')) {
        return Err(TextProblem::Control);
    }
    Ok(text)
}

/// A short name for machines: 1 to 64 of `A-Z a-z 0-9 _ . -`.
#[must_use]
pub fn is_code(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
}

/// Reads an id in a path. A text that is not an id names nothing.
///
/// # Errors
/// 404 if the text is not an id.
pub fn path_id<T: From<Uuid>>(text: &str, what: &str) -> Result<T, Problem> {
    text.parse::<Uuid>().map(T::from).map_err(|_| Problem::not_found(what))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_mistake_is_named_at_once() {
        let document = json!({"name": 7, "size": 1.5, "more": {"on": "yes", "x/y": 1}, "list": [1, "a"]});
        let report = Report::default();
        let mut members = Node::root(&document, &report).object().unwrap();
        assert_eq!(members.read("name", |n| n.text(10).map(str::to_owned)), None);
        assert_eq!(members.read("size", |n| n.integer(1..=9)), None);
        assert_eq!(members.read("gone", |n| n.boolean()), None);
        let mut more = members.read("more", |n| n.object()).unwrap();
        assert_eq!(more.read_optional("on", |n| n.boolean()), None);
        assert_eq!(more.read_optional("off", |n| n.boolean()), Some(None));
        more.finish();
        for item in members.read("list", |n| n.array(1..=2)).unwrap() {
            let _ = item.number();
        }
        members.finish();
        let pointers: Vec<String> = report.into_errors().into_iter().map(|e| e.pointer).collect();
        assert_eq!(pointers, ["/gone", "/list/1", "/more/on", "/more/x~1y", "/name", "/size"]);
    }

    #[test]
    fn a_number_is_whole_however_it_is_written() {
        let read = |text: &str| {
            let (value, report) = (serde_json::from_str(text).unwrap(), Report::default());
            Node::root(&value, &report).integer(0..=u64::MAX)
        };
        for (text, n) in [("1135", 1135), ("1135.0", 1135), ("1.135e3", 1135), ("0.0", 0), ("-0.0", 0)] {
            assert_eq!(read(text), Some(n), "{text}");
        }
        assert_eq!(read("18446744073709551615"), Some(u64::MAX));
        for text in ["1135.5", "-1.0", "1e300", "18446744073709551616.0", "\"1135\"", "null", "1e-9"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn a_hostile_document_makes_a_bounded_report() {
        let document: Map<String, Value> = (0..10_000).map(|i| (i.to_string(), Value::Null)).collect();
        let document = Value::Object(document);
        let report = Report::default();
        Node::root(&document, &report).object().unwrap().finish();
        assert_eq!(report.into_errors().len(), ERRORS_MAX);
    }

    #[test]
    fn text_is_trimmed_and_bounded() {
        assert_eq!(plain_text("  a b\n", 3), Ok("a b"));
        assert_eq!(plain_text(" \n", 3), Err(TextProblem::Empty));
        assert_eq!(plain_text("\u{3164} \u{34f}", 3), Err(TextProblem::Empty));
        assert_eq!(plain_text("abcd", 3), Err(TextProblem::TooLong { max: 3 }));
        assert_eq!(plain_text("a\0b", 3), Err(TextProblem::Control));
    }
}
