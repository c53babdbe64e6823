//! Examines the data directory of a node that is stopped, and mends what only its operator may decide on.
//!
//! [`Verify`] reads everything and writes nothing: both files of the hard state, every snapshot, every segment of the
//! log, and whether they fit together. Whether the node would start is not judged by rules of its own: the code that
//! decides at a start is asked, and stopped before it writes. [`Repair`] is the last resort for a damaged log that
//! nobody else has a copy of: it writes the log anew up to an entry, and gives up the rest. [`Recover`] is the last resort
//! for a cluster that has lost the majority of its voters: it makes a cluster of one out of what one node has.
//!
//! | file | job |
//! |---|---|
//! | `reading.rs` | one file, around what the disk can't read |
//! | `hard.rs` | every slot of the hard state |
//! | `snapshot.rs` | headers, blocks and rows of one snapshot |
//! | `log.rs` | what each segment is to the log, and what a start would do with it |
//! | `report.rs` | what is told |
//! | `remains.rs` | what both of the following start from |
//! | `proposal.rs` | what a repair would give up |
//! | `repair.rs` | does it |
//! | `survivor.rs` | what a recovery from a lost majority would keep, and what may be lost |
//! | `recover.rs` | does it |
//!
//! All hand out one operation at a time, as `wal/rebuild.rs` does: take `next_op`, execute it, report it to `done`.

mod hard;
mod log;
mod proposal;
mod reading;
mod recover;
mod remains;
mod repair;
mod report;
mod snapshot;
mod survivor;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use crate::config::{LogConfig, Timing};
use crate::hard::format::FILE_BYTES;
use crate::hard::{HardState, HardStore, Phase};
use crate::io::{DiskError, DiskOp, DiskReply, FileName, HaltReason, Outbox, Output, Token};
use crate::time::Millis;
use crate::types::{BootNumber, EntryId, Index};
use crate::wal::{HEADER_BYTES, HeaderFlaw, Identity, Scan, SegmentHeader, Setup, scan};

use hard::Judged;
use log::{Answer, Question, Role};
pub use proposal::{GivenUp, Proposal, Unrepairable};
use reading::{Gap, Reading};
pub use recover::{Draws, Recover};
use remains::Remains;
pub use repair::Repair;
pub use report::{Consequence, Damage, DirectoryOwner, FileReport, LogReport, Note, Report, Standing};
use snapshot::{Examination, Found};
pub use survivor::{POSITIONS, Survivor, SurvivorReading, TERMS, Unrecoverable};

/// An examination under way.
#[derive(Clone, Debug)]
pub struct Verify {
    stage: Stage,
    /// Every file with its length, in order.
    listing: Vec<(FileName, u64)>,
    hard: Judged,
    headers: BTreeMap<u64, Result<SegmentHeader, HeaderFlaw>>,
    identity: Option<Identity>,
    snapshots: Vec<Found>,
    roles: BTreeMap<u64, Role>,
    scans: BTreeMap<u64, Scan>,
    /// Where the disk can't read.
    unreadable: Vec<(FileName, Gap)>,
}

#[derive(Clone, Debug)]
enum Stage {
    Listing,
    /// Reads both files of the hard state; what was read.
    Hard(Vec<Option<Bytes>>, Option<Reading>),
    /// Reads the first sector of each segment that is left.
    Headers(VecDeque<u64>, Option<Reading>),
    /// Examines each snapshot that is left.
    Snapshots(VecDeque<Index>, Option<Box<Examination>>),
    /// Reads each segment that is left.
    Segments(VecDeque<u64>, Option<Reading>),
    /// Asks what a start would do.
    Question(Box<Question>),
    Over(Option<Box<Answer>>),
}

/// What an examination hands over.
#[derive(Clone, Debug)]
pub struct Verified {
    /// What there is to tell.
    pub report: Report,
    /// What a repair starts from, if the hard state and the log can be read at all.
    pub(crate) remains: Option<Remains>,
}

