//! One file of a fake disk: its live bytes, its durable bytes, and the changes between the two.
//!
//! A power cut decides for each unsynced change, sector by sector, whether it is kept, dropped or garbage;
//! a garbage sector is garbage whole, also where the write did not touch it, because that is what a disk
//! writes: sectors.

use bytes::Bytes;

use crate::rng::Stream;
use crate::schedule::DiskSpec;

/// What a disk writes atomically, if at all, in bytes.
pub const SECTOR: usize = 512;

/// A change of a file that no completed sync covers.
#[derive(Clone, Debug)]
pub enum Change {
    /// Bytes at an offset; beyond the end the file grows.
    Write {
        /// Counts the disk's changes.
        number: u64,
        /// In bytes.
        offset: u64,
        /// What was written.
        data: Bytes,
    },
    /// A new length.
    Resize {
        /// Counts the disk's changes.
        number: u64,
        /// In bytes.
        len: u64,
    },
}

/// A file: what a process reads, what a power cut leaves, and the changes between.
#[derive(Clone, Debug, Default)]
pub struct File {
    /// What a process reads.
    pub live: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
}

/// What power cuts did, for the probes.
#[derive(Clone, Copy, Debug, Default)]
pub struct CrashCounts {
    /// Unsynced sectors that survived.
    pub sectors_kept: u64,
    /// Unsynced sectors that vanished.
    pub sectors_dropped: u64,
    /// Unsynced sectors that became garbage.
    pub sectors_garbage: u64,
    /// Directory changes that vanished.
    pub entries_lost: u64,
    /// Files that grew without their data, or a part of it.
    pub size_without_data: u64,
    /// Data that was kept beyond a size that was not.
    pub data_without_size: u64,
    /// Writes cut off in the middle by a kill.
    pub torn_writes: u64,
}

/// How one power cut treats what was not synced. Crashes that keep everything, or nothing, or a strict
/// prefix are as telling as independent draws, which almost never give any of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashMode {
    /// Everything reached the disk.
    KeepAll,
    /// Nothing did.
    DropAll,
    /// Names and sizes did, and no data: what a journal of metadata alone gives.
    SizesOnly,
    /// Data did, and neither names nor sizes.
    DataOnly,
    /// Each sector and entry is drawn.
    Mixed {
        /// Kept, in a million.
        keep_ppm: u32,
        /// Garbage, in a million; the rest is dropped.
        garbage_ppm: u32,
    },
}

impl CrashMode {
    /// Draws how a power cut goes.
    pub fn draw(spec: &DiskSpec, stream: &mut Stream) -> Self {
        let mixed = Self::Mixed { keep_ppm: spec.keep_ppm, garbage_ppm: spec.garbage_ppm };
        match stream.below(10) {
            0 => Self::KeepAll,
            1 | 2 => Self::DropAll,
            3 => Self::SizesOnly,
            4 if stream.chance(500_000) => Self::DataOnly,
            _ => mixed,
        }
    }

    /// Whether an unsynced directory change, or a size, is kept.
    pub fn keeps_entry(self, stream: &mut Stream) -> bool {
        let keep = stream.chance(500_000);
        match self {
            Self::KeepAll | Self::SizesOnly => true,
            Self::DropAll | Self::DataOnly => false,
            Self::Mixed { .. } => keep,
        }
    }

    fn sector(self, stream: &mut Stream) -> Fate {
        let draw = stream.below(1_000_000) as u32;
        match self {
            Self::KeepAll | Self::DataOnly => Fate::Kept,
            Self::DropAll | Self::SizesOnly => Fate::Dropped,
            Self::Mixed { keep_ppm, .. } if draw < keep_ppm => Fate::Kept,
            Self::Mixed { keep_ppm, garbage_ppm } if draw < keep_ppm.saturating_add(garbage_ppm) => {
                Fate::Garbage
            }
            Self::Mixed { .. } => Fate::Dropped,
        }
    }
}

enum Fate {
    Kept,
    Dropped,
    Garbage,
}

/// What a crash does to the sectors of one write together. Independent draws alone would almost never lose
/// a long write whole, nor keep just its beginning.
enum Whole {
    /// Each sector has its own fate.
    Apart,
    /// All are lost.
    Lost,
    /// Those from this offset on are lost.
    LostFrom(usize),
}

