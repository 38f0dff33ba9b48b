//! `klaroen key create`

use std::process::ExitCode;

use klaroen_domain::time::{Clock, SystemClock};
use klaroen_store::Actor;

use super::{CommandResult, open_store, organisation};
use crate::cli::KeyArgs;
use crate::config::Settings;
use crate::failure::Failure;
use crate::output;

const NAME_LENGTH_MAX: usize = 100;

/// Makes a key and prints it, and nothing else, on standard output.
pub async fn run(settings: &Settings, args: &KeyArgs) -> CommandResult {
    let name = args.name.as_deref().unwrap_or(args.role.as_str()).trim();
    if name.is_empty() || name.chars().count() > NAME_LENGTH_MAX || name.chars().any(char::is_control) {
        return Err(Failure::new("--name has 1 to 100 characters on one line"));
    }
    let store = open_store(settings).await?;
    let organisation = organisation(&store, &args.organisation).await?;
    let now = SystemClock.now();
    let expires_at = args.expires_in.map(|period| now.plus(period));
    let key = store.create_key(organisation.id, args.role, name, expires_at, Actor::CommandLine, now).await?;
    store.close().await;
    output::result(&key.token)?;
    let until = expires_at.map_or_else(|| "until it is revoked".to_owned(), |at| format!("until {at}"));
    output::note(format_args!(
        "Key {} for {} ({}), {until}. It is shown this once.",
        key.key.id, organisation.name, args.role
    ));
    Ok(ExitCode::SUCCESS)
}
