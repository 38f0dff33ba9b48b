//! `klaroen demo`: a whole alert on this machine, checked against the SMSC's own count.

mod api;
mod checks;
mod city;
pub mod installation;
mod progress;
mod stage;
mod tell;
mod temporary_directory;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use klaroen_simulator::Smsc;
use serde_json::{Value, json};
use tokio::time::sleep;

use self::checks::Evidence;
use self::progress::{Progress, Standing};
use self::stage::Stage;
use crate::commands::CommandResult;
use crate::commands::signals::Signals;
use crate::failure::Failure;
use crate::output;

/// How the demo runs.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// End after the summary; the exit status is 0 only if every check held.
    #[arg(long)]
    once: bool,
    /// How many people live in the town.
    #[arg(long, value_name = "NUMBER", default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(100..=100_000))]
    participants: u32,
    /// Another number makes another town.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

const START_TEXT: &str = "Burgeralert Klarendam: vermist jongetje, 6 jaar, blauwe jas, rode rugzak. Laatst gezien: Havenkwartier. \
                          Gezien? Antwoord op dit bericht. Gevaar: bel 112.";
const END_TEXT: &str =
    "Burgeralert Klarendam: het jongetje is veilig teruggevonden. Dank voor het uitkijken.";

/// Answers of some people; the last people of the list opt out.
const SIGHTINGS: [&str; 4] = [
    "Net gezien bij de speeltuin, loopt richting de kade",
    "Jongetje met rode rugzak bij bakkerij aan de haven",
    "Hier niet gezien, ik kijk uit",
    "Hij zit bij ons in de winkel, wij houden hem hier",
];
const OPT_OUTS: [&str; 2] = ["STOP", "Stop."];

/// Receipts come within 3 s; a busy machine may need longer, a broken run must end.
const PATIENCE: Duration = Duration::from_mins(1);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Runs the demo.
pub async fn run(args: &DemoArgs) -> CommandResult {
    let mut signals = Signals::listen()?;
    installation::start_quiet_log()?;
    let stage = tokio::select! {
        stage = Stage::set(args.participants, args.seed, stage::fair_provider(args.seed)) => stage?,
        _ = signals.next() => return Ok(ExitCode::FAILURE),
    };
    let played = tokio::select! {
        played = play(&stage) => played,
        _ = signals.next() => Err(Failure::new("interrupted")),
    };
    let held = match played {
        Ok(held) => held,
        Err(failure) => {
            stage.strike().await?;
            return Err(failure);
        }
    };
    if !args.once {
        tell::how_to_do_it_yourself(&stage)?;
        signals.next().await;
    }
    stage.strike().await?;
    Ok(if held { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// One alert from the incident to the end message; whether every check held.
async fn play(stage: &Stage) -> Result<bool, Failure> {
    let posted = Instant::now();
    let incident = stage.operator.post("/v1/incidents", &incident()).await?;
    let answered = posted.elapsed();
    let alert = incident["alerts"][0]["id"].as_str().map(|id| format!("/v1/alerts/{id}"));
    let alert = alert.ok_or_else(|| Failure::new("the incident was answered without its alert"))?;
    let recipients = incident["alerts"][0]["messages"][0]["recipients"].as_u64().unwrap_or_default();
    output::note(format_args!(
        "An incident in {}: {recipients} people are asked to look out (answered in {} ms).",
        city::ALERTED.1,
        answered.as_millis()
    ));

    watch(stage, &alert, 0, recipients).await?;
    let opted_out = answer_back(stage, &alert).await?;

    output::note("The boy is found: the end message goes to those who were reached.");
    stage.operator.post(&format!("{alert}/end"), &json!({"text": END_TEXT, "outcome": "found"})).await?;
    watch(stage, &alert, 1, recipients).await?;
    let view = stage.operator.get(&alert).await?;

    let started = checks::rings(&stage.smsc, START_TEXT);
    let ended = checks::rings(&stage.smsc, END_TEXT);
    let checks = checks::all(&Evidence {
        alerted: &stage.alerted,
        started: &started,
        ended: &ended,
        opted_out: &opted_out,
        start: Standing::of(&view["messages"][0]),
        end: Standing::of(&view["messages"][1]),
    });
    tell::summary(&view, opted_out.len(), &checks)?;
    Ok(checks.iter().all(|check| check.fault.is_none()))
}

fn incident() -> Value {
    json!({
        "category": "missing_person",
        "description": "Vermist jongetje van 6 jaar",
        "subject": {"kind": "person", "text": "Blauwe jas, rode rugzak, kort blond haar"},
        "location": city::incident_location(),
        "alert": {"area": {"areas": [city::ALERTED.0]}, "text": START_TEXT, "priority": "life_threatening"},
    })
}

/// Shows the message number `index` of the alert until everything has left and every receipt is in.
async fn watch(stage: &Stage, alert: &str, index: usize, recipients: u64) -> Result<(), Failure> {
    let mut progress = Progress::new(recipients);
    let began = Instant::now();
    let mut quiet = Standing::default();
    loop {
        let view = stage.operator.get(alert).await?;
        let standing = Standing::of(&view["messages"][index]);
        progress.show(standing);
        // The follow-up is written page by page: its recipients grow. Two looks that are alike while the SMSC has
        // nothing left to say are the end of it.
        let settled =
            standing.recipients > 0 && standing.all_left() && standing == quiet && smsc_is_done(&stage.smsc);
        if settled || began.elapsed() > PATIENCE {
            progress.finish(standing);
            return Ok(());
        }
        quiet = standing;
        sleep(LOOK_EVERY).await;
    }
}

fn smsc_is_done(smsc: &Smsc) -> bool {
    let stats = smsc.stats();
    stats.pending == 0 && stats.deliveries_acknowledged == stats.deliveries_sent
}

/// Some people answer, some opt out; returns the numbers of the people who opt out.
async fn answer_back(stage: &Stage, alert: &str) -> Result<Vec<String>, Failure> {
    let mut reached: Vec<String> = checks::rings(&stage.smsc, START_TEXT).into_keys().collect();
    reached.sort();
    let mut opted_out = Vec::new();
    for (number, text) in reached.iter().zip(SIGHTINGS.iter().chain(&OPT_OUTS)) {
        stage.smsc.send_inbound(number, installation::SENDER, text).await?;
        if OPT_OUTS.contains(text) {
            opted_out.push(number.clone());
        }
    }
    // An answer to the SMSC means that it is stored; the list shows it from then on.
    let replies = stage.operator.list(&format!("{alert}/replies")).await?;
    tell::replies(&replies, opted_out.len());
    wait_for_confirmations(&stage.smsc, &opted_out).await;
    Ok(opted_out)
}

/// A person who opts out gets one confirmation; the end message comes after it.
async fn wait_for_confirmations(smsc: &Smsc, opted_out: &[String]) {
    let began = Instant::now();
    while opted_out.iter().any(|number| smsc.rings_of(number).len() < 2) && began.elapsed() < PATIENCE {
        sleep(LOOK_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn the_demo_holds_what_it_promises() {
        let mut provider = stage::fair_provider(7);
        // As unfair as it was, and quicker.
        provider.faults.response_delay_ms = (0, 5);
        provider.faults.receipt_delay_ms = (10, 100);
        let stage = Stage::set(400, 7, provider).await.unwrap();
        assert!(play(&stage).await.unwrap());
        stage.strike().await.unwrap();
    }
}
