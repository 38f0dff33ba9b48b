//! A secret from its key or from the file of its `_file` twin.

use std::path::Path;

use secrecy::{ExposeSecret, SecretString};

use super::fault::ConfigFault;

/// More than any secret: a file that is larger is the wrong one.
const LEN_MAX: usize = 4_096;

/// The secret of the keys `names`: the key itself and its `_file` twin, of which exactly one is set. A line end at the end of
/// the file does not belong to it.
///
/// # Errors
/// A fault that names the key and says nothing of the content.
pub(crate) fn read(
    names: [&'static str; 2],
    value: Option<&SecretString>,
    file: Option<&Path>,
) -> Result<SecretString, ConfigFault> {
    let [key, file_key] = names;
    let (field, secret) = match (value, file) {
        (Some(secret), None) => (key, secret.clone()),
        (None, Some(path)) => {
            let text = std::fs::read_to_string(path)
                .map_err(|error| ConfigFault::new(file_key, format!("cannot be read: {}", error.kind())))?;
            (file_key, text.trim_end_matches(['\r', '\n']).into())
        }
        _ => return Err(ConfigFault::new(key, format!("give exactly one of {key} and {file_key}"))),
    };
    let text = secret.expose_secret();
    if text.is_empty() || text.len() > LEN_MAX || !text.bytes().all(|byte| (0x20..0x7F).contains(&byte)) {
        return Err(ConfigFault::new(field, "must be printable ASCII and not empty"));
    }
    Ok(secret)
}

/// Whether a key holds a secret, whose value no error may quote.
pub(super) fn is_secret(key: &str) -> bool {
    ["password", "_key", "_token", "_secret", "_number"].iter().any(|end| key.ends_with(end))
}
