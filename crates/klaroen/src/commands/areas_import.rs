//! `klaroen areas import`

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use klaroen_dispatcher::problem::FieldError;
use klaroen_dispatcher::{AreasError, read_areas};
use klaroen_domain::phone::Country;
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
    /// The GeoJSON file: a `Feature` or a `FeatureCollection` in UTF-8, in WGS84 or ETRS89 (degrees, longitude first) or, if its
    /// `crs` names EPSG:28992 or EPSG:7415, in RD New. Each feature has a code and a name among its properties: `code` and
    /// `name`, or as statistics offices call them (`buurtcode` and `buurtnaam`, `wijkcode`, `gemeentecode`, `statcode`, `BU_CODE`,
    /// ... in any case); without a code its `id` counts. All of it lies in `[sending] country` or at most 50 km outside it.
    pub file: PathBuf,
}

/// Creates or replaces the areas of a file, prints how many, and tells which were left out. Exit status 1 if there were any.
pub async fn run(settings: &Settings, args: &AreasArgs) -> CommandResult {
    let country: Country = settings.sending.country.parse().because("configuration: [sending] country")?;
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
    let read = read_areas(&text, country, now).map_err(|error| match error {
        AreasError::Json(error) => Failure::new(format!("{file} is not JSON: {error}")),
        AreasError::Document(faults) => {
            tell(&faults);
            Failure::new(format!("nothing was imported: {file} has the faults above"))
        }
    })?;
    drop(text);
    tell(&read.errors);
    tell(&read.mended);
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
        "mended": read.mended.len(),
        "rejected": rejected,
    }))?;
    Ok(if rejected == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn tell(faults: &[FieldError]) {
    for fault in faults {
        output::note(format_args!("{}: {}", fault.pointer, fault.detail));
    }
}
