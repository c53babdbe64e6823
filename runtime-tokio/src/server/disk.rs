//! Executes the core's disk operations on a real directory, one at a time. Who executes which is in `disk_threads.rs`.
//!
//! Nothing here retries, merges or skips an operation, or decides on their order.
//!
//! A file stays open from its first use until it is removed or replaced. That is not for speed alone: Linux
//! reports a failed write-back once to every descriptor that was open when it failed, so a sync through a
//! descriptor opened later may succeed although bytes were lost (PostgreSQL's fsync incident, 2018).

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use steadfast_core::io::{DiskError, DiskErrorKind, DiskOp, DiskReply, FileName};

/// A data directory, and the files of it that are open. Their number is bounded by the log's size limit
/// over the segment size.
#[derive(Debug)]
pub struct Disk {
    dir: PathBuf,
    dir_handle: File,
    open: BTreeMap<FileName, File>,
    /// Whether anything may be changed.
    writable: bool,
}

impl Disk {
    /// Takes a directory that exists.
    ///
    /// # Errors
    /// If it can't be opened.
    pub fn new(dir: &Path) -> io::Result<Self> {
        Ok(Self { dir: dir.to_owned(), dir_handle: File::open(dir)?, open: BTreeMap::new(), writable: true })
    }

    /// The same, for one that is only looked at: every operation that would change anything fails.
    ///
    /// # Errors
    /// If it can't be opened.
    pub fn read_only(dir: &Path) -> io::Result<Self> {
        Ok(Self { writable: false, ..Self::new(dir)? })
    }

    /// Executes one operation completely.
    ///
    /// # Errors
    /// Whatever the operating system says, and a file whose name is taken by something that is no file.
    pub fn execute(&mut self, op: DiskOp) -> Result<DiskReply, DiskError> {
        self.perform(op).map_err(|error| DiskError { kind: kind_of(&error), message: error.to_string() })
    }

    fn perform(&mut self, op: DiskOp) -> io::Result<DiskReply> {
        if !self.writable && !matches!(op, DiskOp::List | DiskOp::Read { .. }) {
            return Err(io::Error::other("the directory was opened to be read, and nothing else"));
        }
        match op {
            DiskOp::Create { file } => self.create(file)?,
            DiskOp::WriteAt { file, offset, data } => self.file(file)?.write_all_at(&data, offset)?,
            DiskOp::Sync { file } => self.file(file)?.sync_data()?,
            DiskOp::Truncate { file, len } => self.file(file)?.set_len(len)?,
            DiskOp::Rename { from, to } => self.rename(from, to)?,
            DiskOp::Remove { file } => {
                self.open.remove(&file);
                fs::remove_file(self.path(file))?;
            }
            DiskOp::SyncDir => self.dir_handle.sync_all()?,
            DiskOp::List => return Ok(DiskReply::Listing(self.list()?)),
            DiskOp::Read { file, offset, len } => return Ok(DiskReply::Data(self.read(file, offset, len)?)),
        }
        Ok(DiskReply::Done)
    }

    fn create(&mut self, name: FileName) -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true).mode(0o600);
        let file = options.open(self.path(name))?;
        // The mode above counts for a new file only; one that was there may be readable by others.
        file.set_permissions(Permissions::from_mode(0o600))?;
        self.open.insert(name, file);
        Ok(())
    }

    fn rename(&mut self, from: FileName, to: FileName) -> io::Result<()> {
        fs::rename(self.path(from), self.path(to))?;
        self.open.remove(&to);
        if let Some(file) = self.open.remove(&from) {
            self.open.insert(to, file);
        }
        Ok(())
    }

    fn list(&self) -> io::Result<Vec<(FileName, u64)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let Some(name) = entry.file_name().to_str().and_then(|name| name.parse::<FileName>().ok()) else {
                continue;
            };
            let metadata = entry.metadata()?;
            if !metadata.is_file() {
                return Err(io::Error::other(format!("{} is not a regular file", entry.path().display())));
            }
            found.push((name, metadata.len()));
        }
        found.sort_unstable();
        Ok(found)
    }

    /// Reads until `len` bytes are there or the file ends. The allocation is bounded by the file's length.
    fn read(&mut self, name: FileName, offset: u64, len: u32) -> io::Result<Bytes> {
        let file = self.file(name)?;
        let there = file.metadata()?.len().saturating_sub(offset).min(u64::from(len));
        let mut data = vec![0; usize::try_from(there).map_err(io::Error::other)?];
        let mut filled = 0;
        while filled < data.len() {
            match file.read_at(&mut data[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        data.truncate(filled);
        Ok(data.into())
    }

    /// The open file, opened if need be; never created.
    fn file(&mut self, name: FileName) -> io::Result<&File> {
        if !self.open.contains_key(&name) {
            let file = OpenOptions::new().read(true).write(self.writable).open(self.path(name))?;
            self.open.insert(name, file);
        }
        self.open.get(&name).ok_or_else(|| io::Error::other("the file is not open although it was opened"))
    }

    fn path(&self, name: FileName) -> PathBuf {
        self.dir.join(name.to_string())
    }
}

/// An operation in words, without its data; and its file.
pub(super) fn describe(op: &DiskOp) -> Description {
    match op {
        DiskOp::Create { file } => Description("creating", Some(*file)),
        DiskOp::WriteAt { file, .. } => Description("writing", Some(*file)),
        DiskOp::Sync { file } => Description("syncing", Some(*file)),
        DiskOp::Truncate { file, .. } => Description("truncating", Some(*file)),
        DiskOp::Rename { from, .. } => Description("renaming", Some(*from)),
        DiskOp::Remove { file } => Description("removing", Some(*file)),
        DiskOp::SyncDir => Description("syncing the directory", None),
        DiskOp::List => Description("listing the directory", None),
        DiskOp::Read { file, .. } => Description("reading", Some(*file)),
    }
}

/// What an operation does, formatted only if somebody reads it.
pub(super) struct Description(&'static str, pub(super) Option<FileName>);

impl std::fmt::Display for Description {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.1 {
            Some(file) => write!(f, "{} {file}", self.0),
            None => f.write_str(self.0),
        }
    }
}

fn kind_of(error: &io::Error) -> DiskErrorKind {
    match error.kind() {
        ErrorKind::NotFound => DiskErrorKind::NotFound,
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => DiskErrorKind::NoSpace,
        _ => DiskErrorKind::Io,
    }
}

#[cfg(test)]
#[path = "disk_tests.rs"]
mod tests;
