//! A child process that ends with its owner, whatever way its owner ends: done, failed or Ctrl-C.

use anyhow::{Context, Result, anyhow};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A database writes its last page within that.
const GRACE: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Of a log, in a message about a process that ended too early.
const LOG_LINES: usize = 3;

/// How a process is asked to end.
#[derive(Clone, Copy, Debug)]
pub enum Farewell {
    /// SIGTERM: most programs.
    Terminate,
    /// SIGINT: PostgreSQL's "fast shutdown", which does not wait for its clients.
    Interrupt,
    /// SIGKILL: what it leaves is thrown away.
    Kill,
}

/// A child with its output in a file.
pub struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
    farewell: Farewell,
}

impl Process {
    /// Starts it. Both streams go to the file `log`.
    pub fn spawn(name: &'static str, command: &mut Command, log: &Path, farewell: Farewell) -> Result<Self> {
        let file = std::fs::File::create(log).with_context(|| log.display().to_string())?;
        let other = file.try_clone().with_context(|| log.display().to_string())?;
        let child = command.stdin(Stdio::null()).stdout(file).stderr(other).spawn();
        Ok(Self { name, child: child.context(name)?, log: log.to_owned(), farewell })
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The text that it wrote so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Fails if it has ended by itself, with the end of its log.
    pub fn still_runs(&mut self) -> Result<()> {
        match self.child.try_wait().context(self.name)? {
            None => Ok(()),
            Some(status) => Err(anyhow!("{} ended ({status}): {}", self.name, last_lines(&self.log()))),
        }
    }

    fn ask_to_end(&mut self) {
        #[cfg(unix)]
        {
            use rustix::process::{Pid, Signal, kill_process};
            let signal = match self.farewell {
                Farewell::Terminate => Signal::TERM,
                Farewell::Interrupt => Signal::INT,
                Farewell::Kill => Signal::KILL,
            };
            // One that has just ended by itself needs no asking.
            let _gone = kill_process(Pid::from_child(&self.child), signal);
        }
        #[cfg(not(unix))]
        drop(self.child.kill());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        self.ask_to_end();
        let asked = Instant::now();
        while asked.elapsed() < GRACE {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(LOOK_EVERY);
        }
        // It was asked; now it is told. Both fail only where it is gone.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The end of a text in one line.
pub fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].join(" | ")
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_gone_when_it_is_dropped() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let mut sleep = Command::new("sleep");
        let mut process = Process::spawn("sleep", sleep.arg("600"), &log, Farewell::Terminate).unwrap();
        process.still_runs().unwrap();
        let pid = rustix::process::Pid::from_child(&process.child);
        drop(process);
        assert!(rustix::process::test_kill_process(pid).is_err());
    }

    #[test]
    fn one_that_ended_says_why() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let mut shell = Command::new("sh");
        shell.args(["-c", "echo no room; exit 3"]);
        let mut process = Process::spawn("shell", &mut shell, &log, Farewell::Kill).unwrap();
        process.child.wait().unwrap();
        let failure = process.still_runs().unwrap_err().to_string();
        assert!(failure.contains("shell ended") && failure.contains("no room"), "{failure}");
    }

    #[test]
    fn the_end_of_a_log_is_one_line() {
        assert_eq!(last_lines("a\nb\n\nc\nd\n"), "b | c | d");
        assert_eq!(last_lines(""), "");
    }
}
