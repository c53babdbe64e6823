//! A disk that remembers, at every instant, what is durable and what only waits to be: the base from which all
//! images of a crash at that instant are made (`variants.rs`).
//!
//! Cheap to copy, since every boundary of a recording keeps one. It never decides what a crash keeps, knows no time
//! and draws nothing.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use steadfast_core::io::{DiskError, DiskErrorKind, DiskOp, DiskReply, FileName};

use super::image::{Content, Image, not_found, overwrite, slice};

/// A file, apart from its names.
#[derive(Clone, Debug, Default)]
pub struct Inode {
    /// What a process reads.
    pub live: Arc<Content>,
    /// What a completed sync has covered.
    pub durable: Arc<Content>,
}

/// A change that no completed sync covers.
#[derive(Clone, Debug)]
pub struct Change {
    /// Counts the disk's changes.
    pub number: u64,
    /// Whether a sync of it failed: its pages count as clean, and no later sync writes them. They may still have
    /// reached the disk.
    pub given_up: bool,
    /// What.
    pub what: What,
}

/// What a change changes.
#[derive(Clone, Debug)]
pub enum What {
    /// Bytes of a file, and its length where they go beyond its end.
    Write {
        /// The file.
        inode: u64,
        /// In bytes.
        offset: usize,
        /// The bytes.
        data: Bytes,
    },
    /// A file's length.
    Resize {
        /// The file.
        inode: u64,
        /// In bytes.
        len: usize,
    },
    /// A new name.
    Link {
        /// The name.
        name: FileName,
        /// The file.
        inode: u64,
    },
    /// A name that goes.
    Unlink {
        /// The name.
        name: FileName,
        /// The file that it led to.
        inode: u64,
    },
    /// Another name, in one step.
    Rename {
        /// The old name.
        from: FileName,
        /// The new name.
        to: FileName,
        /// The file.
        inode: u64,
    },
}

/// How many contents of removed and cut files are remembered.
const OLD: usize = 8;

/// Names, and the files that they lead to.
pub type Directory = BTreeMap<FileName, u64>;

/// The disk.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    /// All files that were ever made, by number.
    pub inodes: BTreeMap<u64, Inode>,
    /// The directory as a process reads it.
    pub live: Directory,
    /// The directory as a completed sync has covered it.
    pub durable: Directory,
    /// What lies between the two, oldest first.
    pub pending: Vec<Change>,
    /// What files held that were removed or cut, newest first, as far as it is remembered: a sector that is given to a
    /// file and not written may still show it.
    pub old: VecDeque<Arc<Content>>,
    next_inode: u64,
    next_change: u64,
}

impl Disk {
    /// A disk that holds this, all of it durable.
    #[must_use]
    pub fn holding(image: &Image) -> Self {
        let mut disk = Self::default();
        for (name, content) in &image.files {
            let inode = Inode { live: content.clone(), durable: content.clone() };
            disk.inodes.insert(disk.next_inode, inode);
            disk.live.insert(*name, disk.next_inode);
            disk.next_inode += 1;
        }
        disk.durable = disk.live.clone();
        disk
    }

    /// The same, on the sectors that this disk has left.
    #[must_use]
    pub fn holding_instead(&self, image: &Image) -> Self {
        let kept = |content: &Arc<Content>| image.files.values().any(|file| Arc::ptr_eq(file, content));
        let mut old = self.old.clone();
        let lost = self.live.iter().filter(|(name, _)| !image.files.contains_key(name));
        for content in lost.map(|(_, inode)| &self.inodes[inode].live).filter(|content| !kept(content)) {
            old.push_front(content.clone());
        }
        old.truncate(OLD);
        Self { old, ..Self::holding(image) }
    }

    /// What a process that starts now would find.
    #[must_use]
    pub fn live_image(&self) -> Image {
        let file = |(name, inode): (&FileName, &u64)| (*name, self.inodes[inode].live.clone());
        Image { files: self.live.iter().map(file).collect() }
    }

    /// The number that the next change will have: a sync that begins now covers all below it.
    #[must_use]
    pub fn next_change(&self) -> u64 {
        self.next_change
    }

