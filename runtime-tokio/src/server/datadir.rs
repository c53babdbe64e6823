//! The data directory as a whole: creates it, keeps other processes out of it, and says what is wrong with
//! it in words. It never touches the database's own files; those are the core's, by way of `disk.rs`.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The file that a running server holds locked. The lock goes with the process, whatever ends it; the file
/// stays and means nothing.
pub const LOCK_FILE: &str = "steadfast.lock";

/// A data directory that is ours alone as long as this value lives.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Creates the directory if it is missing (mode 0700) and locks it.
    ///
    /// # Errors
    /// If it can't be created or opened, or another process has it.
    pub fn open(path: &Path) -> Result<Self, DataDirError> {
        let failed = |doing| move |error| DataDirError::Io { doing, path: path.to_owned(), error };
        if !path.exists() {
            create_durably(path).map_err(failed("create"))?;
        }
        let mode = fs::metadata(path).map_err(failed("open"))?.permissions().mode();
        if mode & 0o077 != 0 {
            tracing::warn!(
                "{} is open to other users of this machine (mode {:03o}): `chmod 700` it",
                path.display(),
                mode & 0o777
            );
        }
        let lock = lock(path)?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// Locks a directory that exists, and changes nothing in it but the lock file.
    ///
    /// # Errors
    /// If it is not there or can't be opened, or another process has it.
    pub fn open_existing(path: &Path) -> Result<Self, DataDirError> {
        let failed = |doing| move |error| DataDirError::Io { doing, path: path.to_owned(), error };
        fs::read_dir(path).map_err(failed("open"))?;
        Ok(Self { path: path.to_owned(), _lock: lock(path)? })
    }

    /// Keeps servers out of a directory that is to be read, and changes nothing in it at all. Without a lock file no
    /// server has ever used it, and [`Reader::is_undisturbed`] tells whether one has begun to.
    ///
    /// # Errors
    /// If it is not there or can't be opened, or a server has it.
    pub fn read(path: &Path) -> Result<Reader, DataDirError> {
        let failed = |doing| move |error| DataDirError::Io { doing, path: path.to_owned(), error };
        fs::read_dir(path).map_err(failed("read"))?;
        let mut lock = match File::open(path.join(LOCK_FILE)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Reader { path: path.to_owned(), lock: None });
            }
            Err(error) => return Err(failed("read")(error)),
        };
        match lock.try_lock() {
            Ok(()) => Ok(Reader { path: path.to_owned(), lock: Some(lock) }),
            Err(TryLockError::WouldBlock) => {
                Err(DataDirError::InUse { path: path.to_owned(), process: holder(&mut lock) })
            }
            Err(TryLockError::Error(error)) => Err(failed("lock")(error)),
        }
    }

    /// Where it is, as the operator wrote it.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// A data directory that is read, and that no server uses meanwhile.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    lock: Option<File>,
}

impl Reader {
    /// Whether no server has come meanwhile.
    #[must_use]
    pub fn is_undisturbed(&self) -> bool {
        self.lock.is_some() || !self.path.join(LOCK_FILE).exists()
    }
}

/// Why a data directory can't be used.
#[derive(Debug)]
pub enum DataDirError {
    /// The operating system refused.
    Io {
        /// What was tried.
        doing: &'static str,
        /// On which path.
        path: PathBuf,
        /// Its words.
        error: io::Error,
    },
    /// Another process holds the lock.
    InUse {
        /// Which directory.
        path: PathBuf,
        /// The other process, as far as its lock file tells.
        process: Option<u32>,
    },
}

impl fmt::Display for DataDirError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { doing, path, error } => {
                write!(f, "can't {doing} the data directory {}: {error}", path.display())?;
                match error.kind() {
                    io::ErrorKind::PermissionDenied => {
                        f.write_str("; give this user the directory, or choose another with --data")
                    }
                    io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
                        f.write_str("; choose another path with --data")
                    }
                    io::ErrorKind::StorageFull => f.write_str("; free some space and start again"),
                    _ => Ok(()),
                }
            }
            Self::InUse { path, process } => {
                write!(f, "the data directory {} is in use by another server", path.display())?;
                if let Some(process) = process {
                    write!(f, " (process {process})")?;
                }
                f.write_str("; stop that one, or choose another directory with --data")
            }
        }
    }
}

impl std::error::Error for DataDirError {}

/// A new directory must survive a power loss, or everything that is synced inside it does not either:
/// each parent that gets a new entry is synced.
fn create_durably(path: &Path) -> io::Result<()> {
    let mut parent = path.parent().unwrap_or(Path::new("."));
    if parent.as_os_str().is_empty() {
        parent = Path::new(".");
    }
    if !parent.exists() {
        create_durably(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(error),
        Ok(()) => File::open(parent)?.sync_all(),
    }
}

fn lock(dir: &Path) -> Result<File, DataDirError> {
    let failed = |doing| move |error| DataDirError::Io { doing, path: dir.to_owned(), error };
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let mut file = options.open(dir.join(LOCK_FILE)).map_err(failed("open"))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(DataDirError::InUse { path: dir.to_owned(), process: holder(&mut file) });
        }
        Err(TryLockError::Error(error)) => return Err(failed("lock")(error)),
    }
    // Who holds it, for the message above. Failing to write that is no reason not to start.
    let _ =
        file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(file)
}

fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::scratch::Scratch;

    #[test]
    fn a_missing_directory_is_created_for_its_owner_alone() {
        let scratch = Scratch::new("datadir");
        let path = scratch.path().join("a/b");
        let dir = DataDir::open(&path).expect("it can be created");
        let mode = fs::metadata(dir.path()).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }

    #[test]
    fn a_second_user_of_the_directory_is_told_who_has_it() {
        let scratch = Scratch::new("datadir");
        let _first = DataDir::open(scratch.path()).expect("nobody has it");
        let error = DataDir::open(scratch.path()).expect_err("it is taken").to_string();
        assert!(error.contains("in use") && error.contains(&std::process::id().to_string()), "{error}");
    }

    #[test]
    fn a_directory_is_free_again_once_its_user_is_gone() {
        let scratch = Scratch::new("datadir");
        drop(DataDir::open(scratch.path()).expect("nobody has it"));
        DataDir::open(scratch.path()).expect("nobody has it any more");
    }

    #[test]
    fn a_directory_is_read_without_a_trace_and_not_while_a_server_uses_it() {
        let scratch = Scratch::new("datadir");
        let reader = DataDir::read(scratch.path()).expect("nobody has it");
        assert!(
            reader.is_undisturbed() && fs::read_dir(scratch.path()).expect("it is there").next().is_none()
        );
        let server = DataDir::open(scratch.path()).expect("it can be used");
        assert!(!reader.is_undisturbed(), "a server has come");
        assert!(matches!(DataDir::read(scratch.path()), Err(DataDirError::InUse { .. })));
        drop(server);
        let reader = DataDir::read(scratch.path()).expect("nobody has it");
        assert!(matches!(DataDir::open(scratch.path()), Err(DataDirError::InUse { .. })), "it is locked");
        assert!(reader.is_undisturbed());
        assert!(matches!(DataDir::read(&scratch.path().join("none")), Err(DataDirError::Io { .. })));
    }

    #[test]
    fn a_file_in_the_place_of_the_directory_is_a_clear_error() {
        let scratch = Scratch::new("datadir");
        let path = scratch.path().join("file");
        fs::write(&path, b"").expect("the directory is writable");
        let error = DataDir::open(&path).expect_err("it is a file").to_string();
        assert!(error.contains("--data"), "{error}");
    }
}
