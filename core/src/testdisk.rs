//! A disk for tests: every file and the directory have a live and a durable image, and only a completed sync
//! moves bytes from one to the other. After a failed sync the pages count as clean, are still readable, and are
//! gone after a power loss.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::io::{DiskError, DiskErrorKind, DiskOp, DiskReply, FileName};

const SECTOR: usize = 512;

/// A small generator of test randomness (splitmix64).
#[derive(Clone, Debug)]
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `n`.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

#[derive(Clone, Debug, Default)]
struct Inode {
    live: Vec<u8>,
    durable: Vec<u8>,
    dirty: BTreeSet<usize>,
    len_dirty: bool,
}

/// The disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct MemDisk {
    inodes: BTreeMap<u64, Inode>,
    live_dir: BTreeMap<FileName, u64>,
    durable_dir: BTreeMap<FileName, u64>,
    next_inode: u64,
    /// How many operations were executed.
    pub(crate) executed: u64,
    /// The operation, counted in `executed`, that fails, with its kind.
    pub(crate) fail_at: Option<(u64, DiskErrorKind)>,
    /// The operation that failed so.
    pub(crate) failed: Option<DiskOp>,
    /// How many bytes all files may have together; writes over what is there always have room.
    pub(crate) room: Option<u64>,
}

impl MemDisk {
    /// Executes an operation.
    pub(crate) fn execute(&mut self, op: &DiskOp) -> Result<DiskReply, DiskError> {
        self.executed += 1;
        let failure = self.fail_at.filter(|(at, _)| *at == self.executed).map(|(_, kind)| kind);
        if let Some(kind) = failure {
            self.fail(op);
            self.failed = Some(op.clone());
            return Err(DiskError { kind, message: "injected".to_owned() });
        }
        match op {
            DiskOp::Create { file } => {
                let inode = self.next_inode;
                self.next_inode += 1;
                self.inodes.insert(inode, Inode::default());
                self.live_dir.insert(*file, inode);
            }
            DiskOp::WriteAt { file, offset, data } => {
                let fits = self.fits(*file, *offset as usize, data.len());
                self.write(*file, *offset as usize, &data[..fits]);
                if fits < data.len() {
                    return Err(DiskError { kind: DiskErrorKind::NoSpace, message: "no room".to_owned() });
                }
            }
            DiskOp::Sync { file } => self.sync(*file),
            DiskOp::Truncate { file, len } => {
                let inode = self.inode(*file);
                inode.live.resize(*len as usize, 0);
                inode.len_dirty = true;
                inode.dirty.retain(|sector| sector * SECTOR < *len as usize);
            }
            DiskOp::Rename { from, to } => {
                let inode = self.live_dir.remove(from).expect("a renamed file exists");
                self.live_dir.insert(*to, inode);
            }
            DiskOp::Remove { file } => {
                self.live_dir.remove(file).expect("a removed file exists");
            }
            DiskOp::SyncDir => self.durable_dir = self.live_dir.clone(),
            DiskOp::List => return Ok(DiskReply::Listing(self.list())),
            DiskOp::Read { file, offset, len } => {
                let live = self.bytes(*file);
                let from = (*offset as usize).min(live.len());
                let to = (from + *len as usize).min(live.len());
                return Ok(DiskReply::Data(Bytes::copy_from_slice(&live[from..to])));
            }
        }
        Ok(DiskReply::Done)
    }

    /// How many of so many bytes there is room for.
    fn fits(&mut self, file: FileName, offset: usize, len: usize) -> usize {
        let Some(room) = self.room else { return len };
        let used: u64 = self.list().iter().map(|(_, len)| len).sum();
        let longest = self.inode(file).live.len() + room.saturating_sub(used) as usize;
        len.min(longest.saturating_sub(offset))
    }

    /// A failed write leaves half of it; after a failed sync the pages count as clean.
    fn fail(&mut self, op: &DiskOp) {
        match op {
            DiskOp::WriteAt { file, offset, data } => {
                let half = data.slice(..data.len() / 2);
                self.write(*file, *offset as usize, &half);
            }
            DiskOp::Sync { file } => {
                let inode = self.inode(*file);
                inode.dirty.clear();
                inode.len_dirty = false;
            }
            _ => {}
        }
    }

