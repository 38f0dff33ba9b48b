//! `klaroen participants import`

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use futures::{Stream, StreamExt, stream};
use indicatif::ProgressBar;
use klaroen_dispatcher::{Broken, Contention, CsvImport, ImportError, ImportReport, Progress, import_csv};
use klaroen_domain::hours::Zone;
use klaroen_domain::phone::Country;
use klaroen_domain::time::{Clock, SystemClock};
use klaroen_store::Actor;
use serde_json::json;
use tokio::fs::File;
use tokio_util::io::ReaderStream;
use tokio_util::sync::CancellationToken;

use super::signals::Signals;
use super::{CommandResult, open_store, organisation, progress};
use crate::config::{CheckedDatabase, Settings};
use crate::failure::{Because, Failure};
use crate::output;
use crate::service::lock::DatabaseLock;

/// Some hundreds of rows.
const CHUNK_BYTES: usize = 64 * 1024;

/// The file to import and its organisation.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// Code of the organisation.
    #[arg(long, value_name = "CODE")]
    pub organisation: String,
    /// Tell what would be done and write nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// The CSV file.
    pub file: PathBuf,
}

/// Imports a file, prints the counts, and tells which rows were left out. Exit status 1 if there were any; 128 and the number
/// of the signal that ended it, as a shell has it.
pub async fn run(settings: &Settings, args: &ImportArgs) -> CommandResult {
    let country: Country = settings.sending.country.parse().because("configuration: [sending] country")?;
    let zone: Zone = settings.sending.time_zone.parse().because("configuration: [sending] time_zone")?;
    let database =
        CheckedDatabase::of(&settings.database).map_err(|faults| Failure::new(faults.join("; ")))?;
    if let Some(path) = database.file().filter(|path| args.dry_run && !path.exists()) {
        let path = path.display();
        return Err(Failure::new(format!("there is no database {path}, and a dry run makes none")));
    }
    let file = File::open(&args.file).await.because(args.file.display())?;
    let length = file.metadata().await.because(args.file.display())?.len();
    let store = open_store(settings).await?;
    let organisation = organisation(&store, &args.organisation).await?;
    let contention = match database.file() {
        Some(file) => Contention::SameFile { file: file.to_owned(), is_served: DatabaseLock::is_held },
        None => Contention::SameQueue,
    };
    let import = CsvImport {
        store: &store,
        organisation: organisation.id,
        actor: Actor::CommandLine,
        country,
        zone,
        dry_run: args.dry_run,
        contention,
        now: SystemClock.now(),
    };
    let mut signals = Signals::listen()?;
    let stop = CancellationToken::new();
    let bar = progress::bar(length, "{msg}, {eta} left");
    let chunks = until(&stop, ReaderStream::with_capacity(file, CHUNK_BYTES));
    let mut work = std::pin::pin!(import_csv(&import, chunks, |progress| show(&bar, progress)));
    let (imported, signal) = tokio::select! {
        imported = &mut work => (imported, None),
        signal = signals.next() => {
            bar.suspend(|| output::note("ending: finishing what is under way; another signal ends at once"));
            stop.cancel();
            tokio::select! {
                imported = &mut work => (imported, Some(signal)),
                signal = signals.next() => return Ok(ended_by(signal)),
            }
        }
    };
    bar.finish_and_clear();
    store.close().await;
    match imported {
        Ok(report) => {
            tell(&report)?;
            Ok(if report.rejected == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Err(broken) => told(*broken, &args.file, signal),
    }
}

/// As a shell tells of a program that a signal ended.
fn ended_by(signal: &str) -> ExitCode {
    ExitCode::from(if signal == "SIGTERM" { 128 + 15 } else { 128 + 2 })
}

/// Breaks off when it is told to: an import at the end of the file has read all of it.
fn until<T: Send>(
    stop: &CancellationToken,
    chunks: impl Stream<Item = io::Result<T>> + Send,
) -> impl Stream<Item = io::Result<T>> + Send {
    let stopped = stop.clone();
    let end = stream::once(async move { stopped.is_cancelled() })
        .filter_map(async |is_stopped| is_stopped.then(|| Err(io::ErrorKind::Interrupted.into())));
    chunks.take_until(stop.clone().cancelled_owned()).chain(end)
}

fn show(bar: &ProgressBar, progress: Progress) {
    bar.set_position(progress.bytes);
    #[expect(clippy::cast_precision_loss, reason = "shown in whole rows")]
    let rate = progress.rows as f64 / bar.elapsed().as_secs_f64().max(0.001);
    bar.set_message(format!("{} rows ({rate:.0}/s), {} rejected", progress.rows, progress.rejected));
}

/// Tells what was done before it ended, and why it did.
fn told(Broken { error, report }: Broken, file: &Path, signal: Option<&str>) -> CommandResult {
    if let ImportError::Header(faults) = &error {
        for fault in faults {
            output::note(format_args!("{}: {}", fault.pointer, fault.detail));
        }
    }
    let again = if report.rows > 0 {
        tell(&report)?;
        "; what was done until then is told above; run it again: rows that are there already are left alone"
    } else {
        ""
    };
    if let Some(signal) = signal {
        output::note(format_args!("ended by {signal}{again}"));
        return Ok(ended_by(signal));
    }
    Err(Failure::new(format!("{}: {}{again}", file.display(), Failure::from(error))))
}

fn tell(report: &ImportReport) -> Result<(), Failure> {
    for error in &report.errors {
        let column = if error.column.is_empty() {
            "row".to_owned()
        } else {
            format!("{} {:?}", error.column, error.value)
        };
        let further = match error.further {
            0 => String::new(),
            further => format!(" (and in {further} further rows)"),
        };
        output::note(format_args!("line {}: {column}: {}{further}", error.row, error.reason));
    }
    output::result(json!({
        "rows": report.rows,
        "created": report.created,
        "updated": report.updated,
        "unchanged": report.unchanged,
        "rejected": report.rejected,
    }))
}
