//! `klaroen gateway resume`

use std::process::ExitCode;

use clap::Args;
use klaroen_domain::time::{Clock, SystemClock};
use klaroen_store::Actor;

use super::announce;
use crate::commands::{CommandResult, open_store};
use crate::config::Settings;
use crate::output;

/// The gateway to put back into use.
#[derive(Debug, Args)]
pub struct ResumeArgs {
    /// Its name in the configuration.
    pub name: String,
}

/// Puts a gateway back into use. One that the configuration has lost may be, too: the order would hold for its successor.
pub async fn run(settings: &Settings, args: &ResumeArgs) -> CommandResult {
    let store = open_store(settings).await?;
    let resumed = store.resume_gateway(Actor::CommandLine, &args.name, SystemClock.now()).await?;
    if !resumed {
        super::check_name(settings, &args.name)?;
    }
    announce(&store).await;
    store.close().await;
    let was = if resumed { "is in use again" } else { "was not out of use" };
    output::note(format_args!("Gateway {} {was}.", args.name));
    Ok(ExitCode::SUCCESS)
}
