//! The one shape of XML that providers call back with: records whose leaves have names of their own.

use quick_xml::Reader;
use quick_xml::events::Event;

use crate::sms::CallbackError;

/// Deeper than any contract.
const DEPTH_MAX: usize = 8;
/// More than a callback has.
const RECORDS_MAX: usize = 1_000;

/// The elements of that name, each as its leaves and attributes: names in lower case, and texts. A document type is refused,
/// so that there are no entities to expand.
///
/// # Errors
/// [`CallbackError::Malformed`] if it is no XML, or has too many records.
pub(super) fn records(bytes: &[u8], name: &str) -> Result<Vec<Vec<(String, String)>>, CallbackError> {
    let broken = |_| CallbackError::Malformed("no XML");
    let text = std::str::from_utf8(bytes).map_err(|_| CallbackError::Malformed("no UTF-8"))?;
    let mut reader = Reader::from_str(text);
    let (mut records, mut open, mut depth) = (Vec::new(), None::<Vec<(String, String)>>, 0_usize);
    loop {
        match reader.read_event().map_err(broken)? {
            Event::Start(start) => {
                depth += 1;
                let tag = lower(start.local_name().as_ref());
                if depth > DEPTH_MAX || records.len() >= RECORDS_MAX {
                    return Err(CallbackError::TooLarge);
                }
                if tag == name {
                    let attributes = start.attributes().filter_map(Result::ok);
                    let pair = |a: quick_xml::events::attributes::Attribute<'_>| {
                        (lower(a.key.local_name().as_ref()), String::from_utf8_lossy(&a.value).into_owned())
                    };
                    open = Some(attributes.map(pair).collect());
                } else if let Some(record) = &mut open {
                    record.push((tag, String::new()));
                }
            }
            Event::Empty(leaf) => {
                if let Some(record) = &mut open {
                    record.push((lower(leaf.local_name().as_ref()), String::new()));
                }
            }
            Event::Text(words) => {
                if let Some((_, value)) = open.as_mut().and_then(|record| record.last_mut()) {
                    value.push_str(words.decode().map_err(|_| CallbackError::Malformed("no UTF-8"))?.trim());
                }
            }
            Event::End(end) => {
                depth = depth.saturating_sub(1);
                if lower(end.local_name().as_ref()) == name {
                    records.extend(open.take());
                }
            }
            Event::DocType(_) => return Err(CallbackError::Malformed("a document type is not allowed")),
            Event::Eof if depth == 0 => return Ok(records),
            Event::Eof => return Err(CallbackError::Malformed("the XML breaks off")),
            _ => {}
        }
    }
}

fn lower(name: &[u8]) -> String {
    String::from_utf8_lossy(name).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_and_attributes_are_read_in_any_case() {
        let text = br#"<?xml version="1.0"?><MESSAGES><MSG RECEIVED="2026-11-23"><TO>0031</TO>
            <Status><CODE>2</CODE><ERRORCODE/></Status></MSG><MSG><TO>0032</TO></MSG></MESSAGES>"#;
        let found = records(text, "msg").unwrap();
        assert_eq!(found.len(), 2);
        let value = |name: &str| found[0].iter().find(|(key, _)| key == name).unwrap().1.as_str();
        assert_eq!(
            (value("received"), value("to"), value("code"), value("errorcode")),
            ("2026-11-23", "0031", "2", "")
        );
    }

    #[test]
    fn entities_depth_and_broken_documents_are_refused() {
        let lol = br#"<!DOCTYPE lolz [<!ENTITY lol "lol">]><MSG><TO>&lol;</TO></MSG>"#;
        assert!(matches!(records(lol, "msg"), Err(CallbackError::Malformed(_))));
        assert_eq!(records("<a>".repeat(100).as_bytes(), "msg"), Err(CallbackError::TooLarge));
        assert!(matches!(records(b"<MSG><TO>1</TO>", "msg"), Err(CallbackError::Malformed(_))));
        assert!(matches!(records(b"<MSG></TO>", "msg"), Err(CallbackError::Malformed(_))));
    }
}