impl Default for Verify {
    fn default() -> Self {
        Self::new()
    }
}

impl Verify {
    /// Of a directory of which nothing is known.
    #[must_use]
    pub fn new() -> Self {
        Self {
            stage: Stage::Listing,
            listing: Vec::new(),
            hard: Judged::default(),
            headers: BTreeMap::new(),
            identity: None,
            snapshots: Vec::new(),
            roles: BTreeMap::new(),
            scans: BTreeMap::new(),
            unreadable: Vec::new(),
        }
    }

    /// The next operation, a listing or a read; `None` when all is read.
    pub fn next_op(&mut self) -> Option<DiskOp> {
        loop {
            let op = match &self.stage {
                Stage::Listing => return Some(DiskOp::List),
                Stage::Hard(_, Some(reading))
                | Stage::Headers(_, Some(reading))
                | Stage::Segments(_, Some(reading)) => reading.next_op(),
                Stage::Snapshots(_, Some(examination)) => examination.next_op(),
                Stage::Question(question) => question.next_op(),
                Stage::Over(_) => return None,
                _ => None,
            };
            if op.is_some() {
                return op;
            }
            self.go_on();
        }
    }

    /// The operation that [`Self::next_op`] named has ended.
    ///
    /// # Errors
    /// A failure that says nothing about the bytes of a file, such as that it has gone meanwhile.
    pub fn done(&mut self, result: Result<DiskReply, DiskError>) -> Result<(), HaltReason> {
        let covered = self.covered();
        match &mut self.stage {
            Stage::Listing => match result {
                Ok(DiskReply::Listing(listing)) => {
                    self.listing = listing;
                    self.stage = Stage::Hard(Vec::new(), None);
                    Ok(())
                }
                Ok(reply) => {
                    panic!("a driver answers an operation with its own kind of reply, not {reply:?}")
                }
                Err(error) => {
                    Err(HaltReason::Disk { doing: "listing the data directory".into(), file: None, error })
                }
            },
            Stage::Hard(_, Some(reading))
            | Stage::Headers(_, Some(reading))
            | Stage::Segments(_, Some(reading)) => reading.done(result),
            Stage::Snapshots(_, Some(examination)) => examination.done(result),
            Stage::Question(question) => question.done(covered, result),
            _ => unreachable!("only an operation that was named ends"),
        }
    }

    /// What was under way is read; what comes next is begun.
    fn go_on(&mut self) {
        self.stage = match std::mem::replace(&mut self.stage, Stage::Over(None)) {
            Stage::Listing | Stage::Over(_) => {
                unreachable!("nothing follows before the listing or after the end")
            }
            Stage::Hard(read, reading) => self.hard(read, reading),
            Stage::Headers(left, reading) => self.headers(left, reading),
            Stage::Snapshots(left, examination) => self.snapshots(left, examination),
            Stage::Segments(left, reading) => self.segments(left, reading),
            Stage::Question(question) => Stage::Over(Some(Box::new(question.finish()))),
        }
    }

    fn len(&self, file: FileName) -> Option<u64> {
        self.listing.iter().find(|(name, _)| *name == file).map(|(_, len)| *len)
    }

    fn wals(&self) -> impl Iterator<Item = u64> {
        self.listing.iter().filter_map(|(file, _)| match file {
            FileName::Wal(segment) if *segment > 0 => Some(*segment),
            _ => None,
        })
    }

    /// The last entry that the newest intact snapshot covers.
    fn covered(&self) -> EntryId {
        let held = self.snapshots.iter().filter_map(|found| found.state.as_ref());
        held.map(|held| held.at).max_by_key(|at| at.index).unwrap_or_default()
    }

    fn read(&mut self, file: FileName, reading: Reading) -> Bytes {
        let (bytes, gaps) = reading.finish();
        self.unreadable.extend(gaps.into_iter().map(|gap| (file, gap)));
        bytes
    }

