//! Pairs as one JSON object: the database reads its keys and values as they stand, where the elements of an array of arrays
//! are each parsed again for every field.

use std::fmt::{Display, Write as _};

use serde_json::Value;

/// Pairs as one JSON object. A key may repeat: both databases give every pair.
pub(crate) fn object<K: Display, V: Into<Value>>(pairs: impl IntoIterator<Item = (K, V)>) -> String {
    let mut text = String::from("{");
    for (key, value) in pairs {
        if text.len() > 1 {
            text.push(',');
        }
        // A `Value` escapes what JSON does not take.
        write!(text, "{}:{}", Value::String(key.to_string()), value.into())
            .unwrap_or_else(|_| unreachable!("a String takes everything"));
    }
    text.push('}');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_is_there_and_what_a_provider_writes_is_escaped() {
        assert_eq!(object([(1, 5), (2, 5)]), r#"{"1":5,"2":5}"#);
        assert_eq!(object([("a\"b", "c"), ("a\"b", "d")]), r#"{"a\"b":"c","a\"b":"d"}"#);
        assert_eq!(object(Vec::<(i64, i64)>::new()), "{}");
    }
}
