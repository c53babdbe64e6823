//! How far a start is with reading the data directory, for whoever waits for it. It looks at the answers of the disk, and decides
//! nothing.

use crate::io::{DiskError, DiskReply, FileName, Outbox, Output};
use crate::trace::{Event, Part};

/// So many bytes are read between two words about it.
const STEP: u64 = 64 << 20;

/// The bytes of a part, read and in all.
#[derive(Clone, Debug)]
pub struct Reading {
    part: Part,
    bytes: u64,
    told: u64,
    /// Nothing, as long as the directory was not listed.
    of: u64,
}

impl Reading {
    pub const fn new(part: Part) -> Self {
        Self { part, bytes: 0, told: 0, of: 0 }
    }

    /// The disk has answered.
    pub fn note(&mut self, result: &Result<DiskReply, DiskError>, out: &mut Outbox) {
        match result {
            Ok(DiskReply::Listing(files)) => self.of = size(self.part, files),
            Ok(DiskReply::Data(data)) => self.bytes += data.len() as u64,
            _ => {}
        }
        if self.bytes - self.told >= STEP {
            self.told = self.bytes;
            let (part, bytes) = (self.part, self.bytes);
            // What is read twice, or was listed before it grew, is never more than all.
            out.push(Output::Trace(Event::Reading { part, bytes, of: self.of.max(bytes) }));
        }
    }
}

fn size(part: Part, files: &[(FileName, u64)]) -> u64 {
    let snapshots = files.iter().filter(|(name, _)| matches!(name, FileName::Snapshot(_)));
    match part {
        Part::Snapshot => snapshots.max_by_key(|(name, _)| *name).map_or(0, |(_, size)| *size),
        Part::Log => {
            let segments = files.iter().filter(|(name, _)| matches!(name, FileName::Wal(_)));
            segments.map(|(_, size)| size).sum()
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn a_long_start_says_how_far_it_is_and_a_short_one_nothing() {
        let mut out = Outbox::default();
        let mut reading = Reading::new(Part::Snapshot);
        let files = vec![
            (FileName::Snapshot(9), 200 << 20),
            (FileName::Snapshot(3), 500 << 20),
            (FileName::Wal(1), 7),
        ];
        reading.note(&Ok(DiskReply::Listing(files)), &mut out);
        let block = || Ok(DiskReply::Data(Bytes::from(vec![0; 24 << 20])));
        for _ in 0..8 {
            reading.note(&block(), &mut out);
        }
        let told: Vec<(u64, u64)> = out
            .drain()
            .filter_map(|output| match output {
                Output::Trace(Event::Reading { part: Part::Snapshot, bytes, of }) => {
                    Some((bytes >> 20, of >> 20))
                }
                _ => None,
            })
            .collect();
        assert_eq!(told, [(72, 200), (144, 200)]);
    }
}