    /// Executes an operation. `covers` says which changes a sync covers: those that were complete when it began.
    ///
    /// # Errors
    /// A file that does not exist.
    pub fn execute(&mut self, op: &DiskOp, covers: u64) -> Result<DiskReply, DiskError> {
        match op {
            DiskOp::Create { file } => self.create(*file),
            DiskOp::WriteAt { file, offset, data } => {
                let (inode, offset) = (self.find(*file)?, *offset as usize);
                self.change_live(inode, |bytes| overwrite(bytes, offset, data));
                self.push(What::Write { inode, offset, data: data.clone() });
            }
            DiskOp::Truncate { file, len } => {
                let (inode, len) = (self.find(*file)?, *len as usize);
                self.resize(inode, len);
            }
            DiskOp::Sync { file } => {
                let inode = self.find(*file)?;
                self.sync(inode, covers);
            }
            DiskOp::Rename { from, to } => {
                let inode = self.find(*from)?;
                self.live.remove(from);
                if let Some(replaced) = self.live.insert(*to, inode) {
                    self.leave(replaced);
                }
                self.push(What::Rename { from: *from, to: *to, inode });
            }
            DiskOp::Remove { file } => {
                let inode = self.find(*file)?;
                self.live.remove(file);
                self.leave(inode);
                self.push(What::Unlink { name: *file, inode });
            }
            DiskOp::SyncDir => self.sync_dir(covers),
            DiskOp::List => {
                let len = |inode: &u64| self.inodes[inode].live.bytes().len() as u64;
                let list = self.live.iter().map(|(name, inode)| (*name, len(inode)));
                return Ok(DiskReply::Listing(list.collect()));
            }
            DiskOp::Read { file, offset, len } => {
                let inode = self.find(*file)?;
                return Ok(DiskReply::Data(slice(self.inodes[&inode].live.bytes(), *offset, *len)));
            }
        }
        Ok(DiskReply::Done)
    }

    /// A sync fails: what it would have covered counts as clean, and no later sync will write it (PostgreSQL's
    /// fsync incident, 2018).
    pub fn fail_sync(&mut self, file: FileName, covers: u64) -> DiskError {
        if let Ok(file) = self.find(file) {
            let covered = |change: &&mut Change| change.what.inode() == Some(file) && change.number < covers;
            self.pending.iter_mut().filter(covered).for_each(|change| change.given_up = true);
        }
        DiskError { kind: DiskErrorKind::Io, message: "Input/output error (os error 5)".into() }
    }

    fn find(&self, name: FileName) -> Result<u64, DiskError> {
        self.live.get(&name).copied().ok_or_else(|| not_found(name))
    }

    fn push(&mut self, what: What) {
        let number = self.next_change;
        self.next_change += 1;
        self.pending.push(Change { number, given_up: false, what });
    }

    fn change_live(&mut self, inode: u64, change: impl FnOnce(&mut Vec<u8>)) {
        let inode = self.inodes.get_mut(&inode).expect("a name leads to a file");
        Content::change(&mut inode.live, change);
    }

    fn create(&mut self, name: FileName) {
        if let Ok(inode) = self.find(name) {
            return self.resize(inode, 0);
        }
        let inode = self.next_inode;
        self.next_inode += 1;
        self.inodes.insert(inode, Inode::default());
        self.live.insert(name, inode);
        self.push(What::Link { name, inode });
    }

    /// The sectors of a file go, and keep their bytes until they are written again.
    fn leave(&mut self, inode: u64) {
        self.old.push_front(self.inodes[&inode].live.clone());
        self.old.truncate(OLD);
    }

    /// What a sector may hold whose bytes nobody has written since it was another file's, or this one's before it was
    /// cut; the newest first. A file system gives away sectors, so that they keep their place in them; the dangerous
    /// bytes are those that had the same place in the file as well.
    #[must_use]
    pub fn old_sector(&self, at: usize, len: usize, which: u8) -> Option<&[u8]> {
        let old = self.old.iter().filter_map(|content| content.bytes().get(at..at + len));
        old.filter(|bytes| bytes.iter().any(|byte| *byte != 0)).nth(usize::from(which))
    }

    fn resize(&mut self, inode: u64, len: usize) {
        if len < self.inodes[&inode].live.bytes().len() {
            self.leave(inode);
        }
        self.change_live(inode, |bytes| bytes.resize(len, 0));
        self.push(What::Resize { inode, len });
    }

