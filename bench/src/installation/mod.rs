//! An installation as an administrator makes one: a configuration file, a key file, and the program's commands as
//! processes of their own, so that their time and memory are nobody else's.

use anyhow::{Context, Result, bail};
pub mod database;
pub mod prepared;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use self::database::{Database, Databases};
use crate::processes::process::{Farewell, Process, last_lines};
use crate::processes::smsc::{self, WINDOW};
use crate::processes::usage;

const ORGANISATION: &str = "bench";
const PATIENCE: Duration = Duration::from_mins(1);
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Whether a process that is waited for is still there.
const LOOK_SELDOM: Duration = Duration::from_millis(500);
/// An import of millions of rows.
const IMPORT_PATIENCE: Duration = Duration::from_mins(20);
/// The line of the log that tells the address.
const SERVING: &str = "\"message\":\"serving\"";

/// The SMSC to which messages go, as a table of the configuration has it.
#[derive(Clone, Copy, Debug)]
pub struct GatewayTable {
    pub name: &'static str,
    pub smsc: SocketAddr,
    /// 0: no limit.
    pub segments_per_second: u32,
}

impl GatewayTable {
    /// One without a limit.
    pub const fn at(smsc: SocketAddr) -> Self {
        Self { name: "main", smsc, segments_per_second: 0 }
    }
}

/// The role of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Serve,
    Dispatcher,
    Worker,
}

impl Role {
    const fn command(self) -> &'static str {
        match self {
            Self::Serve => "serve",
            Self::Dispatcher => "dispatcher",
            Self::Worker => "worker",
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Serve => "klaroen serve",
            Self::Dispatcher => "klaroen dispatcher",
            Self::Worker => "klaroen worker",
        }
    }
}

/// Klaroen as it is measured.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    /// The file of its program.
    pub program: &'a Path,
    /// The databases in which it keeps its data.
    pub databases: &'a Databases<'a>,
}

/// A database that is ready to be served.
pub struct Installation {
    program: PathBuf,
    directory: TempDir,
    config: PathBuf,
    /// The key of an operator.
    pub operator_key: String,
}

/// `klaroen serve`, or one of its halves. It ends when it is dropped.
pub struct Serving {
    process: Process,
    pub address: SocketAddr,
}

/// The result of `klaroen participants import`.
#[derive(Clone, Copy, Debug)]
pub struct Imported {
    pub created: u64,
    pub unchanged: u64,
    pub seconds: f64,
    pub cpu_seconds: f64,
    pub peak_memory_mib: f64,
}

impl Installation {
    /// Makes keys, tables, an organisation and an operator in an empty database.
    pub async fn make(program: &Path, database: &Database) -> Result<Self> {
        let directory = tempfile::tempdir().context("cannot make a temporary directory")?;
        let config = write_config(directory.path(), database, &[])?;
        let program = program.to_owned();
        let mut installation = Self { program, directory, config, operator_key: String::new() };
        installation.command(&["secrets", "init"]).await?;
        installation.command(&["migrate"]).await?;
        installation.command(&["organisation", "create", ORGANISATION, "--name", "Bench"]).await?;
        let key = installation
            .command(&["key", "create", "--organisation", ORGANISATION, "--role", "operator"])
            .await?;
        key.trim().clone_into(&mut installation.operator_key);
        Ok(installation)
    }

    /// The program with a configuration and without the environment, which could say otherwise.
    fn klaroen(&self, config: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command.env_clear().arg("--config").arg(config);
        command
    }

    /// Runs one command to its end and gives what it printed.
    async fn command(&self, arguments: &[&str]) -> Result<String> {
        let mut command = tokio::process::Command::from(self.klaroen(&self.config));
        command.args(arguments).kill_on_drop(true);
        let name = arguments.join(" ");
        let output = tokio::time::timeout(PATIENCE, command.output())
            .await
            .with_context(|| name.clone())?
            .with_context(|| name.clone())?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        bail!(last_lines(&String::from_utf8_lossy(&output.stderr)).replace("klaroen: ", ""))
    }

