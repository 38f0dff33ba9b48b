//! The key file: two random keys that seal and hash what is kept about people.
//!
//! ```text
//! # The keys of a Klaroen installation. …
//! klaroen-keys-v1
//! sealing = <64 hexadecimal digits>
//! hashing = <64 hexadecimal digits>
//! ```

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use klaroen_store::seal::Keys;
use rand::Rng;
use secrecy::{ExposeSecret, SecretString};

const VERSION_LINE: &str = "klaroen-keys-v1";
const HEADER: &str = "# The keys of a Klaroen installation. Keep a copy in another place: without it names and phone\n\
                      # numbers in the database cannot be read, by anybody. Whoever has it and the database can read them.\n";

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It is there already; overwriting it would lose the registry.
    #[error("{} exists already; it is not overwritten, because what it sealed could never be opened again", .0.display())]
    Exists(PathBuf),
    /// It is not there.
    #[error("there is no key file {}; `klaroen secrets init` writes it", .0.display())]
    Missing(PathBuf),
    /// Others may read it.
    #[error("{} can be read by others (mode {mode:03o}); run: chmod 600 {}", .path.display(), .path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It holds something else.
    #[error("{} is not a key file of this version of Klaroen: {reason}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The mistake, without the file's content.
        reason: &'static str,
    },
    /// The file system says no.
    #[error("{}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The error of the file system.
        source: std::io::Error,
    },
}

/// Writes a new key file that only its owner may read.
///
/// # Errors
/// Returns [`KeyFileError::Exists`] if the file is there already, and [`KeyFileError::Io`] if it cannot be written.
pub fn create(path: &Path) -> Result<(), KeyFileError> {
    let io = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::AlreadyExists => KeyFileError::Exists(path.to_owned()),
        _ => KeyFileError::Io { path: path.to_owned(), source },
    };
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path).map_err(io)?;
    let text = generate();
    file.write_all(text.expose_secret().as_bytes()).and_then(|()| file.sync_all()).map_err(io)
}

/// Reads the keys.
///
/// # Errors
/// Returns a [`KeyFileError`] if the file is missing, others may read it, it holds no keys of this version, or reading fails.
pub fn read(path: &Path) -> Result<Keys, KeyFileError> {
    let io = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::NotFound => KeyFileError::Missing(path.to_owned()),
        _ => KeyFileError::Io { path: path.to_owned(), source },
    };
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(path).map_err(io)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(KeyFileError::Exposed { path: path.to_owned(), mode });
        }
    }
    let text = SecretString::from(std::fs::read_to_string(path).map_err(io)?);
    parse(text.expose_secret()).map_err(|reason| KeyFileError::Unreadable { path: path.to_owned(), reason })
}

fn generate() -> SecretString {
    let mut text = format!("{HEADER}{VERSION_LINE}\n");
    for name in ["sealing", "hashing"] {
        let mut key = [0u8; 32];
        rand::rng().fill_bytes(&mut key);
        text.push_str(name);
        text.push_str(" = ");
        for byte in key {
            write!(text, "{byte:02x}").unwrap_or_else(|_| unreachable!("a String takes everything"));
        }
        text.push('\n');
    }
    text.into()
}

fn parse(text: &str) -> Result<Keys, &'static str> {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    if lines.next() != Some(VERSION_LINE) {
        return Err("its first line is not klaroen-keys-v1");
    }
    let (mut sealing, mut hashing) = (None, None);
    for line in lines {
        let (name, value) = line.split_once('=').ok_or("a line is not NAME = VALUE")?;
        let slot = match name.trim() {
            "sealing" => &mut sealing,
            "hashing" => &mut hashing,
            _ => return Err("it names a key other than sealing and hashing"),
        };
        if slot.replace(key_from_hex(value.trim()).ok_or("a key is not 64 hexadecimal digits")?).is_some() {
            return Err("a key stands in it twice");
        }
    }
    let (sealing, hashing) = sealing.zip(hashing).ok_or("a key is missing")?;
    // The keys of a template, or of an operator who filled the file by hand.
    if sealing == hashing || [sealing, hashing].iter().any(|key| key.iter().all(|byte| *byte == key[0])) {
        return Err("its keys are not random");
    }
    Ok(Keys::new(&sealing, &hashing))
}

fn key_from_hex(digits: &str) -> Option<[u8; 32]> {
    if digits.len() != 64 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let mut key = [0u8; 32];
    for (byte, pair) in key.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("klaroen.key");
        assert!(matches!(read(&path), Err(KeyFileError::Missing(_))));
        create(&path).unwrap();
        let before = std::fs::read(&path).unwrap();
        let sealed = read(&path).unwrap().seal("x", b"row");
        assert!(matches!(create(&path), Err(KeyFileError::Exists(_))));
        assert_eq!(std::fs::read(&path).unwrap(), before);
        assert_eq!(read(&path).unwrap().open(&sealed, b"row").unwrap(), "x");
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_others_may_read_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("klaroen.key");
        create(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        for mode in [0o640, 0o604, 0o620] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            assert!(matches!(read(&path), Err(KeyFileError::Exposed { .. })), "{mode:o}");
        }
    }

    #[test]
    fn what_is_not_two_random_keys_is_refused_without_showing_it() {
        let text = generate();
        let good = text.expose_secret();
        assert!(parse(good).is_ok());
        let keys: Vec<&str> = good.lines().filter(|l| l.contains(" = ")).collect();
        let bad = [
            String::new(),
            good.replace("v1", "v2"),
            good.replace("hashing", "sealing"),
            good.replace(keys[1], ""),
            good.replace(&keys[1][10..], "abcd"),
            good.replace(&keys[1][10..], &keys[0][10..]),
            good.replace(&keys[1][10..], &"00".repeat(32)),
            good.replace(&keys[1][10..], &"é".repeat(32)),
        ];
        for text in bad {
            let reason = parse(&text).err().unwrap_or_else(|| panic!("accepted: {text}"));
            assert!(!reason.contains(&keys[0][10..]));
        }
    }
}
