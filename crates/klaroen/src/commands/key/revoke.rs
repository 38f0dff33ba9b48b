//! `klaroen key revoke`

use std::process::ExitCode;

use clap::Args;
use klaroen_domain::id::KeyId;
use klaroen_domain::time::{Clock, SystemClock};
use klaroen_store::Actor;

use crate::commands::{CommandResult, open_store};
use crate::config::Settings;
use crate::failure::Failure;
use crate::output;

/// The key to revoke.
#[derive(Debug, Args)]
pub struct RevokeArgs {
    /// Its id, as `klaroen key list` prints it. Not the key itself, which would stay in the history of the shell.
    pub id: KeyId,
}

/// Revokes a key, of whichever organisation it is. A key that was revoked before keeps its time.
pub async fn run(settings: &Settings, args: &RevokeArgs) -> CommandResult {
    let store = open_store(settings).await?;
    let unknown = || Failure::new(format!("there is no key {}; list them with: klaroen key list", args.id));
    let key = store.key(args.id).await?.ok_or_else(unknown)?;
    store.revoke_key(key.organisation, key.id, Actor::CommandLine, SystemClock.now()).await?;
    store.close().await;
    match key.revoked_at {
        None => output::note(format_args!("Key {} ({}, {}) works no more.", key.id, key.role, key.name)),
        Some(at) => output::note(format_args!("Key {} was revoked on {at} already.", key.id)),
    }
    Ok(ExitCode::SUCCESS)
}
