//! One PostgreSQL: its programs, its files, its process.

use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sqlx::error::DatabaseError;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection};

/// Longer than any start or stop of a small server takes on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// The settings of a cluster: small, and without waiting for the disk, which these tests do not pull out.
const SETTINGS: [&str; 8] = [
    "fsync=off",
    "full_page_writes=off",
    "max_connections=400",
    "shared_buffers=128MB",
    "max_wal_size=1GB",
    "listen_addresses=",
    "log_min_messages=warning",
    "jit=off",
];

/// A user other than root, which PostgreSQL refuses to run as.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owner {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    must_switch: bool,
}

impl Owner {
    /// Ourselves, or `postgres` or `nobody` when we are root.
    pub(crate) fn find() -> Self {
        let own = std::fs::metadata("/proc/self").expect("the own process has an owner");
        if own.uid() != 0 {
            return Self { uid: own.uid(), gid: own.gid(), must_switch: false };
        }
        let users = std::fs::read_to_string("/etc/passwd").expect("there is a list of users");
        let find = |name: &str| {
            let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
            let mut fields = line.split(':').skip(2).map(str::parse);
            Some(Self { uid: fields.next()?.ok()?, gid: fields.next()?.ok()?, must_switch: true })
        };
        find("postgres").or_else(|| find("nobody")).expect("a user other than root, to run PostgreSQL as")
    }

    pub(crate) fn command(self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        // Nothing of the test's own: an open pipe would keep its runner waiting. The directory must be one it may enter.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).current_dir("/");
        if self.must_switch {
            command.uid(self.uid).gid(self.gid);
        }
        command
    }

    pub(crate) fn own(self, path: &Path) {
        if self.must_switch {
            chown(path, Some(self.uid), Some(self.gid)).expect("root may give a file away");
        }
    }
}

/// The directory of the server's programs: `pg_config` knows it, or it is Debian's usual place.
///
/// # Panics
/// When there are none of version 15 or later.
pub(crate) fn programs() -> PathBuf {
    let told = Command::new("pg_config").arg("--bindir").output().ok();
    let told = told.map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    let mut debian: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let entry = entry.ok()?;
            Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin")))
        })
        .filter(|(version, _)| *version >= 15)
        .collect();
    debian.sort();
    let newest_first = debian.into_iter().rev().map(|(_, path)| path);
    newest_first
        .chain(told)
        .find(|path| path.join("initdb").exists() && path.join("postgres").exists())
        .expect("no PostgreSQL 15 or later: apt-get install postgresql, or `make test`, which leaves its tests out")
}

/// Makes the files of a cluster in `data`, whose only user is `klaroen`, without a password.
pub(crate) fn init(owner: Owner, data: &Path) {
    let output = owner
        .command(programs().join("initdb"))
        .args(["--no-sync", "--auth=trust", "--username=klaroen", "--encoding=UTF8", "--no-locale", "-D"])
        .arg(data)
        .stderr(Stdio::piped())
        .output()
        .expect("initdb can be run");
    assert!(output.status.success(), "initdb: {}", String::from_utf8_lossy(&output.stderr));
}

/// The arguments of `postgres`, with its socket in `sockets`.
pub(crate) fn arguments(data: &Path, sockets: &Path) -> Vec<String> {
    let mut arguments = vec!["-D".to_owned(), data.display().to_string()];
    for setting in SETTINGS {
        arguments.extend(["-c".to_owned(), setting.to_owned()]);
    }
    arguments.extend(["-c".to_owned(), format!("unix_socket_directories={}", sockets.display())]);
    arguments
}

/// The address of a database of a server with its socket in `sockets`.
pub(crate) fn url(sockets: &Path, database: &str) -> String {
    format!("postgres://klaroen@localhost/{database}?host={}", sockets.display())
}

/// The code with which a server refuses connections while it listens already and still reads its files.
const STARTING_UP: &str = "57P03";

