//! The server that all tests of this checkout share: the first test starts it, and it ends by itself when none has used it
//! for a while. Every test has a schema of its own.
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

use uuid::Uuid;

use crate::cluster::{self, Owner};

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

/// The address of a new, empty schema.
///
/// # Panics
/// When there is no server and none can be started.
pub async fn schema() -> String {
    static SERVER: OnceLock<Use> = OnceLock::new();
    let server = SERVER.get_or_init(Use::begin);
    let name = format!("t_{}", Uuid::new_v4().simple());
    cluster::execute(&server.url, &format!("CREATE SCHEMA {name}")).await;
    format!("{}&options[search_path]={name}", server.url)
}

/// Our use of the server: it runs while this value lives.
#[derive(Debug)]
struct Use {
    url: String,
    _users: File,
    /// Started by us, and outlives us.
    _guardian: Option<Child>,
}

impl Use {
    fn begin() -> Self {
        let owner = Owner::find();
        let directory = directory(owner);
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
        Self { url: cluster::url(&directory), _users: users, _guardian: guardian }
    }
}

/// One for each checkout and user: two checkouts may differ in their settings.
fn directory(owner: Owner) -> PathBuf {
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
    // Whoever made it: another user of the same directory may lock it too.
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