    /// Imports a CSV file.
    pub async fn import(&self, csv: &Path) -> Result<Imported> {
        let mut command = tokio::process::Command::from(self.klaroen(&self.config));
        command.args(["participants", "import", "--organisation", ORGANISATION]).arg(csv).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let began = Instant::now();
        let child = command.spawn().context("import")?;
        let pid = child.id().unwrap_or_default();
        let ended = tokio::time::timeout(IMPORT_PATIENCE, child.wait_with_output());
        tokio::pin!(ended);
        // The usage of a process can be read only while it is there.
        let (mut cpu_seconds, mut peak_memory_mib) = (0.0, 0.0);
        let output = loop {
            tokio::select! {
                output = &mut ended => break output.context("import")?.context("import")?,
                () = sleep(LOOK_EVERY) => {
                    cpu_seconds = usage::cpu_seconds(pid).unwrap_or(cpu_seconds);
                    peak_memory_mib = usage::peak_memory_mib(pid).unwrap_or(peak_memory_mib);
                }
            }
        };
        let seconds = began.elapsed().as_secs_f64();
        if !output.status.success() {
            bail!(last_lines(&String::from_utf8_lossy(&output.stderr)));
        }
        let report: serde_json::Value = serde_json::from_slice(&output.stdout)?;
        let count = |name: &str| report[name].as_u64().unwrap_or_default();
        let (created, unchanged) = (count("created"), count("unchanged"));
        Ok(Imported { created, unchanged, seconds, cpu_seconds, peak_memory_mib })
    }

    /// Starts a process on `database`, this installation's or a copy of it, which sends to `gateways`, and waits until it
    /// answers.
    pub async fn start(&self, role: Role, database: &Database, gateways: &[GatewayTable]) -> Result<Serving> {
        let config = write_config(self.directory.path(), database, gateways)?;
        let log = self.directory.path().join(format!("{}-{}.log", database.name, role.command()));
        // Killed in the end: its database is thrown away.
        let mut command = self.klaroen(&config);
        command.arg(role.command());
        let mut process = Process::spawn(role.name(), &mut command, &log, Farewell::Kill)?;
        let began = Instant::now();
        loop {
            if let Some(address) = address_in(&process.log()) {
                return Ok(Serving { process, address });
            }
            process.still_runs()?;
            if began.elapsed() > PATIENCE {
                bail!("{} did not begin to serve", role.name());
            }
            sleep(LOOK_EVERY).await;
        }
    }
}

impl Serving {
    /// Does some work that waits for this process: once it has ended, there is nothing to wait for.
    pub async fn during<T>(&mut self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let ended = async {
            loop {
                self.process.still_runs()?;
                sleep(LOOK_SELDOM).await;
            }
        };
        tokio::select! {
            done = work => done,
            ended = ended => ended,
        }
    }

    /// CPU seconds so far.
    pub fn cpu_seconds(&self) -> Option<f64> {
        usage::cpu_seconds(self.process.id())
    }

    /// The most memory so far.
    pub fn peak_memory_mib(&self) -> Option<f64> {
        usage::peak_memory_mib(self.process.id())
    }
}

/// The file of the program that is measured: the one that was named, or the one beside this program.
pub fn program(named: Option<&Path>) -> Result<PathBuf> {
    let program = if let Some(named) = named {
        named.canonicalize().with_context(|| named.display().to_string())?
    } else {
        let bench = std::env::current_exe().context("cannot find this program")?;
        bench.with_file_name(format!("klaroen{}", std::env::consts::EXE_SUFFIX))
    };
    if !program.is_file() {
        bail!(
            "there is no program {}: build it with `cargo build --release -p klaroen`, or name another with --klaroen",
            program.display()
        );
    }
    Ok(program)
}

fn write_config(directory: &Path, database: &Database, gateways: &[GatewayTable]) -> Result<PathBuf> {
    let path = directory.join(format!("{}.toml", database.name));
    std::fs::write(&path, config(directory, database, gateways))
        .with_context(|| path.display().to_string())?;
    Ok(path)
}

