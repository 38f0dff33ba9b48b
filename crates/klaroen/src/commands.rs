//! One file or folder per command, and what several of them do.

pub mod areas_import;
pub mod audit_verify;
pub mod check_config;
pub mod gateway;
pub mod key;
pub mod migrate;
pub mod organisation_create;
pub mod participants_import;
mod progress;
pub mod secrets_init;
pub mod serve;
pub mod signals;
pub mod simulate;

use std::process::ExitCode;

use klaroen_store::Store;
use klaroen_store::organisations::Organisation;

use crate::config::{self, Settings, Source};
use crate::failure::{Because, Failure};
use crate::logging;

/// How a command ended: done (0), done with something to look at (1), or not done.
pub type CommandResult = Result<ExitCode, Failure>;

/// Reads the configuration and starts logging as it says.
pub fn settings(source: &Source) -> Result<Settings, Failure> {
    let settings =
        config::load(source, config::variables()).map_err(|faults| Failure::new(faults.to_string()))?;
    logging::start(settings.logging.format, &settings.logging.level)
        .map_err(|error| Failure::new(format!("configuration: [logging] level: {error}")))?;
    Ok(settings)
}

/// Opens the database and brings it up to date.
async fn open_store(settings: &Settings) -> Result<Store, Failure> {
    let checked = config::check::check_database(settings);
    let (database, keys) = checked.map_err(|faults| Failure::new(faults.to_string()))?;
    database.make_private().because(&database)?;
    Store::open(&database.options(keys)).await.because(&database)
}

/// The organisation with this code.
async fn organisation(store: &Store, code: &str) -> Result<Organisation, Failure> {
    store.organisation_by_code(code).await?.ok_or_else(|| {
        Failure::new(format!(
            "there is no organisation {code}; make it with: klaroen organisation create {code} --name \"…\""
        ))
    })
}
