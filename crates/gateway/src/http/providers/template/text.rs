//! Texts with `{placeholders}`, whose values are escaped as the place where they stand needs it.

use std::fmt::Write;

/// In the body of a batch: its messages.
pub(super) const ITEMS: &str = "items";

/// The place that a value must not break out of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Escape {
    /// Path and query of an address, and forms (`application/x-www-form-urlencoded`).
    Url,
    /// Within the quotes of a JSON text.
    Json,
    /// Text of an XML element, or a quoted attribute.
    Xml,
    /// Nothing is escaped.
    Plain,
}

impl Escape {
    /// The escaping for a body of that `Content-Type`.
    pub(super) fn of(content_type: &str) -> Self {
        let kind = content_type.to_ascii_lowercase();
        if kind.contains("json") {
            Self::Json
        } else if kind.contains("xml") {
            Self::Xml
        } else if kind.contains("form-urlencoded") {
            Self::Url
        } else {
            Self::Plain
        }
    }

    fn write(self, value: &str, out: &mut String) {
        match self {
            Self::Url => out.extend(form_urlencoded::byte_serialize(value.as_bytes())),
            Self::Plain => out.push_str(value),
            Self::Json => {
                let quoted = serde_json::Value::from(value).to_string();
                out.push_str(&quoted[1..quoted.len() - 1]);
            }
            Self::Xml => value.chars().for_each(|ch| match ch {
                '&' => out.push_str("&amp;"),
                '<' => out.push_str("&lt;"),
                '>' => out.push_str("&gt;"),
                '"' => out.push_str("&quot;"),
                '\'' => out.push_str("&apos;"),
                _ => out.push(ch),
            }),
        }
    }
}

#[derive(Clone, Debug)]
enum Part {
    Text(String),
    Value(&'static str),
}

/// A text that was read once. A brace that begins no `{word}` is a brace: JSON needs no escaping.
#[derive(Clone, Debug)]
pub(super) struct Template {
    parts: Vec<Part>,
    escape: Escape,
}

impl Template {
    /// # Errors
    /// Returns the first placeholder that is not among `names`.
    pub(super) fn parse(text: &str, names: &[&'static str], escape: Escape) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find('{') {
            let (before, after) = rest.split_at(open);
            parts.push(Part::Text(before.to_owned()));
            let word = after[1..].find('}').map(|close| &after[1..=close]);
            let is_word = |word: &&str| {
                !word.is_empty()
                    && word
                        .bytes()
                        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
            };
            if let Some(word) = word.filter(is_word) {
                let name = names.iter().find(|name| **name == word).ok_or_else(|| word.to_owned())?;
                parts.push(Part::Value(name));
                rest = &after[word.len() + 2..];
            } else {
                parts.push(Part::Text("{".to_owned()));
                rest = &after[1..];
            }
        }
        parts.push(Part::Text(rest.to_owned()));
        Ok(Self { parts, escape })
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Value(found) if *found == name))
    }

    /// The text with its values. `raw` is a value that stands as it is: the messages of a batch, escaped before.
    pub(super) fn fill(&self, value: impl Fn(&str) -> String, raw: Option<(&str, &str)>) -> String {
        let mut out = String::new();
        for part in &self.parts {
            match (part, raw) {
                (Part::Text(text), _) => out.push_str(text),
                (Part::Value(name), Some((raw_name, text))) if *name == raw_name => {
                    write!(out, "{text}").expect("a String takes everything");
                }
                (Part::Value(name), _) => self.escape.write(&value(name), &mut out),
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 2] = ["to", "text"];

    fn fill(template: &str, escape: Escape, text: &str) -> String {
        let template = Template::parse(template, &NAMES, escape).unwrap();
        template.fill(|name| if name == "to" { "+31".to_owned() } else { text.to_owned() }, None)
    }

    #[test]
    fn no_value_breaks_out_of_its_place() {
        let nasty = "a\"}, \\ <b> & 'c'\n€";
        let json = fill(r#"{"to":"{to}","t":{"x":"{text}"}}"#, Escape::Json, nasty);
        let read: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!((read["to"].as_str(), read["t"]["x"].as_str()), (Some("+31"), Some(nasty)));
        assert_eq!(fill("/s?to={to}&x=1", Escape::Url, ""), "/s?to=%2B31&x=1");
        assert!(!fill("{text}", Escape::Url, nasty).contains(['&', '"', '\n']));
        assert_eq!(fill("<t>{text}</t>", Escape::Xml, "<&>"), "<t>&lt;&amp;&gt;</t>");
    }

    #[test]
    fn a_value_that_looks_like_a_placeholder_is_none() {
        assert_eq!(fill("{text}", Escape::Plain, "{to}"), "{to}");
    }

    #[test]
    fn an_unknown_placeholder_is_named_and_a_brace_is_a_brace() {
        assert_eq!(Template::parse("{msisdn}", &NAMES, Escape::Plain).unwrap_err(), "msisdn");
        assert_eq!(fill("{ {} {A} {", Escape::Plain, ""), "{ {} {A} {");
    }
}
