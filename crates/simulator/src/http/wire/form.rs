//! Forms and queries (`application/x-www-form-urlencoded`), down to the octets.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode, percent_encode};

/// Fields that are read of one form; a submit has a dozen.
const FIELDS_MAX: usize = 200;

/// Characters that a form leaves as they are (WHATWG URL §5.2), besides letters and digits.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'*');

/// The fields of a form, in their order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Form(Vec<(String, Vec<u8>)>);

impl Form {
    pub(crate) fn parse(octets: &[u8]) -> Self {
        let fields = octets.split(|octet| *octet == b'&').filter(|field| !field.is_empty());
        Self(fields.take(FIELDS_MAX).map(field).collect())
    }

    /// The first field of that name, as octets.
    pub(crate) fn octets(&self, name: &str) -> Option<&[u8]> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_slice())
    }

    /// The first field of that name, as text; `None` if it is missing or empty.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.octets(name).filter(|value| !value.is_empty()).map(|value| String::from_utf8_lossy(value).into())
    }
}

fn field(field: &[u8]) -> (String, Vec<u8>) {
    let (key, value) = match field.iter().position(|octet| *octet == b'=') {
        Some(at) => (&field[..at], &field[at + 1..]),
        None => (field, &[][..]),
    };
    (String::from_utf8_lossy(&decode(key)).into_owned(), decode(value))
}

fn decode(octets: &[u8]) -> Vec<u8> {
    let spaced: Vec<u8> = octets.iter().map(|octet| if *octet == b'+' { b' ' } else { *octet }).collect();
    percent_decode(&spaced).collect()
}

/// The octets of one name or value.
pub(crate) fn escape(octets: &[u8]) -> String {
    percent_encode(octets, PLAIN).to_string().replace("%20", "+")
}

/// Fields as a form or a query.
pub(crate) fn encode<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let fields = pairs
        .into_iter()
        .map(|(key, value)| format!("{}={}", escape(key.as_bytes()), escape(value.as_bytes())));
    fields.collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_read_to_its_octets() {
        let form = Form::parse(b"a=1+2&b=%00%e9%D8%3D&c&=x&a=3");
        assert_eq!(form.text("a").as_deref(), Some("1 2"));
        assert_eq!(form.octets("b"), Some(&[0x00, 0xE9, 0xD8, 0x3D][..]));
        assert_eq!((form.octets("c"), form.text("c"), form.octets("d")), (Some(&[][..]), None, None));
    }

    #[test]
    fn what_is_written_is_read_back() {
        let text = "Gezocht: één man & €5 = 100%+~";
        let written = encode([("text", text), ("to", "+31")]);
        assert_eq!(written, "text=Gezocht%3A+%C3%A9%C3%A9n+man+%26+%E2%82%AC5+%3D+100%25%2B%7E&to=%2B31");
        assert_eq!(Form::parse(written.as_bytes()).text("text").as_deref(), Some(text));
    }
}