    fn hard(&mut self, mut read: Vec<Option<Bytes>>, reading: Option<Reading>) -> Stage {
        if let Some(reading) = reading {
            read.push(Some(self.read(FileName::Hard(read.len() as u8), reading)));
        }
        while read.len() < 2 {
            let file = FileName::Hard(read.len() as u8);
            match self.len(file) {
                Some(len) => return Stage::Hard(read, Some(Reading::new(file, len.min(FILE_BYTES)))),
                None => read.push(None),
            }
        }
        let contents = [read[0].clone(), read[1].clone()];
        self.hard = hard::judge(&hard::Found { contents, gaps: &self.unreadable, listing: &self.listing });
        Stage::Headers(self.wals().collect(), None)
    }

    fn headers(&mut self, mut left: VecDeque<u64>, reading: Option<Reading>) -> Stage {
        if let Some(reading) = reading
            && let Some(segment) = left.pop_front()
        {
            // The whole file is read once more, and what is unreadable named then.
            let header = SegmentHeader::decode(&reading.finish().0);
            self.headers.insert(segment, header);
        }
        if let Some(segment) = left.front() {
            let file = FileName::Wal(*segment);
            let len = self.len(file).unwrap_or(0).min(HEADER_BYTES);
            return Stage::Headers(left, Some(Reading::new(file, len)));
        }
        self.identity = match self.hard.newest.as_ref() {
            Some(state) => identity_of(state),
            None => log::claimed(&self.headers),
        };
        // Another directory's header is no part of this log.
        for (segment, header) in &mut self.headers {
            if let Ok(found) = header
                && (Some(found.identity) != self.identity || found.segment != *segment)
            {
                *header = Err(HeaderFlaw::Elsewhere(found.segment));
            }
        }
        let snapshots = self.listing.iter().filter_map(|(file, _)| match file {
            FileName::Snapshot(index) => Some(Index(*index)),
            _ => None,
        });
        Stage::Snapshots(snapshots.collect(), None)
    }

    fn snapshots(&mut self, mut left: VecDeque<Index>, examination: Option<Box<Examination>>) -> Stage {
        if let Some(examination) = examination {
            self.snapshots.push(examination.finish());
        }
        if let (Some(identity), Some(index)) = (self.identity, left.pop_front()) {
            let len = self.len(FileName::Snapshot(index.0)).unwrap_or(0);
            return Stage::Snapshots(left, Some(Box::new(Examination::new(identity.cluster, index, len))));
        }
        self.roles = log::roles(&self.headers, self.covered().index);
        Stage::Segments(self.wals().collect(), None)
    }

    fn segments(&mut self, mut left: VecDeque<u64>, reading: Option<Reading>) -> Stage {
        let Some(identity) = self.identity else { return Stage::Over(None) };
        if let Some(reading) = reading
            && let Some(segment) = left.pop_front()
        {
            let bytes = self.read(FileName::Wal(segment), reading);
            let end = match self.roles.get(&segment) {
                Some(Role::InUse(end)) => *end,
                _ => None,
            };
            self.scans.insert(segment, scan(&identity, segment, &bytes, end));
        }
        if let Some(segment) = left.front() {
            let file = FileName::Wal(*segment);
            return Stage::Segments(left, Some(Reading::new(file, self.len(file).unwrap_or(0))));
        }
        let newest = self.hard.newest.as_ref();
        let (alone, vouched) = newest.map_or((false, 0), |state| (state.is_alone(), state.log_segment));
        let question = Question::new(setup(identity, BootNumber(0), 0), vouched, self.covered(), alone);
        Stage::Question(Box::new(question))
    }

    /// What was found, once there is nothing more to read.
    ///
    /// # Panics
    /// If something is still to be read.
    #[must_use]
    pub fn finish(mut self) -> Verified {
        let Stage::Over(answer) = std::mem::replace(&mut self.stage, Stage::Listing) else {
            panic!("an examination is finished when all is read")
        };
        let answer = answer.map(|answer| *answer);
        let report = self.report(answer.as_ref());
        let remains = answer.and_then(|answer| self.remains(answer));
        Verified { report, remains }
    }