    fn write(&mut self, file: FileName, offset: usize, data: &[u8]) {
        let inode = self.inode(file);
        let end = offset + data.len();
        if inode.live.len() < end {
            inode.live.resize(end, 0);
            inode.len_dirty = true;
        }
        inode.live[offset..end].copy_from_slice(data);
        inode.dirty.extend(offset / SECTOR..end.div_ceil(SECTOR));
    }

    fn sync(&mut self, file: FileName) {
        let inode = self.inode(file);
        if inode.len_dirty {
            inode.durable.resize(inode.live.len(), 0);
            inode.len_dirty = false;
        }
        for sector in std::mem::take(&mut inode.dirty) {
            let from = (sector * SECTOR).min(inode.durable.len());
            let to = (from + SECTOR).min(inode.live.len()).min(inode.durable.len());
            inode.durable[from..to].copy_from_slice(&inode.live[from..to]);
        }
    }

    fn inode(&mut self, file: FileName) -> &mut Inode {
        let inode = self.live_dir.get(&file).expect("an operation names a file that exists");
        self.inodes.get_mut(inode).expect("a name has its file")
    }

    /// Power loss: of what was not synced, each directory entry is kept or dropped, each length is the old or
    /// the new one, and each sector is kept, dropped or garbage.
    pub(crate) fn crash(&mut self, rng: &mut Rng) {
        let names: BTreeSet<FileName> =
            self.live_dir.keys().chain(self.durable_dir.keys()).copied().collect();
        let mut dir = BTreeMap::new();
        for name in names {
            let from = if rng.below(2) == 0 { &self.live_dir } else { &self.durable_dir };
            if let Some(inode) = from.get(&name) {
                dir.insert(name, *inode);
            }
        }
        for inode in self.inodes.values_mut() {
            let mut after = inode.durable.clone();
            if inode.len_dirty && rng.below(2) == 0 {
                after.resize(inode.live.len(), 0);
            }
            for sector in std::mem::take(&mut inode.dirty) {
                let from = (sector * SECTOR).min(after.len());
                let to = (from + SECTOR).min(after.len());
                let live = inode.live.len().clamp(from, to);
                match rng.below(4) {
                    0 | 1 if live > from => after[from..live].copy_from_slice(&inode.live[from..live]),
                    0..3 => {}
                    _ => after[from..to].iter_mut().for_each(|byte| *byte = rng.next() as u8),
                }
            }
            inode.len_dirty = false;
            inode.live = after.clone();
            inode.durable = after;
        }
        self.live_dir = dir.clone();
        self.durable_dir = dir;
    }

    /// The files with their lengths.
    pub(crate) fn list(&self) -> Vec<(FileName, u64)> {
        self.live_dir.keys().map(|file| (*file, self.bytes(*file).len() as u64)).collect()
    }

    /// A file's live bytes.
    pub(crate) fn bytes(&self, file: FileName) -> &[u8] {
        let inode = self.live_dir.get(&file).expect("a file that is read exists");
        &self.inodes[inode].live
    }

    /// Changes a file behind the database's back, live and durable alike.
    pub(crate) fn tamper(&mut self, file: FileName, change: impl FnOnce(&mut Vec<u8>)) {
        let inode = self.inode(file);
        change(&mut inode.live);
        inode.durable = inode.live.clone();
    }

    /// Removes a file behind the database's back.
    pub(crate) fn lose(&mut self, file: FileName) {
        self.live_dir.remove(&file);
        self.durable_dir.remove(&file);
    }
}

/// Bytes as the documentation shows them: sixteen in a line, zero lines left out.
pub(crate) fn hexdump(bytes: &[u8]) -> String {
    let mut text = String::new();
    let lines = bytes.chunks(16).zip((0..).step_by(16));
    for (line, at) in lines.filter(|(line, _)| line.iter().any(|byte| *byte != 0)) {
        let hex: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
        let shown = |byte: &u8| if byte.is_ascii_graphic() { *byte as char } else { '.' };
        let ascii: String = line.iter().map(shown).collect();
        text += &format!("{at:04x}  {:47}  {ascii}\n", hex.join(" "));
    }
    text
}
