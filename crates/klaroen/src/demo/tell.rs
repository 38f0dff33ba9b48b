//! The words of the demo: the replies, the summary, and how to do it yourself.

use klaroen_domain::time::Timestamp;
use serde_json::Value;

use super::checks::Check;
use super::progress::Standing;
use super::{city, stage::Stage};
use crate::failure::Failure;
use crate::output;

/// The replies as an operator sees them: numbers masked.
pub fn replies(replies: &[Value], opted_out: usize) {
    output::note("Replies come in:");
    for reply in replies {
        let text = |member: &str| reply[member].as_str().unwrap_or_default().to_owned();
        output::note(format_args!("  {}  {}", text("phone"), text("text")));
    }
    output::note(format_args!(
        "  and {opted_out} people sent STOP; each gets one confirmation, and nothing after it."
    ));
}

/// The figures and the checks, on standard output.
pub fn summary(view: &Value, opted_out: usize, checks: &[Check]) -> Result<(), Failure> {
    let [start, end] = [0, 1].map(|index| Standing::of(&view["messages"][index]));
    let posted = time(&view["created_at"]);
    let after = |member: &str| match (posted, time(&view["messages"][0][member])) {
        (Some(posted), Some(at)) => format!("{} ms", at.since(posted).as_millis()),
        _ => "?".into(),
    };
    output::result("")?;
    output::result(format_args!(
        "  recipients   {:>6}   in {}, of everybody enrolled",
        start.recipients,
        city::ALERTED.1
    ))?;
    output::result(format_args!(
        "  submitted    {:>6}   first after {}, last after {}",
        start.submitted,
        after("first_sent_at"),
        after("last_sent_at")
    ))?;
    output::result(format_args!("  delivered    {:>6}", start.delivered))?;
    output::result(format_args!("  undelivered  {:>6}   phone off or number gone", start.undelivered))?;
    output::result(format_args!(
        "  no receipt   {:>6}   taken by the provider, nothing heard since",
        start.waiting
    ))?;
    output::result(format_args!("  in doubt     {:>6}", start.unknown))?;
    output::result(format_args!(
        "  replies      {:>6}",
        view["replies"]["total"].as_u64().unwrap_or_default()
    ))?;
    output::result(format_args!("  opted out    {opted_out:>6}"))?;
    output::result(format_args!(
        "  end message  {:>6}   to those who were reached, less {} who opted out",
        end.recipients, end.suppressed
    ))?;
    output::result("")?;
    for check in checks {
        match &check.fault {
            None => output::result(format_args!("  holds   {}", check.what))?,
            Some(fault) => output::result(format_args!("  FAILS   {}: {fault}", check.what))?,
        }
    }
    output::result("")
}

fn time(value: &Value) -> Option<Timestamp> {
    Timestamp::parse(value.as_str()?).ok()
}

/// Commands that work as long as the demo runs.
pub fn how_to_do_it_yourself(stage: &Stage) -> Result<(), Failure> {
    let Stage { base, operator_key, admin_key, .. } = stage;
    let location = city::incident_location();
    output::result(format_args!(
        "Do it yourself, in another terminal:

  export OPERATOR={operator_key}
  export ADMIN={admin_key}
  curl -s {base}/v1/incidents -H \"Authorization: Bearer $OPERATOR\" -H 'Content-Type: application/json' -d '{{
    \"category\": \"burglary\", \"description\": \"Inbraak\", \"location\": {location},
    \"alert\": {{\"area\": {{\"circle\": {{\"center\": {location}, \"radius_m\": 800}}}},
      \"text\": \"Inbraak Kade. Let op man met groene jas. Gezien? Antwoord of bel 112.\"}}}}'
  curl -s '{base}/v1/alerts?limit=1' -H \"Authorization: Bearer $OPERATOR\"
  curl -s {base}/v1/alerts/ALERT_ID/end -H \"Authorization: Bearer $OPERATOR\" -H 'Content-Type: application/json' -d '{{
    \"text\": \"Man is aangehouden. Dank voor het uitkijken.\", \"outcome\": \"arrested\"}}'
  curl -s '{base}/v1/participants?limit=2' -H \"Authorization: Bearer $ADMIN\"

The API in a browser: {base}/docs    Metrics: {base}/metrics
Ctrl-C ends the demo and removes everything that it made."
    ))
}
