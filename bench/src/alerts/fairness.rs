//! A small alert next to a large one of the same priority, through a gateway whose contract allows no more than so much.

use anyhow::{Result, bail};
use std::time::Duration;

use klaroen_simulator::SmscConfig;
use klaroen_testkit::api::Api;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::run::{self, BIND_PATIENCE};
use crate::dataset;
use crate::installation::prepared::Prepared;
use crate::installation::{GatewayTable, Role, Subject};
use crate::output;
use crate::processes::smsc::SmscProcess;
use crate::report::figures::FairnessRun;
use crate::timing::{self, millis};

pub const SEGMENTS_PER_SECOND: u32 = 500;
/// Who the small alert is for.
pub const SMALL: u32 = 200;
/// Of the large one, before the small one is posted: it is under way, and most of it waits.
const UNDER_WAY: u64 = 250;
const LIMIT: Duration = Duration::from_mins(5);
const PATIENCE: Duration = Duration::from_mins(1);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Measures a small alert alone and next to one for `large` recipients, which is cancelled then.
pub async fn run(subject: Subject<'_>, large: u32, runs: u32, smsc: &SmscConfig) -> Result<Vec<FairnessRun>> {
    let prepared = Prepared::make(subject, large, SMALL).await?;
    let mut done = Vec::new();
    for number in 1..=runs {
        let run = timing::within(LIMIT, "an alert beside another", once(&prepared, large, smsc)).await?;
        let name = prepared.engine_name();
        let FairnessRun { alone_ms, beside_ms } = run;
        output::note(format_args!(
            "{name}, {SMALL} recipients: run {number} of {runs}, alone {alone_ms:.0} ms, beside {large} {beside_ms:.0} ms"
        ));
        done.push(run);
    }
    prepared.discard().await?;
    Ok(done)
}

async fn once(prepared: &Prepared<'_>, large: u32, smsc: &SmscConfig) -> Result<FairnessRun> {
    let database = prepared.copy().await?;
    let mut smsc = SmscProcess::start(smsc).await?;
    let gateway = GatewayTable { segments_per_second: SEGMENTS_PER_SECOND, ..GatewayTable::at(smsc.address) };
    let serving = prepared.installation.start(Role::Serve, &database, &[gateway]).await?;
    let operator = run::operator(prepared, &serving);
    smsc.wait("the SMPP bind", BIND_PATIENCE, |counters| counters.binds > 0).await?;

    let small = u64::from(SMALL);
    let alone = small_alert(&operator, &mut smsc, large, 1).await?;
    run::delivered(&operator, &alone.alert, small, PATIENCE).await?;

    let alert = run::post(&operator, &dataset::incident()).await?;
    smsc.wait("the large alert", PATIENCE, |counters| counters.submits >= small + UNDER_WAY).await?;
    let beside = small_alert(&operator, &mut smsc, large, 2).await?;
    if smsc.counters().await?.submits >= u64::from(large) + 2 * small {
        bail!("the large alert was over before the small one");
    }
    operator.post(&format!("/v1/alerts/{alert}/cancel"), &json!({})).await?;
    run::delivered(&operator, &beside.alert, small, PATIENCE).await?;
    nothing_twice(&operator, &mut smsc, &alert, large).await?;
    Ok(FairnessRun { alone_ms: alone.last_submit_ms, beside_ms: beside.last_submit_ms })
}

struct Small {
    alert: String,
    last_submit_ms: f64,
}

/// Posts one, and waits for its last submit: the phones of the hamlet, which come after those of the town, ring at once, each
/// for the `nth` time.
async fn small_alert(operator: &Api, smsc: &mut SmscProcess, town: u32, nth: usize) -> Result<Small> {
    let posted = Instant::now();
    let alert = run::post(operator, &dataset::hamlet_incident()).await?;
    loop {
        let rang = smsc.rang(town, SMALL, nth).await?;
        if let (SMALL, Some(latest)) = (rang.numbers, rang.latest()) {
            return Ok(Small { alert, last_submit_ms: millis(latest - posted) });
        }
        if posted.elapsed() > PATIENCE {
            bail!("{} of {SMALL} rang", rang.numbers);
        }
        sleep(LOOK_EVERY).await;
    }
}

/// A cancelled alert comes to an end, and no phone rang twice for it, nor one of the hamlet for a third time.
async fn nothing_twice(operator: &Api, smsc: &mut SmscProcess, alert: &str, town: u32) -> Result<()> {
    let began = Instant::now();
    loop {
        let view = operator.get(&format!("/v1/alerts/{alert}")).await?;
        let counts = &view["messages"][0]["counts"];
        if ["queued", "sending"].iter().all(|state| counts[state].as_u64() == Some(0)) {
            break;
        }
        if began.elapsed() > PATIENCE {
            bail!("what was cancelled does not end: {counts}");
        }
        sleep(LOOK_EVERY).await;
    }
    let twice = smsc.rang(0, town, 2).await?.numbers + smsc.rang(town, SMALL, 3).await?.numbers;
    if twice > 0 {
        bail!("{twice} phones rang once more than they should");
    }
    Ok(())
}
