//! A small alert beside a large one of the same priority, through a gateway whose contract allows no more than so much.

use std::time::Duration;

use klaroen_simulator::SmscConfig;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::database::Databases;
use super::figures::BesideRun;
use super::installation::{GatewayTable, Role};
use super::prepared::Prepared;
use super::round::{self, BIND_PATIENCE, millis};
use super::smsc::SmscProcess;
use super::town;
use crate::api::Api;
use crate::failure::Failure;
use crate::output;

pub const SEGMENTS_PER_SECOND: u32 = 500;
/// Who the small alert is for.
pub const SMALL: u32 = 200;
/// Of the large one, before the small one is posted: it is under way, and most of it waits.
const UNDER_WAY: u64 = 250;
const LIMIT: Duration = Duration::from_mins(5);
const PATIENCE: Duration = Duration::from_mins(1);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Measures a small alert alone and beside one for `large` recipients, which is cancelled then.
pub async fn run(
    databases: &Databases<'_>,
    large: u32,
    runs: u32,
    smsc: &SmscConfig,
) -> Result<Vec<BesideRun>, Failure> {
    let prepared = Prepared::make(databases, large, SMALL).await?;
    let mut done = Vec::new();
    for number in 1..=runs {
        let run = round::within(LIMIT, "an alert beside another", once(&prepared, large, smsc)).await?;
        let name = prepared.engine_name();
        let BesideRun { alone_ms, beside_ms } = run;
        output::note(format_args!(
            "{name}, {SMALL} recipients: run {number} of {runs}, alone {alone_ms:.0} ms, beside {large} {beside_ms:.0} ms"
        ));
        done.push(run);
    }
    prepared.discard().await?;
    Ok(done)
}

async fn once(prepared: &Prepared<'_>, large: u32, smsc: &SmscConfig) -> Result<BesideRun, Failure> {
    let database = prepared.copy().await?;
    let mut smsc = SmscProcess::start(smsc).await?;
    let gateway = GatewayTable { segments_per_second: SEGMENTS_PER_SECOND, ..GatewayTable::at(smsc.address) };
    let serving = prepared.installation.start(Role::Serve, &database, &[gateway]).await?;
    let operator = round::operator(prepared, &serving)?;
    smsc.wait("the SMPP bind", BIND_PATIENCE, |counters| counters.binds > 0).await?;

    let small = u64::from(SMALL);
    let alone = small_alert(&operator, &mut smsc, large, 1).await?;
    round::delivered(&operator, &alone.alert, small, PATIENCE).await?;

    let alert = round::post(&operator, &town::incident()).await?;
    smsc.wait("the large alert", PATIENCE, |counters| counters.submits >= small + UNDER_WAY).await?;
    let beside = small_alert(&operator, &mut smsc, large, 2).await?;
    if smsc.counters().await?.submits >= u64::from(large) + 2 * small {
        return Err(Failure::new("the large alert was over before the small one"));
    }
    operator.post(&format!("/v1/alerts/{alert}/cancel"), &json!({})).await?;
    round::delivered(&operator, &beside.alert, small, PATIENCE).await?;
    nothing_twice(&operator, &mut smsc, &alert, large).await?;
    Ok(BesideRun { alone_ms: alone.last_submit_ms, beside_ms: beside.last_submit_ms })
}

struct Small {
    alert: String,
    last_submit_ms: f64,
}

/// Posts one, and waits for its last submit: the phones of the hamlet, which come after those of the town, ring at once, each
/// for the `nth` time.
async fn small_alert(
    operator: &Api,
    smsc: &mut SmscProcess,
    town: u32,
    nth: usize,
) -> Result<Small, Failure> {
    let posted = Instant::now();
    let alert = round::post(operator, &town::hamlet_incident()).await?;
    loop {
        let rang = smsc.rang(town, SMALL, nth).await?;
        if let (SMALL, Some(latest)) = (rang.numbers, rang.latest()) {
            return Ok(Small { alert, last_submit_ms: millis(latest - posted) });
        }
        if posted.elapsed() > PATIENCE {
            return Err(Failure::new(format!("{} of {SMALL} rang", rang.numbers)));
        }
        sleep(LOOK_EVERY).await;
    }
}

/// What was cancelled comes to an end, and no phone rang twice for it, nor one of the hamlet for a third time.
async fn nothing_twice(
    operator: &Api,
    smsc: &mut SmscProcess,
    alert: &str,
    town: u32,
) -> Result<(), Failure> {
    let began = Instant::now();
    loop {
        let view = operator.get(&format!("/v1/alerts/{alert}")).await?;
        let counts = &view["messages"][0]["counts"];
        if ["queued", "sending"].iter().all(|state| counts[state].as_u64() == Some(0)) {
            break;
        }
        if began.elapsed() > PATIENCE {
            return Err(Failure::new(format!("what was cancelled does not end: {counts}")));
        }
        sleep(LOOK_EVERY).await;
    }
    let twice = smsc.rang(0, town, 2).await?.numbers + smsc.rang(town, SMALL, 3).await?.numbers;
    if twice > 0 {
        return Err(Failure::new(format!("{twice} phones rang once more than they should")));
    }
    Ok(())
}
