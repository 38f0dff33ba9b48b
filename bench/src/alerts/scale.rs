//! An alert of any size through processes of their own, on PostgreSQL: the dispatcher's memory does not grow with it.

use anyhow::{Context, Result, bail};
use std::time::Duration;

use klaroen_simulator::SmscConfig;
use tokio::time::Instant;

use super::run::{self, BIND_PATIENCE};
use crate::dataset;
use crate::installation::prepared::Prepared;
use crate::installation::{GatewayTable, Role, Subject};
use crate::output;
use crate::processes::smsc::SmscProcess;
use crate::report::figures::Scale;
use crate::timing::{self, millis};

/// The memory that the dispatcher may need at most, 150 MB, in MiB.
pub const DISPATCHER_MIB_MAX: f64 = 150e6 / (1_024.0 * 1_024.0);
/// A million takes three minutes where nothing else is going on.
const LIMIT: Duration = Duration::from_mins(40);
/// Counts are behind by what is in one transaction.
const PATIENCE: Duration = Duration::from_mins(2);

/// Measures one alert for so many, once.
pub async fn run(subject: Subject<'_>, recipients: u32, smsc: &SmscConfig) -> Result<Scale> {
    output::note(format_args!("{}: importing {recipients} people", subject.databases.engine().name()));
    let prepared = Prepared::make(subject, recipients, 0).await?;
    output::note(format_args!("{}: alerting {recipients} people", subject.databases.engine().name()));
    let million = timing::within(LIMIT, "a large alert", once(&prepared, recipients, smsc)).await?;
    prepared.discard().await?;
    Ok(million)
}

async fn once(prepared: &Prepared<'_>, recipients: u32, smsc: &SmscConfig) -> Result<Scale> {
    let database = prepared.original();
    let mut smsc = SmscProcess::start(smsc).await?;
    let gateways = [GatewayTable::at(smsc.address)];
    let mut dispatcher = prepared.installation.start(Role::Dispatcher, database, &gateways).await?;
    let mut worker = prepared.installation.start(Role::Worker, database, &gateways).await?;
    let operator = run::operator(prepared, &dispatcher);
    smsc.wait("the SMPP bind", BIND_PATIENCE, |counters| counters.binds > 0).await?;

    let posted = Instant::now();
    let alert = run::post(&operator, &dataset::incident()).await?;
    let answered_ms = millis(posted.elapsed());
    let wanted = u64::from(recipients);
    let receipts = smsc.wait("the receipts", LIMIT, |c| c.receipts_acknowledged >= wanted);
    let counters = dispatcher.during(worker.during(receipts)).await?;
    let all_delivered_ms = millis(posted.elapsed());
    let (first, last) = counters.submits().context("the SMSC saw no submit")?;
    let (first_submit_ms, last_submit_ms) = (millis(first - posted), millis(last - posted));
    run::delivered(&operator, &alert, wanted, PATIENCE).await?;
    let rings = smsc.counters().await?.rings;
    if rings != wanted {
        bail!("{rings} rings of {wanted}");
    }
    Ok(Scale {
        database: prepared.engine_name(),
        recipients,
        answered_ms,
        first_submit_ms,
        last_submit_ms,
        all_delivered_ms,
        dispatcher_peak_memory_mib: dispatcher.peak_memory_mib(),
        worker_peak_memory_mib: worker.peak_memory_mib(),
    })
}
