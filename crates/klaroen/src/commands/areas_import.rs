//! `klaroen areas import`

use super::CommandResult;
use crate::cli::AreasArgs;
use crate::config::Settings;
use crate::failure::Failure;

pub async fn run(_settings: &Settings, _args: &AreasArgs) -> CommandResult {
    Err(Failure::new("not there yet"))
}
