//! Alerts from the `POST` to the last receipt.

use anyhow::Result;
use std::time::Duration;

use klaroen_simulator::SmscConfig;

use super::run;
use crate::installation::Subject;
use crate::installation::prepared::Prepared;
use crate::report::figures::AlertRun;
use crate::{output, timing};

/// Of one run; the slowest takes a minute.
const LIMIT: Duration = Duration::from_mins(15);

/// Measures one number of recipients.
pub async fn run(
    subject: Subject<'_>,
    recipients: u32,
    runs: u32,
    smsc: &SmscConfig,
) -> Result<Vec<AlertRun>> {
    let prepared = Prepared::make(subject, recipients, 0).await?;
    let mut done = Vec::new();
    for number in 1..=runs {
        let run = run::run(&prepared, smsc, recipients);
        let run = timing::within(LIMIT, "an alert", run).await?;
        output::note(format_args!(
            "{}, {recipients} recipients: run {number} of {runs}, {:.0} SMS/s",
            prepared.engine_name(),
            run.rate()
        ));
        done.push(run);
    }
    prepared.discard().await?;
    Ok(done)
}
