//! The server that all tests of this checkout share: the first test starts it, and it ends by itself when none has used it
//! for a while. Every test has a database of its own, which is a copy of a template.
//!
//! A test is a process of its own under cargo-nextest, so what is shared lies in a directory: whoever holds `starting`
//! looks after the server; whoever uses it holds `users` (shared), which its guardian tries to lock alone.

use std::fs::{DirBuilder, File, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::OnceLock;
use std::time::Duration;

use sqlx::error::DatabaseError;
use sqlx::migrate::Migrator;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection};
use uuid::Uuid;

use crate::cluster::{self, Owner};
use crate::migrations;

/// Runs the server and ends it after 30 idle seconds, under the lock of those who start it. `$1` is the directory, the rest
/// the server and its arguments.
const GUARDIAN: &str = r#"
directory=$1; shift
"$@" >"$directory/log" 2>&1 & server=$!
idle=0
while kill -0 $server 2>/dev/null; do
  sleep 1
  if flock -n -x "$directory/users" true; then idle=$((idle + 1)); else idle=0; fi
  if [ $idle -ge 30 ]; then
    exec 9>"$directory/starting"
    flock -x 9
    if flock -n -x "$directory/users" true; then
      rm -f "$directory/ready"
      kill -INT $server
      wait $server
      rm -rf "$directory/data"
      exit
    fi
    exec 9>&-
    idle=0
  fi
done
"#;

/// A database that does not exist: the template that is not made yet.
const NO_SUCH_DATABASE: &str = "3D000";

/// The address of a new database with the tables.
///
/// # Panics
/// When there is no server and none can be started.
pub(crate) async fn database() -> String {
    let (server, migrations) = (server(), migrations::of("postgres").await);
    let template = format!("template_{}", migrations::fingerprint(&migrations));
    let name = name();
    let mut connection = cluster::connect(&server.url("postgres")).await;
    drop_abandoned(&mut connection).await;
    // Files are copied: with a log that nobody flushes, that is three times as fast as to write them through the log.
    let copy = format!("CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy");
    if let Err(error) = run(&mut connection, &copy).await {
        let missing = error.as_database_error().and_then(DatabaseError::code);
        assert_eq!(missing.as_deref(), Some(NO_SUCH_DATABASE), "{error}");
        make_template(server, &mut connection, &template, &migrations).await;
        run(&mut connection, &copy).await.expect("a database can be copied");
    }
    connection.close().await.expect("a connection can be closed");
    server.url(&name)
}

/// The address of a new, empty schema.
///
/// # Panics
/// When there is no server and none can be started.
pub(crate) async fn schema() -> String {
    let (url, name) = (server().url("postgres"), name());
    cluster::execute(&url, &format!("CREATE SCHEMA {name}")).await;
    format!("{url}&options[search_path]={name}")
}

fn server() -> &'static Use {
    static SERVER: OnceLock<Use> = OnceLock::new();
    SERVER.get_or_init(Use::begin)
}

/// With the process in it, so that others see when nobody uses it any more.
fn name() -> String {
    format!("t_{}_{}", std::process::id(), Uuid::new_v4().simple())
}

async fn run(connection: &mut PgConnection, statement: &str) -> sqlx::Result<()> {
    sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(connection).await.map(drop)
}

/// Databases of processes that have ended: they may lie in memory.
async fn drop_abandoned(connection: &mut PgConnection) {
    let names = sqlx::query_scalar("SELECT datname::text FROM pg_database WHERE datname LIKE 't\\_%'");
    let names: Vec<String> = names.fetch_all(&mut *connection).await.expect("the databases can be listed");
    for name in names {
        let process = name.split('_').nth(1).expect("a process is named");
        if !Path::new("/proc").join(process).exists() {
            // Another test may drop it at the same time, or a child of that process may still be connected.
            drop(run(connection, &format!("DROP DATABASE IF EXISTS {name}")).await);
        }
    }
}

