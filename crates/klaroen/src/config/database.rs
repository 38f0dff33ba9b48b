//! `[database]`, looked at: a SQLite file or a PostgreSQL server.

use std::fmt;
use std::path::{Path, PathBuf};

use klaroen_store::seal::Keys;
use klaroen_store::{Address, StoreOptions};
use secrecy::{ExposeSecret, SecretString};

use super::Database;

/// PostgreSQL has 100 for all its clients unless it is told otherwise.
const CONNECTIONS_MAX: u32 = 100;

/// The database that keeps everything. `Debug` and `Display` show no password.
#[derive(Clone, Debug)]
pub struct CheckedDatabase {
    place: Place,
    /// May hold a password.
    url: SecretString,
    password: Option<SecretString>,
    connections: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    File(PathBuf),
    /// As it may be shown.
    Server(String),
}

impl CheckedDatabase {
    /// Looks at `[database]`; every fault begins with its key.
    ///
    /// # Errors
    /// Returns every fault in `[database]`.
    pub fn of(database: &Database) -> Result<Self, Vec<String>> {
        let mut faults = Vec::new();
        let place = place(database.url.expose_secret());
        let place = place.map_err(|reason| faults.push(format!("[database] url: {reason}"))).ok();
        let password = password(&database.password_file);
        let password =
            password.map_err(|reason| faults.push(format!("[database] password_file: {reason}"))).ok();
        if let (Some(Place::File(_)), Some(Some(_))) = (&place, &password) {
            faults.push("[database] password_file: a SQLite file has no password".into());
        }
        if !(1..=CONNECTIONS_MAX).contains(&database.connections) {
            faults.push(format!("[database] connections: must be 1 to {CONNECTIONS_MAX}"));
        }
        match (place, password) {
            (Some(place), Some(password)) if faults.is_empty() => {
                Ok(Self { place, url: database.url.clone(), password, connections: database.connections })
            }
            _ => Err(faults),
        }
    }

    /// The path of the file, if the database is one: it serves one process.
    pub fn file(&self) -> Option<&Path> {
        match &self.place {
            Place::File(path) => Some(path),
            Place::Server(_) => None,
        }
    }

    /// How to open it.
    pub fn options(&self, keys: Keys) -> StoreOptions {
        let mut options = StoreOptions::new(self.url.expose_secret(), keys);
        options.password.clone_from(&self.password);
        options.connections = self.connections;
        options
    }

    /// Makes the file if there is none, for its owner only: the location of places stands in it in plain. The files that the
    /// database engine makes next to it get the same permissions. A server looks after its files itself.
    ///
    /// # Errors
    /// Returns the error of the file system if the file cannot be made.
    pub fn make_private(&self) -> std::io::Result<()> {
        let Some(path) = self.file() else { return Ok(()) };
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        match options.open(path) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for CheckedDatabase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::File(path) => path.display().fmt(f),
            Place::Server(shown) => f.write_str(shown),
        }
    }
}

fn place(url: &str) -> Result<Place, String> {
    match Address::of(url).map_err(|error| error.to_string())? {
        Address::Sqlite => file(url).map(Place::File),
        Address::Postgres { shown } => Ok(Place::Server(shown)),
    }
}

fn file(url: &str) -> Result<PathBuf, String> {
    let file = url.strip_prefix("sqlite:").unwrap_or_default();
    let file = file.strip_prefix("//").unwrap_or(file);
    if file.is_empty() || file.contains([':', '?', '#', '%']) {
        return Err(
            "write only the path of a file after `sqlite:`, such as sqlite:/var/lib/klaroen/klaroen.db"
                .into(),
        );
    }
    let path = PathBuf::from(file);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    match folder {
        Some(folder) if !folder.is_dir() => Err(format!("there is no directory {}", folder.display())),
        _ => Ok(path),
    }
}

/// The content of the file without its line end; none if no file is named.
fn password(path: &Path) -> Result<Option<SecretString>, String> {
    if path.as_os_str().is_empty() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let password = text.strip_suffix('\n').unwrap_or(&text);
    let password = password.strip_suffix('\r').unwrap_or(password);
    if password.is_empty() {
        return Err(format!("{} is empty", path.display()));
    }
    Ok(Some(password.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database(url: &str, password_file: PathBuf) -> Database {
        Database { url: url.into(), password_file, connections: 8 }
    }

    #[test]
    fn an_address_is_a_file_in_a_directory_that_is_there_or_a_server() {
        let path = |url| CheckedDatabase::of(&database(url, PathBuf::new())).map(|d| d.to_string());
        assert_eq!(path("sqlite:klaroen.db"), Ok("klaroen.db".into()));
        assert_eq!(path("sqlite:///tmp/k.db"), Ok("/tmp/k.db".into()));
        assert_eq!(path("postgres://me@db:6432/k?sslmode=require"), Ok("postgres://me@db:6432/k".into()));
        for url in [
            "sqlite:",
            "sqlite::memory:",
            "sqlite:k.db?mode=ro",
            "mysql://x",
            "klaroen.db",
            "sqlite:/nowhere/at/all/k.db",
            "postgres://me@db:port/k",
        ] {
            assert!(path(url).is_err(), "{url}");
        }
    }

    #[test]
    fn no_password_is_shown() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("password");
        std::fs::write(&file, "g3he1m\n").unwrap();
        let with_file = CheckedDatabase::of(&database("postgres://me@db/k", file.clone())).unwrap();
        assert_eq!(with_file.password.as_ref().unwrap().expose_secret(), "g3he1m");
        let in_address = CheckedDatabase::of(&database("postgres://me:g3he1m@db/k", PathBuf::new())).unwrap();
        for checked in [with_file, in_address] {
            let options = checked.options(Keys::new(&[1; 32], &[2; 32]));
            for shown in [checked.to_string(), format!("{checked:?}"), format!("{options:?}")] {
                assert!(!shown.contains("g3he1m"), "{shown}");
            }
        }
        for wrong in ["postgres://me:g3he1m@db:port/k", "postgres://me:g3he1m@[x/k", "me:g3he1m@db"] {
            let faults = CheckedDatabase::of(&database(wrong, PathBuf::new())).unwrap_err().concat();
            assert!(!faults.contains("g3he1m"), "{faults}");
        }
        let sqlite = CheckedDatabase::of(&database("sqlite:k.db", file)).unwrap_err();
        assert!(sqlite[0].starts_with("[database] password_file"), "{sqlite:?}");
    }

    #[test]
    fn the_file_is_made_once_and_never_emptied() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("k.db");
        let url = format!("sqlite:{}", path.display());
        let checked = CheckedDatabase::of(&database(&url, PathBuf::new())).unwrap();
        checked.make_private().unwrap();
        std::fs::write(&path, "x").unwrap();
        checked.make_private().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"x");
    }
}