impl Whole {
    fn draw(stream: &mut Stream, start: usize, end: usize) -> Self {
        let (kind, share) = (stream.below(10), stream.below((end - start) as u64 + 1));
        match kind {
            0 | 1 => Self::Lost,
            2 | 3 => Self::LostFrom(start + share as usize),
            _ => Self::Apart,
        }
    }

    fn bend(&self, mode: CrashMode, fate: Fate, at: usize) -> Fate {
        if !matches!(mode, CrashMode::Mixed { .. }) {
            return fate;
        }
        match self {
            Self::Apart => fate,
            Self::Lost => Fate::Dropped,
            Self::LostFrom(from) if at >= *from => Fate::Dropped,
            Self::LostFrom(_) => Fate::Kept,
        }
    }
}

impl File {
    /// Applies a change to the live image and remembers it as unsynced.
    pub fn change(&mut self, change: Change) {
        apply(&mut self.live, &change);
        self.unsynced.push(change);
    }

    /// Makes the changes with a number below `covers` durable.
    pub fn sync(&mut self, covers: u64) {
        let durable = &mut self.durable;
        self.unsynced.retain(|change| {
            let covered = number(change) < covers;
            if covered {
                apply(durable, change);
            }
            !covered
        });
    }

    /// A sync of the changes below `covers` failed: they stay readable, and no later sync writes them.
    pub fn forget_unsynced(&mut self, covers: u64) {
        self.unsynced.retain(|change| number(change) >= covers);
    }

    /// What is left after a power cut becomes both images.
    pub fn lose_power(&mut self, mode: CrashMode, stream: &mut Stream, counts: &mut CrashCounts) {
        let mut image = std::mem::take(&mut self.durable);
        let mut len = image.len();
        for change in std::mem::take(&mut self.unsynced) {
            match change {
                Change::Resize { len: to, .. } => {
                    if mode.keeps_entry(stream) {
                        len = to as usize;
                        image.truncate(len);
                    }
                }
                Change::Write { offset, data, .. } => {
                    let offset = offset as usize;
                    let landed = overlay(&mut image, offset, &data, mode, stream, counts);
                    let end = offset + data.len();
                    if end > len {
                        let grows = mode.keeps_entry(stream);
                        counts.size_without_data += u64::from(grows && landed < data.len());
                        counts.data_without_size += u64::from(!grows && landed > 0);
                        len = if grows { end } else { len };
                    }
                }
            }
        }
        image.resize(len, 0);
        self.live.clone_from(&image);
        self.durable = image;
    }
}

/// Lays an unsynced write over an image as a power cut leaves it; returns how many bytes of it arrived.
fn overlay(
    image: &mut Vec<u8>,
    offset: usize,
    data: &[u8],
    mode: CrashMode,
    stream: &mut Stream,
    counts: &mut CrashCounts,
) -> usize {
    let end = offset + data.len();
    let sectors_end = end.next_multiple_of(SECTOR);
    if image.len() < sectors_end {
        image.resize(sectors_end, 0);
    }
    let mut landed = 0;
    let mut at = offset - offset % SECTOR;
    let whole = Whole::draw(stream, at, end);
    while at < end {
        let (from, to) = (at.max(offset), (at + SECTOR).min(end));
        let fate = mode.sector(stream);
        match whole.bend(mode, fate, at) {
            Fate::Kept => {
                image[from..to].copy_from_slice(&data[from - offset..to - offset]);
                landed += to - from;
                counts.sectors_kept += 1;
            }
            Fate::Dropped => counts.sectors_dropped += 1,
            Fate::Garbage => {
                stream.fill(&mut image[at..at + SECTOR]);
                landed += to - from;
                counts.sectors_garbage += 1;
            }
        }
        at += SECTOR;
    }
    landed
}

fn number(change: &Change) -> u64 {
    match change {
        Change::Write { number, .. } | Change::Resize { number, .. } => *number,
    }
}

fn apply(image: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Resize { len, .. } => image.resize(*len as usize, 0),
        Change::Write { offset, data, .. } => {
            let (from, to) = (*offset as usize, *offset as usize + data.len());
            if image.len() < to {
                image.resize(to, 0);
            }
            image[from..to].copy_from_slice(data);
        }
    }
}
