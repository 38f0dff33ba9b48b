//! The processes, their database and the message centre.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use klaroen_domain::time::{Clock as _, SystemClock, Timestamp};
use klaroen_simulator::{Faults, Smsc, SmscConfig, Stats};
use klaroen_test_databases::Server;
use sqlx::Connection;
use sqlx::postgres::PgConnection;

use crate::client::{Client, registry};
use crate::lateness::Lateness;
use crate::program::{Installation, PATIENCE, Program};

/// The segments that all binds of the gateway may send in a second.
pub const RATE: u64 = 450;
/// One for each worker.
pub const BINDS: usize = 3;
/// Messages in flight on each of them: twice what the rate and the slowest answers make.
pub const WINDOW: usize = 20;
/// The messages that one bind leases ahead at the most, if claims take long: what all of the rate brings in 100 ms
/// (`HANDOVER_MOST` in the worker's demand), and half as much that is left of the claim before.
pub const CLAIM: usize = 67;
/// Who is asked by each of the small alerts that come in all the time: neighbourhood 1.
pub const FEW: usize = 5;
/// A request that takes longer is made again.
const REQUEST: Duration = Duration::from_secs(10);

/// The addresses at which the dispatchers answer at the moment.
pub type Addresses = Arc<Mutex<Vec<String>>>;

/// The stage of a test.
pub struct Cluster {
    pub server: Server,
    pub smsc: Smsc,
    pub installation: Installation,
    /// Two dispatchers, then three workers.
    pub processes: Vec<Process>,
    binds: usize,
    pub addresses: Addresses,
    pub lateness: Lateness,
}

/// One process and what it is.
pub struct Process {
    part: &'static str,
    program: Program,
}

const DISPATCHERS: usize = 2;
const PARTS: [&str; 5] = ["dispatcher", "dispatcher", "worker", "worker", "worker"];

impl Cluster {
    /// Everything runs; `people` live in neighbourhood 0.
    pub async fn set(seed: u64, people: usize) -> Self {
        Self::set_with(seed, people, BINDS).await
    }

    /// The same with so many binds.
    pub async fn set_with(seed: u64, people: usize, binds: usize) -> Self {
        let faults = Faults {
            response_delay_ms: (10, 60),
            receipt_delay_ms: (0, 500),
            undelivered: 0.02,
            duplicate_receipt: 0.05,
            early_receipt: 0.05,
            reordered_receipt: 0.05,
            ..Faults::default()
        };
        let smsc = Smsc::start(SmscConfig { seed, faults, ..SmscConfig::default() }).await.unwrap();
        let server = Server::start().await;
        let gateway = format!("binds = {binds}\nwindow = {WINDOW}\nsegments_per_second = {RATE}");
        let installation = Installation::on(&server.url(), &smsc, &gateway);
        let few = registry(2, FEW);
        let few: String = few.lines().skip(1 + FEW).flat_map(|line| [line, "\n"]).collect();
        installation.import(&(registry(1, people) + &few));
        let start = |part: &&'static str| Process { part, program: installation.spawn_part(part) };
        let processes = PARTS.iter().map(start).collect();
        let (addresses, lateness) = (Addresses::default(), Lateness::measure());
        let mut cluster = Self { server, smsc, installation, processes, binds, addresses, lateness };
        for process in &mut cluster.processes {
            process.program.wait_until_it_answers();
        }
        cluster.show_addresses();
        cluster.balanced().await;
        cluster
    }

    /// `kill -9`, and a new one in its place.
    pub fn kill(&mut self, n: usize) {
        let part = PARTS[n];
        let new = Process { part, program: self.installation.spawn_part(part) };
        std::mem::replace(&mut self.processes[n], new).program.kill();
        if part == "dispatcher" {
            self.processes[n].program.wait_until_it_answers();
            self.show_addresses();
        }
    }

    fn show_addresses(&self) {
        let dispatchers = self.processes.iter().filter(|process| process.part == "dispatcher");
        *self.addresses.lock().unwrap_or_else(PoisonError::into_inner) =
            dispatchers.map(|process| process.program.url()).collect();
    }

    /// A client of the first dispatcher.
    pub fn client(&self) -> Client {
        Client::new(&self.installation, &self.processes[0].program)
    }

    /// A client of every process, workers too.
    pub fn clients(&mut self) -> Vec<Client> {
        let installation = &self.installation;
        let client = |process: &mut Process| {
            if process.program.url() == "http://" {
                process.program.wait_until_it_answers();
            }
            Client::with_patience(installation, process.program.url(), REQUEST)
        };
        self.processes.iter_mut().map(client).collect()
    }

