//! `klaroen audit verify`

use std::process::ExitCode;

use clap::Args;
use klaroen_store::audit::Verified;
use klaroen_store::organisations::Organisation;

use super::{CommandResult, open_store, organisation};
use crate::config::Settings;
use crate::output;

/// The audit logs to verify.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Code of one organisation. Without it the logs of all.
    #[arg(long, value_name = "CODE")]
    pub organisation: Option<String>,
}

/// Recomputes the chains; exit status 1 if one is broken.
pub async fn run(settings: &Settings, args: &VerifyArgs) -> CommandResult {
    let store = open_store(settings).await?;
    let organisations = match &args.organisation {
        Some(code) => vec![organisation(&store, code).await?],
        None => store.organisations().await?,
    };
    let mut whole = true;
    for organisation in &organisations {
        let verified = store.verify_audit(organisation.id).await?;
        whole &= verified.first_wrong.is_none();
        output::result(line(organisation, &verified))?;
    }
    store.close().await;
    Ok(if whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn line(organisation: &Organisation, verified: &Verified) -> String {
    let (code, entries) = (&organisation.code, verified.entries);
    match verified.first_wrong {
        None => format!("{code}: {entries} entries, whole"),
        Some(wrong) => {
            format!("{code}: entry {wrong} was changed or is missing; the {entries} before it are whole")
        }
    }
}
