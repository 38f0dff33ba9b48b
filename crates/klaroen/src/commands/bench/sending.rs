//! Alerts from the `POST` to the last receipt, for several numbers of recipients.

use std::time::Duration;

use super::database::Databases;
use super::figures::{Round, Sending, median};
use super::installation::Installation;
use super::{round, town};
use crate::failure::{Because, Failure};
use crate::output;

/// Of one run; the slowest takes a minute.
const LIMIT: Duration = Duration::from_mins(15);

/// Measures one number of recipients.
pub async fn run(databases: &Databases<'_>, recipients: u32, runs: u32) -> Result<Sending, Failure> {
    let database = databases.engine().name();
    let directory = tempfile::tempdir().because("cannot make a temporary directory")?;
    let csv = directory.path().join("town.csv");
    town::write_csv(&csv, recipients)?;
    let empty = databases.fresh("town").await?;
    let installation = Installation::make(&empty).await?;
    let imported = installation.import(&csv).await?;
    if imported.created != u64::from(recipients) {
        return Err(Failure::new(format!("{} of {recipients} rows were imported", imported.created)));
    }
    databases.settle(&empty).await?;
    let mut sending = Sending { database, recipients, rounds: Vec::new() };
    for number in 1..=runs {
        let round = round::run(databases, &installation, &empty, recipients);
        sending.rounds.push(round::within(LIMIT, "an alert", round).await?);
        output::note(format_args!(
            "{database}, {recipients} recipients: run {number} of {runs}, {:.0} SMS/s",
            median(sending.rounds.iter().map(Round::rate)).unwrap_or_default()
        ));
    }
    databases.discard(empty).await?;
    Ok(sending)
}
