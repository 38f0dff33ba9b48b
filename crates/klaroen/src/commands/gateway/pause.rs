//! `klaroen gateway pause`

use std::process::ExitCode;

use clap::Args;
use klaroen_domain::time::{Clock, SystemClock};
use klaroen_store::Actor;

use super::{announce, check_name};
use crate::commands::{CommandResult, open_store};
use crate::config::Settings;
use crate::failure::Failure;
use crate::output;

/// As in the API.
const REASON_LENGTH_MAX: usize = 200;

/// The gateway to take out of use.
#[derive(Debug, Args)]
pub struct PauseArgs {
    /// Its name in the configuration.
    pub name: String,
    /// Why: operators of every organisation see it.
    #[arg(long)]
    pub reason: Option<String>,
}

/// Takes a gateway out of use.
pub async fn run(settings: &Settings, args: &PauseArgs) -> CommandResult {
    check_name(settings, &args.name)?;
    let reason = args.reason.as_deref().map(str::trim);
    if reason.is_some_and(|r| {
        r.is_empty() || r.chars().count() > REASON_LENGTH_MAX || r.chars().any(char::is_control)
    }) {
        return Err(Failure::new("--reason has 1 to 200 characters on one line"));
    }
    let store = open_store(settings).await?;
    let paused = store.pause_gateway(Actor::CommandLine, &args.name, reason, SystemClock.now()).await?;
    announce(&store).await;
    store.close().await;
    let already = if paused { "" } else { " already" };
    output::note(format_args!(
        "Gateway {name} is out of use{already}, for every organisation, until: klaroen gateway resume {name}",
        name = args.name
    ));
    Ok(ExitCode::SUCCESS)
}
