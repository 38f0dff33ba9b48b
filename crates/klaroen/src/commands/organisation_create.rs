//! `klaroen organisation create`

use std::process::ExitCode;

use clap::Args;
use klaroen_domain::time::{Clock, SystemClock};

use super::{CommandResult, open_store};
use crate::config::Settings;
use crate::failure::Failure;
use crate::output;

const CODE_LENGTH_MAX: usize = 63;
const NAME_LENGTH_MAX: usize = 200;

/// The organisation to make.
#[derive(Debug, Args)]
pub struct OrganisationArgs {
    /// Short name for the command line: lower-case letters, digits and hyphens.
    pub code: String,
    /// Full name.
    #[arg(long)]
    pub name: String,
}

/// Makes an organisation and prints its id.
pub async fn run(settings: &Settings, args: &OrganisationArgs) -> CommandResult {
    let name = args.name.trim();
    if !is_code(&args.code) {
        return Err(Failure::new(
            "the code is made of lower-case letters, digits and hyphens, 63 at most: utrecht",
        ));
    }
    if name.is_empty() || name.chars().count() > NAME_LENGTH_MAX || name.chars().any(char::is_control) {
        return Err(Failure::new("--name has 1 to 200 characters on one line"));
    }
    let store = open_store(settings).await?;
    let created = store.create_organisation(&args.code, name, SystemClock.now()).await?;
    store.close().await;
    let organisation =
        created.map_err(|_| Failure::new(format!("there is an organisation {} already", args.code)))?;
    output::result(organisation.id)?;
    Ok(ExitCode::SUCCESS)
}

fn is_code(code: &str) -> bool {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=CODE_LENGTH_MAX).contains(&code.len()) && code.bytes().all(word) && !code.starts_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_a_short_word() {
        assert!(is_code("utrecht") && is_code("politie-midden-1"));
        assert!(
            !is_code("")
                && !is_code("Utrecht")
                && !is_code("-x")
                && !is_code("a b")
                && !is_code(&"a".repeat(64))
        );
    }
}
