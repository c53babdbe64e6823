//! What reads of a file see instead of its bytes: flipped bits, an error, or other bytes, sector by sector. It lies
//! beside the pristine bytes and never touches them, so that healing a disk is to drop it.
//!
//! A write clears what it covers, because a disk that is written to again is right again there (a rotten sector is
//! mapped to a new one). Crashes and restarts leave an overlay as it is.

use std::collections::BTreeMap;

use super::file::SECTOR;

/// What a read sees of one sector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spot {
    /// These bits are flipped, counted from the sector's first.
    Flipped(Vec<u16>),
    /// The read fails with EIO.
    Unreadable,
    /// Other bytes: what the sector held once, or what was meant for another place.
    Instead(Vec<u8>),
}

/// The struck sectors of one file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overlay {
    spots: BTreeMap<u64, Spot>,
}

impl Overlay {
    /// From now on reads see this sector so.
    pub fn strike(&mut self, sector: u64, spot: Spot) {
        self.spots.insert(sector, spot);
    }

    /// Whether nothing is struck.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.spots.is_empty()
    }

    /// Drops everything.
    pub fn heal(&mut self) {
        self.spots.clear();
    }

    /// What lies on a sector.
    #[must_use]
    pub fn spot(&self, sector: u64) -> Option<&Spot> {
        self.spots.get(&sector)
    }

    /// The struck sectors that a range of bytes touches.
    pub fn touched(&self, from: usize, to: usize) -> impl Iterator<Item = (u64, &Spot)> {
        let sectors = (from / SECTOR) as u64..to.div_ceil(SECTOR) as u64;
        let sectors = if from < to { sectors } else { 0..0 };
        self.spots.range(sectors).map(|(sector, spot)| (*sector, spot))
    }

    /// Whether something other than an error lies on one of these sectors: bytes that a reader may believe.
    pub fn lies_in(&self, from: u64, to: u64) -> bool {
        self.spots.range(from..to).any(|(_, spot)| *spot != Spot::Unreadable)
    }

    /// A write went to the file, which is `len` bytes long now: sectors that it covers to their end, or to the file's,
    /// are right again, and of others it replaces a part.
    pub fn written(&mut self, offset: usize, data: &[u8], len: usize) {
        let end = offset + data.len();
        let touched: Vec<u64> = self.touched(offset, end).map(|(sector, _)| sector).collect();
        for sector in touched {
            let (from, to) = (sector as usize * SECTOR, ((sector as usize + 1) * SECTOR).min(len));
            if offset <= from && end >= to {
                self.spots.remove(&sector);
            } else if let Some(Spot::Instead(bytes)) = self.spots.get_mut(&sector) {
                let (at, until) = (offset.max(from), end.min(to));
                bytes.resize(bytes.len().max(until - from), 0);
                bytes[at - from..until - from].copy_from_slice(&data[at - offset..until - offset]);
            }
        }
    }

    /// The file was cut to this length.
    pub fn cut(&mut self, len: usize) {
        self.spots.split_off(&(len.div_ceil(SECTOR) as u64));
    }
}

impl Spot {
    /// A sector's bytes as reads see them; `None` if they can't be read.
    #[must_use]
    pub fn over(&self, pristine: &[u8]) -> Option<Vec<u8>> {
        let mut bytes = pristine.to_vec();
        match self {
            Self::Unreadable => return None,
            Self::Flipped(bits) => {
                for bit in bits {
                    if let Some(byte) = bytes.get_mut(usize::from(*bit) / 8) {
                        *byte ^= 1 << (bit % 8);
                    }
                }
            }
            Self::Instead(other) => {
                let shared = other.len().min(bytes.len());
                bytes[..shared].copy_from_slice(&other[..shared]);
            }
        }
        Some(bytes)
    }
}
