//! The first alert after an import, and the one after it: on a PostgreSQL as it comes, and on one that was tuned.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use klaroen_simulator::SmscConfig;
use klaroen_testkit::api::Api;
use tokio::time::Instant;

use super::run::{self, BIND_PATIENCE};
use crate::dataset;
use crate::installation::database::Databases;
use crate::installation::prepared::Prepared;
use crate::installation::{GatewayTable, Role, Serving, Subject};
use crate::output;
use crate::processes::postgres_server::{PostgresServer, Settings};
use crate::processes::smsc::SmscProcess;
use crate::report::figures::{FirstAlertRun, TwoAlerts};
use crate::timing::{self, millis};

pub const RECIPIENTS: u32 = 10_000;
/// Of one registry and its two alerts.
const LIMIT: Duration = Duration::from_mins(10);
const PATIENCE: Duration = Duration::from_mins(4);

/// Measures both servers in turns, so that what else the machine does falls on both. `tuned` is the server of the other parts.
pub async fn run(
    program: &Path,
    tuned: &PostgresServer,
    runs: u32,
    smsc: &SmscConfig,
) -> Result<Vec<FirstAlertRun>> {
    let as_it_comes = PostgresServer::start(Settings::AsItComes).await?;
    let mut done = Vec::new();
    for number in 1..=runs {
        let what = "the first two alerts";
        let as_it_comes = timing::within(LIMIT, what, once(program, &as_it_comes, smsc)).await?;
        let tuned = timing::within(LIMIT, what, once(program, tuned, smsc)).await?;
        output::note(format_args!(
            "PostgreSQL, the first alert for {RECIPIENTS}: run {number} of {runs}, as it comes {:.0} ms, tuned {:.0} ms",
            as_it_comes.first_ms, tuned.first_ms
        ));
        done.push(FirstAlertRun { as_it_comes, tuned });
    }
    Ok(done)
}

/// The registry is new in a new database, in which nothing was ever counted, and nobody has looked at it yet.
async fn once(program: &Path, server: &PostgresServer, smsc: &SmscConfig) -> Result<TwoAlerts> {
    let databases = Databases::Postgres(server);
    let subject = Subject { program, databases: &databases };
    let prepared = Prepared::imported(subject, RECIPIENTS, 0).await?;
    let mut smsc = SmscProcess::start(smsc).await?;
    let gateways = [GatewayTable::at(smsc.address)];
    let mut serving = prepared.installation.start(Role::Serve, prepared.original(), &gateways).await?;
    let operator = run::operator(&prepared, &serving);
    smsc.wait("the SMPP bind", BIND_PATIENCE, |counters| counters.binds > 0).await?;
    let first_ms = alert(&operator, &mut serving, &mut smsc, 1).await?;
    let second_ms = alert(&operator, &mut serving, &mut smsc, 2).await?;
    drop(serving);
    prepared.discard().await?;
    Ok(TwoAlerts { first_ms, second_ms })
}

/// The `nth` alert for all people, until its last receipt is stored; returns the time from the `POST` to the last submit.
async fn alert(operator: &Api, serving: &mut Serving, smsc: &mut SmscProcess, nth: u64) -> Result<f64> {
    let posted = Instant::now();
    let alert = run::post(operator, &dataset::incident()).await?;
    let wanted = nth * u64::from(RECIPIENTS);
    let receipts = smsc.wait("the receipts", PATIENCE, |c| c.receipts_acknowledged >= wanted);
    let counters = serving.during(receipts).await?;
    let (_, last) = counters.submits().context("the SMSC saw no submit")?;
    run::delivered(operator, &alert, u64::from(RECIPIENTS), BIND_PATIENCE).await?;
    let rings = smsc.counters().await?.rings;
    if rings != wanted {
        bail!("{rings} rings of {wanted}");
    }
    Ok(millis(last - posted))
}
