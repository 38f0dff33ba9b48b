//! The simulated SMSC as a process of its own: this program once more, asked for its counters over its standard input.

use std::net::SocketAddr;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use klaroen_simulator::{Smsc, Stats};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::{Instant, sleep, timeout};

use super::{town, usage};
use crate::commands::CommandResult;
use crate::failure::{Because, Failure};
use crate::output;

/// It answers at once; one that does not is stuck.
const PATIENCE: Duration = Duration::from_secs(10);
/// Small beside what is measured, and rare enough not to be it.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What the SMSC counted. The two processes share no clock that both could name, so moments travel as their age.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Counters {
    pub binds: u64,
    pub taken: u64,
    pub rings: u64,
    pub receipts_acknowledged: u64,
    first_submit_age_ms: Option<f64>,
    last_submit_age_ms: Option<f64>,
}

impl Counters {
    fn of(stats: &Stats) -> Self {
        let age = |at: Option<Instant>| at.map(|at| at.elapsed().as_secs_f64() * 1_000.0);
        Self {
            binds: stats.binds,
            taken: stats.taken,
            rings: stats.rings,
            receipts_acknowledged: stats.deliveries_acknowledged,
            first_submit_age_ms: age(stats.first_submit),
            last_submit_age_ms: age(stats.last_submit),
        }
    }

    /// When the first and the last submit came, where these counters were read just now.
    pub fn submits(&self) -> Option<(Instant, Instant)> {
        let at = |age: f64| Instant::now().checked_sub(Duration::from_secs_f64(age / 1_000.0));
        Some((at(self.first_submit_age_ms?)?, at(self.last_submit_age_ms?)?))
    }
}

/// The other side: an SMSC that tells its address, then its counters for each line that comes, until none comes any more.
pub async fn run_child() -> CommandResult {
    let smsc = Smsc::start(town::smsc_config()).await?;
    output::result(smsc.addr())?;
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while lines.next_line().await?.is_some() {
        output::result(serde_json::to_string(&Counters::of(&smsc.stats()))?)?;
    }
    smsc.shutdown().await;
    Ok(ExitCode::SUCCESS)
}

/// A running SMSC. It ends when it is dropped, and when this process ends in whatever way.
pub struct SmscProcess {
    child: Child,
    ask: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    pub address: SocketAddr,
}

impl SmscProcess {
    /// Starts one on a free port of 127.0.0.1.
    pub async fn start() -> Result<Self, Failure> {
        let program = std::env::current_exe().because("cannot find this program")?;
        let mut command = Command::new(program);
        command.args(["bench", "--as-smsc"]).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().because("cannot start an SMSC")?;
        let none = || Failure::new("the SMSC has no pipe");
        let ask = child.stdin.take().ok_or_else(none)?;
        let answers = BufReader::new(child.stdout.take().ok_or_else(none)?).lines();
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut smsc = Self { child, ask, answers, address };
        smsc.address = smsc.next_line().await?.parse().because("the SMSC")?;
        Ok(smsc)
    }

    async fn next_line(&mut self) -> Result<String, Failure> {
        let line =
            timeout(PATIENCE, self.answers.next_line()).await.because("the SMSC")?.because("the SMSC")?;
        line.ok_or_else(|| Failure::new("the SMSC has ended"))
    }

    /// What it counted so far.
    pub async fn counters(&mut self) -> Result<Counters, Failure> {
        self.ask.write_all(b"\n").await.because("the SMSC")?;
        Ok(serde_json::from_str(&self.next_line().await?)?)
    }

    /// Waits until the counters say so, and gives them.
    pub async fn wait(
        &mut self,
        what: &str,
        patience: Duration,
        done: impl Fn(&Counters) -> bool,
    ) -> Result<Counters, Failure> {
        let began = Instant::now();
        loop {
            let counters = self.counters().await?;
            if done(&counters) {
                return Ok(counters);
            }
            if began.elapsed() > patience {
                return Err(Failure::new(format!(
                    "waited {} s for {what}: {counters:?}",
                    patience.as_secs()
                )));
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// CPU seconds so far.
    pub fn cpu_seconds(&self) -> Option<f64> {
        usage::cpu_seconds(self.child.id()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn moments_travel_as_their_age() {
        let now = Instant::now();
        let counters = Counters {
            binds: 1,
            taken: 2,
            rings: 2,
            receipts_acknowledged: 0,
            first_submit_age_ms: Some(1_500.0),
            last_submit_age_ms: Some(0.0),
        };
        let text = serde_json::to_string(&counters).unwrap();
        let back: Counters = serde_json::from_str(&text).unwrap();
        assert_eq!(back, counters);
        tokio::time::advance(Duration::from_secs(5)).await;
        let (first, last) = back.submits().unwrap();
        assert_eq!((first - now, last - now), (Duration::from_millis(3_500), Duration::from_secs(5)));
        assert!(Counters { first_submit_age_ms: None, ..counters }.submits().is_none());
    }
}
