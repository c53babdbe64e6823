//! One file of a fake disk: its live bytes, its durable bytes, the changes between the two, and what lies over them.
//!
//! A power cut decides for each unsynced change, sector by sector, whether it is kept, dropped or garbage;
//! a garbage sector is garbage whole, also where the write did not touch it, because that is what a disk
//! writes: sectors.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::overlay::Overlay;
use crate::rng::Stream;
use crate::schedule::DiskSpec;

/// What a disk writes atomically, if at all, in bytes.
pub const SECTOR: usize = 512;

/// Older versions of a sector that a disk may fall back to.
const VERSIONS: usize = 3;

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
    /// What a process reads where nothing is damaged.
    pub live: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
    /// What reads see instead.
    pub overlay: Overlay,
    /// What sectors held before they were written over, newest first.
    versions: BTreeMap<u64, VecDeque<Vec<u8>>>,
    /// Changes below this were covered by a sync that lied.
    lied: Option<u64>,
}

/// What a file shows where its size was kept without its data.
#[derive(Clone, Debug)]
pub enum Background {
    /// Zeros.
    Zeros,
    /// Anything.
    Noise(Box<Stream>),
    /// What another file, or this one, held at the same offsets.
    Old(Vec<u8>),
}

impl Background {
    /// Makes an image longer. Its last sector was written as a whole, so that the rest of it is zeros.
    fn grow(&mut self, image: &mut Vec<u8>, to: usize) {
        let from = image.len().next_multiple_of(SECTOR).min(to);
        image.resize(from.max(image.len()), 0);
        if to <= image.len() {
            return;
        }
        let at = image.len();
        image.resize(to, 0);
        match self {
            Self::Zeros => {}
            Self::Noise(stream) => stream.fill(&mut image[at..]),
            Self::Old(old) => {
                let end = to.min(old.len());
                if at < end {
                    image[at..end].copy_from_slice(&old[at..end]);
                }
            }
        }
    }

    /// Sectors from an offset on in which the old bytes show.
    fn showing(&self, image: &[u8], from: usize) -> u64 {
        let Self::Old(old) = self else { return 0 };
        let sectors = image.chunks(SECTOR).zip(old.chunks(SECTOR)).skip(from.div_ceil(SECTOR));
        sectors.filter(|(now, old)| now == old && now.iter().any(|byte| *byte != 0)).count() as u64
    }
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
    /// Sectors that came back with what an earlier file had held there.
    pub stale_sectors: u64,
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
    /// A file all of which is durable.
    #[must_use]
    pub fn holding(bytes: Vec<u8>) -> Self {
        Self { live: bytes.clone(), durable: bytes, ..Self::default() }
    }

    /// Applies a change to the live image and remembers it as unsynced.
    pub fn change(&mut self, change: Change) {
        self.remember(&change);
        apply(&mut self.live, &change);
        match &change {
            Change::Write { offset, data, .. } => {
                self.overlay.written(*offset as usize, data, self.live.len());
            }
            Change::Resize { len, .. } => self.overlay.cut(*len as usize),
        }
        self.unsynced.push(change);
    }

    /// Keeps what the sectors hold that a write goes over.
    fn remember(&mut self, change: &Change) {
        let Change::Write { offset, data, .. } = change else { return };
        let end = (*offset as usize + data.len()).min(self.live.len());
        for sector in *offset as usize / SECTOR..end.div_ceil(SECTOR) {
            let old = self.live[sector * SECTOR..((sector + 1) * SECTOR).min(self.live.len())].to_vec();
            let versions = self.versions.entry(sector as u64).or_default();
            if versions.front() != Some(&old) {
                versions.push_front(old);
                versions.truncate(VERSIONS);
            }
        }
    }

    /// One of a sector's older versions that differs from what it holds.
    #[must_use]
    pub fn version(&self, sector: u64, draw: u64) -> Option<&[u8]> {
        let now = self.sector(sector);
        let old = self.versions.get(&sector)?.iter().filter(|old| old.as_slice() != now);
        let count = old.clone().count() as u64;
        old.map(Vec::as_slice).nth(draw.checked_rem(count)? as usize)
    }

    /// A sector's pristine bytes, or what the file has of it.
    #[must_use]
    pub fn sector(&self, sector: u64) -> &[u8] {
        let from = (sector as usize * SECTOR).min(self.live.len());
        &self.live[from..(from + SECTOR).min(self.live.len())]
    }

    /// What reads would see of each sector in a range; `None` where they fail. Beyond the end there are zeros.
    #[must_use]
    pub fn shown(&self, offset: usize, len: usize) -> Vec<(u64, Option<Vec<u8>>)> {
        let sectors = (offset / SECTOR) as u64..(offset + len).div_ceil(SECTOR) as u64;
        let shown = sectors.map(|sector| {
            let mut bytes = self.sector(sector).to_vec();
            bytes.resize(SECTOR, 0);
            (sector, self.overlay.spot(sector).map_or(Some(bytes.clone()), |spot| spot.over(&bytes)))
        });
        shown.collect()
    }

    /// The bytes that a power cut leaves for certain.
    #[must_use]
    pub fn durable(&self) -> &[u8] {
        &self.durable
    }

    /// Whether a change is not durable.
    #[must_use]
    pub fn is_unsynced(&self) -> bool {
        !self.unsynced.is_empty()
    }

    /// A sync of the changes below `covers` is reported done, and does nothing.
    pub fn lie(&mut self, covers: u64) {
        self.lied = Some(self.lied.unwrap_or(0).max(covers));
    }

    /// Whether a sync lied about a change.
    #[must_use]
    pub fn owes(&self) -> bool {
        self.lied.is_some_and(|covers| self.unsynced.iter().any(|change| number(change) < covers))
    }

    /// What syncs lied about becomes durable.
    pub fn settle(&mut self) {
        if let Some(covers) = self.lied.take() {
            self.sync(covers);
        }
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

    /// A sync of the changes below `covers` failed: they stay readable, and no later sync writes them. What an earlier
    /// one has lied about lies in the disk's own memory, and is none of this one's.
    pub fn forget_unsynced(&mut self, covers: u64) {
        let lied = self.lied.unwrap_or(0);
        self.unsynced.retain(|change| number(change) >= covers || number(change) < lied);
    }

    /// What is left after a power cut becomes both images. The background shows where there is size without data.
    pub fn lose_power(
        &mut self,
        mode: CrashMode,
        stream: &mut Stream,
        mut background: Background,
        counts: &mut CrashCounts,
    ) {
        let mut image = std::mem::take(&mut self.durable);
        let (mut len, before) = (image.len(), image.len());
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
                    let landed = land(&mut image, offset, &data, mode, (stream, &mut background), counts);
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
        background.grow(&mut image, len);
        image.truncate(len);
        counts.stale_sectors += background.showing(&image, before);
        self.overlay.cut(len);
        self.lied = None;
        self.live.clone_from(&image);
        self.durable = image;
    }
}

/// Lays an unsynced write over an image as a power cut leaves it; returns how many bytes of it arrived.
fn land(
    image: &mut Vec<u8>,
    offset: usize,
    data: &[u8],
    mode: CrashMode,
    (stream, background): (&mut Stream, &mut Background),
    counts: &mut CrashCounts,
) -> usize {
    let end = offset + data.len();
    background.grow(image, end.next_multiple_of(SECTOR));
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
