//! A directory that is gone when the demo is.

use std::io;
use std::path::{Path, PathBuf};

use uuid::Uuid;

/// A new directory below the system's directory for temporary files, for this user only. Dropping it removes it.
pub struct TemporaryDirectory(PathBuf);

impl TemporaryDirectory {
    /// Makes one.
    ///
    /// # Errors
    /// Returns the error of the file system if it cannot be made. One that is there already is never taken.
    pub fn new() -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("klaroen-demo-{}", Uuid::new_v4().simple()));
        let mut builder = std::fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&path)?;
        Ok(Self(path))
    }

    /// The path of the directory.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TemporaryDirectory {
    fn drop(&mut self) {
        // No caller is left that could do something about a file that stays.
        drop(std::fs::remove_dir_all(&self.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_private_and_goes_with_what_is_in_it() {
        let directory = TemporaryDirectory::new().unwrap();
        let path = directory.path().to_owned();
        std::fs::write(path.join("file"), "x").unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        }
        drop(directory);
        assert!(!path.exists());
    }
}
