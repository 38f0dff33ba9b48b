//! The sections of the configuration, as they are written. `config/default.toml` explains every key.

use std::net::SocketAddr;
use std::path::PathBuf;

use secrecy::SecretString;
use serde::Deserialize;

use crate::logging::LogFormat;

/// `[database]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Database {
    /// May hold a password.
    pub url: SecretString,
    pub password_file: PathBuf,
    pub connections: u32,
}

/// `[worker]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Worker {
    pub listen: SocketAddr,
}

/// `[http]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    pub listen: SocketAddr,
    pub public_url: String,
    pub requests_per_second: u32,
    pub connections_per_client: u32,
}

/// `[secrets]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Secrets {
    pub key_file: PathBuf,
}

/// `[sending]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sending {
    pub service_name: String,
    pub country: String,
    pub quiet_hours: String,
    pub time_zone: String,
    pub max_segments: u8,
    pub price_per_segment: f64,
    pub max_alerts_per_day: u32,
    pub receipt_grace_hours: u32,
}

/// `[logging]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Logging {
    pub format: LogFormat,
    pub level: String,
}
