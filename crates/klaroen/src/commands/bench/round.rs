//! One alert of a bench, on a fresh copy of the registry.

use std::time::Duration;

use klaroen_simulator::Smsc;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::figures::Round;
use super::town::{self, Town};
use crate::api::Api;
use crate::failure::{Because, Failure};
use crate::scratch;
use crate::service::Service;

/// Small beside what is measured, and rare enough not to be it.
const LOOK_EVERY: Duration = Duration::from_millis(10);
const PATIENCE: Duration = Duration::from_mins(10);

/// Runs one alert from the `POST` to the last receipt.
pub async fn run(town: &Town) -> Result<Round, Failure> {
    let directory = tempfile::tempdir().because("cannot make a temporary directory")?;
    town.copy_to(directory.path())?;
    let smsc = Smsc::start(town::smsc_config()).await?;
    let service = Service::start(scratch::configuration(directory.path(), smsc.addr(), 1)?).await?;
    let operator = scratch::client(service.address(), &town.operator_key)?;
    let measured = measure(town, &smsc, &operator).await;
    service.stop().await?;
    smsc.shutdown().await;
    measured
}

async fn measure(town: &Town, smsc: &Smsc, operator: &Api) -> Result<Round, Failure> {
    let recipients = u64::from(town.recipients);
    wait(|| smsc.stats().binds > 0, "the SMPP bind").await?;
    // The first request warms the connection and the cache; the second is measured.
    operator.post("/v1/alerts/preview", &town::alert()).await?;
    let began = Instant::now();
    operator.post("/v1/alerts/preview", &town::alert()).await?;
    let preview_ms = millis(began.elapsed());

    let incident = json!({
        "category": "burglary",
        "description": "Bench",
        "location": town::alert()["area"]["circle"]["center"],
        "alert": town::alert(),
    });
    let posted = Instant::now();
    let answer = operator.post("/v1/incidents", &incident).await?;
    let answered_ms = millis(posted.elapsed());
    let alert = answer["alerts"][0]["id"].as_str().unwrap_or_default().to_owned();

    // Every receipt is acknowledged after its commit: the last acknowledgement is the end.
    wait(|| smsc.stats().deliveries_acknowledged >= recipients, "the receipts").await?;
    let done = Instant::now();
    let stats = smsc.stats();
    let view = operator.get(&format!("/v1/alerts/{alert}")).await?;
    let delivered = view["messages"][0]["counts"]["delivered"].as_u64();
    if delivered != Some(recipients) || smsc.total_rings() != recipients {
        return Err(Failure::new(format!("a perfect SMSC, and yet: {}", view["messages"][0]["counts"])));
    }
    let (Some(first), Some(last)) = (stats.first_submit, stats.last_submit) else {
        return Err(Failure::new("the SMSC saw no submit"));
    };
    Ok(Round {
        preview_ms,
        answered_ms,
        first_submit_ms: millis(first - posted),
        last_submit_ms: millis(last - posted),
        all_delivered_ms: millis(done - posted),
        sms_per_second: f64::from(town.recipients) / (done - first).as_secs_f64(),
    })
}

async fn wait(done: impl Fn() -> bool, what: &str) -> Result<(), Failure> {
    let began = Instant::now();
    while !done() {
        if began.elapsed() > PATIENCE {
            return Err(Failure::new(format!("waited {} s for {what}", PATIENCE.as_secs())));
        }
        sleep(LOOK_EVERY).await;
    }
    Ok(())
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}
