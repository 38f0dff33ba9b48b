//! `klaroen migrate`

use std::process::ExitCode;

use super::{CommandResult, open_store};
use crate::config::{CheckedDatabase, Settings};
use crate::failure::Failure;
use crate::output;

/// Brings the database up to date, and makes it if there is none.
pub async fn run(settings: &Settings) -> CommandResult {
    open_store(settings).await?.close().await;
    let database = CheckedDatabase::of(&settings.database).map_err(|faults| Failure::new(faults.concat()))?;
    output::result(format_args!("{database} is up to date."))?;
    Ok(ExitCode::SUCCESS)
}
