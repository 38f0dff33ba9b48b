//! The real program as a child process, set up through its command line.

use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use klaroen_simulator::Smsc;
use serde_json::Value;

/// Longer than anything takes: a wait that ends here has failed.
pub const PATIENCE: Duration = Duration::from_mins(1);
/// Lines of a program's log that are shown if a test fails.
const LOG_LINES: usize = 100;
/// How every phone number of these tests begins, and how many digits follow.
const NUMBER: (&str, usize) = ("31610", 6);

/// The program next to this test: `target/<profile>/klaroen`.
fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(Path::parent).unwrap();
    let program = profile.join(format!("klaroen{}", std::env::consts::EXE_SUFFIX));
    assert!(
        program.is_file(),
        "there is no {}: these tests run the real program; build it first with `cargo build -p klaroen`",
        program.display()
    );
    program
}

/// A directory with a configuration, a key file, a database, an organisation and two API keys.
pub struct Installation {
    directory: tempfile::TempDir,
    pub operator: String,
    pub admin: String,
}

impl Installation {
    /// With one SMPP gateway at `smsc`; `gateway` is more of its configuration, as TOML.
    pub fn new(smsc: &Smsc, gateway: &str) -> Self {
        Self::on("sqlite:klaroen.db", smsc, gateway)
    }

    /// On the database at `url`.
    pub fn on(url: &str, smsc: &Smsc, gateway: &str) -> Self {
        let mut new =
            Self { directory: tempfile::tempdir().unwrap(), operator: String::new(), admin: String::new() };
        new.write("klaroen.toml", &configuration_on(url, smsc.addr().port(), gateway, "klaroen.key"));
        new.run(&["check-config"], false);
        new.run(&["secrets", "init"], true);
        new.run(&["check-config"], true);
        new.run(&["organisation", "create", "utrecht", "--name", "Gemeente Utrecht"], true);
        let key = |role: &str| {
            new.run(&["key", "create", "--organisation", "utrecht", "--role", role], true).trim().to_owned()
        };
        let (operator, admin) = (key("operator"), key("admin"));
        (new.operator, new.admin) = (operator, admin);
        new
    }

    /// A file of the installation.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// Enrols every participant in a CSV file.
    pub fn import(&self, csv: &str) {
        self.write("people.csv", csv);
        let rows = csv.lines().count() - 1;
        let report = self.run(&["participants", "import", "--organisation", "utrecht", "people.csv"], true);
        let report: Value = serde_json::from_str(&report).unwrap();
        assert_eq!((&report["created"], &report["rejected"]), (&rows.into(), &0.into()), "{report}");
    }

