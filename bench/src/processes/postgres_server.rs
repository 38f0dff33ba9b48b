//! A PostgreSQL server of the bench's own: in a temporary directory, on a free port of 127.0.0.1, gone afterwards.

use anyhow::{Context, Result, anyhow, bail};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rand::RngExt;
use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::processes::process::{Farewell, Process, last_lines};
use crate::processes::{free_port, usage};

const USER: &str = "bench";
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(50);
pub const INSTALL: &str = "no PostgreSQL server found; Debian: apt-get install postgresql";

/// How a server is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settings {
    /// For a machine with few cores and some gigabytes.
    Tuned,
    /// As `initdb` makes it.
    AsItComes,
}

/// No socket in a directory that may not be there: clients come over TCP.
const NO_SOCKET: &str = "unix_socket_directories=";

/// For a machine with few cores and some gigabytes. `fsync` and `synchronous_commit` stay on: what is answered is on the
/// disk, as with SQLite's `synchronous=FULL`.
const TUNED: [&str; 12] = [
    "fsync=on",
    "synchronous_commit=on",
    "full_page_writes=on",
    "shared_buffers=512MB",
    "effective_cache_size=2GB",
    "work_mem=16MB",
    "maintenance_work_mem=256MB",
    "max_wal_size=4GB",
    "checkpoint_timeout=15min",
    // Everything is on a solid-state disk or in memory.
    "random_page_cost=1.1",
    // Compiling a plan takes longer than any of these queries.
    "jit=off",
    "max_connections=60",
];

/// A running server. It ends when it is dropped.
pub struct PostgresServer {
    // First, because it has to end before its directory goes.
    process: Process,
    _directory: TempDir,
    port: u16,
    password: String,
}

impl PostgresServer {
    /// Makes a cluster and starts a server on it.
    pub async fn start(settings: Settings) -> Result<Self> {
        let binaries = binaries().context(INSTALL)?;
        let directory = tempfile::tempdir().context("cannot make a temporary directory")?;
        let password = format!("{:032x}", rand::rng().random::<u128>());
        let (data, password_file) = (directory.path().join("data"), directory.path().join("password"));
        std::fs::write(&password_file, &password).with_context(|| password_file.display().to_string())?;
        give_away(&[directory.path(), &password_file])?;

        let mut initdb = Command::new(binaries.join("initdb"));
        initdb.args(["--no-sync", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "-U", USER]);
        initdb.arg("--pwfile").arg(&password_file).arg("-D").arg(&data);
        let made = as_other_user(&mut initdb)?.current_dir(directory.path()).output().context("initdb")?;
        if !made.status.success() {
            bail!("initdb: {}", last_lines(&String::from_utf8_lossy(&made.stderr)));
        }
        let port = free_port()?;
        let mut postgres = Command::new(binaries.join("postgres"));
        postgres.arg("-D").arg(&data).args(["-h", "127.0.0.1", "-p", &port.to_string()]);
        let tuned = if settings == Settings::Tuned { &TUNED[..] } else { &[] };
        for setting in tuned.iter().chain([&NO_SOCKET]) {
            postgres.args(["-c", setting]);
        }
        as_other_user(&mut postgres)?.current_dir(directory.path());
        let log = directory.path().join("postgres.log");
        let process = Process::spawn("postgres", &mut postgres, &log, Farewell::Interrupt)?;
        let mut server = Self { process, _directory: directory, port, password };
        server.wait_until_it_answers().await?;
        Ok(server)
    }

    async fn wait_until_it_answers(&mut self) -> Result<()> {
        let began = Instant::now();
        loop {
            self.process.still_runs()?;
            let pool = PgPoolOptions::new().acquire_timeout(Duration::from_secs(2));
            match pool.connect_with(self.options("postgres")).await {
                Ok(pool) => {
                    pool.close().await;
                    return Ok(());
                }
                Err(error) if began.elapsed() > PATIENCE => return Err(error).context("postgres"),
                Err(_) => sleep(LOOK_EVERY).await,
            }
        }
    }

