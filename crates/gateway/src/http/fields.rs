//! Names and values of a callback, whichever way they came: query, form or flat JSON.

use klaroen_domain::outcome::{ProviderId, ReceiptStatus};
use klaroen_domain::phone::{Country, PhoneNumber};
use klaroen_domain::time::Timestamp;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::sms::{CallbackError, ClientReference, GatewayEvent, InboundSms, RawCallback, Receipt};

/// More than any contract has.
const FIELDS_MAX: usize = 200;
/// Characters of a value that are kept of a receipt.
const RAW_VALUE_LEN_MAX: usize = 64;

/// The values of a callback by their names, in their order. Invalid UTF-8 becomes U+FFFD.
pub(super) struct Fields(Vec<(String, String)>);

impl Fields {
    /// Those of the query, then those of the body.
    ///
    /// # Errors
    /// [`CallbackError`] if there are too many fields, or the body is no JSON.
    pub(super) fn read(callback: &RawCallback<'_>) -> Result<Self, CallbackError> {
        let mut fields = pairs(query(callback).as_bytes());
        fields.append(&mut body(callback)?);
        if fields.len() > FIELDS_MAX {
            return Err(CallbackError::TooLarge);
        }
        Ok(Self(fields))
    }

    /// The first value of that name that is not empty.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, value)| key == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// `name:value` of the named fields that are there: no others, because addresses and texts are not kept.
    pub(super) fn raw(&self, names: &[&str]) -> String {
        raw(names.iter().filter_map(|name| Some((*name, self.get(name)?))))
    }
}

/// The query as it came.
pub(super) fn query<'a>(callback: &RawCallback<'a>) -> &'a str {
    callback.path_and_query.split_once('?').map_or("", |(_, query)| query)
}

/// The fields of a query or form.
pub(super) fn pairs(text: &[u8]) -> Vec<(String, String)> {
    form_urlencoded::parse(text)
        .take(FIELDS_MAX + 1)
        .map(|(key, value)| (key.into_owned(), value.into_owned()))
        .collect()
}

/// The fields of the body: a form, or JSON, whose lists and objects are left out.
///
/// # Errors
/// [`CallbackError::Malformed`] if the body is no JSON.
pub(super) fn body(callback: &RawCallback<'_>) -> Result<Vec<(String, String)>, CallbackError> {
    if callback.body.is_empty() {
        return Ok(Vec::new());
    }
    if !is_json(callback) {
        return Ok(pairs(callback.body));
    }
    let Value::Object(members) = json(callback)? else {
        return Err(CallbackError::Malformed("the JSON is no object"));
    };
    Ok(members.into_iter().filter_map(|(key, value)| Some((key, scalar(&value)?))).collect())
}

/// Whether the body is JSON: by its first byte where there is no `Content-Type` to say so.
pub(super) fn is_json(callback: &RawCallback<'_>) -> bool {
    let kind = callback.header("content-type").unwrap_or_default();
    kind.contains("json") || (!kind.contains("form") && callback.body.trim_ascii_start().starts_with(b"{"))
}

/// The body as JSON.
///
/// # Errors
/// [`CallbackError::Malformed`] if it is none.
pub(super) fn json(callback: &RawCallback<'_>) -> Result<Value, CallbackError> {
    serde_json::from_slice(callback.body).map_err(|_| CallbackError::Malformed("no JSON"))
}

/// A text, number or truth value as text.
pub(super) fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(yes) => Some(yes.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// The scalar at a JSON pointer (RFC 6901), if it is not empty.
pub(super) fn at(value: &Value, pointer: &str) -> Option<String> {
    scalar(value.pointer(pointer)?).filter(|text| !text.is_empty())
}

/// `name:value name:value`, each value without blanks and control characters and not too long.
pub(super) fn raw<'a>(fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let one = |(name, value): (&str, &str)| {
        let value: String = value
            .chars()
            .filter(|ch| !ch.is_whitespace() && !ch.is_control())
            .take(RAW_VALUE_LEN_MAX)
            .collect();
        format!("{name}:{value}")
    };
    fields.into_iter().map(one).collect::<Vec<_>>().join(" ")
}

/// The meaning of a status of the contract; one that is not in the table is kept in [`Receipt::raw`] and changes nothing.
pub(super) fn status_of(table: &[(&str, ReceiptStatus)], word: &str) -> ReceiptStatus {
    table
        .iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(word))
        .map_or(ReceiptStatus::Unknown, |(_, s)| *s)
}

/// A receipt before it is one: what the contract names, as text.
#[derive(Debug)]
pub(super) struct ReceiptParts<'a> {
    /// The provider's id; where the contract has none our reference stands for it.
    pub(super) id: Option<&'a str>,
    pub(super) reference: Option<&'a str>,
    pub(super) status: ReceiptStatus,
    pub(super) error: Option<String>,
    pub(super) recipient: Option<&'a str>,
    pub(super) raw: String,
}

impl ReceiptParts<'_> {
    /// `None` if it names no message.
    pub(super) fn event(self, country: Country) -> Option<GatewayEvent> {
        let id = self.id.or(self.reference)?;
        let reference = self.reference.map(|text| ClientReference(text.to_owned()));
        Some(GatewayEvent::Receipt(Receipt {
            provider_id: ProviderId(id.to_owned()).kept(),
            reference: reference.filter(|reference| reference.delivery().is_some()),
            status: self.status,
            error: self.error,
            recipient: self.recipient.and_then(|text| PhoneNumber::parse_sender(text, country)),
            raw: self.raw,
        }))
    }
}

/// An inbound SMS. Without an id of the provider's it is known again by its content.
pub(super) fn inbound(
    id: Option<&str>,
    [from, to, text]: [&str; 3],
    time: &str,
    received_at: Timestamp,
) -> GatewayEvent {
    // No database takes a NUL in a text, and no phone shows one.
    let clean = |text: &str| text.replace('\0', "");
    let dedupe_key = id.map_or_else(
        || {
            let parts = [from, to, time, text].map(|part| Sha256::digest(part.as_bytes()));
            hex(&Sha256::digest(parts.concat()))
        },
        |id| clean(id).chars().take(200).collect(),
    );
    let (from, to, text) = (clean(from), clean(to), clean(text));
    GatewayEvent::Inbound(InboundSms { dedupe_key, from, to, text, keyword: None, received_at })
}

/// Lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes everything");
        text
    })
}
