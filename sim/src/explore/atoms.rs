//! The smallest parts of what is pending on a disk, each of which a power loss keeps, drops or spoils by itself: the
//! sectors of a write, a file's new length, a change of the directory. And the image that a choice of fates gives.
//!
//! Which choices are made is the business of `variants.rs`.

use std::collections::BTreeMap;
use std::fmt;

use super::disk::{Disk, What};
use super::image::{Content, Image};

/// What a disk writes atomically, if at all, in bytes.
pub const SECTOR: usize = 512;

/// One part.
#[derive(Clone, Debug)]
pub struct Atom {
    /// The place of its change among the pending ones.
    pub change: usize,
    /// Whether keeping or dropping it makes no difference: zeros over zeros.
    pub quiet: bool,
    /// What it is.
    pub part: Part,
}

/// What a part is.
#[derive(Clone, Debug)]
pub enum Part {
    /// A sector of a write, or as much of it as the write touches.
    Sector {
        /// The file.
        inode: u64,
        /// Where it begins in the file, in bytes.
        from: usize,
        /// The new bytes.
        data: bytes::Bytes,
    },
    /// A file's length.
    Size {
        /// The file.
        inode: u64,
        /// In bytes.
        len: usize,
        /// Whether a write made the file longer, rather than that it was cut or set.
        grows: bool,
    },
    /// A change of the directory.
    Entry(What),
}

/// What becomes of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// As if it had never been.
    Drop,
    /// It reached the disk.
    Keep,
    /// Only its first bytes did.
    Cut(u16),
    /// The sector holds noise.
    Noise,
    /// The sector, or all by which the file got longer, holds what a file had there that was removed or cut: the
    /// newest of these, or an older one.
    Old(u8),
}

/// The parts of all pending changes, in the order in which they were made.
#[must_use]
pub fn atoms(disk: &Disk) -> Vec<Atom> {
    let mut lengths: BTreeMap<u64, usize> = BTreeMap::new();
    let mut atoms = Vec::new();
    for (change, pending) in disk.pending.iter().enumerate() {
        match &pending.what {
            What::Write { inode, offset, data } => {
                let end = offset + data.len();
                let mut from = *offset;
                while from < end {
                    let to = (from - from % SECTOR + SECTOR).min(end);
                    let bytes = data.slice(from - offset..to - offset);
                    let quiet = is_quiet(disk, &atoms, *inode, from, &bytes);
                    atoms.push(Atom {
                        change,
                        quiet,
                        part: Part::Sector { inode: *inode, from, data: bytes },
                    });
                    from = to;
                }
                let len = lengths.entry(*inode).or_insert_with(|| disk.inodes[inode].durable.bytes().len());
                if end > *len {
                    *len = end;
                    let part = Part::Size { inode: *inode, len: end, grows: true };
                    atoms.push(Atom { change, quiet: false, part });
                }
            }
            What::Resize { inode, len } => {
                let before = lengths.insert(*inode, *len);
                let before = before.unwrap_or_else(|| disk.inodes[inode].durable.bytes().len());
                let part = Part::Size { inode: *inode, len: *len, grows: false };
                atoms.push(Atom { change, quiet: before == *len, part });
            }
            entry => atoms.push(Atom { change, quiet: false, part: Part::Entry(entry.clone()) }),
        }
    }
    atoms
}

/// Whether a sector would be zeros with or without this write.
fn is_quiet(disk: &Disk, before: &[Atom], inode: u64, from: usize, data: &[u8]) -> bool {
    let durable = disk.inodes[&inode].durable.bytes();
    let old = &durable[from.min(durable.len())..(from + data.len()).min(durable.len())];
    let written = |atom: &Atom| match &atom.part {
        Part::Sector { inode: other, from: at, .. } => {
            !atom.quiet && *other == inode && at / SECTOR == from / SECTOR
        }
        _ => false,
    };
    data.iter().chain(old).all(|byte| *byte == 0) && !before.iter().any(written)
}

