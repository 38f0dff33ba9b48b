//! The peer for sending: Kannel, between HTTP requests and the same simulated SMSC, with receipts called back over HTTP.
//!
//! One SMPP connection with a window of 50, as Klaroen has. Kannel is fed over connections that stay open, and its receipts
//! go to a receiver that does nothing but count: neither costs more than it must.

mod feed;
mod receiver;

use anyhow::{Context, Result, bail};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use klaroen_simulator::SmscConfig;
use tokio::time::{Instant, sleep};

use self::feed::Feed;
use self::receiver::Receiver;
use crate::processes::process::{Farewell, Process};
use crate::processes::smsc::{self, SmscProcess, WINDOW};
use crate::processes::{free_port, usage};
use crate::report::figures::GatewayRun;
use crate::{output, timing};

pub const INSTALL: &str = "Kannel: not installed; Debian: apt-get install kannel";
const PATIENCE: Duration = Duration::from_secs(30);
const LIMIT: Duration = Duration::from_mins(5);
const LOOK_EVERY: Duration = Duration::from_millis(10);
const PASSWORD: &str = "bench";

/// The place in which Kannel keeps the messages that it took and has not passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// In memory, which is its default: what waits is lost with the process.
    Memory,
    /// A file for each message (`store-type = spool`), which a restart finds again. It is written, not flushed to the disk.
    Spool,
}

impl Store {
    /// As the table has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Memory => "Kannel (default: no store)",
            Self::Spool => "Kannel (store-type = spool)",
        }
    }
}

/// Whether both of its programs are there.
pub fn is_installed() -> bool {
    installed("bearerbox").is_some() && installed("smsbox").is_some()
}

/// Measures Kannel with so many messages, `runs` times.
pub async fn run(store: Store, messages: u32, runs: u32, smsc: &SmscConfig) -> Result<Vec<GatewayRun>> {
    let mut done = Vec::new();
    for number in 1..=runs {
        let run = timing::within(LIMIT, store.name(), once(store, messages, smsc)).await?;
        output::note(format_args!(
            "{}: run {number} of {runs}, {:.0} SMS/s",
            store.name(),
            run.sms_per_second
        ));
        done.push(run);
    }
    Ok(done)
}

async fn once(store: Store, messages: u32, smsc: &SmscConfig) -> Result<GatewayRun> {
    let mut smsc = SmscProcess::start(smsc).await?;
    let mut kannel = Kannel::start(store, &mut smsc).await?;
    let receiver = Receiver::start().await?;
    let before = kannel.cpu_seconds();
    if let Err(failure) = (Feed { to: kannel.sendsms, receipts: receiver.address }).send(messages).await {
        // If one of its programs broke, the error of that program says more.
        kannel.smsbox.still_runs()?;
        kannel.bearerbox.still_runs()?;
        return Err(failure);
    }
    let wanted = u64::from(messages);
    let counters = smsc.wait("Kannel's submits", LIMIT, |counters| counters.taken >= wanted).await?;
    let (first, _) = counters.submits().context("the SMSC saw no submit")?;
    let began = Instant::now();
    while receiver.count() < wanted {
        if began.elapsed() > LIMIT {
            bail!("{} of {wanted} receipts came from Kannel", receiver.count());
        }
        sleep(LOOK_EVERY).await;
    }
    let seconds = first.elapsed().as_secs_f64();
    let used = |before: Option<f64>, after: Option<f64>| Some(after? - before?);
    Ok(GatewayRun {
        sms_per_second: f64::from(messages) / seconds,
        cpu_seconds: used(before, kannel.cpu_seconds()),
        peak_memory_mib: kannel.peak_memory_mib(),
    })
}

/// Both of its programs. They end when it is dropped, the one that talks to the other first.
struct Kannel {
    smsbox: Process,
    bearerbox: Process,
    sendsms: SocketAddr,
    _directory: tempfile::TempDir,
}

