//! Other writers of the database during an import.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// Registrations that one transaction writes: others wait behind it, and an alert may be among them.
pub(super) const WINDOW: usize = 1_000;
/// The same if no other process waits. Each transaction writes every page that it touched, and in a large registry every
/// number and every place lies on another: with this many at once a page is written for several of them.
const WINDOW_ALONE: usize = 8_000;

/// SQLite asks again for its lock after 100 ms at most, and has no queue for it: a process that waits finds the lock free in
/// a pause that is as long, and every second time in one as long as the batch.
const TURN: Duration = Duration::from_millis(100);
/// A command that is run during an import (a new key, another import) gives up after 10 s.
const TURN_EVERY: Duration = Duration::from_secs(3);

/// Other writers of the database.
#[derive(Clone, Debug)]
pub enum Contention {
    /// Writers that stand in one queue with the import: at a PostgreSQL server, or in the same process.
    SameQueue,
    /// Other processes at the same SQLite file, with no queue to stand in.
    SameFile {
        /// The database.
        file: PathBuf,
        /// Whether one of them serves it now, so that an alert may wait. An import notices by the next 64 KiB that it reads;
        /// up to two transactions are on their way by then.
        is_served: fn(&Path) -> bool,
    },
}

impl Contention {
    /// Returns how long the lock must be free after a batch that took `batch`, if the last such pause was `ago`.
    pub(super) fn pause(&self, batch: Duration, ago: Duration) -> Duration {
        match self {
            Self::SameFile { file, is_served } if is_served(file) => batch.min(TURN),
            Self::SameFile { .. } if ago >= TURN_EVERY => TURN,
            Self::SameQueue | Self::SameFile { .. } => Duration::ZERO,
        }
    }

    /// Registrations that one transaction should write now.
    pub(super) fn window(&self) -> usize {
        match self {
            Self::SameFile { file, is_served } if !is_served(file) => WINDOW_ALONE,
            Self::SameQueue | Self::SameFile { .. } => WINDOW,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_waits_for_long() {
        let directory = tempfile::TempDir::new().unwrap();
        let file = directory.path().join("klaroen.db");
        let contention = Contention::SameFile { file: file.clone(), is_served: Path::exists };
        let (batch, long_ago) = (Duration::from_millis(40), TURN_EVERY);
        assert_eq!(
            (contention.window(), contention.pause(batch, Duration::ZERO)),
            (WINDOW_ALONE, Duration::ZERO)
        );
        assert_eq!(contention.pause(batch, long_ago), TURN, "for a command beside it");
        std::fs::write(file, "").unwrap();
        assert_eq!(
            (contention.window(), contention.pause(batch, Duration::ZERO)),
            (WINDOW, batch),
            "served since"
        );
        assert_eq!(contention.pause(long_ago, Duration::ZERO), TURN);
        let contention = Contention::SameQueue;
        assert_eq!((contention.window(), contention.pause(batch, long_ago)), (WINDOW, Duration::ZERO));
    }
}
