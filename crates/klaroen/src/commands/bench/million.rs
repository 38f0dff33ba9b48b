//! An alert of any size through processes of their own, on PostgreSQL: the dispatcher's memory does not grow with it.

use std::time::Duration;

use klaroen_simulator::SmscConfig;
use tokio::time::Instant;

use super::database::Databases;
use super::figures::Million;
use super::installation::{GatewayTable, Role};
use super::prepared::Prepared;
use super::round::{self, BIND_PATIENCE, millis};
use super::smsc::SmscProcess;
use super::town;
use crate::failure::Failure;
use crate::output;

/// What the dispatcher may need at most, 150 MB, in MiB.
pub const DISPATCHER_MIB_MAX: f64 = 150e6 / (1_024.0 * 1_024.0);
/// A million takes three minutes where nothing else is going on.
const LIMIT: Duration = Duration::from_mins(40);
/// Counts are behind by what is in one transaction.
const PATIENCE: Duration = Duration::from_mins(2);

/// Measures one alert for so many, once.
pub async fn run(databases: &Databases<'_>, recipients: u32, smsc: &SmscConfig) -> Result<Million, Failure> {
    output::note(format_args!("{}: importing {recipients} people", databases.engine().name()));
    let prepared = Prepared::make(databases, recipients, 0).await?;
    output::note(format_args!("{}: alerting {recipients} people", databases.engine().name()));
    let million = round::within(LIMIT, "a large alert", once(&prepared, recipients, smsc)).await?;
    prepared.discard().await?;
    Ok(million)
}

async fn once(prepared: &Prepared<'_>, recipients: u32, smsc: &SmscConfig) -> Result<Million, Failure> {
    let database = prepared.original();
    let mut smsc = SmscProcess::start(smsc).await?;
    let gateways = [GatewayTable::at(smsc.address)];
    let mut dispatcher = prepared.installation.start(Role::Dispatcher, database, &gateways).await?;
    let mut worker = prepared.installation.start(Role::Worker, database, &gateways).await?;
    let operator = round::operator(prepared, &dispatcher)?;
    smsc.wait("the SMPP bind", BIND_PATIENCE, |counters| counters.binds > 0).await?;

    let posted = Instant::now();
    let alert = round::post(&operator, &town::incident()).await?;
    let answered_ms = millis(posted.elapsed());
    let wanted = u64::from(recipients);
    let receipts = smsc.wait("the receipts", LIMIT, |c| c.receipts_acknowledged >= wanted);
    let counters = dispatcher.during(worker.during(receipts)).await?;
    let all_delivered_ms = millis(posted.elapsed());
    let (first, last) = counters.submits().ok_or_else(|| Failure::new("the SMSC saw no submit"))?;
    let (first_submit_ms, last_submit_ms) = (millis(first - posted), millis(last - posted));
    round::delivered(&operator, &alert, wanted, PATIENCE).await?;
    let rings = smsc.counters().await?.rings;
    if rings != wanted {
        return Err(Failure::new(format!("{rings} rings of {wanted}")));
    }
    Ok(Million {
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
