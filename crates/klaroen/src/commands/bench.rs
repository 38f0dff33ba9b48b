//! `klaroen bench`: what this machine does, beside the bare SMPP client as the ceiling.

mod bare_smpp;
mod figures;
mod round;
mod town;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use self::figures::{Figures, median};
use self::town::Town;
use super::CommandResult;
use super::serve::signals::Signals;
use crate::failure::{Because, Failure};
use crate::{output, scratch};

/// What is measured.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// Recipients of one alert; several numbers are measured one after the other.
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',', default_value = "10000,100000",
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    recipients: Vec<u32>,
    /// Runs of each; the medians are shown.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,
    /// Write all figures of all runs to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Measures and prints a table.
pub async fn run(args: &BenchArgs) -> CommandResult {
    let mut signals = Signals::listen()?;
    tokio::select! {
        done = measure(args) => done,
        _ = signals.next() => Err(Failure::new("interrupted")),
    }
}

async fn measure(args: &BenchArgs) -> CommandResult {
    scratch::start_quiet_log()?;
    if cfg!(debug_assertions) {
        output::note("This is a debug build: the figures say little. Use `make bench`.");
    }
    let cores = std::thread::available_parallelism().because("cannot count the cores")?;
    let mut sizes = Vec::new();
    for recipients in &args.recipients {
        sizes.push(measure_size(*recipients, args.runs).await?);
    }
    output::result(format_args!(
        "Klaroen {}, {cores} cores, one SMPP connection with a window of 50 (receipts: {}), SQLite; medians of {} runs.\n",
        env!("CARGO_PKG_VERSION"),
        town::RECEIPT_WINDOW,
        args.runs
    ))?;
    output::result(figures::table(&sizes))?;
    if let Some(path) = &args.json {
        let text =
            json!({"version": env!("CARGO_PKG_VERSION"), "cores": cores.get(), "sizes": sizes}).to_string();
        std::fs::write(path, text + "\n").because(path.display())?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn measure_size(recipients: u32, runs: u32) -> Result<Figures, Failure> {
    output::note(format_args!("{recipients} recipients: enrolling"));
    let town = Town::enrol(recipients).await?;
    let mut figures = Figures::new(recipients, town.import_rows_per_second);
    for run in 1..=runs {
        figures.rounds.push(round::run(&town).await?);
        figures.bare_sms_per_second.push(bare_smpp::run(recipients).await?);
        output::note(format_args!(
            "{recipients} recipients: run {run} of {runs}, {:.0} SMS/s (bare client {:.0})",
            median(&figures.rounds, |round| round.sms_per_second),
            median(&figures.bare_sms_per_second, |bare| *bare),
        ));
    }
    Ok(figures)
}
