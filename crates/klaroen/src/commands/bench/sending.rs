//! Alerts from the `POST` to the last receipt.

use std::time::Duration;

use klaroen_simulator::SmscConfig;

use super::database::Databases;
use super::figures::Round;
use super::prepared::Prepared;
use super::round;
use crate::failure::Failure;
use crate::output;

/// Of one run; the slowest takes a minute.
const LIMIT: Duration = Duration::from_mins(15);

/// Measures one number of recipients.
pub async fn run(
    databases: &Databases<'_>,
    recipients: u32,
    runs: u32,
    smsc: &SmscConfig,
) -> Result<Vec<Round>, Failure> {
    let prepared = Prepared::make(databases, recipients, 0).await?;
    let mut rounds = Vec::new();
    for number in 1..=runs {
        let round = round::run(&prepared, smsc, recipients);
        let round = round::within(LIMIT, "an alert", round).await?;
        output::note(format_args!(
            "{}, {recipients} recipients: run {number} of {runs}, {:.0} SMS/s",
            prepared.engine_name(),
            round.rate()
        ));
        rounds.push(round);
    }
    prepared.discard().await?;
    Ok(rounds)
}
