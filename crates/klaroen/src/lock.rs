//! One serving process for each database file.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Somebody who looks whether the lock is held holds it meanwhile.
const LOOK: Duration = Duration::from_millis(20);

/// Held as long as the process serves; the operating system lets go of it however the process ends, `kill -9` included.
#[derive(Debug)]
pub struct DatabaseLock {
    _file: File,
}

/// Why the lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody else serves this database.
    #[error("another `klaroen serve` runs on this database (it holds {}); stop it first", .0.display())]
    Held(PathBuf),
    /// The file system says no.
    #[error("cannot lock {}", .path.display())]
    Io {
        /// The lock file.
        path: PathBuf,
        /// What it says.
        source: std::io::Error,
    },
}

impl DatabaseLock {
    /// Takes the lock file beside `database`: `klaroen.db.lock`. The file stays when the lock is gone; only the lock counts.
    ///
    /// # Errors
    /// [`LockError`].
    pub fn take(database: &Path) -> Result<Self, LockError> {
        let path = Self::path(database);
        let io = |source| LockError::Io { path: path.clone(), source };
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(io)?;
        for is_last in [false, false, true] {
            match file.try_lock() {
                Ok(()) => return Ok(Self { _file: file }),
                Err(TryLockError::WouldBlock) if !is_last => std::thread::sleep(LOOK),
                Err(TryLockError::WouldBlock) => break,
                Err(TryLockError::Error(source)) => return Err(io(source)),
            }
        }
        Err(LockError::Held(path))
    }

    /// Whether somebody holds it, as far as can be told: it counts as held where the lock file cannot be looked at.
    pub fn is_held(database: &Path) -> bool {
        match File::open(Self::path(database)) {
            // Shared, so that two who look do not see each other.
            Ok(file) => file.try_lock_shared().is_err(),
            Err(error) => error.kind() != ErrorKind::NotFound,
        }
    }

    fn path(database: &Path) -> PathBuf {
        // By whatever name somebody calls it.
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
}
