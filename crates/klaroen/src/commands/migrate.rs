//! `klaroen migrate`

use std::process::ExitCode;

use super::{CommandResult, open_store};
use crate::config::Settings;
use crate::output;

/// Brings the database up to date, and makes it where there is none.
pub async fn run(settings: &Settings) -> CommandResult {
    open_store(settings).await?.close().await;
    output::result(format_args!("{} is up to date.", settings.database.url))?;
    Ok(ExitCode::SUCCESS)
}
