//! The machine that it is measured on.

use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

use crate::report::figures::Machine;

/// Looks at this machine (proc(5)).
pub fn look() -> Result<Machine> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let memory = value(&read("/proc/meminfo"), "MemTotal");
    let kibibytes: u64 = memory.trim_end_matches("kB").trim().parse().unwrap_or_default();
    let temporary = std::env::temp_dir();
    let temporary = temporary.canonicalize().unwrap_or(temporary);
    Ok(Machine {
        cores: std::thread::available_parallelism().context("cannot count the cores")?.get(),
        processor: value(&read("/proc/cpuinfo"), "model name"),
        memory_mib: kibibytes / 1_024,
        file_system: file_system(&read("/proc/self/mounts"), &temporary),
    })
}

/// The first value with this name, in a text of `name : value` lines.
fn value(text: &str, name: &str) -> String {
    let line =
        text.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(':').map(str::trim));
    line.unwrap_or_default().to_owned()
}

/// The type of the file system that holds `path`, in a list of what is mounted: a device, where, and its type on each line.
/// Of those that are mounted one over the other the last counts.
fn file_system(mounts: &str, path: &Path) -> Option<String> {
    let mounted = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        // Spaces are written in octal.
        let at = PathBuf::from(fields.next()?.replace("\\040", " "));
        path.starts_with(&at).then_some((at.components().count(), fields.next()?))
    });
    mounted.max_by_key(|(depth, _)| *depth).map(|(_, name)| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_by_their_name() {
        let text = "MemFree:  1 kB\nMemTotal:       24 kB\nmodel name\t: A: B\n";
        assert_eq!((value(text, "MemTotal").as_str(), value(text, "model name").as_str()), ("24 kB", "A: B"));
        assert_eq!(value(text, "Mem"), "");
    }

    #[test]
    fn the_deepest_mount_holds_a_path_and_of_two_the_last() {
        let mounts = "/dev/sda / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\nx /tmp/my\\040disk xfs rw 0 0\ny /a b 0 0\nz /a c 0 0\n";
        let of = |path: &str| file_system(mounts, Path::new(path)).unwrap();
        assert_eq!(
            [of("/var/tmp"), of("/tmp"), of("/tmpx"), of("/tmp/my disk/z"), of("/a")],
            ["ext4", "tmpfs", "ext4", "xfs", "c"]
        );
        assert_eq!(file_system("", Path::new("/tmp")), None);
    }
}
