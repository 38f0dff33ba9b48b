//! `klaroen simulate http`

use std::net::SocketAddr;
use std::process::ExitCode;

use clap::Args;
use klaroen_simulator::{Account, AutoReply, CallbackUrls, Contract, HttpConfig, HttpProvider, HttpStats};
use tokio::time::{Duration, Instant, MissedTickBehavior, interval};

use super::http_faults::HttpFaultArgs;
use super::{REPLY_DELAY_MS, over};
use crate::commands::CommandResult;
use crate::failure::Because;
use crate::output;

/// The properties of the simulated provider. A share is a fraction from 0 to 1.
#[derive(Debug, Args)]
pub struct HttpArgs {
    /// Whose contract it speaks: twilio, infobip, or http (plain JSON).
    #[arg(long, value_name = "NAME")]
    contract: Contract,
    /// Address to listen on; port 0 takes a free one, which is printed.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8099")]
    listen: SocketAddr,
    /// Two runs with one seed and the same messages fare alike.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Stop by itself after this number of seconds.
    #[arg(long = "for", value_name = "SECONDS")]
    seconds: Option<u64>,
    /// Parts that are sent before the balance is gone; without end if not given. PUT /simulator/balance tops it up.
    #[arg(long, value_name = "PARTS")]
    balance: Option<u64>,
    /// Share of phones that answer when they ring.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    replies: f64,
    /// Text of their answers.
    #[arg(long, value_name = "TEXT", default_value = "Gezien bij het station")]
    reply_text: String,
    /// Keep the text of every ring, for GET /simulator/rings; it takes memory for as long as it runs.
    #[arg(long)]
    record_texts: bool,
    #[command(flatten)]
    account: AccountArgs,
    #[command(flatten)]
    callbacks: CallbackArgs,
    #[command(flatten)]
    faults: HttpFaultArgs,
}

/// Who may submit. Others on this machine can see these in the list of processes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Account (what is not given is not compared)")]
struct AccountArgs {
    /// Twilio's Account SID, or the user name of Infobip.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// The token or password; Twilio signs its callbacks with it.
    #[arg(long, value_name = "SECRET")]
    secret: Option<String>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Callbacks (http: URLs)")]
struct CallbackArgs {
    /// URL for the receipts of messages that name no URL themselves.
    #[arg(long, value_name = "URL")]
    receipts_url: Option<String>,
    /// URL for SMS from phones.
    #[arg(long, value_name = "URL")]
    inbound_url: Option<String>,
    /// Milliseconds that stand for a minute of the contract's schedule of repetitions.
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 1_000)]
    minute_ms: u64,
}

/// Messages that a provider that runs for days can look up.
const KEPT_MAX: usize = 10_000;

impl HttpArgs {
    fn to_config(&self) -> HttpConfig {
        let reply =
            AutoReply { share: self.replies, text: self.reply_text.clone(), delay_ms: REPLY_DELAY_MS };
        HttpConfig {
            listen: self.listen,
            seed: self.seed,
            account: Account { user: self.account.user.clone(), secret: self.account.secret.clone() },
            callbacks: CallbackUrls {
                receipts: self.callbacks.receipts_url.clone(),
                inbound: self.callbacks.inbound_url.clone(),
            },
            faults: self.faults.to_faults(),
            balance: self.balance,
            auto_replies: if self.replies > 0.0 { vec![reply] } else { Vec::new() },
            minute_ms: self.callbacks.minute_ms,
            kept_max: KEPT_MAX,
            record_texts: self.record_texts,
            ..HttpConfig::new(self.contract)
        }
    }
}

/// Runs the provider until Ctrl-C, SIGTERM or its time is over.
pub async fn run(args: &HttpArgs) -> CommandResult {
    let mut signals = crate::commands::signals::Signals::listen()?;
    let provider = HttpProvider::start(args.to_config())
        .await
        .because(format_args!("cannot start a provider on {}", args.listen))?;
    output::note(format_args!(
        "A provider listens on {} ({}). Nothing that it takes is sent anywhere.",
        provider.base_url(),
        args.contract
    ));
    let end = args.seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    tokio::select! {
        () = tell(&provider) => {}
        () = over(end) => {}
        _ = signals.next() => {}
    }
    provider.shutdown().await;
    output::result(serde_json::json!(provider.stats()))?;
    Ok(ExitCode::SUCCESS)
}

/// One line each second in which something happened.
async fn tell(provider: &HttpProvider) {
    let mut ticks = interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut before = HttpStats::default();
    loop {
        ticks.tick().await;
        let now = provider.stats();
        if (now.requests, now.callbacks) != (before.requests, before.callbacks) {
            output::note(format_args!(
                "submits {} (+{}), refused {}, throttled {}, taken {}, rings {}, callbacks {} ({} acknowledged, {} dropped)",
                now.submits,
                now.submits - before.submits,
                now.refused,
                now.throttled,
                now.taken,
                now.rings,
                now.callbacks,
                now.callbacks_acknowledged,
                now.callbacks_dropped,
            ));
        }
        before = now;
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use klaroen_simulator::HttpFaults;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: HttpArgs,
    }

    fn config(line: &str) -> Result<HttpConfig, clap::Error> {
        Line::try_parse_from(line.split(' ')).map(|line| line.args.to_config())
    }

    #[test]
    fn what_is_written_is_what_the_provider_gets() {
        let line = "x --contract infobip --listen 127.0.0.1:0 --seed 7 --user u --secret s --receipts-url http://a/r --inbound-url http://a/i --balance 9 --replies 0.5 --minute-ms 50 --throttled 0.25 --retry-after 3 --record-texts";
        let expected = HttpConfig {
            seed: 7,
            account: Account { user: Some("u".into()), secret: Some("s".into()) },
            callbacks: CallbackUrls {
                receipts: Some("http://a/r".into()),
                inbound: Some("http://a/i".into()),
            },
            faults: HttpFaults { throttled: 0.25, retry_after_s: Some(3), ..HttpFaults::default() },
            balance: Some(9),
            auto_replies: vec![AutoReply {
                share: 0.5,
                text: "Gezien bij het station".into(),
                delay_ms: 2_000,
            }],
            minute_ms: 50,
            kept_max: KEPT_MAX,
            record_texts: true,
            ..HttpConfig::new(Contract::Infobip)
        };
        assert!(config(line).unwrap() == expected);
    }

    #[test]
    fn without_faults_nothing_goes_wrong_and_a_contract_has_to_be_named() {
        assert_eq!(config("x --contract twilio").unwrap().faults, HttpFaults::default());
        for wrong in ["x", "x --contract smpp", "x --contract cm"] {
            assert!(config(wrong).is_err(), "{wrong}");
        }
    }
}
