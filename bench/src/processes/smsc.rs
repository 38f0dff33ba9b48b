//! The simulated SMSC as a process of its own: this program once more, told what it is and asked what it saw over its standard
//! input, a line of JSON for each.

use anyhow::{Context, Result, anyhow, bail};
use std::net::SocketAddr;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use klaroen_simulator::{Smsc, SmscConfig, Stats};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::{Instant, sleep, timeout};

use super::usage;
use crate::dataset;
use crate::output;

/// It answers at once; one that does not is stuck.
const PATIENCE: Duration = Duration::from_secs(10);
/// Small beside what is measured, and rare enough not to be it.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// The number that people see.
pub const SENDER: &str = "1000";
/// The account at the SMSC.
pub const ACCOUNT: (&str, &str) = ("klaroen", "bench");
/// Messages in flight on one connection, for everybody who is measured.
pub const WINDOW: u32 = 50;

/// Without faults or delays: the machine is measured, not the provider. `receipt_window` receipts are left unanswered on one
/// connection. Each is on the disk before it is acknowledged, so with 50 a bench would measure the time that one flush of
/// the disk takes, and nothing else; what a provider grants is a matter of contract.
pub fn config(receipt_window: u32) -> SmscConfig {
    let (system_id, password) = ACCOUNT;
    SmscConfig {
        system_id: Some(system_id.into()),
        password: Some(password.into()),
        record_texts: false,
        deliver_window: usize::try_from(receipt_window).unwrap_or(usize::MAX),
        ..SmscConfig::default()
    }
}

/// The counts of the SMSC. The two processes share no clock that both could name, so moments travel as their age.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Counters {
    pub binds: u64,
    pub submits: u64,
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
            submits: stats.submits,
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

/// Those of some numbers that rang, and when the latest of them did.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rang {
    pub numbers: u32,
    latest_age_ms: Option<f64>,
}

impl Rang {
    /// Of `from` and the numbers after it those that rang at least `times` times, and the last of these rings.
    fn of(smsc: &Smsc, from: u32, numbers: u32, times: usize) -> Self {
        let rings = |number: u32| smsc.rings_of(&dataset::phone(number)).get(times - 1).map(|ring| ring.at);
        let rang: Vec<Instant> = (from..from + numbers).filter_map(rings).collect();
        let latest = rang.iter().max().map(|at| at.elapsed().as_secs_f64() * 1_000.0);
        Self { numbers: u32::try_from(rang.len()).unwrap_or(u32::MAX), latest_age_ms: latest }
    }

    /// When the latest rang, where this was read just now.
    pub fn latest(&self) -> Option<Instant> {
        Instant::now().checked_sub(Duration::from_secs_f64(self.latest_age_ms? / 1_000.0))
    }
}

/// A question to an SMSC.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Question {
    Counters,
    Rang { from: u32, numbers: u32, times: usize },
}

/// The other side: an SMSC as the first line says. It tells its address, then answers each line that comes, until none comes
/// any more.
pub async fn run_child() -> Result<ExitCode> {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let config = lines.next_line().await?.context("the SMSC is told nothing")?;
    let smsc = Smsc::start(serde_json::from_str::<SmscConfig>(&config)?).await?;
    output::result(smsc.addr())?;
    while let Some(line) = lines.next_line().await? {
        let answer = match serde_json::from_str(&line)? {
            Question::Counters => serde_json::to_string(&Counters::of(&smsc.stats()))?,
            Question::Rang { from, numbers, times } => {
                serde_json::to_string(&Rang::of(&smsc, from, numbers, times.max(1)))?
            }
        };
        output::result(answer)?;
    }
    smsc.shutdown().await;
    Ok(ExitCode::SUCCESS)
}

/// A running SMSC. It ends when it is dropped, and when this process ends in whatever way.
pub struct SmscProcess {
    child: Child,
    questions: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    pub address: SocketAddr,
}

impl SmscProcess {
    /// Starts one on a free port of 127.0.0.1.
    pub async fn start(config: &SmscConfig) -> Result<Self> {
        let program = std::env::current_exe().context("cannot find this program")?;
        let mut command = Command::new(program);
        command.args(["--as-smsc"]).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().context("cannot start an SMSC")?;
        let none = || anyhow!("the SMSC has no pipe");
        let questions = child.stdin.take().ok_or_else(none)?;
        let answers = BufReader::new(child.stdout.take().ok_or_else(none)?).lines();
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut smsc = Self { child, questions, answers, address };
        smsc.tell(config).await?;
        smsc.address = smsc.next_line().await?.parse().context("the SMSC")?;
        Ok(smsc)
    }

    async fn next_line(&mut self) -> Result<String> {
        let line =
            timeout(PATIENCE, self.answers.next_line()).await.context("the SMSC")?.context("the SMSC")?;
        line.context("the SMSC has ended")
    }

    async fn tell(&mut self, what: &impl Serialize) -> Result<()> {
        let line = serde_json::to_string(what)? + "\n";
        self.questions.write_all(line.as_bytes()).await.context("the SMSC")
    }

    async fn ask<T: DeserializeOwned>(&mut self, question: Question) -> Result<T> {
        self.tell(&question).await?;
        Ok(serde_json::from_str(&self.next_line().await?)?)
    }

    /// The counts of the SMSC so far.
    pub async fn counters(&mut self) -> Result<Counters> {
        self.ask(Question::Counters).await
    }

    /// Which of `numbers` numbers of the town, from number `from` on, rang at least `times` times.
    pub async fn rang(&mut self, from: u32, numbers: u32, times: usize) -> Result<Rang> {
        self.ask(Question::Rang { from, numbers, times }).await
    }

    /// Waits until the counters say so, and gives them.
    pub async fn wait(
        &mut self,
        what: &str,
        patience: Duration,
        done: impl Fn(&Counters) -> bool,
    ) -> Result<Counters> {
        let began = Instant::now();
        loop {
            let counters = self.counters().await?;
            if done(&counters) {
                return Ok(counters);
            }
            if began.elapsed() > patience {
                bail!("waited {} s for {what}: {counters:?}", patience.as_secs());
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
            submits: 2,
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
