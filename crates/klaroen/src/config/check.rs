//! The meaning of the values of a configuration: parsed once, here, and trusted by everything that runs on them.

use std::collections::BTreeSet;
use std::path::Path;

use klaroen_domain::hours::{DailySpan, Zone};
use klaroen_domain::phone::Country;
use klaroen_gateway::config::GatewayConfig;
use klaroen_store::seal::Keys;

use super::auto_reply_texts::ServiceTexts;
use super::{CheckedDatabase, Faults, Http, Sending, Settings, Worker};
use crate::{key_file, logging};

/// The settings that `serve` runs on.
#[derive(Debug)]
pub struct Checked {
    pub database: CheckedDatabase,
    pub keys: Keys,
    pub http: Http,
    pub worker: Worker,
    pub sending: CheckedSending,
    pub gateways: Vec<GatewayConfig>,
}

/// `[sending]`, parsed.
#[derive(Debug)]
pub struct CheckedSending {
    pub texts: ServiceTexts,
    pub country: Country,
    pub quiet_hours: Option<DailySpan>,
    pub zone: Zone,
    pub max_segments: u8,
    pub price_per_segment: f64,
    pub max_alerts_per_day: u32,
    pub receipt_grace_hours: u32,
}

/// More segments than this are refused by many providers, and dear.
const SEGMENTS_MAX: u8 = 10;
/// A week: a receipt that takes longer does not come.
const RECEIPT_GRACE_HOURS_MAX: u32 = 168;
const REQUESTS_PER_SECOND_MAX: u32 = 100_000;
/// Leaves half of the usual 1,024 open files to the database, the gateways and the log.
pub const CONNECTIONS_MAX: u32 = 512;

/// Looks at everything that `serve`, `dispatcher` and `worker` need: addresses, files, hours, gateways.
///
/// # Errors
/// Returns every fault in these values.
pub fn check(mut settings: Settings) -> Result<Checked, Faults> {
    let mut faults = Vec::new();
    let database = CheckedDatabase::of(&settings.database).map_err(|found| faults.extend(found)).ok();
    let keys = keep(read_keys(&settings.secrets.key_file), "[secrets] key_file", &mut faults);
    check_http(&settings.http, &mut faults);
    let sending = check_sending(&settings.sending, &mut faults);
    for gateway in &mut settings.gateways {
        gateway.default_callback_url(&settings.http.public_url);
    }
    check_gateways(&settings.gateways, &mut faults);
    keep(logging::filter(&settings.logging.level).map_err(|e| e.to_string()), "[logging] level", &mut faults);
    match (database, keys, sending) {
        (Some(database), Some(keys), Some(sending)) if faults.is_empty() => Ok(Checked {
            database,
            keys,
            http: settings.http,
            worker: settings.worker,
            sending,
            gateways: settings.gateways,
        }),
        _ => Err(Faults(faults)),
    }
}

/// The database and its keys: all that the commands need that only write to it.
///
/// # Errors
/// Returns every fault in `[database]` and `[secrets]`.
pub fn check_database(settings: &Settings) -> Result<(CheckedDatabase, Keys), Faults> {
    let mut faults = Vec::new();
    let database = CheckedDatabase::of(&settings.database).map_err(|found| faults.extend(found)).ok();
    let keys = keep(read_keys(&settings.secrets.key_file), "[secrets] key_file", &mut faults);
    match (database, keys) {
        (Some(database), Some(keys)) => Ok((database, keys)),
        _ => Err(Faults(faults)),
    }
}

fn keep<T>(result: Result<T, String>, key: &str, faults: &mut Vec<String>) -> Option<T> {
    result.map_err(|reason| faults.push(format!("{key}: {reason}"))).ok()
}

fn read_keys(path: &Path) -> Result<Keys, String> {
    key_file::read(path).map_err(|error| crate::failure::chain(&error))
}

fn check_http(http: &Http, faults: &mut Vec<String>) {
    let url = reqwest::Url::parse(&http.public_url).ok().filter(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.query().is_none()
            && url.fragment().is_none()
    });
    if url.is_none() {
        faults.push("[http] public_url: write http://… or https://… with a host, without ? and #".into());
    }
    if !(1..=REQUESTS_PER_SECOND_MAX).contains(&http.requests_per_second) {
        faults.push(format!("[http] requests_per_second: must be 1 to {REQUESTS_PER_SECOND_MAX}"));
    }
    if !(1..=CONNECTIONS_MAX).contains(&http.connections_per_client) {
        faults.push(format!("[http] connections_per_client: must be 1 to {CONNECTIONS_MAX}"));
    }
}

