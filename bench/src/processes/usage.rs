//! The usage of a process: CPU seconds and its peak memory, from `/proc` (proc(5)). `None` if there is no such thing.

use std::path::PathBuf;

/// CPU seconds of one process, user and system.
pub fn cpu_seconds(pid: u32) -> Option<f64> {
    Some(seconds(stat(pid)?.own))
}

/// CPU seconds of a process, of the children that it has waited for, and of those that run: a database server.
pub fn cpu_seconds_with_children(pid: u32) -> Option<f64> {
    let parent = stat(pid)?;
    let entries = std::fs::read_dir("/proc").ok()?;
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let children = pids.filter_map(stat).filter(|child| child.parent == pid);
    Some(seconds(parent.own + parent.waited + children.map(|c| c.own + c.waited).sum::<u64>()))
}

/// The most memory that a process had at once (`VmHWM`), in MiB.
pub fn peak_memory_mib(pid: u32) -> Option<f64> {
    parse_peak(&read(pid, "status")?)
}

/// Ticks of the clock.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    parent: u32,
    own: u64,
    waited: u64,
}

fn stat(pid: u32) -> Option<Stat> {
    parse_stat(&read(pid, "stat")?)
}

fn read(pid: u32, file: &str) -> Option<String> {
    std::fs::read_to_string(PathBuf::from(format!("/proc/{pid}/{file}"))).ok()
}

/// The name of the program stands in brackets and may hold anything, brackets included: fields are counted after it.
fn parse_stat(text: &str) -> Option<Stat> {
    let fields: Vec<&str> = text.get(text.rfind(')')? + 1..)?.split_ascii_whitespace().collect();
    // Fields 4 and 14 to 17 of proc(5); the first one here is field 3.
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    Some(Stat {
        parent: u32::try_from(number(4)?).ok()?,
        own: number(14)? + number(15)?,
        waited: number(16)? + number(17)?,
    })
}

fn parse_peak(text: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes / 1_024.0)
}

#[expect(clippy::cast_precision_loss, reason = "a bench does not run for thousands of years")]
fn seconds(ticks: u64) -> f64 {
    #[cfg(unix)]
    let per_second = rustix::param::clock_ticks_per_second();
    #[cfg(not(unix))]
    let per_second = 100;
    ticks as f64 / per_second as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_counted_after_the_name() {
        let line = "812 (a ) b (c)) S 7 812 812 0 -1 4194560 1 2 3 4 150 50 30 20 20 0 9 0 1 2 3";
        assert_eq!(parse_stat(line), Some(Stat { parent: 7, own: 200, waited: 50 }));
        assert_eq!(parse_stat("812 (short) S 7"), None);
    }

    #[test]
    fn peak_memory_is_in_mebibytes() {
        assert_eq!(parse_peak("Name:\tx\nVmHWM:\t  2048 kB\nVmRSS:\t 1 kB\n"), Some(2.0));
        assert_eq!(parse_peak("Name:\tx\n"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_uses_something() {
        let pid = std::process::id();
        assert!(peak_memory_mib(pid).unwrap() > 1.0);
        assert!(cpu_seconds(pid).unwrap() <= cpu_seconds_with_children(pid).unwrap());
    }
}
