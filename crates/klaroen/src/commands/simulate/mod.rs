//! `klaroen simulate smsc`; `klaroen simulate http` stands in its own file.

mod faults;
pub mod http;
mod http_faults;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use klaroen_simulator::{AutoReply, Smsc, SmscConfig, Stats};
use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use self::faults::FaultArgs;
use super::CommandResult;
use crate::failure::Because;
use crate::output;

/// The properties of the simulated SMSC. A share is a fraction from 0 to 1.
#[derive(Debug, Args)]
pub struct SmscArgs {
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:2775")]
    listen: SocketAddr,
    /// Two runs with one seed and the same messages fare alike.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Stop by itself after this number of seconds.
    #[arg(long = "for", value_name = "SECONDS")]
    seconds: Option<u64>,
    /// Only this account may bind; without it any may.
    #[arg(long, value_name = "ID")]
    system_id: Option<String>,
    /// Only with this password, which others on this machine can see in the list of processes; without it any will do.
    #[arg(long)]
    password: Option<String>,
    /// Share of phones that answer when they ring.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    replies: f64,
    /// Text of their answers.
    #[arg(long, value_name = "TEXT", default_value = "Gezien bij het station")]
    reply_text: String,
    #[command(flatten)]
    faults: FaultArgs,
}

/// A reply comes as fast as people type.
const REPLY_DELAY_MS: u64 = 2_000;

/// Runs the SMSC until Ctrl-C, SIGTERM or its time is over.
pub async fn run(args: &SmscArgs) -> CommandResult {
    let config = SmscConfig {
        listen: args.listen,
        seed: args.seed,
        system_id: args.system_id.clone(),
        password: args.password.clone(),
        faults: args.faults.to_faults(),
        auto_replies: replies(args),
        // An SMSC that runs for days must not keep every text.
        record_texts: false,
        ..SmscConfig::default()
    };
    let mut signals = super::signals::Signals::listen()?;
    let smsc = Smsc::start(config).await.because(format_args!("cannot start an SMSC on {}", args.listen))?;
    output::note(format_args!(
        "An SMSC listens on {} (SMPP 3.4). Nothing that it takes is sent anywhere.",
        smsc.addr()
    ));
    let end = args.seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    tokio::select! {
        () = tell(&smsc) => {}
        () = over(end) => {}
        _ = signals.next() => {}
    }
    smsc.shutdown().await;
    output::result(totals(&smsc.stats()))?;
    Ok(ExitCode::SUCCESS)
}

fn replies(args: &SmscArgs) -> Vec<AutoReply> {
    if args.replies > 0.0 {
        vec![AutoReply { share: args.replies, text: args.reply_text.clone(), delay_ms: REPLY_DELAY_MS }]
    } else {
        Vec::new()
    }
}

async fn over(end: Option<Instant>) {
    match end {
        Some(end) => sleep_until(end).await,
        None => std::future::pending().await,
    }
}

/// One line each second in which something happened.
async fn tell(smsc: &Smsc) {
    let mut ticks = interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut before = smsc.stats();
    loop {
        ticks.tick().await;
        let now = smsc.stats();
        if (now.submits, now.deliveries_sent, now.connections)
            != (before.submits, before.deliveries_sent, before.connections)
        {
            output::note(format_args!(
                "submits {} (+{}), taken {}, throttled {}, rings {}, receipts and replies {} ({} acknowledged), connections {}",
                now.submits,
                now.submits - before.submits,
                now.taken,
                now.throttled,
                now.rings,
                now.deliveries_sent,
                now.deliveries_acknowledged,
                now.connections,
            ));
        }
        before = now;
    }
}

fn totals(stats: &Stats) -> serde_json::Value {
    json!({
        "connections": stats.connections,
        "binds": stats.binds,
        "binds_refused": stats.binds_refused,
        "submits": stats.submits,
        "taken": stats.taken,
        "throttled": stats.throttled,
        "queue_full": stats.queue_full,
        "numbers_refused": stats.numbers_refused,
        "responses_lost": stats.responses_lost,
        "connections_dropped": stats.connections_dropped,
        "rings": stats.rings,
        "deliveries_sent": stats.deliveries_sent,
        "deliveries_acknowledged": stats.deliveries_acknowledged,
        "deliveries_refused": stats.deliveries_refused,
        "deliveries_dropped": stats.deliveries_dropped,
        "pending": stats.pending,
        "peak_submits_per_second": stats.peak_submits_per_second,
    })
}
