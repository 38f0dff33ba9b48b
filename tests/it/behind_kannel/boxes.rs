//! Debian's Kannel as two children of the test: `bearerbox`, which binds at a message centre, and `smsbox`, which takes
//! requests over HTTP and makes them.

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use klaroen_simulator::Smsc;

use crate::front::Door;
use crate::service::PATIENCE;

/// The user whom `sendsms` lets in.
pub const USERNAME: &str = "klaroen";
pub const PASSWORD: &str = "geheim";
/// Whose phone rings before anybody's in the tests.
pub const FIRST: &str = "31600000001";
/// The page for operators, with what it says about replies and the addresses of its example.
const PAGE: &str = include_str!("../../../docs/gateways.md");
const EXAMPLE: &str = "http://127.0.0.1:8080/v1/gateways/kannel/TOKEN/inbound";
/// Runs a program until the test is gone, however it goes: then its end of the pipe is closed.
const WARD: &str = r#""$@" </dev/null & cat >/dev/null; kill -9 $!; wait $! 2>/dev/null"#;

/// Both programs. They end with this value, and with the test.
pub struct Kannel {
    // In the order in which they go: the one that talks to the other first.
    smsbox: Option<Box>,
    bearerbox: Option<Box>,
    sendsms: SocketAddr,
    directory: tempfile::TempDir,
}

/// One program.
struct Box {
    ward: Child,
    /// Open for as long as the program shall run.
    pipe: Option<ChildStdin>,
}

#[derive(Clone, Copy)]
struct Ports {
    admin: u16,
    smsbox: u16,
    sendsms: u16,
    smsc: u16,
}

impl Kannel {
    /// Kannel in front of `smsc`, bound; what phones send goes to the `kannel` gateway behind `door`.
    pub async fn start(smsc: &Smsc, door: &Door) -> Self {
        let [bearerbox, smsbox] = ["bearerbox", "smsbox"].map(installed);
        let [admin, inner, outer] = free_ports();
        let ports = Ports { admin, smsbox: inner, sendsms: outer, smsc: smsc.addr().port() };
        let directory = tempfile::tempdir().unwrap();
        let replies = reply_service().replace(EXAMPLE, &door.callback("kannel", "inbound"));
        std::fs::write(directory.path().join("kannel.conf"), configuration(ports, &replies)).unwrap();
        let sendsms = SocketAddr::from(([127, 0, 0, 1], outer));
        let mut kannel = Self { smsbox: None, bearerbox: None, sendsms, directory };
        kannel.bearerbox = Some(Box::spawn(&bearerbox, kannel.directory.path()));
        kannel.wait("bearerbox listens", async || listens(inner).await).await;
        kannel.smsbox = Some(Box::spawn(&smsbox, kannel.directory.path()));
        kannel.wait("smsbox listens", async || listens(outer).await).await;
        kannel.wait("Kannel is bound", async || smsc.stats().binds > 0).await;
        // A busy machine was seen to leave the first requests of all unanswered.
        kannel.wait("a first message passes", async || kannel.passes(smsc).await).await;
        kannel
    }

    /// Whether a message of nobody's gets to the message centre.
    async fn passes(&self, smsc: &Smsc) -> bool {
        let http = klaroen_testkit::api::plain_http(Duration::from_secs(2));
        let query = format!("username={USERNAME}&password={PASSWORD}&from=1000&to={FIRST}&text=1");
        let sent = http.get(format!("{}/cgi-bin/sendsms?{query}", self.url())).send().await;
        let before = tokio::time::Instant::now();
        while sent.is_ok() && before.elapsed() < Duration::from_secs(2) {
            if !smsc.rings_of(FIRST).is_empty() {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        false
    }

    /// The base URL for the adapter.
    pub fn url(&self) -> String {
        format!("http://{}", self.sendsms)
    }

    async fn wait(&self, what: &str, mut look: impl AsyncFnMut() -> bool) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while !look().await {
            assert!(tokio::time::Instant::now() < deadline, "waited too long until {what}: {}", self.logs());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The logs of both.
    pub fn logs(&self) -> String {
        let log = |name: &str| std::fs::read_to_string(self.directory.path().join(name)).unwrap_or_default();
        format!("bearerbox: {}\nsmsbox: {}", log("bearerbox.log"), log("smsbox.log"))
    }
}

impl Box {
    fn spawn(program: &Path, directory: &Path) -> Self {
        let name = program.file_name().unwrap().to_string_lossy();
        let log = File::create(directory.join(format!("{name}.log"))).unwrap();
        let mut ward = Command::new("sh")
            .args(["-c", WARD, "sh"])
            .arg(program)
            // Warnings and worse: a line for each message would fill the directory.
            .args(["-v", "2", "kannel.conf"])
            .current_dir(directory)
            .stdin(Stdio::piped())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let pipe = ward.stdin.take();
        Self { ward, pipe }
    }
}

impl Drop for Box {
    fn drop(&mut self) {
        drop(self.pipe.take());
        // It kills the program, waits for it and ends; there is nobody to tell where it cannot be waited for.
        drop(self.ward.wait());
    }
}

impl Drop for Kannel {
    #[expect(clippy::print_stderr, reason = "shown where a test fails")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
        drop(self.smsbox.take());
        drop(self.bearerbox.take());
    }
}

/// Debian has them in `/usr/sbin`, which is not in every user's path.
fn installed(program: &str) -> PathBuf {
    let folders = ["/usr/sbin", "/usr/local/sbin", "/usr/bin", "/usr/local/bin"];
    let found = folders.iter().map(|folder| Path::new(folder).join(program)).find(|path| path.exists());
    found.expect(
        "Kannel is not installed: apt-get install kannel, or `make test`, which leaves its tests out without it",
    )
}

/// All at once, so that they differ.
fn free_ports<const N: usize>() -> [u16; N] {
    let listeners = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

async fn listens(port: u16) -> bool {
    tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok()
}

/// The group that the page for operators shows.
fn reply_service() -> &'static str {
    let begin = PAGE.find("group = sms-service").expect("the page shows it");
    let end = PAGE[begin..].find("```").expect("the example ends");
    let group = &PAGE[begin..begin + end];
    assert!(group.contains(EXAMPLE), "{group}");
    group
}

/// Every setting that is not here is Kannel's default; the queues are larger than any alert of the test.
fn configuration(ports: Ports, replies: &str) -> String {
    let Ports { admin, smsbox, sendsms, smsc } = ports;
    format!(
        "group = core\nadmin-port = {admin}\nadmin-interface = 127.0.0.1\nadmin-password = {PASSWORD}\n\
         smsbox-port = {smsbox}\nsmsbox-interface = 127.0.0.1\nbox-allow-ip = 127.0.0.1\n\
         smsbox-max-pending = 1000\nsms-outgoing-queue-limit = 100000\nsms-incoming-queue-limit = 100000\n\
         dlr-storage = internal\n\n\
         group = smsc\nsmsc = smpp\nsmsc-id = simulator\nhost = 127.0.0.1\nport = {smsc}\n\
         transceiver-mode = true\nsmsc-username = kannel\nsmsc-password = {PASSWORD}\nsystem-type = \"\"\n\
         interface-version = 34\nmax-pending-submits = 50\nreconnect-delay = 1\n\n\
         group = smsbox\nbearerbox-host = 127.0.0.1\nsendsms-port = {sendsms}\nsendsms-interface = 127.0.0.1\n\
         max-pending-requests = 512\n\n\
         group = sendsms-user\nusername = {USERNAME}\npassword = {PASSWORD}\nmax-messages = 10\n\n\
         {replies}"
    )
}