fn check_sending(sending: &Sending, faults: &mut Vec<String>) -> Option<CheckedSending> {
    let texts = ServiceTexts::new(sending.service_name.trim()).map_err(|error| error.to_string());
    let texts = keep(texts, "[sending] service_name", faults);
    if sending.service_name.trim().is_empty() {
        faults.push("[sending] service_name: is empty".into());
    }
    let country = sending.country.parse::<Country>().map_err(|error| error.to_string());
    let country = keep(country, "[sending] country", faults);
    let zone =
        keep(sending.time_zone.parse::<Zone>().map_err(|e| e.to_string()), "[sending] time_zone", faults);
    let quiet_hours = match sending.quiet_hours.trim() {
        "" => Some(None),
        text => keep(
            text.parse().map(Some).map_err(|e: klaroen_domain::hours::HoursError| e.to_string()),
            "[sending] quiet_hours",
            faults,
        ),
    };
    if !(1..=SEGMENTS_MAX).contains(&sending.max_segments) {
        faults.push(format!("[sending] max_segments: must be 1 to {SEGMENTS_MAX}"));
    }
    if !sending.price_per_segment.is_finite() || sending.price_per_segment < 0.0 {
        faults.push("[sending] price_per_segment: must be 0 or more".into());
    }
    if !(1..=RECEIPT_GRACE_HOURS_MAX).contains(&sending.receipt_grace_hours) {
        faults.push(format!("[sending] receipt_grace_hours: must be 1 to {RECEIPT_GRACE_HOURS_MAX}"));
    }
    Some(CheckedSending {
        texts: texts?,
        country: country?,
        quiet_hours: quiet_hours?,
        zone: zone?,
        max_segments: sending.max_segments,
        price_per_segment: sending.price_per_segment,
        max_alerts_per_day: sending.max_alerts_per_day,
        receipt_grace_hours: sending.receipt_grace_hours,
    })
}

fn check_gateways(gateways: &[GatewayConfig], faults: &mut Vec<String>) {
    if gateways.is_empty() {
        faults.push("[[gateways]]: there is none; type = \"log\" sends nothing, for a start".into());
    }
    let mut names = BTreeSet::new();
    for gateway in gateways {
        let name = gateway.name();
        if !names.insert(name) {
            faults.push(format!("[[gateways]] {name}: two gateways have this name"));
        }
        faults.extend(gateway.validate().iter().map(|fault| format!("[[gateways]] {name}: {fault}")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Source, load};

    fn settings(dir: &Path) -> Settings {
        let mut settings = load(&Source::Nothing, std::iter::empty()).unwrap();
        settings.database.url = format!("sqlite:{}/k.db", dir.display()).into();
        settings.secrets.key_file = dir.join("k.key");
        let table = serde_json::json!({"type": "log", "name": "dry"});
        settings.gateways.push(serde_json::from_value(table).unwrap());
        settings
    }

    #[test]
    fn the_defaults_with_a_key_file_and_a_gateway_are_right() {
        let dir = tempfile::tempdir().unwrap();
        key_file::create(&dir.path().join("k.key")).unwrap();
        let checked = check(settings(dir.path())).unwrap();
        assert_eq!(checked.database.file(), Some(dir.path().join("k.db").as_path()));
        assert!(checked.sending.quiet_hours.is_some());
    }

    #[test]
    fn every_fault_is_told_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let mut bad = settings(dir.path());
        bad.database.url = "postgres://db:port/klaroen".into();
        bad.database.password_file = dir.path().join("none");
        bad.database.connections = 0;
        bad.http.public_url = "klaroen.example.nl".into();
        bad.http.requests_per_second = 0;
        bad.http.connections_per_client = CONNECTIONS_MAX + 1;
        bad.sending.service_name = "a".repeat(60);
        bad.sending.country = "XX".into();
        bad.sending.quiet_hours = "22-7u".into();
        bad.sending.time_zone = "Europe/Utrecht".into();
        bad.sending.max_segments = 0;
        bad.sending.price_per_segment = -1.0;
        bad.sending.receipt_grace_hours = 0;
        bad.logging.level = "loud,,=".into();
        bad.gateways.push(bad.gateways[0].clone());
        let faults = check(bad).unwrap_err().0;
        for key in [
            "[database] url",
            "[database] password_file",
            "[database] connections",
            "[secrets] key_file: there is no key file",
            "[http] public_url",
            "[http] requests_per_second",
            "[http] connections_per_client",
            "[sending] service_name",
            "[sending] country",
            "[sending] quiet_hours",
            "[sending] time_zone",
            "[sending] max_segments",
            "[sending] price_per_segment",
            "[sending] receipt_grace_hours",
            "[logging] level",
            "[[gateways]] dry: two",
        ] {
            assert!(faults.iter().any(|fault| fault.starts_with(key)), "{key} is missing in {faults:#?}");
        }
        assert_eq!(faults.len(), 16, "{faults:#?}");
    }
}
