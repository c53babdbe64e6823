//! Scrubbing: what lies cold on the disk is read again and again at a set rate, so that rot is found while this node
//! still has in memory what it destroyed. The repair is a snapshot of now: it takes the place of the damaged one, and of
//! the log up to here with its damaged segments.

use std::collections::VecDeque;

use super::replica::{Replica, notice, probe};
use crate::disk::{Pending, Tokens};
use crate::io::{DiskError, DiskErrorKind, DiskOp, DiskReply, FileName, Outbox, Owner};
use crate::snapshot::Meta;
use crate::snapshot::format::{SECTOR, verify_block};
use crate::time::Micros;
use crate::trace::Probe;
use crate::wal::{Checked, Position, SegmentCheck};

/// What is being read again.
#[derive(Clone, Debug)]
enum Check {
    Segment(SegmentCheck),
    /// A snapshot, from this block on; behind the last one come the headers at both its ends.
    Snapshot(Meta, u32),
}

/// The round through all that is cold.
#[derive(Clone, Debug)]
pub(super) struct Scrub {
    tokens: Tokens,
    segments: VecDeque<Position>,
    check: Option<Check>,
    reading: Option<(Pending, u32)>,
    /// Not before then, so that the rate is kept.
    next_at: Micros,
    /// Something was found: a snapshot is due.
    pub found: bool,
}

impl Scrub {
    /// Nothing was read yet in this boot.
    pub fn new(now: Micros) -> Self {
        let tokens = Tokens::new(Owner::Scrub);
        Self { tokens, segments: VecDeque::new(), check: None, reading: None, next_at: now, found: false }
    }
}

impl Check {
    fn next_op(&self) -> DiskOp {
        match self {
            Self::Segment(check) => check.next_op(),
            Self::Snapshot(meta, part) => {
                let (offset, len) = place(meta, *part);
                DiskOp::Read { file: FileName::Snapshot(meta.seal.at.index.0), offset, len }
            }
        }
    }

    fn done(&mut self, result: Result<DiskReply, DiskError>) -> Checked {
        let (meta, part) = match self {
            Self::Segment(check) => return check.done(result),
            Self::Snapshot(meta, part) => (meta, part),
        };
        let file = FileName::Snapshot(meta.seal.at.index.0);
        let flaw = match result {
            Ok(DiskReply::Data(data)) if *part < meta.blocks => {
                verify_block(meta, *part, &data).err().map(|flaw| flaw.to_string())
            }
            Ok(DiskReply::Data(data)) => {
                (data[..] != meta.encode()[..]).then(|| "it is not the header that was written".to_owned())
            }
            Err(error) if error.kind == DiskErrorKind::NotFound => return Checked::Done,
            Err(error) => Some(error.to_string()),
            Ok(reply) => panic!("a driver answers an operation with its own kind of reply, not {reply:?}"),
        };
        if let Some(flaw) = flaw {
            let (offset, _) = place(meta, *part);
            return Checked::Damaged(format!("{file} is damaged at offset {offset}: {flaw}"));
        }
        *part += 1;
        if *part < meta.blocks + 2 { Checked::Working } else { Checked::Done }
    }
}

/// Where a part of a snapshot lies, and how long it is: a block, the header at the beginning, or the one at the end.
fn place(meta: &Meta, part: u32) -> (u64, u32) {
    match part.checked_sub(meta.blocks) {
        None => (meta.offset(part), meta.block_len(part)),
        Some(0) => (0, SECTOR as u32),
        Some(_) => (meta.trailer(), SECTOR as u32),
    }
}

impl Replica {
    /// Reads on, if it is time.
    pub fn scrub_tick(&mut self, out: &mut Outbox) {
        let rate = self.config.snapshot.scrub_bytes_per_second;
        let Scrub { tokens, segments, check, reading, next_at, .. } = &mut self.scrub;
        if rate == 0 || self.repair.is_some() || reading.is_some() || self.now.mono < *next_at {
            return;
        }
        if check.is_none() {
            *check = match segments.pop_front() {
                Some(segment) => Some(Check::Segment(SegmentCheck::new(*self.wal.identity(), segment))),
                None => {
                    *segments = self.wal.cold();
                    self.snapshots.current.map(|meta| Check::Snapshot(meta, 0))
                }
            };
        }
        match check {
            Some(check) => {
                let op = check.next_op();
                let DiskOp::Read { len, .. } = op else { unreachable!("scrubbing only reads") };
                *reading = Some((tokens.issue("reading", op, out), len));
            }
            // Nothing is cold yet.
            None => *next_at = self.now.mono.after(Micros::from_millis(1000)),
        }
    }

    /// When [`Replica::scrub_tick`] has something to do.
    pub fn scrub_wake_at(&self) -> Option<Micros> {
        let on = self.config.snapshot.scrub_bytes_per_second > 0 && self.repair.is_none();
        Some(self.scrub.next_at).filter(|_| on && self.scrub.reading.is_none())
    }

    /// A read has ended.
    pub fn scrub_done(&mut self, result: Result<DiskReply, DiskError>, out: &mut Outbox) {
        let Some((_, bytes)) = self.scrub.reading.take() else { return };
        let rate = self.config.snapshot.scrub_bytes_per_second.max(1);
        let pause = u64::from(bytes).saturating_mul(1_000_000) / rate;
        self.scrub.next_at = self.now.mono.after(Micros(pause.max(1)));
        match self.scrub.check.as_mut().map(|check| check.done(result)) {
            Some(Checked::Working) | None => {}
            Some(Checked::Done) => self.scrub.check = None,
            Some(Checked::Damaged(what)) => {
                self.scrub.check = None;
                // What was written meanwhile, or is no longer needed, is no damage; a snapshot of now mends the rest.
                notice(out, format!("{what}; a snapshot of the present state will replace it"));
                probe(out, Probe::ScrubFoundDamage);
                self.scrub.found = true;
            }
        }
    }
}