/// Unless another test has made it meanwhile.
async fn make_template(server: &Use, connection: &mut PgConnection, template: &str, migrations: &Migrator) {
    let making = lock_file(server.owner, &server.directory.join("template"));
    making.lock().expect("a file can be locked");
    let made =
        sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)").bind(template);
    if made.fetch_one(&mut *connection).await.expect("the databases can be listed") {
        return;
    }
    let draft = name();
    run(connection, &format!("CREATE DATABASE {draft}")).await.expect("a database can be made");
    let mut inside = cluster::connect(&server.url(&draft)).await;
    migrations.run(&mut inside).await.expect("the migrations can be run");
    inside.close().await.expect("a connection can be closed");
    run(connection, &format!("ALTER DATABASE {draft} RENAME TO {template}"))
        .await
        .expect("it can be renamed");
}

/// Our use of the server: it runs while this value lives.
#[derive(Debug)]
struct Use {
    owner: Owner,
    directory: PathBuf,
    _users: File,
    /// Started by us, and outlives us.
    _guardian: Option<Child>,
}

impl Use {
    fn begin() -> Self {
        let (owner, directory) = (Owner::find(), directory());
        let users = lock_file(owner, &directory.join("users"));
        let starting = lock_file(owner, &directory.join("starting"));
        starting.lock().expect("a file can be locked");
        users.lock_shared().expect("a file can be locked");
        let (ready, data) = (directory.join("ready"), directory.join("data"));
        // A machine that went down leaves the mark of a server that is gone.
        let runs = ready.exists() && std::os::unix::net::UnixStream::connect(socket(&directory)).is_ok();
        let mut guardian = None;
        if !runs {
            std::fs::remove_dir_all(&data).or_else(ignore_missing).expect("old files can be removed");
            cluster::init(owner, &data);
            let started = owner
                .command("sh")
                .args(["-c", GUARDIAN, "guardian"])
                .arg(&directory)
                .arg(cluster::programs().join("postgres"))
                .args(cluster::arguments(&data, &directory))
                // Out of reach of the signals that end a test.
                .process_group(0)
                .spawn();
            let mut started = started.expect("a shell can be run");
            // Still under the lock: who comes next would take a server that does not listen yet for one that is gone, and
            // remove its files.
            await_listening(&socket(&directory), &mut started);
            guardian = Some(started);
            File::create(&ready).expect("a file can be made");
            owner.own(&ready);
        }
        Self { owner, directory, _users: users, _guardian: guardian }
    }

    fn url(&self, database: &str) -> String {
        cluster::url(&self.directory, database)
    }
}

/// One for each checkout and user: two checkouts may differ in their settings.
pub(crate) fn directory() -> PathBuf {
    let owner = Owner::find();
    let mut hasher = DefaultHasher::new();
    env!("CARGO_MANIFEST_DIR").hash(&mut hasher);
    let name = format!("klaroen-test-{}-{:x}", owner.uid, hasher.finish());
    let path = std::env::temp_dir().join(name);
    DirBuilder::new().recursive(true).mode(0o700).create(&path).expect("a directory can be made");
    owner.own(&path);
    path
}

fn lock_file(owner: Owner, path: &Path) -> File {
    let file =
        OpenOptions::new().create(true).truncate(false).write(true).open(path).expect("a file can be made");
    // The file may have another maker: another user of the same directory may lock it too.
    let _ = file.set_permissions(std::fs::Permissions::from_mode(0o666));
    owner.own(path);
    file
}

/// Until the server listens, or has ended.
fn await_listening(socket: &Path, guardian: &mut Child) {
    while std::os::unix::net::UnixStream::connect(socket).is_err() {
        let ended = guardian.try_wait().expect("a child can be waited for");
        assert!(ended.is_none(), "the server ended: see the log beside its data");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn socket(directory: &Path) -> PathBuf {
    directory.join(".s.PGSQL.5432")
}

fn ignore_missing(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}
