//! The figures of this machine, next to the peers that one would use otherwise, in one run: `make bench`.
//!
//! Klaroen is measured as an administrator runs it, by its own program in processes of their own; the peers and the
//! simulated SMSC are processes, too.

mod alerts;
mod dataset;
mod gateway_peers;
mod import;
mod installation;
mod machine;
mod matching_peers;
mod output;
mod plan;
mod processes;
mod report;
mod suite;
mod timing;

use std::process::ExitCode;

use anyhow::{Context, Result, anyhow};
use clap::Parser;
use tracing_subscriber::EnvFilter;

use crate::plan::BenchArgs;
use crate::processes::smsc;

/// Logs the failures, and nothing of the libraries that would print numbers, texts or statements. The simulated SMSC hangs up
/// when it is told good-bye, which is nothing to warn of.
const LOG: &str = "warn,klaroen_gateway=error,rusmpp=off,sqlx=warn,sqlx_postgres::options=off";

#[tokio::main]
async fn main() -> ExitCode {
    run(&BenchArgs::parse()).await.unwrap_or_else(|error| {
        output::note(format_args!("klaroen-bench: {error:#}"));
        ExitCode::FAILURE
    })
}

/// Measures and prints tables. Whatever way it ends, the servers that it started end first.
async fn run(args: &BenchArgs) -> Result<ExitCode> {
    if args.as_smsc {
        return smsc::run_child().await;
    }
    let filter = EnvFilter::builder().parse(LOG).context("log levels")?;
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let plan = args.plan();
    let mut interrupted = std::pin::pin!(interrupted()?);
    tokio::select! {
        done = suite::measure(&plan) => done,
        () = &mut interrupted => Err(anyhow!("interrupted")),
    }
}

/// Ends at the first SIGTERM or SIGINT from now on.
#[cfg(unix)]
fn interrupted() -> Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let listen = |kind| signal(kind).context("cannot listen for signals");
    let (mut terminate, mut interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Ends at the first Ctrl-C from now on.
#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "elsewhere it can fail")]
fn interrupted() -> Result<impl Future<Output = ()>> {
    Ok(async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
    })
}
