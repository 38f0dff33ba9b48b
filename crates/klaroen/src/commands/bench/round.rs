//! One alert, on a fresh copy of the registry: from the `POST` to the last receipt.

use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep};

use super::database::{Database, Databases};
use super::figures::Round;
use super::installation::{Installation, Serving};
use super::smsc::SmscProcess;
use super::town;
use crate::api::Api;
use crate::failure::{Because, Failure};

const BIND_PATIENCE: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_mins(10);
const LOOK_EVERY: Duration = Duration::from_millis(10);
const PREVIEW_SAMPLES: u32 = 5;

/// Runs one alert for everybody in `town`, a database that `installation` made.
pub async fn run(
    databases: &Databases<'_>,
    installation: &Installation,
    town: &Database,
    recipients: u32,
) -> Result<Round, Failure> {
    let database = databases.copy(town, "run").await?;
    let measured = measure(databases, installation, &database, recipients).await;
    databases.discard(database).await?;
    measured
}

async fn measure(
    databases: &Databases<'_>,
    installation: &Installation,
    database: &Database,
    recipients: u32,
) -> Result<Round, Failure> {
    let mut smsc = SmscProcess::start().await?;
    let serving = installation.serve(database, smsc.address).await?;
    let operator = Api::new(format!("http://{}", serving.address), installation.operator_key.clone())?;
    smsc.wait("the SMPP bind", BIND_PATIENCE, |counters| counters.binds > 0).await?;
    let preview_ms = preview(&operator).await?;

    let database_cpu = || databases.server().and_then(super::postgres_server::PostgresServer::cpu_seconds);
    let before = (serving.cpu_seconds(), database_cpu(), smsc.cpu_seconds());
    let posted = Instant::now();
    let answer = operator.post("/v1/incidents", &town::incident()).await?;
    let answered_ms = millis(posted.elapsed());
    let alert = answer["alerts"][0]["id"].as_str().unwrap_or_default();

    // Every receipt is acknowledged after its commit: the last acknowledgement is the end.
    let wanted = u64::from(recipients);
    let counters = smsc.wait("the receipts", PATIENCE, |c| c.receipts_acknowledged >= wanted).await?;
    let done = Instant::now();
    let (first, last) = counters.submits().ok_or_else(|| Failure::new("the SMSC saw no submit"))?;
    check(&operator, alert, wanted, counters.rings).await?;
    let used = |before: Option<f64>, after: Option<f64>| Some(after? - before?);
    Ok(Round {
        preview_ms,
        answered_ms,
        first_submit_ms: millis(first - posted),
        last_submit_ms: millis(last - posted),
        all_delivered_ms: millis(done - posted),
        sms_per_second: f64::from(recipients) / (done - first).as_secs_f64(),
        klaroen_cpu_seconds: used(before.0, serving.cpu_seconds()),
        database_cpu_seconds: used(before.1, database_cpu()),
        smsc_cpu_seconds: used(before.2, smsc.cpu_seconds()),
        peak_memory_mib: Serving::peak_memory_mib(&serving),
    })
}

/// The first request warms the connection and the cache.
async fn preview(operator: &Api) -> Result<f64, Failure> {
    operator.post("/v1/alerts/preview", &town::alert()).await?;
    let began = Instant::now();
    for _ in 0..PREVIEW_SAMPLES {
        operator.post("/v1/alerts/preview", &town::alert()).await?;
    }
    Ok(millis(began.elapsed() / PREVIEW_SAMPLES))
}

/// Each rang once, and the alert says so. Counts of an alert may be a moment behind the last receipt.
async fn check(operator: &Api, alert: &str, wanted: u64, rings: u64) -> Result<(), Failure> {
    let began = Instant::now();
    loop {
        let view = operator.get(&format!("/v1/alerts/{alert}")).await?;
        let counts = json!(view["messages"][0]["counts"]);
        if counts["delivered"].as_u64() == Some(wanted) && rings == wanted {
            return Ok(());
        }
        if began.elapsed() > BIND_PATIENCE {
            return Err(Failure::new(format!("{rings} rings of {wanted}, and: {counts}")));
        }
        sleep(LOOK_EVERY).await;
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

/// The figures of a part that takes too long are no figures.
pub async fn within<T>(
    limit: Duration,
    what: &str,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    tokio::time::timeout(limit, work).await.because(format_args!("{what}, after {} s", limit.as_secs()))?
}