/// The image that is left when each part has its fate. A change of length that is kept without its data shows zeros,
/// or old bytes.
#[must_use]
pub fn image(disk: &Disk, atoms: &[Atom], fates: &[Fate]) -> Image {
    let mut directory = disk.durable.clone();
    let mut files = longer(disk, atoms, fates);
    for (atom, fate) in atoms.iter().zip(fates).filter(|(_, fate)| **fate != Fate::Drop) {
        let mut open = |inode: &u64| {
            files.remove(inode).unwrap_or_else(|| {
                let bytes = disk.inodes[inode].durable.bytes().to_vec();
                let len = bytes.len();
                (bytes, len)
            })
        };
        match &atom.part {
            Part::Sector { inode, from, data } => {
                let (mut bytes, len) = open(inode);
                strike(&mut bytes, disk, *inode, *from, data, *fate);
                files.insert(*inode, (bytes, len));
            }
            Part::Size { inode, len: to, grows } => {
                let (mut bytes, len) = open(inode);
                if !grows {
                    bytes.truncate(*to);
                }
                files.insert(*inode, (bytes, if *grows { len.max(*to) } else { *to }));
            }
            Part::Entry(what) => what.rename_in(&mut directory),
        }
    }
    let mut image = Image::default();
    for (name, inode) in directory {
        let content = match files.get(&inode) {
            Some((bytes, len)) => {
                let mut bytes = bytes.clone();
                bytes.resize(*len, 0);
                Content::new(bytes)
            }
            None => disk.inodes[&inode].durable.clone(),
        };
        image.files.insert(name, content);
    }
    image
}

/// The files that got longer on sectors with old bytes, before anything else was written there, with the lengths that
/// they had.
fn longer(disk: &Disk, atoms: &[Atom], fates: &[Fate]) -> BTreeMap<u64, (Vec<u8>, usize)> {
    let mut files: BTreeMap<u64, (Vec<u8>, usize)> = BTreeMap::new();
    for (atom, fate) in atoms.iter().zip(fates) {
        let (Part::Size { inode, len, .. }, Fate::Old(which)) = (&atom.part, fate) else { continue };
        let (bytes, _) = files.entry(*inode).or_insert_with(|| {
            let bytes = disk.inodes[inode].durable.bytes().to_vec();
            let len = bytes.len();
            (bytes, len)
        });
        while bytes.len() < *len {
            let (at, sector) = (bytes.len(), (*len - bytes.len()).min(SECTOR));
            match disk.old_sector(at, sector, *which) {
                Some(old) => bytes.extend_from_slice(old),
                None => bytes.resize(at + sector, 0),
            }
        }
    }
    files
}

/// What arrives of a sector.
fn strike(bytes: &mut Vec<u8>, disk: &Disk, inode: u64, from: usize, data: &[u8], fate: Fate) {
    let sector = from - from % SECTOR;
    if bytes.len() < sector + SECTOR {
        bytes.resize(sector + SECTOR, 0);
    }
    match fate {
        Fate::Drop => {}
        Fate::Keep => bytes[from..from + data.len()].copy_from_slice(data),
        Fate::Cut(len) => {
            let len = usize::from(len).min(data.len());
            bytes[from..from + len].copy_from_slice(&data[..len]);
        }
        // A disk writes sectors: noise is noise also where the write did not touch it.
        Fate::Noise => noise(inode, sector, &mut bytes[sector..sector + SECTOR]),
        Fate::Old(which) => {
            if let Some(old) = disk.old_sector(sector, SECTOR, which) {
                bytes[sector..sector + SECTOR].copy_from_slice(old);
            }
        }
    }
}

/// Bytes that nobody wrote, the same for one sector in all images.
fn noise(inode: u64, sector: usize, bytes: &mut [u8]) {
    let mut state = inode << 32 ^ sector as u64;
    for chunk in bytes.chunks_mut(8) {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        chunk.copy_from_slice(&(mixed ^ (mixed >> 31)).to_le_bytes()[..chunk.len()]);
    }
}

impl Atom {
    /// The part in words.
    #[must_use]
    pub fn describe(&self, disk: &Disk) -> String {
        let name = |inode: &u64| {
            let found = disk.live.iter().chain(&disk.durable).find(|(_, file)| *file == inode);
            found.map_or_else(|| format!("file {inode}"), |(name, _)| name.to_string())
        };
        let given_up = if disk.pending[self.change].given_up { ", given up by a failed sync" } else { "" };
        let text = match &self.part {
            Part::Sector { inode, from, data } => {
                let zeros = if data.iter().all(|byte| *byte == 0) { " of zeros" } else { "" };
                format!("{} at {from}, {} bytes{zeros}", name(inode), data.len())
            }
            Part::Size { inode, len, .. } => format!("{} has {len} bytes", name(inode)),
            Part::Entry(What::Link { name, .. }) => format!("{name} is there"),
            Part::Entry(What::Unlink { name, .. }) => format!("{name} is gone"),
            Part::Entry(What::Rename { from, to, .. }) => format!("{from} is called {to}"),
            Part::Entry(_) => "nothing".into(),
        };
        format!("{text}{given_up}")
    }
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Drop => f.write_str("lost"),
            Self::Keep => f.write_str("kept"),
            Self::Cut(len) => write!(f, "cut after {len} bytes"),
            Self::Noise => f.write_str("noise"),
            Self::Old(which) => write!(f, "old bytes ({which})"),
        }
    }
}
