//! Damage: what strikes a disk beside crashes, and how it is healed. Strikes go to overlays, never to pristine bytes;
//! what must not be struck says `window.rs`; who may be struck says the world.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use steadfast_core::io::{DiskError, DiskErrorKind, DiskReply, FileName};

use super::Disk;
use super::file::{Change, File, SECTOR};
use super::overlay::Spot;
use super::window::{self, Window};
use crate::fault::FileClass;

/// How many sectors count as those that were written last.
const NEWEST: usize = 8;

/// What damage did, for the probes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DamageCounts {
    /// Writes that were reported done and left the old content.
    pub lost_writes: u64,
    /// Writes that landed at another place.
    pub misdirected_writes: u64,
    /// Writes that ended short for lack of room.
    pub short_writes: u64,
    /// Reads that failed.
    pub read_errors: u64,
    /// Strikes that were kept from the unmarked window or the last copy of the newest hard state.
    pub spared: u64,
    /// Reads of what should have been spared, where the schedule goes beyond the budget.
    pub not_spared: u64,
}

/// What the disk did to the process that runs: why it may rightly stop.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// Files of which it was shown false bytes.
    pub shown: BTreeSet<FileName>,
    /// Whether a read failed.
    pub unread: bool,
    /// Whether an operation found no room.
    pub refused: bool,
}

/// A write that will go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Armed {
    /// The files that count.
    pub class: FileClass,
    /// Writes until then.
    pub left: u32,
    /// Whether it lands elsewhere, or nowhere.
    pub misdirected: bool,
}

/// A whole durable image of a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    files: BTreeMap<FileName, Vec<u8>>,
    /// Something is missing from it that a sync had promised.
    betrayed: bool,
}

/// What strikes sectors at rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strike {
    /// So many bits flip in each.
    Rot(u16),
    /// They can't be read.
    Unreadable,
    /// They go back to an older version of themselves.
    RollBack,
}

impl FileClass {
    fn has(self, name: FileName) -> bool {
        match (self, name) {
            (Self::Any, _) | (Self::Hard, FileName::Hard(_)) | (Self::Log | Self::Tail, FileName::Wal(_)) => {
                true
            }
            (Self::Other, FileName::Hard(_) | FileName::Wal(_)) => false,
            (Self::Other, _) => true,
            (Self::Hard | Self::Log | Self::Tail, _) => false,
        }
    }
}

impl Disk {
    /// Strikes so many sectors of the files of a class that exist now. Returns how many were struck.
    pub fn strike(&mut self, class: FileClass, sectors: u16, strike: Strike) -> usize {
        let mut places = self.candidates(class, strike);
        if class == FileClass::Tail {
            self.keep_newest(&mut places, strike);
        }
        let mut struck = 0;
        for _ in 0..sectors {
            if places.is_empty() {
                break;
            }
            let place = self.damage.below(places.len() as u64) as usize;
            let (name, sector) = places.swap_remove(place);
            struck += usize::from(self.strike_sector(name, sector, strike));
        }
        struck
    }

    fn strike_sector(&mut self, name: FileName, sector: u64, strike: Strike) -> bool {
        if strike != Strike::Unreadable && self.spares && self.is_beyond(name, sector, false) {
            self.counts.spared += 1;
            return false;
        }
        let spot = match strike {
            Strike::Unreadable => Spot::Unreadable,
            Strike::Rot(bits) => {
                let bits = (0..bits.max(1)).map(|_| self.damage.below(8 * SECTOR as u64) as u16);
                let bits: BTreeSet<u16> = bits.collect();
                Spot::Flipped(bits.into_iter().collect())
            }
            Strike::RollBack => {
                let draw = self.damage.bits();
                let file = &self.files[&self.live[&name]];
                let Some(old) = file.version(sector, draw) else { return false };
                Spot::Instead(old.to_vec())
            }
        };
        let id = self.live[&name];
        self.files.get_mut(&id).expect("a name leads to a file").overlay.strike(sector, spot);
        true
    }

    /// The sectors that a strike can hit: those that hold something, or held something else.
    fn candidates(&self, class: FileClass, strike: Strike) -> Vec<(FileName, u64)> {
        let files = self.live.iter().filter(|(name, _)| class.has(**name));
        files
            .flat_map(|(name, id)| {
                let file = &self.files[id];
                let sectors = file.live.chunks(SECTOR).zip(0..);
                sectors.filter_map(move |(bytes, sector)| {
                    let hits = match strike {
                        Strike::RollBack => file.version(sector, 0).is_some(),
                        _ => bytes.iter().any(|byte| *byte != 0),
                    };
                    hits.then_some((*name, sector))
                })
            })
            .collect()
    }

