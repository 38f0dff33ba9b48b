//! `klaroen participants import`

use super::CommandResult;
use crate::cli::ImportArgs;
use crate::config::Settings;
use crate::failure::Failure;

pub async fn run(_settings: &Settings, _args: &ImportArgs) -> CommandResult {
    Err(Failure::new("not there yet"))
}
