//! `klaroen secrets init`

use std::process::ExitCode;

use super::CommandResult;
use crate::config::Settings;
use crate::{key_file, output};

/// Writes a new key file and prints its path.
pub fn run(settings: &Settings) -> CommandResult {
    let path = &settings.secrets.key_file;
    key_file::create(path)?;
    output::result(path.display())?;
    output::note(
        "The key file is written. Keep a copy in another place than the database's backup: without it nobody can read the registry.",
    );
    Ok(ExitCode::SUCCESS)
}
