//! Klaroen's program: one file per command.

mod api;
mod auto_reply_texts;
mod cli;
mod commands;
mod config;
mod failure;
mod key_file;
mod lock;
mod logging;
mod output;
mod scratch;
mod service;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::Cli;

fn main() -> ExitCode {
    let cli = Cli::parse();
    logging::tell_panics_without_their_text();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output::note(format_args!("klaroen: cannot start threads: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let ended = runtime.block_on(commands::run(cli));
    // What still runs here lost its chance to end well (a second Ctrl-C): it is not waited for.
    runtime.shutdown_background();
    ended.unwrap_or_else(|failure| {
        output::note(format_args!("klaroen: {failure}"));
        ExitCode::FAILURE
    })
}
