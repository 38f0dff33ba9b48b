//! The configuration: defaults that are part of the program, a TOML file, and the environment, in this order.
//!
//! [`load`] reads and types it; [`check::check`] looks at what the values mean (files, addresses, time zones) and returns
//! the settings that the program runs on. Both collect every fault instead of stopping at the first.

mod auto_reply_texts;
pub mod check;
mod database;
mod environment;
mod sections;

use std::path::{Path, PathBuf};

use config::{Config, File, FileFormat, Map, Value};
use klaroen_gateway::config::GatewayConfig;
use serde::Deserialize;
use serde::de::DeserializeOwned;

pub use check::{Checked, check};
pub use database::CheckedDatabase;
pub use environment::variables;
pub use sections::{Database, Http, Logging, Secrets, Sending, Worker};

/// Every key with its default and what it means.
pub const DEFAULTS: &str = include_str!("../../../config/default.toml");

/// The configured settings, typed.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `[database]`
    pub database: Database,
    /// `[http]`
    pub http: Http,
    /// `[worker]`
    pub worker: Worker,
    /// `[secrets]`
    pub secrets: Secrets,
    /// `[sending]`
    pub sending: Sending,
    /// `[[gateways]]`
    pub gateways: Vec<GatewayConfig>,
    /// `[logging]`
    pub logging: Logging,
}

/// All that is wrong with a configuration, each with its section and key.
#[derive(Debug)]
pub struct Faults(pub Vec<String>);

impl std::fmt::Display for Faults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0.as_slice() {
            [one] => write!(f, "configuration: {one}"),
            many => {
                write!(f, "the configuration has {} faults:", many.len())?;
                many.iter().try_for_each(|fault| write!(f, "\n  {fault}"))
            }
        }
    }
}

/// Which file to read.
#[derive(Clone, Debug)]
pub enum Source {
    /// The one that was named: it has to be there.
    Named(PathBuf),
    /// `klaroen.toml` in the directory in which Klaroen is started, if there is one.
    Usual,
    /// None: for the demo, which must not depend on the directory in which it is started.
    Nothing,
}

const USUAL_FILE: &str = "klaroen.toml";

/// Reads the configuration from `source` and the environment `variables`.
///
/// # Errors
/// Returns every fault of its form: TOML that cannot be read, unknown sections and keys, values of a wrong type.
pub fn load(source: &Source, variables: impl Iterator<Item = (String, String)>) -> Result<Settings, Faults> {
    let one = |fault: String| Faults(vec![fault]);
    let mut builder = Config::builder().add_source(File::from_str(DEFAULTS, FileFormat::Toml));
    if let Some(path) = file_to_read(source) {
        let text =
            std::fs::read_to_string(&path).map_err(|error| one(format!("{}: {error}", path.display())))?;
        // Tried alone first, so that its faults carry its name and not the lines of the defaults.
        let file = File::from_str(&text, FileFormat::Toml);
        Config::builder()
            .add_source(file.clone())
            .build()
            .map_err(|error| one(format!("{}: {}", path.display(), without_excerpt(&error.to_string()))))?;
        builder = builder.add_source(file);
    }
    let mut faults = Vec::new();
    for (key, value) in environment::overrides(variables, &mut faults) {
        builder =
            builder.set_override(&key, value).map_err(|error| one(format!("environment, {key}: {error}")))?;
    }
    let tables = builder
        .build()
        .and_then(|config| config.cache.into_table())
        .map_err(|error| one(without_excerpt(&error.to_string())))?;
    take_sections(tables, faults)
}

fn file_to_read(source: &Source) -> Option<PathBuf> {
    match source {
        Source::Named(path) => Some(path.clone()),
        Source::Usual => Some(PathBuf::from(USUAL_FILE)).filter(|path| Path::exists(path)),
        Source::Nothing => None,
    }
}

fn take_sections(mut tables: Map<String, Value>, mut faults: Vec<String>) -> Result<Settings, Faults> {
    let gateways = tables.remove("gateways").map(|list| take_gateways(list, &mut faults)).unwrap_or_default();
    let database = take(&mut tables, "database", &mut faults);
    let http = take(&mut tables, "http", &mut faults);
    let worker = take(&mut tables, "worker", &mut faults);
    let secrets = take(&mut tables, "secrets", &mut faults);
    let sending = take(&mut tables, "sending", &mut faults);
    let logging = take(&mut tables, "logging", &mut faults);
    let mut strangers: Vec<_> = tables.into_keys().collect();
    strangers.sort();
    for name in strangers {
        faults.push(format!(
            "[{name}]: there is no such section; there are database, http, worker, secrets, sending, logging and [[gateways]]"
        ));
    }
    match (database, http, worker, secrets, sending, logging) {
        (Some(database), Some(http), Some(worker), Some(secrets), Some(sending), Some(logging))
            if faults.is_empty() =>
        {
            Ok(Settings { database, http, worker, secrets, sending, gateways, logging })
        }
        _ => Err(Faults(faults)),
    }
}

fn take<T: DeserializeOwned>(
    tables: &mut Map<String, Value>,
    name: &str,
    faults: &mut Vec<String>,
) -> Option<T> {
    let table = tables.remove(name)?;
    table.try_deserialize().map_err(|error| faults.push(format!("[{name}]: {error}"))).ok()
}

