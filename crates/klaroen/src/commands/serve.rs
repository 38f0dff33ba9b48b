//! `klaroen serve`, and its halves: `klaroen dispatcher` and `klaroen worker`

use std::process::ExitCode;
use std::time::Duration;

use super::CommandResult;
use super::signals::Signals;
use crate::config::{Settings, check};
use crate::failure::Failure;
use crate::service::{Parts, Service};

/// A proxy that asks `/readyz` each second has seen the answer by then.
const NOTICE: Duration = Duration::from_secs(2);

/// Serves until a signal; the second one ends the process at once.
pub async fn run(settings: Settings, parts: Parts) -> CommandResult {
    // Before anything starts: a signal that comes early must not be lost.
    let mut signals = Signals::listen()?;
    let checked = check(settings).map_err(|faults| Failure::new(faults.to_string()))?;
    let mut service = Service::start_parts(checked, parts).await?;
    tracing::info!(address = %service.address(), version = env!("CARGO_PKG_VERSION"), "serving");

    let failure = tokio::select! {
        failure = service.failed() => {
            tracing::error!(%failure, "stopping");
            Some(failure)
        }
        signal = signals.next() => {
            tracing::info!(signal, "ending: finishing what is under way; another signal ends at once");
            None
        }
    };
    let end = async {
        if failure.is_none() {
            service.announce_end();
            // No proxy sends anything to a worker, and others wait for its channels.
            if parts != Parts::Worker {
                tokio::time::sleep(NOTICE).await;
            }
        }
        service.stop().await
    };
    tokio::select! {
        stopped = end => stopped?,
        signal = signals.next() => {
            tracing::warn!(signal, "ended at once; what was under way is settled at the next start");
            return Ok(ExitCode::FAILURE);
        }
    }
    tracing::info!("ended");
    match failure {
        Some(failure) => Err(failure),
        None => Ok(ExitCode::SUCCESS),
    }
}