    fn sync(&mut self, inode: u64, covers: u64) {
        let covered = |change: &Change| {
            change.what.inode() == Some(inode) && change.number < covers && !change.given_up
        };
        let (synced, mut rest): (Vec<Change>, Vec<Change>) =
            std::mem::take(&mut self.pending).into_iter().partition(covered);
        let file = self.inodes.get_mut(&inode).expect("a name leads to a file");
        for change in synced {
            Content::change(&mut file.durable, |bytes| change.what.apply(bytes));
            // What was given up and is overwritten now can't come back over it.
            rest.retain(|old| !(old.given_up && old.what.overlaps(&change.what)));
        }
        self.pending = rest;
    }

    fn sync_dir(&mut self, covers: u64) {
        let covered = |change: &Change| change.what.inode().is_none() && change.number < covers;
        let (synced, rest): (Vec<Change>, Vec<Change>) =
            std::mem::take(&mut self.pending).into_iter().partition(covered);
        self.pending = rest;
        for change in synced {
            change.what.rename_in(&mut self.durable);
        }
    }
}

impl What {
    /// The file whose bytes or length it changes; none for a change of the directory.
    #[must_use]
    pub fn inode(&self) -> Option<u64> {
        match self {
            Self::Write { inode, .. } | Self::Resize { inode, .. } => Some(*inode),
            Self::Link { .. } | Self::Unlink { .. } | Self::Rename { .. } => None,
        }
    }

    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write { offset, data, .. } => overwrite(bytes, *offset, data),
            Self::Resize { len, .. } => bytes.resize(*len, 0),
            Self::Link { .. } | Self::Unlink { .. } | Self::Rename { .. } => {}
        }
    }

    /// Makes a change of names in a directory.
    pub fn rename_in(&self, directory: &mut Directory) {
        match self {
            Self::Link { name, inode } => {
                directory.insert(*name, *inode);
            }
            Self::Unlink { name, inode } => unlink(directory, *name, *inode),
            Self::Rename { from, to, inode } => {
                unlink(directory, *from, *inode);
                directory.insert(*to, *inode);
            }
            Self::Write { .. } | Self::Resize { .. } => {}
        }
    }

    fn overlaps(&self, other: &Self) -> bool {
        let span = |what: &Self| match what {
            Self::Write { inode, offset, data } => Some((*inode, *offset, offset + data.len())),
            Self::Resize { inode, len } => Some((*inode, *len, usize::MAX)),
            _ => None,
        };
        match (span(self), span(other)) {
            (Some((a, from_a, to_a)), Some((b, from_b, to_b))) => a == b && from_a < to_b && from_b < to_a,
            _ => false,
        }
    }
}

/// Removes a name, if it still leads to that file.
fn unlink(directory: &mut Directory, name: FileName, inode: u64) {
    if directory.get(&name) == Some(&inode) {
        directory.remove(&name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: FileName = FileName::Wal(1);

    fn write(disk: &mut Disk, offset: u64, data: &'static [u8]) {
        let data = Bytes::from_static(data);
        disk.execute(&DiskOp::WriteAt { file: FILE, offset, data }, 0).unwrap();
    }

    fn durable(disk: &Disk) -> &[u8] {
        disk.inodes[&0].durable.bytes()
    }

    #[test]
    fn a_sync_covers_what_was_complete_when_it_began_and_names_need_one_of_their_own() {
        let mut disk = Disk::default();
        disk.execute(&DiskOp::Create { file: FILE }, 0).unwrap();
        write(&mut disk, 0, b"one");
        let covers = disk.next_change();
        write(&mut disk, 0, b"two");
        disk.execute(&DiskOp::Sync { file: FILE }, covers).unwrap();
        assert_eq!(durable(&disk), b"one");
        assert!(disk.durable.is_empty());
        disk.execute(&DiskOp::SyncDir, disk.next_change()).unwrap();
        assert_eq!(disk.durable, disk.live);
        assert_eq!(disk.pending.len(), 1);
    }

    #[test]
    fn what_a_failed_sync_gave_up_stays_readable_and_is_never_synced() {
        let mut disk = Disk::default();
        disk.execute(&DiskOp::Create { file: FILE }, 0).unwrap();
        write(&mut disk, 0, b"lost");
        disk.fail_sync(FILE, disk.next_change());
        write(&mut disk, 8, b"kept");
        disk.execute(&DiskOp::Sync { file: FILE }, disk.next_change()).unwrap();
        assert_eq!(durable(&disk), b"\0\0\0\0\0\0\0\0kept");
        assert_eq!(disk.live_image().files[&FILE].bytes(), b"lost\0\0\0\0kept");
        assert!(
            disk.pending.iter().any(|change| change.given_up),
            "it may have reached the disk all the same"
        );
    }
}
