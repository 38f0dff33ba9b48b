//! One alert through three gateways of equal priority and weight: one good, one that takes seconds to answer, and one that
//! never answers; beside the good one alone.

use anyhow::{Context, Result, bail};
use std::time::Duration;

use klaroen_simulator::{Faults, SmscConfig};
use tokio::time::{Instant, sleep};

use super::run::{self, BIND_PATIENCE};
use crate::dataset;
use crate::installation::prepared::Prepared;
use crate::installation::{GatewayTable, Role, Subject};
use crate::output;
use crate::processes::smsc::SmscProcess;
use crate::report::figures::{DegradedAlert, DegradedRun};
use crate::timing::{self, millis};

const SLOW_MS: u64 = 2_000;
const LIMIT: Duration = Duration::from_mins(10);
const PATIENCE: Duration = Duration::from_mins(5);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Measures an alert with the good gateway alone and with all three.
pub async fn run(
    subject: Subject<'_>,
    recipients: u32,
    runs: u32,
    smsc: &SmscConfig,
) -> Result<Vec<DegradedRun>> {
    let prepared = Prepared::make(subject, recipients, 0).await?;
    let slow = Faults { response_delay_ms: (SLOW_MS, SLOW_MS), ..Faults::default() };
    let stuck = Faults { lost_response: 1.0, no_receipt: 1.0, ..Faults::default() };
    let with = |faults: Faults| SmscConfig { faults, ..smsc.clone() };
    let good = [("good", smsc.clone())];
    let all = [("good", smsc.clone()), ("slow", with(slow)), ("stuck", with(stuck))];
    let mut done = Vec::new();
    for number in 1..=runs {
        let alone = timing::within(LIMIT, "an alert", once(&prepared, recipients, &good)).await?;
        let beside = once(&prepared, recipients, &all);
        let beside = timing::within(LIMIT, "an alert with gateways in trouble", beside).await?;
        output::note(format_args!(
            "{}, {recipients} recipients: run {number} of {runs}, alone {:.0} ms, beside two in trouble {:.0} ms",
            prepared.engine_name(),
            alone.sent_ms,
            beside.sent_ms,
        ));
        done.push(DegradedRun { alone, beside });
    }
    prepared.discard().await?;
    Ok(done)
}

/// The first of `centres` is the good one; where there are more, the last is the one that never answers.
async fn once(
    prepared: &Prepared<'_>,
    recipients: u32,
    centres: &[(&'static str, SmscConfig)],
) -> Result<DegradedAlert> {
    let database = prepared.copy().await?;
    let (mut smscs, mut gateways) = (Vec::new(), Vec::new());
    for (name, config) in centres {
        let smsc = SmscProcess::start(config).await?;
        gateways.push(GatewayTable { name, ..GatewayTable::at(smsc.address) });
        smscs.push(smsc);
    }
    let mut serving = prepared.installation.start(Role::Serve, &database, &gateways).await?;
    let operator = run::operator(prepared, &serving);
    for smsc in &mut smscs {
        smsc.wait("the SMPP binds", BIND_PATIENCE, |counters| counters.binds > 0).await?;
    }
    let posted = Instant::now();
    let alert = run::post(&operator, &dataset::incident()).await?;
    let sent_ms = serving.during(all_sent(&mut smscs, recipients, posted)).await?;

    // The one that never answers keeps what it has; everything else arrives.
    let stuck = if smscs.len() > 1 { submits(&mut smscs).await?.pop().unwrap_or_default() } else { 0 };
    run::delivered(&operator, &alert, u64::from(recipients) - stuck, PATIENCE).await?;
    let delivered_ms = millis(posted.elapsed());
    let submits = submits(&mut smscs).await?;
    let sum: u64 = submits.iter().sum();
    if sum != u64::from(recipients) {
        bail!("{sum} submits for {recipients} recipients: {submits:?}");
    }
    let by_others = submits.iter().skip(1).sum();
    Ok(DegradedAlert { sent_ms, delivered_ms, by_others, peak_memory_mib: serving.peak_memory_mib() })
}

async fn submits(smscs: &mut [SmscProcess]) -> Result<Vec<u64>> {
    let mut submits = Vec::new();
    for smsc in smscs {
        submits.push(smsc.counters().await?.submits);
    }
    Ok(submits)
}

/// Waits until the good one has sent all but what the others have, and tells when its last submit came.
async fn all_sent(smscs: &mut [SmscProcess], recipients: u32, posted: Instant) -> Result<f64> {
    loop {
        let by_all = submits(smscs).await?;
        if by_all.iter().sum::<u64>() >= u64::from(recipients) {
            let good = smscs.first_mut().context("no SMSC")?;
            let (_, last) = good.counters().await?.submits().context("the good one saw no submit")?;
            return Ok(millis(last - posted));
        }
        if posted.elapsed() > PATIENCE {
            bail!("{by_all:?} of {recipients} were submitted");
        }
        sleep(LOOK_EVERY).await;
    }
}
