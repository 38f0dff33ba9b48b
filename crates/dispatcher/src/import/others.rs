//! Who else writes into the database while an import does.

use std::path::{Path, PathBuf};

/// Registrations that one transaction writes: others wait behind it, and an alert may be among them.
const WINDOW: usize = 1_000;
/// Where nobody waits. Each transaction writes every page that it touched, and in a large registry every number and every place
/// lies on another: with so many at once a page is written for several of them.
const WINDOW_ALONE: usize = 8_000;

/// Who else writes into the database.
#[derive(Clone, Debug)]
pub enum Others {
    /// Who stands in one line with the import: at a PostgreSQL server, or in the same process.
    InLine,
    /// Another process at the same SQLite file, with no line to stand in.
    AtFile {
        /// The database.
        file: PathBuf,
        /// Whether there is one now.
        is_served: fn(&Path) -> bool,
    },
}

impl Others {
    /// Whether somebody else would not get a turn without a pause.
    pub(super) fn need_a_pause(&self) -> bool {
        match self {
            Self::InLine => false,
            Self::AtFile { file, is_served } => is_served(file),
        }
    }

    /// Registrations that one transaction should write now.
    pub(super) fn window(&self) -> usize {
        match self {
            Self::AtFile { file, is_served } if !is_served(file) => WINDOW_ALONE,
            Self::InLine | Self::AtFile { .. } => WINDOW,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transactions_are_long_only_while_nobody_waits() {
        let directory = tempfile::TempDir::new().unwrap();
        let file = directory.path().join("klaroen.db");
        let others = Others::AtFile { file: file.clone(), is_served: Path::exists };
        assert!(!others.need_a_pause() && others.window() > WINDOW);
        std::fs::write(file, "").unwrap();
        assert!(others.need_a_pause() && others.window() == WINDOW, "one that came meanwhile");
        assert!(!Others::InLine.need_a_pause() && Others::InLine.window() == WINDOW);
    }
}