    /// Runs a command to its end; returns its standard output.
    pub fn run(&self, arguments: &[&str], succeeds: bool) -> String {
        let output = self.output("klaroen.toml", arguments);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert_eq!(output.status.success(), succeeds, "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// Runs a command with another configuration file.
    pub fn output(&self, configuration: &str, arguments: &[&str]) -> Output {
        self.command(configuration).args(arguments).output().unwrap()
    }

    fn command(&self, configuration: &str) -> Command {
        self.inside(Command::new(program()), configuration)
    }

    /// A command that ends with the program, in the directory of the installation.
    fn inside(&self, mut command: Command, configuration: &str) -> Command {
        command.current_dir(self.directory.path()).args(["--config", configuration]).stdin(Stdio::null());
        command
    }

    /// Starts `serve` and does not wait for anything.
    pub fn spawn(&self) -> Program {
        self.spawn_part("serve")
    }

    /// Starts `serve`, `dispatcher` or `worker` and does not wait for anything.
    pub fn spawn_part(&self, part: &str) -> Program {
        Program::spawn(self.command("klaroen.toml").arg(part))
    }

    /// Starts `serve` so that it outlives writes beyond a limit of its files, which fail for it like those to a full disk.
    pub fn spawn_limited(&self) -> Program {
        let mut shell = Command::new("sh");
        shell.args(["-c", r#"trap '' XFSZ; exec "$@""#, "sh"]).arg(program());
        Program::spawn(self.inside(shell, "klaroen.toml").arg("serve"))
    }

    /// Starts `serve` and waits until it answers.
    pub fn serve(&self) -> Program {
        let mut program = self.spawn();
        program.wait_until_it_answers();
        program
    }
}

/// The configuration of an installation whose key file is `key_file`. The port of the API is any that is free.
pub fn configuration(smsc_port: u16, gateway: &str, key_file: &str) -> String {
    configuration_on("sqlite:klaroen.db", smsc_port, gateway, key_file)
}

fn configuration_on(url: &str, smsc_port: u16, gateway: &str, key_file: &str) -> String {
    format!(
        r#"
[database]
url = "{url}"
[http]
listen = "127.0.0.1:0"
requests_per_second = 100000
[worker]
listen = "127.0.0.1:0"
[secrets]
key_file = "{key_file}"
[sending]
quiet_hours = ""
max_alerts_per_day = 0
[logging]
format = "json"
level = "info,klaroen_dispatcher=warn"
[[gateways]]
name = "main"
type = "smpp"
host = "127.0.0.1"
port = {smsc_port}
system_id = "klaroen"
password = "geheim"
sender = "1000"
{gateway}
"#
    )
}

/// A running `serve`. Dropping it kills it.
pub struct Program {
    child: Child,
    address: String,
    serving: Receiver<String>,
    log: Arc<Mutex<VecDeque<String>>>,
    reader: Option<JoinHandle<bool>>,
}

impl Program {
    fn spawn(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::new(Mutex::new(VecDeque::new()));
        let (found, serving) = mpsc::channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let kept = Arc::clone(&log);
        let reader = std::thread::spawn(move || read_log(stderr, &kept, &found));
        Self { child, address: String::new(), serving, log, reader: Some(reader) }
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for the line that says where it listens.
    pub fn wait_until_it_answers(&mut self) {
        match self.serving.recv_timeout(PATIENCE) {
            Ok(address) => self.address = address,
            Err(RecvTimeoutError::Disconnected) => panic!("it ended at once: {:?}", self.child.wait()),
            Err(RecvTimeoutError::Timeout) => panic!("it does not start"),
        }
    }

    /// Whether it has said where it listens.
    pub fn answers_by_now(&mut self) -> bool {
        if let Ok(address) = self.serving.try_recv() {
            self.address = address;
        }
        !self.address.is_empty()
    }

    /// `http://127.0.0.1:…`
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// `kill -9`.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.finish_log();
    }

    /// SIGTERM; waits for its end.
    pub fn terminate(mut self) -> ExitStatus {
        let signal = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(signal.success());
        let status = self.wait();
        self.finish_log();
        status
    }

    fn wait(&mut self) -> ExitStatus {
        let deadline = std::time::Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(std::time::Instant::now() < deadline, "it does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn finish_log(&mut self) {
        let clean = self.reader.take().is_some_and(|reader| reader.join().unwrap());
        assert!(clean, "a phone number stands in the log");
    }
}

impl Drop for Program {
    #[expect(clippy::print_stderr, reason = "shown where a test fails")]
    fn drop(&mut self) {
        // It may have ended already; what counts is that it is gone afterwards.
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
            for line in log.iter() {
                eprintln!("{line}");
            }
        }
    }
}

/// Reads to the end; tells the address once; returns whether no line holds a phone number.
fn read_log(lines: impl BufRead, kept: &Mutex<VecDeque<String>>, found: &mpsc::Sender<String>) -> bool {
    let mut clean = true;
    for line in lines.lines() {
        let Ok(line) = line else { break };
        clean &= !holds_number(&line);
        if let Some(address) = serving_address(&line) {
            // Nobody waits where it was started only to be killed.
            drop(found.send(address));
        }
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == LOG_LINES {
            kept.pop_front();
        }
        kept.push_back(line);
    }
    clean
}

fn holds_number(line: &str) -> bool {
    let (begin, more) = NUMBER;
    line.match_indices(begin).any(|(at, _)| {
        let rest = &line.as_bytes()[at + begin.len()..];
        rest.len() >= more && rest[..more].iter().all(u8::is_ascii_digit)
    })
}

fn serving_address(line: &str) -> Option<String> {
    let line: Value = serde_json::from_str(line).ok()?;
    let fields = &line["fields"];
    if fields["message"] == "serving" { Some(fields["address"].as_str()?.to_owned()) } else { None }
}
