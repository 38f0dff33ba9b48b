//! `KLAROEN__SECTION__KEY` and `KLAROEN__GATEWAYS__0__KEY`.

use config::Value;

const PREFIX: &str = "KLAROEN__";

/// Keys of a gateway whose value is text even if it looks like a number. Everything else is read as TOML reads it.
const TEXT_KEYS: [&str; 15] = [
    "name",
    "username",
    "route",
    "smsc",
    "type",
    "sender",
    "host",
    "system_id",
    "password",
    "password_file",
    "tls_ca_file",
    "tls_server_name",
    "system_type",
    "alphabet",
    "message_id_format",
];

/// How the names of secrets, files, addresses and accounts end, which are text, too.
const TEXT_ENDS: [&str; 7] = ["_key", "_secret", "_token", "_file", "_url", "_sid", "_number"];

/// The environment of the process: the one place that reads it.
#[expect(clippy::disallowed_methods, reason = "the one home of the environment")]
pub fn variables() -> impl Iterator<Item = (String, String)> {
    // `vars` panics at a variable that is not UTF-8; such a one is not ours.
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// The overrides by the variables: paths as the configuration has them (`http.listen`, `gateways[0].host`) and values.
pub fn overrides(
    variables: impl Iterator<Item = (String, String)>,
    faults: &mut Vec<String>,
) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for (name, value) in variables {
        let Some(rest) = name.strip_prefix(PREFIX) else { continue };
        let parts: Vec<String> = rest.split("__").map(str::to_ascii_lowercase).collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let origin = format!("the environment ({name})");
        match parts.as_slice() {
            ["gateways", number, key] if is_number(number) && is_word(key) => {
                found.push((format!("gateways[{number}].{key}"), gateway_value(key, &origin, value)));
            }
            [section, key] if *section != "gateways" && is_word(section) && is_word(key) => {
                found.push((format!("{section}.{key}"), Value::new(Some(&origin), value)));
            }
            _ => faults.push(format!(
                "environment, {name}: write KLAROEN__SECTION__KEY, or KLAROEN__GATEWAYS__0__KEY for a gateway"
            )),
        }
    }
    found
}

fn is_word(part: &str) -> bool {
    !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

/// At most two digits: the list is filled up to the number.
fn is_number(part: &str) -> bool {
    (1..=2).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit())
}

fn gateway_value(key: &str, origin: &String, value: String) -> Value {
    if TEXT_KEYS.contains(&key) || TEXT_ENDS.iter().any(|end| key.ends_with(end)) {
        return Value::new(Some(origin), value);
    }
    if let Ok(number) = value.parse::<i64>() {
        return Value::new(Some(origin), number);
    }
    match value.parse::<bool>() {
        Ok(yes) => Value::new(Some(origin), yes),
        Err(_) => Value::new(Some(origin), value),
    }
}