impl Kannel {
    async fn start(store: Store, smsc: &mut SmscProcess) -> Result<Self> {
        let [bearerbox, smsbox] = ["bearerbox", "smsbox"].map(installed);
        let (Some(bearerbox), Some(smsbox)) = (bearerbox, smsbox) else { bail!(INSTALL) };
        let directory = tempfile::tempdir().context("cannot make a temporary directory")?;
        let path = directory.path();
        let [admin_port, box_port, send_port] = [free_port()?, free_port()?, free_port()?];
        let ports =
            Ports { admin: admin_port, smsbox: box_port, sendsms: send_port, smsc: smsc.address.port() };
        let spool = path.join("spool");
        std::fs::create_dir(&spool).with_context(|| spool.display().to_string())?;
        let file = path.join("kannel.conf");
        std::fs::write(&file, configuration(store, ports, &spool))
            .with_context(|| file.display().to_string())?;
        let start = |name, program: PathBuf| {
            let mut command = Command::new(program);
            // Only what stops it: a line for each message would slow it down.
            command.args(["-v", "4"]).arg(&file).current_dir(path);
            Process::spawn(name, &mut command, &path.join(format!("{name}.log")), Farewell::Terminate)
        };
        let mut bearerbox = start("bearerbox", bearerbox)?;
        listening(&mut bearerbox, box_port).await?;
        let mut smsbox = start("smsbox", smsbox)?;
        listening(&mut smsbox, send_port).await?;
        smsc.wait("Kannel's bind", PATIENCE, |counters| counters.binds > 0).await?;
        let sendsms = SocketAddr::from(([127, 0, 0, 1], send_port));
        Ok(Self { smsbox, bearerbox, sendsms, _directory: directory })
    }

    fn cpu_seconds(&self) -> Option<f64> {
        Some(usage::cpu_seconds(self.smsbox.id())? + usage::cpu_seconds(self.bearerbox.id())?)
    }

    fn peak_memory_mib(&self) -> Option<f64> {
        Some(usage::peak_memory_mib(self.smsbox.id())? + usage::peak_memory_mib(self.bearerbox.id())?)
    }
}

/// Debian has them in `/usr/sbin`, which is not in every user's path.
fn installed(program: &str) -> Option<PathBuf> {
    let folders = ["/usr/sbin", "/usr/local/sbin", "/usr/bin", "/usr/local/bin"];
    folders.iter().map(|folder| Path::new(folder).join(program)).find(|path| path.exists())
}

async fn listening(process: &mut Process, port: u16) -> Result<()> {
    let began = Instant::now();
    while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
        process.still_runs()?;
        if began.elapsed() > PATIENCE {
            bail!("Kannel does not listen");
        }
        sleep(LOOK_EVERY).await;
    }
    Ok(())
}

#[derive(Clone, Copy)]
struct Ports {
    admin: u16,
    smsbox: u16,
    sendsms: u16,
    smsc: u16,
}

/// Everything that is not said here is Kannel's default; the limits that are said are wider than it.
fn configuration(store: Store, ports: Ports, spool: &Path) -> String {
    let (system_id, password) = smsc::ACCOUNT;
    let kept = match store {
        Store::Memory => String::new(),
        Store::Spool => format!("store-type = spool\nstore-location = \"{}\"\n", spool.display()),
    };
    let Ports { admin, smsbox, sendsms, smsc } = ports;
    format!(
        "group = core\nadmin-port = {admin}\nadmin-interface = 127.0.0.1\nadmin-password = {PASSWORD}\n\
         smsbox-port = {smsbox}\nsmsbox-interface = 127.0.0.1\nbox-allow-ip = 127.0.0.1\n\
         smsbox-max-pending = 1000\nsms-outgoing-queue-limit = 1000000\nsms-incoming-queue-limit = 1000000\n\
         dlr-storage = internal\n{kept}\n\
         group = smsc\nsmsc = smpp\nsmsc-id = simulator\nhost = 127.0.0.1\nport = {smsc}\n\
         transceiver-mode = true\nsmsc-username = {system_id}\nsmsc-password = {password}\nsystem-type = \"\"\n\
         interface-version = 34\nmax-pending-submits = {WINDOW}\nreconnect-delay = 1\n\n\
         group = smsbox\nbearerbox-host = 127.0.0.1\nsendsms-port = {sendsms}\nsendsms-interface = 127.0.0.1\n\
         max-pending-requests = 512\n\n\
         group = sendsms-user\nusername = bench\npassword = {PASSWORD}\nmax-messages = 10\n\n\
         group = sms-service\nkeyword = default\ntext = \"\"\nomit-empty = true\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_store_differs() {
        let ports = Ports { admin: 1, smsbox: 2, sendsms: 3, smsc: 4 };
        let text = |store| configuration(store, ports, Path::new("/tmp/spool"));
        let (memory, spool) = (text(Store::Memory), text(Store::Spool));
        assert!(!memory.contains("store-"));
        assert_eq!(spool.replace("store-type = spool\nstore-location = \"/tmp/spool\"\n", ""), memory);
        assert_eq!(memory.matches("group = ").count(), 5);
        assert_eq!(memory.matches("\n\ngroup = ").count(), 4, "groups are parted by an empty line");
    }
}
