//! An installation in a directory of its own: own keys, own database, an SMSC on this machine.

use std::net::SocketAddr;
use std::path::Path;

use klaroen_domain::role::Role;
use klaroen_domain::time::{Clock, SystemClock};
use klaroen_store::keys::USUAL_LIFE;
use klaroen_store::{Actor, Store};
use serde_json::json;

use super::api::Api;
use crate::config::{self, Checked, Source};
use crate::failure::Failure;
use crate::key_file;
use crate::logging::{self, LogFormat};

/// The number that participants see and reply to.
pub const SENDER: &str = "1000";
/// The account at the SMSC.
pub const ACCOUNT: (&str, &str) = ("klaroen", "demo");

/// Only what goes wrong: a line of log between two progress bars spoils both. The built-in SMSC hangs up when it is told
/// good-bye, which is nothing to warn of.
pub fn start_quiet_log() -> Result<(), Failure> {
    Ok(logging::start(LogFormat::Text, "warn,klaroen_gateway=error")?)
}

/// Makes a key file in `directory`.
pub fn make_keys(directory: &Path) -> Result<(), Failure> {
    Ok(key_file::create(&directory.join("demo.key"))?)
}

/// The database file in `directory`.
pub fn database(directory: &Path) -> std::path::PathBuf {
    directory.join("demo.db")
}

/// A configuration that reads neither a file nor the environment: it is the same wherever it is used.
pub fn configuration(directory: &Path, smsc: SocketAddr, binds: u16) -> Result<Checked, Failure> {
    let faults = |faults: config::Faults| Failure::new(faults.to_string());
    let mut settings = config::load(&Source::Nothing, std::iter::empty()).map_err(faults)?;
    settings.database.url = format!("sqlite:{}", database(directory).display()).into();
    settings.secrets.key_file = directory.join("demo.key");
    settings.http.listen = ([127, 0, 0, 1], 0).into();
    settings.http.requests_per_second = 1_000;
    settings.sending.service_name = "Burgeralert".into();
    // The town is alerted again and again.
    settings.sending.max_alerts_per_day = 0;
    let (system_id, password) = ACCOUNT;
    let gateway = json!({
        "name": "builtin", "type": "smpp", "host": smsc.ip(), "port": smsc.port(), "system_id": system_id,
        "password": password, "sender": SENDER, "binds": binds, "window": 50,
    });
    settings.gateways.push(serde_json::from_value(gateway)?);
    config::check(settings).map_err(faults)
}

/// The keys of a new organisation: operator and admin.
pub async fn organisation(store: &Store, code: &str, name: &str) -> Result<[String; 2], Failure> {
    let now = SystemClock.now();
    let until = now.plus(USUAL_LIFE);
    let made = store.create_organisation(code, name, now).await?;
    let organisation = made.map_err(|_| Failure::new("the database of the demo is not empty"))?;
    let key = async |role| {
        store.create_key(Some(organisation.id), role, "demo", until, Actor::CommandLine, now).await
    };
    Ok([key(Role::Operator).await?.token, key(Role::Admin).await?.token])
}

/// A client of the server at `address`.
pub fn client(address: SocketAddr, key: &str) -> Result<Api, Failure> {
    Api::new(format!("http://{address}"), key.to_owned())
}
