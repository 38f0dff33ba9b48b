//! Pairs as one JSON object. The database reads its keys and values as they stand, while the elements of an array of arrays
//! are each parsed again for every field.

use std::fmt::{Display, Write as _};

use serde::Serialize;

/// Pairs as one JSON object. A key may repeat: both databases return every pair.
pub(crate) fn object<K: Display, V: Serialize>(pairs: impl IntoIterator<Item = (K, V)>) -> String {
    let (mut text, mut name) = (Vec::from(b"{"), String::new());
    for (key, value) in pairs {
        if text.len() > 1 {
            text.push(b',');
        }
        name.clear();
        write!(name, "{key}").unwrap_or_else(|_| unreachable!("a String takes everything"));
        write_json(&mut text, &name);
        text.push(b':');
        write_json(&mut text, &value);
    }
    text.push(b'}');
    String::from_utf8(text).unwrap_or_else(|_| unreachable!("JSON is UTF-8"))
}

fn write_json(text: &mut Vec<u8>, value: &impl Serialize) {
    serde_json::to_writer(text, value).unwrap_or_else(|_| unreachable!("numbers, texts and tuples of them"));
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