    /// Keeps those sectors of the log that were written last, of those that may be struck.
    fn keep_newest(&self, places: &mut Vec<(FileName, u64)>, strike: Strike) {
        let window = Window::of(self.iter_live());
        let written = |name: &FileName, sector: u64| matches!(name, FileName::Wal(segment) if !window.is_unmarked(*segment, sector));
        let proven = places.iter().rposition(|(name, sector)| written(name, *sector)).map_or(0, |at| at + 1);
        // A read error may strike what no mark has proven yet, too.
        let end = if strike == Strike::Unreadable { proven + NEWEST / 2 } else { proven };
        places.truncate(end);
        places.drain(..places.len().saturating_sub(NEWEST));
    }

    /// The nth write to files of a class from now on goes wrong.
    pub fn arm(&mut self, armed: Armed) {
        self.armed.push(armed);
    }

    /// Writes: into the live image, where the process believes that it went, and, if it goes wrong, reads see the
    /// old content there.
    pub(super) fn write_at(
        &mut self,
        name: FileName,
        offset: u64,
        data: Bytes,
        number: u64,
    ) -> Result<DiskReply, DiskError> {
        let id = self.id(name)?;
        let fits = self.room_for(name, offset, data.len() as u64) as usize;
        let whole = fits == data.len();
        if fits > 0 {
            let data = data.slice(..fits);
            let wrong = self.next_write_goes_wrong(name);
            let file = self.files.get_mut(&id).expect("a name leads to a file");
            let before = wrong.is_some().then(|| file.shown(offset as usize, data.len()));
            file.change(Change::Write { number, offset, data: data.clone() });
            for (sector, old) in before.into_iter().flatten() {
                let spot = old.map_or(Spot::Unreadable, Spot::Instead);
                file.overlay.strike(sector, spot);
            }
            match wrong {
                Some(true) => self.misdirect(name, offset, &data),
                Some(false) => self.counts.lost_writes += 1,
                None => {}
            }
        }
        if whole {
            return Ok(DiskReply::Done);
        }
        self.evidence.refused = true;
        self.counts.short_writes += u64::from(fits > 0);
        Err(super::space::full())
    }

    /// Whether this write is one that goes wrong, and if so, whether it lands elsewhere.
    fn next_write_goes_wrong(&mut self, name: FileName) -> Option<bool> {
        let mut wrong = None;
        for armed in self.armed.iter_mut().filter(|armed| armed.class.has(name)) {
            armed.left = armed.left.saturating_sub(1);
            if armed.left == 0 {
                wrong = Some(armed.misdirected);
            }
        }
        self.armed.retain(|armed| armed.left > 0);
        wrong
    }

    /// A write lands, whole, at another sector boundary of this or another file that is long enough.
    fn misdirect(&mut self, name: FileName, offset: u64, data: &[u8]) {
        let places = self.live.iter().flat_map(|(other, id)| {
            let len = self.files[id].live.len();
            let last = len.checked_sub(data.len()).map_or(0, |room| room / SECTOR + 1);
            (0..last).map(move |sector| (*other, sector as u64))
        });
        let own = offset / SECTOR as u64;
        let places: Vec<(FileName, u64)> = places.filter(|place| *place != (name, own)).collect();
        if places.is_empty() {
            self.counts.lost_writes += 1;
            return;
        }
        self.counts.misdirected_writes += 1;
        let (other, first) = *self.damage.pick(&places);
        let file = self.files.get_mut(&self.live[&other]).expect("a name leads to a file");
        for (sector, part) in (first..).zip(data.chunks(SECTOR)) {
            // Its own target keeps the old content also where it overlaps with the place that it hit.
            if (other, sector) >= (name, own)
                && (other, sector) < (name, own + data.len().div_ceil(SECTOR) as u64)
            {
                continue;
            }
            let mut bytes = file.sector(sector).to_vec();
            let shared = part.len().min(bytes.len());
            bytes[..shared].copy_from_slice(&part[..shared]);
            file.overlay.strike(sector, Spot::Instead(bytes));
        }
    }

    /// Reads what the overlay shows, but for what must be spared.
    pub(super) fn read_at(&mut self, name: FileName, offset: u64, len: u32) -> Result<DiskReply, DiskError> {
        let id = self.id(name)?;
        let file = &self.files[&id];
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(file.live.len());
        let to = from.saturating_add(len as usize).min(file.live.len());
        let mut bytes = file.live[from..to].to_vec();
        let struck: Vec<(u64, Spot)> =
            file.overlay.touched(from, to).map(|(sector, spot)| (sector, spot.clone())).collect();
        for (sector, spot) in struck {
            let pristine = self.files[&id].sector(sector);
            let Some(shown) = spot.over(pristine) else {
                self.evidence.unread = true;
                self.counts.read_errors += 1;
                return Err(unreadable());
            };
            if shown == pristine {
                continue;
            }
            if self.is_beyond(name, sector, true) {
                if self.spares {
                    self.counts.spared += 1;
                    continue;
                }
                self.counts.not_spared += 1;
            }
            self.evidence.shown.insert(name);
            let start = sector as usize * SECTOR;
            let (begin, end) = (start.max(from), (start + shown.len()).min(to));
            bytes[begin - from..end - from].copy_from_slice(&shown[begin - start..end - start]);
        }
        Ok(DiskReply::Data(bytes.into()))
    }

