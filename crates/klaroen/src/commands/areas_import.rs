//! `klaroen areas import`

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use klaroen_dispatcher::problem::FieldError;
use klaroen_dispatcher::{AreasError, read_areas};
use klaroen_domain::time::{Clock, SystemClock};
use klaroen_store::Actor;
use serde_json::json;
use tokio::io::AsyncReadExt;

use super::{CommandResult, open_store, organisation, progress};
use crate::config::Settings;
use crate::failure::{Because, Failure};
use crate::output;

/// The file to import and its organisation.
#[derive(Debug, Args)]
pub struct AreasArgs {
    /// Code of the organisation.
    #[arg(long, value_name = "CODE")]
    pub organisation: String,
    /// The GeoJSON file.
    pub file: PathBuf,
}

/// Creates or replaces the areas of a file, prints how many, and tells which were left out. Exit status 1 if there were any.
pub async fn run(settings: &Settings, args: &AreasArgs) -> CommandResult {
    let file = args.file.display();
    let mut source = tokio::fs::File::open(&args.file).await.because(&file)?;
    let bar = progress::bar(source.metadata().await.because(&file)?.len(), "{msg}");
    bar.set_message("reading");
    let mut text = Vec::new();
    while source.read_buf(&mut text).await.because(&file)? > 0 {
        bar.set_position(text.len() as u64);
    }
    bar.set_message("checking");
    let now = SystemClock.now();
    let read = read_areas(&text, now).map_err(|error| match error {
        AreasError::Json(error) => Failure::new(format!("{file} is not JSON: {error}")),
        AreasError::Document(faults) => {
            tell(&faults);
            Failure::new(format!("nothing was imported: {file} has the faults above"))
        }
    })?;
    drop(text);
    tell(&read.errors);
    let store = open_store(settings).await?;
    let organisation = organisation(&store, &args.organisation).await?;
    bar.set_message(format!("writing {} areas", read.areas.len()));
    let created = store.put_areas(organisation.id, &read.areas, Actor::CommandLine, now).await?;
    bar.finish_and_clear();
    store.close().await;
    let (areas, rejected) = (read.areas.len() as u64, read.rejected);
    output::result(json!({
        "areas": areas,
        "created": created,
        "updated": areas.saturating_sub(created),
        "rejected": rejected,
    }))?;
    Ok(if rejected == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn tell(faults: &[FieldError]) {
    for fault in faults {
        output::note(format_args!("{}: {}", fault.pointer, fault.detail));
    }
}