/// A connection to a server that runs, or that has just been started.
pub(crate) async fn connect(url: &str) -> PgConnection {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let error = match PgConnection::connect(url).await {
            Ok(connection) => return connection,
            Err(error) => error,
        };
        let code = error.as_database_error().and_then(DatabaseError::code);
        assert_eq!(code.as_deref(), Some(STARTING_UP), "the server takes connections: {error}");
        assert!(Instant::now() < deadline, "the server starts in time: {error}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Runs statements; gives up when the server does not take them in time.
pub(crate) async fn execute(url: &str, statements: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let done = async {
            let mut connection = PgConnection::connect(url).await?;
            sqlx::raw_sql(AssertSqlSafe(statements.to_owned())).execute(&mut connection).await?;
            connection.close().await
        };
        match done.await {
            Ok(()) => return,
            Err(error) => assert!(Instant::now() < deadline, "{statements}: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A server of one test, which may stop it, start it again and make it read-only. It ends with the value.
#[derive(Debug)]
pub struct Server {
    directory: tempfile::TempDir,
    owner: Owner,
    /// Beside those of every cluster.
    settings: Vec<String>,
    process: Option<Child>,
}

/// Who comes over the network speaks TLS and has a password.
const NETWORK: &str = "local all all trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n";

impl Server {
    /// Makes a cluster and starts it.
    ///
    /// # Panics
    /// When that cannot be done.
    pub async fn start() -> Self {
        let owner = Owner::find();
        let directory = tempfile::tempdir().expect("a directory can be made");
        owner.own(directory.path());
        init(owner, &directory.path().join("data"));
        let mut server = Self { directory, owner, settings: Vec::new(), process: None };
        server.resume().await;
        server
    }

    /// From now on it also listens on a port of 127.0.0.1, which is given back, to those who speak TLS (`certificate` and `key` are
    /// PEM) and have the password.
    ///
    /// # Panics
    /// When that cannot be done.
    pub async fn open_to_network(&mut self, certificate: &str, key: &str, password: &str) -> u16 {
        self.execute(&format!("ALTER ROLE klaroen PASSWORD '{password}'")).await;
        self.stop();
        let file = |name: &str, content: &str| {
            let path = self.directory.path().join(name);
            std::fs::write(&path, content).expect("a file can be written");
            // The server refuses a key that others may read.
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))
                .expect("and be made private");
            self.owner.own(&path);
            path.display().to_string()
        };
        let free = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
        let port = free.local_addr().expect("it has a number").port();
        drop(free);
        self.settings = vec![
            "listen_addresses=127.0.0.1".into(),
            format!("port={port}"),
            "ssl=on".into(),
            format!("ssl_cert_file={}", file("certificate.pem", certificate)),
            format!("ssl_key_file={}", file("key.pem", key)),
            format!("hba_file={}", file("hba.conf", NETWORK)),
        ];
        self.resume().await;
        port
    }

    /// The address of its database.
    #[must_use]
    pub fn url(&self) -> String {
        let port = self.settings.iter().find_map(|setting| setting.strip_prefix("port=")).unwrap_or("5432");
        format!("{}&port={port}", url(self.directory.path(), "postgres"))
    }

    /// Starts it again after [`Self::stop`] or [`Self::crash`], and waits until it takes statements.
    ///
    /// # Panics
    /// When that cannot be done.
    pub async fn resume(&mut self) {
        let data = self.directory.path().join("data");
        // It ends with us, however we end: `setpriv` has the kernel say so to it.
        let process = self
            .owner
            .command("setpriv")
            .args(["--pdeathsig", "INT"])
            .arg(programs().join("postgres"))
            .args(arguments(&data, self.directory.path()))
            .args(self.settings.iter().flat_map(|setting| ["-c", setting]))
            .spawn()
            .expect("postgres can be run");
        self.process = Some(process);
        execute(&self.url(), "SELECT 1").await;
    }

    /// Stops it as an administrator does in a hurry (`pg_ctl stop -m fast`): connections are cut, transactions roll back.
    ///
    /// # Panics
    /// When that cannot be done.
    pub fn stop(&mut self) {
        self.end("fast");
    }

    /// Ends it as a crash does (`pg_ctl stop -m immediate`): nothing is written out and nobody is told. The next start finds
    /// what was committed in its log.
    ///
    /// # Panics
    /// When that cannot be done.
    pub fn crash(&mut self) {
        self.end("immediate");
    }

    fn end(&mut self, mode: &str) {
        let Some(mut process) = self.process.take() else { return };
        let stopped = self
            .owner
            .command(programs().join("pg_ctl"))
            .args(["stop", "-m", mode, "-D"])
            .arg(self.directory.path().join("data"))
            .status();
        assert!(stopped.is_ok_and(|status| status.success()), "pg_ctl stop -m {mode}");
        process.wait().expect("the process can be waited for");
    }

    /// Runs statements as the administrator.
    ///
    /// # Panics
    /// When they fail for a minute.
    pub async fn execute(&self, statements: &str) {
        execute(&self.url(), statements).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.process.is_some() {
            self.stop();
        }
    }
}