    /// Whether damage at this sector could not be told from a crash. `lies` says that the damage is there already: of
    /// several struck copies of the hard state, the newest then is the one that must be spared.
    fn is_beyond(&self, name: FileName, sector: u64, lies: bool) -> bool {
        let window = Window::of(self.iter_live());
        match name {
            FileName::Wal(segment) => window.is_unmarked(segment, sector),
            FileName::Hard(_) => {
                let copies = window.copies();
                let own = copies
                    .iter()
                    .position(|copy| copy.file == name && (copy.from..copy.to).contains(&sector));
                let Some(own) = own.filter(|own| !lies || *own == 0) else { return false };
                let struck = |copy: &window::Copy| {
                    self.files[&self.live[&copy.file]].overlay.lies_in(copy.from, copy.to)
                };
                copies.iter().enumerate().all(|(n, copy)| n == own || struck(copy))
            }
            // Other files hold nothing that a crash could be blamed for.
            _ => false,
        }
    }

    /// Strikes one sector of what lies cold. Returns where, and how many bytes lie cold.
    pub fn strike_cold(&mut self) -> Option<(FileName, u64, u64)> {
        let places = window::cold(self.iter_live());
        if places.is_empty() {
            return None;
        }
        let (name, sector) = *self.damage.pick(&places);
        let id = self.live[&name];
        let from = sector as usize * SECTOR;
        let blank = self.files[&id].live[from..from + SECTOR].iter().all(|byte| *byte == 0);
        // What begins a sector is never padding, but may be all zeros.
        let spot = match self.damage.below(4) {
            0 => Spot::Unreadable,
            1 if blank => Spot::Unreadable,
            1 => Spot::Instead(vec![0; SECTOR]),
            _ => {
                // A batch may end with one byte in a sector, and padding is covered by no checksum and needed by
                // nobody: one of the bits is one of the first byte's.
                let first = self.damage.below(8) as u16;
                let others = (0..7).map(|_| self.damage.below(64) as u16);
                let bits: BTreeSet<u16> = others.chain([first]).collect();
                Spot::Flipped(bits.into_iter().collect())
            }
        };
        self.files.get_mut(&id).expect("a name leads to a file").overlay.strike(sector, spot);
        Some((name, sector, places.len() as u64 * SECTOR as u64))
    }

    /// Whether a sector is struck and still one of those that lie cold.
    #[must_use]
    pub fn is_bad_cold(&self, name: FileName, sector: u64) -> bool {
        let struck = |id: &u64| self.files[id].overlay.spot(sector).is_some();
        self.live.get(&name).is_some_and(struck) && window::cold(self.iter_live()).contains(&(name, sector))
    }

    /// What tells the segments of the log apart that a process sees, or that are durable.
    #[must_use]
    pub fn segments(&self, durable: bool) -> BTreeSet<u32> {
        let names = if durable { &self.durable } else { &self.live };
        let bytes = |id| if durable { self.files[id].durable() } else { &self.files[id].live };
        window::headers(names.iter().map(|(name, id)| (*name, bytes(id))))
    }

    /// The first segment of the log that is not written as its format says.
    #[must_use]
    pub fn unlike_format(&self) -> Option<FileName> {
        window::unlike_format(self.iter_live())
    }

    /// Everything reads as it was written again, and no more writes go wrong.
    pub fn heal(&mut self) {
        self.armed.clear();
        self.files.values_mut().for_each(|file| file.overlay.heal());
    }

    /// Whether some file has damage on it.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        self.live.values().any(|id| !self.files[id].overlay.is_empty())
    }

    /// A process begins on the disk: what an earlier one saw is no excuse for it.
    pub fn boot(&mut self) {
        self.evidence = Evidence::default();
    }

    /// What is durable now.
    #[must_use]
    pub fn image(&self) -> Image {
        let files = self.durable.iter().map(|(name, id)| (*name, self.files[id].durable().to_vec()));
        Image { files: files.collect(), betrayed: self.betrayed || self.owes() }
    }

    /// The disk becomes what an image holds, all of it durable.
    pub fn restore(&mut self, image: &Image) {
        self.wipe();
        for (name, bytes) in &image.files {
            let id = self.next_file;
            self.next_file += 1;
            self.files.insert(id, File::holding(bytes.clone()));
            self.live.insert(*name, id);
            self.durable.insert(*name, id);
        }
        self.betrayed = image.betrayed;
    }

    /// Whether the newest durable hard state holds this number, a nonce that is found nowhere else.
    #[must_use]
    pub fn remembers(&self, nonce: u64) -> bool {
        let durable = self.durable.iter().map(|(name, id)| (*name, self.files[id].durable()));
        let record = window::newest_record(durable).unwrap_or_default();
        record.windows(8).any(|bytes| bytes == nonce.to_le_bytes())
    }
}

fn unreadable() -> DiskError {
    DiskError { kind: DiskErrorKind::Io, message: "Input/output error (os error 5)".into() }
}