    /// How many binds are cut off with a process: none with a dispatcher, and all that there are where it does not tell.
    pub async fn held(&mut self, n: usize) -> usize {
        let Process { part, program } = &mut self.processes[n];
        if *part == "dispatcher" {
            return 0;
        }
        if !program.answers_by_now() {
            return self.binds;
        }
        let worker = Client::with_patience(&self.installation, program.url(), REQUEST);
        binds_up(&worker).await.unwrap_or(self.binds)
    }

    /// How many binds are up at each worker.
    async fn binds_up(&mut self) -> Vec<usize> {
        let mut up = Vec::new();
        for worker in self.clients().split_off(DISPATCHERS) {
            up.push(binds_up(&worker).await.unwrap_or(0));
        }
        up
    }

    /// Waits until every bind is up: all were taken over, and they spread over the workers.
    pub async fn balanced(&mut self) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let up = self.binds_up().await;
            if up.iter().sum::<usize>() == self.binds && up.iter().all(|up| *up <= 1) {
                return;
            }
            assert!(tokio::time::Instant::now() < deadline, "the binds do not spread: {up:?}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// The number of the process that has the only bind.
    pub async fn holder(&mut self) -> usize {
        self.balanced().await;
        let holder = self.binds_up().await.iter().position(|up| *up == 1);
        DISPATCHERS + holder.expect("somebody has it")
    }

    /// A connection of the test's own to the database.
    pub async fn database(&self) -> PgConnection {
        PgConnection::connect(&self.server.url()).await.unwrap()
    }

    /// Waits until no worker has a lease of a bind any more: none can renew one.
    pub async fn all_leases_end(&self) {
        let mut database = self.database().await;
        let last = "SELECT coalesce(max(lease_until), 0) FROM channels";
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let until: i64 = sqlx::query_scalar(last).fetch_one(&mut database).await.unwrap();
            if SystemClock.now() > Timestamp::from_millis(until) {
                return;
            }
            assert!(tokio::time::Instant::now() < deadline, "leases are renewed");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until every process answers `path` with `status`.
    pub async fn all_answer(&mut self, path: &str, status: u16) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        for (n, client) in self.clients().iter().enumerate() {
            loop {
                let answer = client.status(path).await;
                if answer.is_some_and(|answer| answer == status) {
                    break;
                }
                let part = PARTS[n];
                assert!(tokio::time::Instant::now() < deadline, "{part} {n} answers {path} with {answer:?}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }

    /// Nobody ended who was not told to.
    pub fn all_run(&mut self) {
        for process in &mut self.processes {
            assert!(process.program.is_running(), "a {} ended", process.part);
        }
    }

    /// Waits until `more` phones rang.
    pub async fn rings(&self, more: u64) {
        let mut rings = self.smsc.total_rings();
        let wanted = rings + more;
        let mut deadline = tokio::time::Instant::now() + PATIENCE;
        while rings < wanted {
            assert!(tokio::time::Instant::now() < deadline, "the sending does not go on");
            tokio::time::sleep(Duration::from_millis(20)).await;
            let before = std::mem::replace(&mut rings, self.smsc.total_rings());
            if rings > before {
                deadline = tokio::time::Instant::now() + PATIENCE;
            }
        }
    }

    /// Waits until a message is submitted.
    pub async fn submits(&self) {
        let before = self.smsc.submits();
        self.until_counted("nothing is submitted", |stats| stats.submits > before).await;
    }

    /// Waits for a bind after so many, and for its first submit: what was sent before it may still arrive until then.
    pub async fn next_bind_sends(&self, binds: u64) {
        self.until_counted("nobody binds", |stats| stats.binds > binds).await;
        self.submits().await;
    }

    async fn until_counted(&self, what: &str, counted: impl Fn(&Stats) -> bool) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while !counted(&self.smsc.stats()) {
            assert!(tokio::time::Instant::now() < deadline, "{what}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Asks all of them to end, workers last; each ends well.
    pub async fn strike(self) {
        for process in self.processes {
            assert_eq!(process.program.terminate().code(), Some(0), "{}", process.part);
        }
        self.smsc.shutdown().await;
    }
}

/// How many binds a worker has up; `None` if it does not answer.
async fn binds_up(worker: &Client) -> Option<usize> {
    let metrics = worker.metrics().await?;
    let lines = metrics.lines().filter(|line| line.starts_with("klaroen_gateway_up{"));
    Some(lines.filter(|line| line.ends_with(" 1")).count())
}
