//! One serving process for each database file.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A process that looks whether the lock is held holds it meanwhile.
const LOOK: Duration = Duration::from_millis(20);
const TRIES: u32 = 3;

/// Held as long as the process serves; the operating system lets go of it however the process ends, `kill -9` included.
#[derive(Debug)]
pub struct DatabaseLock {
    _file: File,
}

/// Why the lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process serves this database.
    #[error("another `klaroen serve` runs on this database (it holds {}); stop it first", .0.display())]
    Held(PathBuf),
    /// The file system says no.
    #[error("cannot lock {}", .path.display())]
    Io {
        /// The lock file.
        path: PathBuf,
        /// The error of the file system.
        source: std::io::Error,
    },
}

impl DatabaseLock {
    /// Takes the lock file next to `database`: `klaroen.db.lock`. The file stays when the lock is gone; only the lock counts.
    ///
    /// # Errors
    /// Returns [`LockError::Held`] if another process has the lock, and [`LockError::Io`] if the lock file cannot be used.
    pub fn take(database: &Path) -> Result<Self, LockError> {
        let path = Self::path(database);
        let io = |source| LockError::Io { path: path.clone(), source };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        // As private as the database: whoever may lock the file may keep the service from starting.
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(&path).map_err(io)?;
        for tries in 0..TRIES {
            if tries > 0 {
                std::thread::sleep(LOOK);
            }
            match file.try_lock() {
                Ok(()) => return Ok(Self { _file: file }),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(source)) => return Err(io(source)),
            }
        }
        Err(LockError::Held(path))
    }

    /// Whether a process holds it, as far as can be told: it counts as held if the lock file cannot be looked at.
    pub fn is_held(database: &Path) -> bool {
        match File::open(Self::path(database)) {
            // Shared, so that two who look do not see each other.
            Ok(file) => file.try_lock_shared().is_err(),
            Err(error) => error.kind() != ErrorKind::NotFound,
        }
    }

    fn path(database: &Path) -> PathBuf {
        // By whatever name a caller calls it.
        let database = database.canonicalize().unwrap_or_else(|_| database.to_owned());
        let mut name = database.into_os_string();
        name.push(".lock");
        PathBuf::from(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_taker_is_refused_until_the_first_lets_go() {
        let dir = tempfile::tempdir().unwrap();
        let database = dir.path().join("klaroen.db");
        assert!(!DatabaseLock::is_held(&database));
        let first = DatabaseLock::take(&database).unwrap();
        assert!(DatabaseLock::is_held(&database));
        assert!(matches!(DatabaseLock::take(&database), Err(LockError::Held(_))));
        assert!(DatabaseLock::take(&dir.path().join("other.db")).is_ok());
        drop(first);
        assert!(!DatabaseLock::is_held(&database));
        assert!(DatabaseLock::take(&database).is_ok());
    }

    #[cfg(unix)]
    #[test]
    fn nobody_else_may_lock_the_file() {
        use std::os::unix::fs::PermissionsExt;

        let dir = tempfile::tempdir().unwrap();
        let _held = DatabaseLock::take(&dir.path().join("klaroen.db")).unwrap();
        let mode = std::fs::metadata(dir.path().join("klaroen.db.lock")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[cfg(unix)]
    #[test]
    fn the_lock_is_one_by_whatever_name_and_counts_as_held_where_it_cannot_be_looked_at() {
        let dir = tempfile::TempDir::new().unwrap();
        let (database, other_name) = (dir.path().join("klaroen.db"), dir.path().join("link.db"));
        std::fs::write(&database, "").unwrap();
        std::os::unix::fs::symlink(&database, &other_name).unwrap();
        assert!(!DatabaseLock::is_held(&other_name), "nobody ever held it");
        let held = DatabaseLock::take(&database).unwrap();
        assert!(DatabaseLock::is_held(&other_name));
        assert!(matches!(DatabaseLock::take(&other_name), Err(LockError::Held(_))));
        drop(held);
        assert!(!DatabaseLock::is_held(&other_name));
        // Root may read every file, so the name is made one that no user can open.
        let unreadable = dir.path().join("x".repeat(255));
        assert!(DatabaseLock::is_held(&unreadable));
    }
}
