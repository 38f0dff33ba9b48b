//! `klaroen participants import`

use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use klaroen_dispatcher::{CsvImport, ImportError, ImportReport, Progress, import_csv};
use klaroen_domain::phone::Country;
use klaroen_domain::time::{Clock, SystemClock};
use klaroen_store::Actor;
use serde_json::json;
use tokio::fs::File;
use tokio_util::io::ReaderStream;

use super::{CommandResult, open_store, organisation};
use crate::cli::ImportArgs;
use crate::config::Settings;
use crate::failure::{Because, Failure};
use crate::output;

/// A transaction's worth of rows, more or less.
const CHUNK_BYTES: usize = 64 * 1024;

/// Imports a file, prints the counts, and tells which rows were left out. Exit status 1 where there were any.
pub async fn run(settings: &Settings, args: &ImportArgs) -> CommandResult {
    let country: Country = settings.sending.country.parse().because("configuration: [sending] country")?;
    let file = File::open(&args.file).await.because(args.file.display())?;
    let length = file.metadata().await.because(args.file.display())?.len();
    let store = open_store(settings).await?;
    let organisation = organisation(&store, &args.organisation).await?;
    let import = CsvImport {
        store: &store,
        organisation: organisation.id,
        actor: Actor::CommandLine,
        country,
        dry_run: args.dry_run,
        now: SystemClock.now(),
    };
    let bar = bar(length);
    let chunks = ReaderStream::with_capacity(file, CHUNK_BYTES);
    let imported = import_csv(&import, chunks, |progress| show(&bar, progress)).await;
    bar.finish_and_clear();
    store.close().await;
    let report = imported.map_err(|error| told(error, &args.file))?;
    tell(&report)
}

/// Draws nothing where there is no terminal.
fn bar(length: u64) -> ProgressBar {
    let target = if std::io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let style = ProgressStyle::with_template("  [{bar:40}] {percent:>3} %  {msg}, {eta} left");
    ProgressBar::with_draw_target(Some(length), target)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "))
}

fn show(bar: &ProgressBar, progress: Progress) {
    bar.set_position(progress.bytes);
    #[expect(clippy::cast_precision_loss, reason = "shown in whole rows")]
    let rate = progress.rows as f64 / bar.elapsed().as_secs_f64().max(0.001);
    bar.set_message(format!("{} rows ({rate:.0}/s), {} rejected", progress.rows, progress.rejected));
}

fn told(error: ImportError, file: &Path) -> Failure {
    if let ImportError::Header(faults) = &error {
        for fault in faults {
            output::note(format_args!("{}: {}", fault.pointer, fault.detail));
        }
    }
    let failure = Failure::from(error);
    Failure::new(format!("{}: {failure}", file.display()))
}

fn tell(report: &ImportReport) -> CommandResult {
    for error in &report.errors {
        let column = if error.column.is_empty() {
            "row".to_owned()
        } else {
            format!("{} {:?}", error.column, error.value)
        };
        output::note(format_args!("line {}: {column}: {}", error.row, error.reason));
    }
    output::result(json!({
        "rows": report.rows,
        "created": report.created,
        "updated": report.updated,
        "unchanged": report.unchanged,
        "rejected": report.rejected,
    }))?;
    Ok(if report.rejected == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
