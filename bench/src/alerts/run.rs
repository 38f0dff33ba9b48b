//! One alert, on a fresh copy of the registry: from the `POST` to the last receipt.

use anyhow::{Context, Result, bail};
use std::time::Duration;

use klaroen_simulator::SmscConfig;
use klaroen_testkit::api::Api;
use tokio::time::{Instant, sleep};

use crate::dataset;
use crate::installation::prepared::Prepared;
use crate::installation::{GatewayTable, Role, Serving};
use crate::processes::smsc::SmscProcess;
use crate::report::figures::AlertRun;
use crate::timing::millis;

pub const BIND_PATIENCE: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_mins(10);
/// No request takes longer.
const REQUEST_PATIENCE: Duration = Duration::from_mins(5);
const LOOK_EVERY: Duration = Duration::from_millis(10);
const PREVIEW_SAMPLES: u32 = 5;

/// Runs one alert for all people in the town.
pub async fn run(prepared: &Prepared<'_>, smsc: &SmscConfig, recipients: u32) -> Result<AlertRun> {
    let database = prepared.copy().await?;
    let mut smsc = SmscProcess::start(smsc).await?;
    let gateways = [GatewayTable::at(smsc.address)];
    let mut serving = prepared.installation.start(Role::Serve, &database, &gateways).await?;
    let operator = operator(prepared, &serving);
    smsc.wait("the SMPP bind", BIND_PATIENCE, |counters| counters.binds > 0).await?;
    let preview_ms = preview(&operator).await?;

    let before = (serving.cpu_seconds(), prepared.database_cpu_seconds(), smsc.cpu_seconds());
    let posted = Instant::now();
    let alert = post(&operator, &dataset::incident()).await?;
    let answered_ms = millis(posted.elapsed());

    // Every receipt is acknowledged after its commit: the last acknowledgement is the end.
    let wanted = u64::from(recipients);
    let receipts = smsc.wait("the receipts", PATIENCE, |c| c.receipts_acknowledged >= wanted);
    let counters = serving.during(receipts).await?;
    let done = Instant::now();
    let (first, last) = counters.submits().context("the SMSC saw no submit")?;
    delivered(&operator, &alert, wanted, BIND_PATIENCE).await?;
    let rings = smsc.counters().await?.rings;
    if rings != wanted {
        bail!("{rings} rings of {wanted}");
    }
    let used = |before: Option<f64>, after: Option<f64>| Some(after? - before?);
    Ok(AlertRun {
        preview_ms,
        answered_ms,
        first_submit_ms: millis(first - posted),
        last_submit_ms: millis(last - posted),
        all_delivered_ms: millis(done - posted),
        sms_per_second: f64::from(recipients) / (done - first).as_secs_f64(),
        klaroen_cpu_seconds: used(before.0, serving.cpu_seconds()),
        database_cpu_seconds: used(before.1, prepared.database_cpu_seconds()),
        smsc_cpu_seconds: used(before.2, smsc.cpu_seconds()),
        peak_memory_mib: serving.peak_memory_mib(),
    })
}

/// A client of a server.
pub fn operator(prepared: &Prepared<'_>, serving: &Serving) -> Api {
    let key = prepared.installation.operator_key.clone();
    Api::new(format!("http://{}", serving.address), key, REQUEST_PATIENCE)
}

/// Reports an incident; returns its alert.
pub async fn post(operator: &Api, incident: &serde_json::Value) -> Result<String> {
    let answer = operator.post("/v1/incidents", incident).await?;
    let alert = answer["alerts"][0]["id"].as_str();
    alert.map(str::to_owned).context("the incident has no alert")
}

/// The first request warms the connection and the cache.
async fn preview(operator: &Api) -> Result<f64> {
    operator.post("/v1/alerts/preview", &dataset::alert()).await?;
    let began = Instant::now();
    for _ in 0..PREVIEW_SAMPLES {
        operator.post("/v1/alerts/preview", &dataset::alert()).await?;
    }
    Ok(millis(began.elapsed() / PREVIEW_SAMPLES))
}

/// Waits until the alert counts so many as delivered. Counts may be a moment behind the last receipt.
pub async fn delivered(operator: &Api, alert: &str, wanted: u64, patience: Duration) -> Result<()> {
    let began = Instant::now();
    loop {
        let view = operator.get(&format!("/v1/alerts/{alert}")).await?;
        let counts = &view["messages"][0]["counts"];
        if counts["delivered"].as_u64() == Some(wanted) {
            return Ok(());
        }
        if began.elapsed() > patience {
            bail!("{wanted} should be delivered, and there are {counts}");
        }
        sleep(LOOK_EVERY).await;
    }
}