    fn report(&self, answer: Option<&Answer>) -> Report {
        let mut report = Report {
            owner: self.hard.newest.as_ref().map(DirectoryOwner::new),
            files: self.hard.files.clone(),
            damage: self.hard.damage.clone(),
            notes: self.hard.notes.clone(),
            log: LogReport::default(),
        };
        self.report_unreadable(answer, &mut report);
        self.report_snapshots(answer, &mut report);
        match answer {
            Some(answer) => self.report_log(answer, &mut report),
            None => report.files.extend(self.wals().map(|segment| {
                let file = FileName::Wal(segment);
                FileReport::new(file, "log of an unknown node".into(), self.len(file).unwrap_or(0), 0)
            })),
        }
        for (file, len) in &self.listing {
            let (what, standing) = match file {
                FileName::SnapshotTmp(_) => {
                    ("snapshot that was not finished; a start removes it", Standing::Spare)
                }
                FileName::SnapshotPart(_) => {
                    ("snapshot that was not wholly received; a start removes it", Standing::Spare)
                }
                FileName::RootCredentials => ("the first administrator's password", Standing::Unchecked),
                FileName::RootCredentialsTmp => {
                    ("the first administrator's password, not finished", Standing::Spare)
                }
                _ => continue,
            };
            let used = if standing == Standing::Spare { 0 } else { *len };
            report.files.push(FileReport { file: *file, what: what.into(), bytes: *len, used, standing });
        }
        report.files.sort_by_key(|it| it.file);
        report.damage.sort_by_key(|it| (it.file, it.offset));
        report
    }

    fn report_unreadable(&self, answer: Option<&Answer>, report: &mut Report) {
        for (file, gap) in &self.unreadable {
            let consequence = match (file, answer) {
                // What it means is said of the slots.
                (FileName::Hard(_), _) => continue,
                (FileName::Wal(_), Some(Answer::Takes { .. })) => Consequence::Starts,
                (FileName::Wal(_), Some(Answer::Damaged { .. })) => Consequence::Fetches,
                _ => Consequence::Refuses,
            };
            let what = format!("the disk can't read it: {}", gap.error);
            report.damage.push(Damage { file: *file, offset: gap.from, what, consequence });
        }
    }

    fn report_snapshots(&self, answer: Option<&Answer>, report: &mut Report) {
        let taken = matches!(answer, Some(Answer::Takes { .. }));
        let newest = self.covered().index;
        let owner = self.hard.newest.as_ref();
        for found in &self.snapshots {
            report.files.push(found.report());
            let (why, consequence) = match (found.index < newest, taken) {
                (true, _) => ("; a newer snapshot is intact", Consequence::Starts),
                (false, true) => ("; the log and what was before it hold the same", Consequence::Starts),
                (false, false) => ("; the log does not reach back behind it", Consequence::Fetches),
            };
            for (offset, flaw) in &found.flaws {
                let what = format!("{flaw}{why}");
                report.damage.push(Damage { file: found.file(), offset: *offset, what, consequence });
            }
            if let Some((offset, flaw)) = &found.header_flaw {
                let (what, consequence) = (flaw.clone(), Consequence::Starts);
                report.damage.push(Damage { file: found.file(), offset: *offset, what, consequence });
            }
            if let Some(foreign) = &found.foreign {
                let (what, consequence) = match found.index < newest {
                    true => (format!("{foreign}; a newer snapshot is intact"), Consequence::Starts),
                    false if owner.is_some_and(|owner| found.is_of_a_recovery(owner)) => {
                        let what = "`steadfast recover` was begun here and has not ended: run it again";
                        (what.to_owned(), Consequence::Refuses)
                    }
                    false => (foreign.clone(), Consequence::Refuses),
                };
                report.damage.push(Damage { file: found.file(), offset: 0, what, consequence });
            }
            let other = found.state.as_ref().and_then(|held| held.founding.as_ref());
            if let (Some(held), Some(Phase::Founded(founding))) =
                (other, self.hard.newest.as_ref().map(|it| &it.phase))
                && held != founding
            {
                let what = "its state is that of a cluster which other nodes founded".to_owned();
                let consequence = Consequence::Unnoticed;
                report.damage.push(Damage { file: found.file(), offset: 0, what, consequence });
            }
        }
    }