    fn options(&self, database: &str) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass()
            .host("127.0.0.1")
            .port(self.port)
            .username(USER)
            .password(&self.password)
            .database(database)
            // A statement that takes its time is what is measured, not something to warn of.
            .disable_statement_logging()
    }

    /// The address of one of its databases, as a configuration has it.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{USER}:{}@127.0.0.1:{}/{database}", self.password, self.port)
    }

    /// Connections to a database; at most `connections`.
    pub async fn pool(&self, database: &str, connections: u32) -> Result<PgPool> {
        // Asking before each query whether the connection is alive would be a round trip that nobody measures.
        let pool = PgPoolOptions::new().max_connections(connections).test_before_acquire(false);
        pool.connect_with(self.options(database)).await.context("postgres")
    }

    /// Runs one statement in a database.
    pub async fn execute(&self, database: &str, statement: String) -> Result<()> {
        let pool = self.pool(database, 1).await?;
        let done = sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&pool).await;
        pool.close().await;
        done.map(drop).context("postgres")
    }

    /// CPU seconds of the whole server so far.
    pub fn cpu_seconds(&self) -> Option<f64> {
        usage::cpu_seconds_with_children(self.process.id())
    }
}

/// Whether there are programs to start one with.
pub fn is_installed() -> bool {
    binaries().is_some()
}

/// The directory of `initdb` and `postgres`: the one that `pg_config` says, else the newest that Debian has installed.
fn binaries() -> Option<PathBuf> {
    let named = Command::new("pg_config").arg("--bindir").output().ok();
    let named = named.map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let mut versions: Vec<u32> =
        versions.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    versions.sort_unstable_by(|a, b| b.cmp(a));
    let installed =
        versions.iter().map(|version| PathBuf::from(format!("/usr/lib/postgresql/{version}/bin")));
    named
        .into_iter()
        .chain(installed)
        .find(|bin| bin.join("postgres").exists() && bin.join("initdb").exists())
}

/// PostgreSQL refuses to run as root: then it runs as this user and group.
#[cfg(unix)]
fn other_user() -> Result<Option<(u32, u32)>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let users = std::fs::read_to_string("/etc/passwd").context("/etc/passwd")?;
    let user = ["postgres", "nobody"].iter().find_map(|name| user_ids(&users, name));
    user.map(Some)
        .ok_or_else(|| anyhow!("PostgreSQL does not run as root, and there is no user postgres or nobody"))
}

/// The user and group number of `name` in the text of passwd(5).
#[cfg(unix)]
fn user_ids(users: &str, name: &str) -> Option<(u32, u32)> {
    let line = users.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let mut fields = line.split(':').skip(1);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

fn as_other_user(command: &mut Command) -> Result<&mut Command> {
    #[cfg(unix)]
    if let Some((user, group)) = other_user()? {
        use std::os::unix::process::CommandExt;
        command.uid(user).gid(group);
    }
    Ok(command)
}

fn give_away(paths: &[&Path]) -> Result<()> {
    #[cfg(unix)]
    if let Some((user, group)) = other_user()? {
        for path in paths {
            std::os::unix::fs::chown(path, Some(user), Some(group))
                .with_context(|| path.display().to_string())?;
        }
    }
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::installation::database::{Database, Databases};

    #[test]
    fn a_user_is_found_by_its_whole_name() {
        let users = "root:x:0:0:root:/root:/bin/sh\npostgres2:x:5:6::/:/x\npostgres:x:101:102:P,,,:/var/lib:/bin/sh\n";
        assert_eq!(user_ids(users, "postgres"), Some((101, 102)));
        assert_eq!(user_ids(users, "nobody"), None);
    }

    #[tokio::test]
    async fn a_server_keeps_databases_apart_and_is_gone_when_it_is_dropped() {
        if binaries().is_none() {
            println!("skipped: {INSTALL}");
            return;
        }
        let server = PostgresServer::start(Settings::Tuned).await.unwrap();
        let databases = Databases::Postgres(&server);
        let town = databases.fresh("town").await.unwrap();
        server.execute("town", "CREATE TABLE t AS SELECT 1 AS x".into()).await.unwrap();
        let run = databases.copy(&town, "run").await.unwrap();
        server.execute("run", "INSERT INTO t VALUES (2)".into()).await.unwrap();
        let count = async |database: &Database| -> i64 {
            let pool = PgPool::connect(&database.url).await.unwrap();
            sqlx::query_scalar("SELECT count(*) FROM t").fetch_one(&pool).await.unwrap()
        };
        assert_eq!((count(&town).await, count(&run).await), (1, 2));
        databases.settle(&run).await.unwrap();
        databases.discard(&run.name).await.unwrap();
        assert!(server.execute("run", "SELECT 1".into()).await.is_err());
        let refused = server.execute("town", "SELEC".into()).await.unwrap_err();
        assert!(format!("{refused:#}").contains("syntax"), "{refused:#}");
        if cfg!(target_os = "linux") {
            assert!(server.cpu_seconds().unwrap() > 0.0);
        }
        let port = server.port;
        drop(server);
        assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
    }
}