fn take_gateways(list: Value, faults: &mut Vec<String>) -> Vec<GatewayConfig> {
    let Ok(tables) = list.into_array() else {
        faults
            .push("[[gateways]]: write each gateway as a table under [[gateways]], with two brackets".into());
        return Vec::new();
    };
    let mut gateways = Vec::new();
    for (number, table) in tables.into_iter().enumerate() {
        let secret = password_of(&table);
        match GatewayConfig::deserialize(table) {
            Ok(gateway) => gateways.push(gateway),
            Err(error) => {
                let mut fault = format!("[[gateways]] number {number}: {error}");
                // A password of the wrong type (only digits, no quotes) would be quoted as the offending value.
                if let Some(secret) = secret.filter(|s| !s.is_empty()) {
                    fault = fault.replace(&secret, "…");
                }
                faults.push(fault);
            }
        }
    }
    gateways
}

fn password_of(table: &Value) -> Option<String> {
    let table = table.clone().into_table().ok()?;
    table.get("password")?.clone().into_string().ok()
}

/// A TOML error without the lines that it quotes from the file: they may hold a password.
fn without_excerpt(error: &str) -> String {
    let quoted =
        |line: &str| line.trim_start_matches(|c: char| c.is_ascii_digit() || c == ' ').starts_with('|');
    let lines: Vec<&str> =
        error.lines().map(str::trim).filter(|line| !line.is_empty() && !quoted(line)).collect();
    lines.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load_text(text: &str, variables: &[(&str, &str)]) -> Result<Settings, Vec<String>> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("k.toml");
        std::fs::write(&path, text).unwrap();
        let variables = variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        load(&Source::Named(path), variables).map_err(|faults| faults.0)
    }

    const GATEWAY: &str =
        "[[gateways]]\nname='main'\ntype='smpp'\nhost='h'\nsystem_id='s'\npassword='p'\nsender='1000'\n";

    #[test]
    fn the_defaults_and_the_example_are_complete() {
        let defaults = load(&Source::Nothing, std::iter::empty()).unwrap();
        assert_eq!(defaults.sending.max_segments, 4);
        assert!(defaults.gateways.is_empty());
        let example = load_text(include_str!("../../../config/klaroen.example.toml"), &[]).unwrap();
        assert_eq!(example.gateways.len(), 1);
        assert_eq!(example.gateways[0].validate(), []);
    }

    #[test]
    fn the_commented_gateway_of_the_defaults_is_right() {
        let start = DEFAULTS.find("# [[gateways]]").unwrap();
        let text: String =
            DEFAULTS[start..].lines().map(|l| l.trim_start_matches("# ").to_owned() + "\n").collect();
        let settings = load_text(&text, &[]).unwrap();
        assert_eq!(settings.gateways[0].name(), "main");
    }

    #[test]
    fn every_fault_is_told_with_its_section_and_key() {
        let text = "[http]\nlisen = 1\n[sending]\nmax_segments = 'many'\n[sms]\nx = 1\n[[gateways]]\nname='a'\ntype='log'\nhots='h'\n";
        let faults = load_text(text, &[]).unwrap_err();
        assert_eq!(faults.len(), 4, "{faults:#?}");
        let has = |a: &str, b: &str| {
            assert!(faults.iter().any(|f| f.contains(a) && f.contains(b)), "{a} {b}: {faults:#?}");
        };
        has("[http]", "lisen");
        has("[sending]", "max_segments");
        has("[sms]", "no such section");
        has("[[gateways]] number 0", "hots");
    }

    #[test]
    fn the_environment_overrides_keys_and_single_gateways() {
        let variables = [
            ("KLAROEN__HTTP__LISTEN", "0.0.0.0:9"),
            ("KLAROEN__SENDING__MAX_SEGMENTS", "2"),
            ("KLAROEN__GATEWAYS__0__PORT", "2776"),
            ("KLAROEN__GATEWAYS__0__PASSWORD", "12345678"),
            ("KLAROEN__GATEWAYS__0__TLS", "true"),
            ("PATH", "/bin"),
        ];
        let settings = load_text(GATEWAY, &variables).unwrap();
        assert_eq!(settings.http.listen.port(), 9);
        assert_eq!(settings.sending.max_segments, 2);
        let GatewayConfig::Smpp(smpp) = &settings.gateways[0] else { panic!("not SMPP") };
        assert_eq!((smpp.port, smpp.tls), (2776, true));
        assert!(smpp.read_password().is_ok());
        assert!(load_text(GATEWAY, &[("KLAROEN__HTTP__LISEN", "x")]).unwrap_err()[0].contains("lisen"));
        assert!(load_text(GATEWAY, &[("KLAROEN__HTTP", "x")]).unwrap_err()[0].contains("KLAROEN__HTTP"));
        assert!(load_text(GATEWAY, &[("KLAROEN__GATEWAYS__5__PORT", "1")]).is_err());
    }

    #[test]
    fn no_fault_shows_a_password() {
        for password in ["87654321", "'87654321"] {
            let faults = load_text(&GATEWAY.replace("'p'", password), &[]).unwrap_err();
            assert!(!faults.concat().contains("87654321"), "{faults:?}");
        }
    }

    #[test]
    fn a_named_file_has_to_be_there() {
        let source = Source::Named("/nonexistent/k.toml".into());
        assert!(load(&source, std::iter::empty()).unwrap_err().to_string().contains("/nonexistent/k.toml"));
    }
}