    fn report_log(&self, answer: &Answer, report: &mut Report) {
        for (segment, scan) in &self.scans {
            let role = self.roles.get(segment).copied().unwrap_or(Role::Past);
            let len = self.len(FileName::Wal(*segment)).unwrap_or(0);
            report.files.push(log::file_report(*segment, len, role, scan));
            if let Role::InUse(_) = role {
                report.damage.extend(log::damage(*segment, scan, answer));
            }
        }
        let explained = self.snapshots.iter().any(|found| !found.flaws.is_empty());
        let refused = log::refused(answer, explained, &report.damage);
        // Where a start reads much at once, the place that can't be read was named more closely.
        let unreadable = |file: FileName| self.unreadable.iter().any(|(named, ..)| *named == file);
        report.damage.extend(refused.filter(|damage| !unreadable(damage.file)));
        report.damage.extend(log::neighbour(answer, &self.headers, |file| self.len(file)));
        report.notes.extend(log::torn(&self.scans, &self.roles, answer));
        let covered = self.covered();
        let found = self.scans.iter().filter(|(_, scan)| scan.header.is_ok() || scan.batches > 0);
        report.log = log::report(answer, covered, found.map(|(segment, _)| *segment).max().unwrap_or(0));
        if let Answer::Takes { log, .. } | Answer::Damaged { log, .. } = answer {
            let held = self.snapshots.iter().filter_map(|found| found.state.as_ref());
            let time = held.max_by_key(|held| held.at.index).map_or(Millis(0), |held| held.time);
            report.damage.extend(log::contradictions(log, time, |index| self.place(index)));
        }
        if let Answer::Takes { follows: false, .. } = answer {
            let file = FileName::Snapshot(covered.index.0);
            let what = format!(
                "the log does not hold entry {covered}, its last: a start begins the log anew behind it"
            );
            if self.hard.newest.as_ref().is_some_and(HardState::is_alone) {
                // Alone, nobody else can have sent it.
                report.damage.push(Damage { file, offset: 0, what, consequence: Consequence::Unnoticed });
            } else {
                report.notes.push(Note { file, offset: 0, what });
            }
        }
    }

    /// The newest segment that holds an entry.
    fn place(&self, index: Index) -> FileName {
        let holds =
            |scan: &Scan| scan.span.is_some_and(|(first, last)| (first.index..=last.index).contains(&index));
        let segment =
            self.scans.iter().rev().find(|(_, scan)| holds(scan)).map_or(0, |(segment, _)| *segment);
        FileName::Wal(segment)
    }
}

/// Whose log a directory with this hard state has; none before the founding.
fn identity_of(state: &HardState) -> Option<Identity> {
    match &state.phase {
        Phase::Founded(founding) => {
            Some(Identity { cluster: founding.cluster, node: state.node, incarnation: state.incarnation })
        }
        Phase::Fresh | Phase::Prepared(_) => None,
    }
}

/// The operation that makes a change of the hard state durable; none when all are.
fn hard_op(hard: &mut HardStore, pending: &mut Option<(Token, DiskOp)>, out: &mut Outbox) -> Option<DiskOp> {
    if pending.is_none() {
        hard.pump(out);
        *pending = out.drain().find_map(|output| match output {
            Output::Disk { token, op } => Some((token, op)),
            _ => None,
        });
    }
    pending.as_ref().map(|(_, op)| op.clone())
}

/// The layout of a log as this build writes it.
pub(crate) fn setup(identity: Identity, boot: BootNumber, nonce: u64) -> Setup {
    Setup { identity, boot, nonce, log: LogConfig::default(), idle_mark: Timing::default().idle_mark }
}