/// As few lines as a real one. Temporary directories and addresses hold nothing that TOML would read otherwise.
fn config(directory: &Path, database: &Database, gateways: &[GatewayTable]) -> String {
    let (system_id, password) = smsc::ACCOUNT;
    let table = |gateway: &GatewayTable| {
        let GatewayTable { name, smsc, segments_per_second } = gateway;
        format!(
            "[[gateways]]\nname = \"{name}\"\ntype = \"smpp\"\nhost = \"{}\"\nport = {}\nsystem_id = {system_id:?}\n\
             password = {password:?}\nsender = {:?}\nbinds = 1\nwindow = {WINDOW}\n\
             segments_per_second = {segments_per_second}\n",
            smsc.ip(),
            smsc.port(),
            smsc::SENDER,
        )
    };
    let mut tables: String = gateways.iter().map(table).collect();
    if tables.is_empty() {
        tables.push_str("[[gateways]]\nname = \"main\"\ntype = \"log\"\n");
    }
    format!(
        "[database]\nurl = \"{}\"\n[http]\nlisten = \"127.0.0.1:0\"\nrequests_per_second = 1000\n\
         [worker]\nlisten = \"127.0.0.1:0\"\n[secrets]\nkey_file = \"{}\"\n\
         [logging]\nformat = \"json\"\nlevel = \"error,klaroen::commands=info\"\n{tables}",
        database.url,
        directory.join("bench.key").display(),
    )
}

fn address_in(log: &str) -> Option<SocketAddr> {
    let line = log.lines().find(|line| line.contains(SERVING))?;
    let entry: serde_json::Value = serde_json::from_str(line).ok()?;
    entry["fields"]["address"].as_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The program next to this test: `target/<profile>/klaroen`.
    fn built_program() -> PathBuf {
        let test = std::env::current_exe().unwrap();
        let folder = test.parent().and_then(Path::parent).unwrap();
        let program = folder.join(format!("klaroen{}", std::env::consts::EXE_SUFFIX));
        assert!(program.is_file(), "build it first with `cargo build -p klaroen`: {}", program.display());
        program
    }

    #[tokio::test]
    async fn the_configuration_is_one() {
        let databases = Databases::sqlite().unwrap();
        let database = databases.fresh("town").await.unwrap();
        let installation = Installation::make(&built_program(), &database).await.unwrap();
        assert!(!installation.operator_key.is_empty());
        let smsc = GatewayTable::at(([127, 0, 0, 1], 2775).into());
        let slow = GatewayTable { name: "slow", segments_per_second: 500, ..smsc };
        for gateways in [&[][..], &[smsc], &[smsc, slow]] {
            write_config(installation.directory.path(), &database, gateways).unwrap();
            let told = installation.command(&["check-config"]).await.unwrap();
            let file = database.url.strip_prefix("sqlite:").unwrap();
            let count = gateways.len().max(1);
            assert!(told.contains(file) && told.contains(&format!(" {count} gateway")), "{told}");
        }
    }

    #[test]
    fn the_address_stands_in_the_log() {
        let log = "noise\n{\"level\":\"INFO\",\"fields\":{\"message\":\"serving\",\"address\":\"127.0.0.1:81\",\"version\":\"1\"}}\n";
        assert_eq!(address_in(log), Some(([127, 0, 0, 1], 81).into()));
        assert_eq!(address_in("serving"), None);
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn nobody_waits_for_a_process_that_has_ended() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let serving = |script: &str| {
            let mut shell = Command::new("sh");
            let process = Process::spawn("shell", shell.args(["-c", script]), &log, Farewell::Kill).unwrap();
            Serving { process, address: ([127, 0, 0, 1], 1).into() }
        };
        let waiting = std::future::pending::<Result<()>>();
        let failure = serving("echo no room; exit 3").during(waiting).await.unwrap_err().to_string();
        assert!(failure.contains("shell ended") && failure.contains("no room"), "{failure}");
        assert_eq!(serving("sleep 600").during(async { Ok(7) }).await.unwrap(), 7);
    }
}
