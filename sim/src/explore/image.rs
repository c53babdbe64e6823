//! What a crash leaves: files by name, and nothing else. A restart runs on it as on a plain disk in memory, which
//! never fails and where everything is durable at once.
//!
//! Files are shared between images, so that the many images of one instant cost only what differs.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hasher};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use steadfast_core::io::{DiskError, DiskErrorKind, DiskOp, DiskReply, FileName};

/// A file's bytes, hashed at most once.
#[derive(Debug, Default)]
pub struct Content {
    bytes: Vec<u8>,
    hash: OnceLock<u64>,
}

impl Content {
    /// These bytes.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Arc<Self> {
        Arc::new(Self { bytes, hash: OnceLock::new() })
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Changes a file's bytes; other holders of the old ones keep them.
    pub fn change(file: &mut Arc<Self>, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = match Arc::get_mut(file) {
            Some(content) => std::mem::take(&mut content.bytes),
            None => file.bytes.clone(),
        };
        change(&mut bytes);
        *file = Self::new(bytes);
    }

    fn hash(&self) -> u64 {
        *self.hash.get_or_init(|| hash(&self.bytes))
    }
}

/// A hash of bytes that is the same in every run, and wide enough that two images are not taken for one.
#[must_use]
pub fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

/// A data directory.
#[derive(Clone, Debug, Default)]
pub struct Image {
    /// Its files.
    pub files: BTreeMap<FileName, Arc<Content>>,
}

impl Image {
    /// One number for all names and bytes.
    #[must_use]
    pub fn hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for (name, content) in &self.files {
            hasher.write(name.to_string().as_bytes());
            hasher.write_u64(content.bytes.len() as u64);
            hasher.write_u64(content.hash());
        }
        hasher.finish()
    }

    /// Executes an operation.
    ///
    /// # Errors
    /// A file that does not exist.
    pub fn execute(&mut self, op: &DiskOp) -> Result<DiskReply, DiskError> {
        match op {
            DiskOp::Create { file } => {
                self.files.insert(*file, Content::new(Vec::new()));
            }
            DiskOp::WriteAt { file, offset, data } => {
                let file = self.files.get_mut(file).ok_or_else(|| not_found(*file))?;
                Content::change(file, |bytes| overwrite(bytes, *offset as usize, data));
            }
            DiskOp::Truncate { file, len } => {
                let file = self.files.get_mut(file).ok_or_else(|| not_found(*file))?;
                Content::change(file, |bytes| bytes.resize(*len as usize, 0));
            }
            DiskOp::Rename { from, to } => {
                let file = self.files.remove(from).ok_or_else(|| not_found(*from))?;
                self.files.insert(*to, file);
            }
            DiskOp::Remove { file } => {
                self.files.remove(file).ok_or_else(|| not_found(*file))?;
            }
            DiskOp::Sync { file } if !self.files.contains_key(file) => return Err(not_found(*file)),
            DiskOp::Sync { .. } | DiskOp::SyncDir => {}
            DiskOp::List => {
                let list = self.files.iter().map(|(name, content)| (*name, content.bytes.len() as u64));
                return Ok(DiskReply::Listing(list.collect()));
            }
            DiskOp::Read { file, offset, len } => {
                let content = self.files.get(file).ok_or_else(|| not_found(*file))?;
                return Ok(DiskReply::Data(slice(&content.bytes, *offset, *len)));
            }
        }
        Ok(DiskReply::Done)
    }
}

/// Writes at an offset; beyond the end the file grows.
pub(super) fn overwrite(bytes: &mut Vec<u8>, offset: usize, data: &[u8]) {
    let end = offset + data.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[offset..end].copy_from_slice(data);
}

/// What a read answers.
pub(super) fn slice(bytes: &[u8], offset: u64, len: u32) -> Bytes {
    let from = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
    let to = from.saturating_add(len as usize).min(bytes.len());
    Bytes::copy_from_slice(&bytes[from..to])
}

/// The answer to an operation on a file that is not there.
pub(super) fn not_found(name: FileName) -> DiskError {
    let message = format!("{name}: No such file or directory (os error 2)");
    DiskError { kind: DiskErrorKind::NotFound, message }
}
