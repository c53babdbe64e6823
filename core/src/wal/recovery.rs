//! Reads the log back at a start, and decides what is true.
//!
//! The rule ("Protocol-Aware Recovery", FAST'18, tells the two apart): bad bytes before the newest valid mark
//! anywhere are damage to what was durable, and are refused; after it, the log is cut at the first bad record,
//! whatever follows. Then the part behind the newest mark is written again elsewhere (`rebuild.rs`), and only
//! then is anything trusted. A crash at any point of this is recovered by doing it again.

mod space;

use std::collections::VecDeque;

use bytes::Bytes;

use super::format::{Flaw, HeaderFlaw, Link, Position, SECTOR, SegmentHeader, align};
use super::rebuild::{Rebuild, cleanup};
use super::replay::{Examined, Replay};
use super::salvage::{Salvage, Salvaged};
use super::survey::{ChainSegment, Refusal, SegmentFile, Survey, damaged, survey};
use super::walk::{Claim, Found, Search, Walker};
use super::writer::{Closed, Setup, Start, Wal};
use crate::disk::{Pending, Tokens};
use crate::io::{DiskError, DiskErrorKind, DiskOp, DiskReply, FileName, HaltReason, Outbox, Owner, Token};
use crate::types::{EntryId, Index, Term};
use space::is_spent;

/// A recovery under way.
#[derive(Clone, Debug)]
pub struct Recovery {
    setup: Setup,
    vouched: u64,
    covered: EntryId,
    /// Whether there are other nodes that can help with damage.
    repairable: bool,
    /// Whether nothing is to be written: what there is to know is then in [`Recovery::examined`].
    examines: bool,
    /// Whether the log is that of a cluster of one.
    alone: bool,
    /// What is wrong, once something is.
    damage: Option<Refusal>,
    tokens: Tokens,
    pending: Option<Pending>,
    stage: Stage,
    files: Vec<SegmentFile>,
    /// Files of snapshots that nothing needs.
    spent: Vec<FileName>,
    survey: Survey,
    replay: Replay,
    /// Where the chain ends, if not at the end of a segment, and why.
    bad: Option<(u64, Flaw)>,
    /// The end of the chain, at a sector boundary.
    end: Position,
    claims: Vec<Claim>,
    cut: u64,
}

/// What a finished recovery hands over.
#[derive(Clone, Debug)]
pub struct Recovered {
    /// The log, ready for appends once its segment is vouched for.
    pub wal: Wal,
    /// All surviving entries behind the snapshot, without gaps, each durable.
    pub entries: Vec<(Index, Term, Bytes)>,
    /// Bytes of torn tail that were cut.
    pub cut: u64,
    /// What is wrong, if the log is damaged and is to be repaired: then `entries` is empty, and nothing may be appended
    /// before [`Wal::mend`].
    pub damage: Option<Damage>,
}

/// A log that is to be repaired.
#[derive(Clone, Debug)]
pub struct Damage {
    /// In words, with the file and the place.
    pub text: String,
    /// The same, for who looks for the place.
    pub(crate) refusal: Refusal,
    /// What is left.
    pub log: Salvaged,
    /// Whether the log may have ended later than what is left of it shows.
    pub doubtful: bool,
}

/// How far a recovery has come.
#[derive(Clone, Debug)]
pub enum RecoveryStep {
    /// An operation is under way.
    Working,
    /// Everything is durable, and the log may be used.
    Done(Box<Recovered>),
}

#[derive(Clone, Debug)]
enum Stage {
    Listing,
    /// Reads the header of the file with this place in the list.
    Headers(usize),
    /// Follows the chain through the segment with this place in it; the last read asked for so many bytes.
    Walking(usize, Box<Walker>, u32),
    /// Looks for marks behind the end of the chain.
    Searching(VecDeque<Search>),
    Rebuilding(Box<Rebuild>),
    /// All is decided, and nothing is to be written.
    Examined,
    /// Reads what is left of a damaged log; the read under way.
    Salvaging(Box<Salvage>, DiskOp),
    Salvaged(Box<Salvage>),
}

impl Recovery {
    /// `vouched` is [`crate::hard::HardState::log_segment`]; `covered` is the last entry that the durable snapshot
    /// covers, all zeros without one. Without `repairable` damage is refused.
    #[must_use]
    pub fn new(setup: Setup, vouched: u64, covered: EntryId, repairable: bool) -> Self {
        Self {
            setup,
            vouched,
            covered,
            repairable,
            examines: false,
            alone: false,
            damage: None,
            tokens: Tokens::new(Owner::Recovery),
            pending: None,
            stage: Stage::Listing,
            files: Vec::new(),
            spent: Vec::new(),
            survey: Survey::default(),
            replay: Replay::new(covered),
            bad: None,
            end: Position::default(),
            claims: Vec::new(),
            cut: 0,
        }
    }

    /// One that stops when all is decided and before anything is written; of a damaged log it reads what is left.
    /// Because it decides as every start does, what it finds is what a start would.
    pub(crate) fn examine(setup: Setup, vouched: u64, covered: EntryId, alone: bool) -> Self {
        Self { examines: true, alone, ..Self::new(setup, vouched, covered, true) }
    }

    /// What an examination has found, once it is over.
    pub(crate) fn examined(&mut self) -> Option<Examined> {
        match std::mem::replace(&mut self.stage, Stage::Listing) {
            Stage::Examined => Some(self.replay.examined(self.cut)),
            stage => {
                self.stage = stage;
                None
            }
        }
    }

    /// Issues the first operation.
    pub fn start(&mut self, out: &mut Outbox) {
        assert!(self.pending.is_none(), "a recovery starts once");
        self.pending = Some(self.tokens.issue("listing the data directory", DiskOp::List, out));
    }

    /// An operation of the recovery has ended.
    ///
    /// # Errors
    /// A failed operation, damage to what was durable, or a directory of another node, cluster or release.
    pub fn disk_done(
        &mut self,
        token: Token,
        result: Result<DiskReply, DiskError>,
        out: &mut Outbox,
    ) -> Result<RecoveryStep, HaltReason> {
        let pending = self.pending.take_if(|pending| pending.token == token);
        let pending = pending.expect("a driver reports an operation once, and only one that was issued");
        if let Stage::Salvaging(salvage, op) = &mut self.stage {
            salvage.done(op, result);
            let Stage::Salvaging(salvage, _) = std::mem::replace(&mut self.stage, Stage::Listing) else {
                unreachable!("it was just looked at")
            };
            self.stage = Stage::Salvaged(salvage);
            return self.go_on(out);
        }
        match (result, self.read_under_way()) {
            // What can't be read is as good as rotten.
            (Err(error), Some((segment, offset))) if error.kind == DiskErrorKind::Io => {
                self.broken(damaged(segment, offset, format!("it can't be read: {error}")))?;
            }
            (Err(error), _) if error.kind == DiskErrorKind::NoSpace && self.makes_space() => {}
            (result, _) => self.accept(pending.settle(result)?),
        }
        self.go_on(out)
    }

    /// Where the read under way begins, if it is one of a segment.
    fn read_under_way(&self) -> Option<(u64, u64)> {
        match &self.stage {
            Stage::Headers(at) => self.files.get(*at).map(|file| (file.segment, 0)),
            Stage::Walking(at, walker, _) => Some((self.survey.chain[*at].header.segment, walker.read_at())),
            Stage::Searching(searches) => {
                let search = searches.front()?;
                search.next_read().map(|(offset, _)| (search.segment(), offset))
            }
            _ => None,
        }
    }

    /// Something is damaged: the end of this start, or the beginning of a repair.
    fn broken(&mut self, refusal: Refusal) -> Result<(), HaltReason> {
        if !self.repairable || matches!(refusal, Refusal::Foreign(_)) {
            return Err(refusal.into());
        }
        // A segment that nobody vouches for and that has no header holds a copy that was never made part of the log:
        // the segments that it was to replace are still there.
        let ours = |file: &&SegmentFile| file.segment <= self.vouched || file.header.is_ok();
        let files = self.files.iter().filter(ours).map(|file| (file.segment, file.len)).collect();
        let salvage = Salvage::new(self.setup.identity, self.covered, files, self.alone);
        self.damage = Some(refusal);
        self.stage = Stage::Salvaged(Box::new(salvage));
        Ok(())
    }

    /// Goes on, through damage too.
    fn go_on(&mut self, out: &mut Outbox) -> Result<RecoveryStep, HaltReason> {
        match self.advance(out) {
            Err(refusal) => {
                self.broken(refusal)?;
                Ok(self.advance(out)?)
            }
            Ok(step) => Ok(step),
        }
    }

    /// Takes in what an operation answered.
    fn accept(&mut self, reply: DiskReply) {
        match (&mut self.stage, reply) {
            (Stage::Listing, DiskReply::Listing(files)) => {
                let spent = |file: &FileName| is_spent(*file, self.covered.index);
                self.spent = files.iter().map(|(file, _)| *file).filter(spent).collect();
                self.files = files.into_iter().filter_map(segment_file).collect();
                self.files.sort_by_key(|file| file.segment);
                self.stage = Stage::Headers(0);
            }
            (Stage::Headers(at), DiskReply::Data(data)) => {
                self.files[*at].header = SegmentHeader::decode(&data);
                *at += 1;
            }
            (Stage::Walking(_, walker, asked), DiskReply::Data(data)) => walker.supply(data, *asked),
            (Stage::Searching(searches), DiskReply::Data(data)) => {
                searches.front_mut().expect("a read belongs to a search").supply(&data);
            }
            (Stage::Rebuilding(rebuild), DiskReply::Done) => rebuild.done(),
            (_, reply) => panic!("a driver answers an operation with its own kind of reply, not {reply:?}"),
        }
    }

    /// Goes on until an operation is under way or all is done.
    fn advance(&mut self, out: &mut Outbox) -> Result<RecoveryStep, Refusal> {
        loop {
            let op = match &mut self.stage {
                Stage::Listing => unreachable!("the listing is the first answer"),
                Stage::Headers(at) => match self.files.get(*at) {
                    Some(file) => Some(("reading", read(file.segment, 0, SECTOR as u32))),
                    None => {
                        self.survey =
                            survey(&self.setup.identity, self.vouched, self.covered.index, &self.files)?;
                        self.walk(0)?;
                        None
                    }
                },
                Stage::Walking(at, ..) => {
                    let at = *at;
                    self.follow(at)?
                }
                Stage::Searching(searches) => match searches.front().map(Search::next_read) {
                    Some(Some((offset, len))) => {
                        let segment = searches.front().map_or(0, Search::segment);
                        Some(("reading", read(segment, offset, len)))
                    }
                    Some(None) => {
                        self.searched();
                        None
                    }
                    None => {
                        self.decide()?;
                        if self.examines {
                            // What a start would write now stays unwritten.
                            self.stage = Stage::Examined;
                        }
                        None
                    }
                },
                Stage::Examined => return Ok(RecoveryStep::Working),
                Stage::Salvaging(..) => unreachable!("its read has ended"),
                Stage::Salvaged(salvage) => match salvage.next_op() {
                    Some(op) => {
                        let stage = std::mem::replace(&mut self.stage, Stage::Listing);
                        let Stage::Salvaged(salvage) = stage else { unreachable!("it was just looked at") };
                        self.stage = Stage::Salvaging(salvage, op.clone());
                        Some(("reading", op))
                    }
                    None => return Ok(self.salvaged()),
                },
                Stage::Rebuilding(rebuild) => match rebuild.next_op() {
                    Some(op) => Some(op),
                    None => return Ok(self.finish()),
                },
            };
            if let Some((doing, op)) = op {
                self.pending = Some(self.tokens.issue(doing, op, out));
                return Ok(RecoveryStep::Working);
            }
        }
    }

    /// Begins with the chain's segment number `at`; behind the last one, begins the search.
    fn walk(&mut self, at: usize) -> Result<(), Refusal> {
        let Some(segment) = self.survey.chain.get(at) else {
            self.search(None);
            return Ok(());
        };
        let header = &segment.header;
        if at == 0 {
            self.replay.begin(header.link);
        }
        let before = self.replay.end();
        if header.link != (Link { position: header.link.position, ..before }) {
            let what = format!(
                "its header continues a log with index {} and checksum {:08x}, but the log before it has {} and {:08x}",
                header.link.next, header.link.crc, before.next, before.crc
            );
            return Err(damaged(header.segment, 0, what));
        }
        self.replay.synced(header.link);
        let end = segment.end.unwrap_or(header.bytes);
        let walker = Walker::new(&self.setup.identity, header.segment, end, header.link.crc);
        self.stage = Stage::Walking(at, Box::new(walker), 0);
        Ok(())
    }

    /// Follows the chain until it needs more bytes, or ends.
    fn follow(&mut self, at: usize) -> Result<Option<(&'static str, DiskOp)>, Refusal> {
        let Stage::Walking(_, walker, asked) = &mut self.stage else { return Ok(None) };
        let segment = self.survey.chain[at];
        let number = segment.header.segment;
        loop {
            let offset = walker.good_end();
            let flaw = match walker.next() {
                Found::More(bytes) => {
                    *asked = bytes;
                    return Ok(Some(("reading", read(number, walker.read_at(), bytes))));
                }
                Found::Mark { at, mark } => self.replay.mark(at, &mark, &segment.header.link).err(),
                Found::Entry { index, term, payload } => self.replay.entry(index, term, payload).err(),
                Found::End => {
                    self.end = Position { segment: number, offset: align(walker.good_end()) };
                    self.replay.chained(walker.crc());
                    self.walk(at + 1)?;
                    return Ok(None);
                }
                Found::Bad { flaw, .. } => Some(flaw),
            };
            let Some(flaw) = flaw else { continue };
            if segment.end.is_some() || !flaw.can_be_torn() {
                return Err(damaged(number, offset, flaw));
            }
            self.end = Position { segment: number, offset: align(offset) };
            self.replay.chained(walker.crc());
            self.bad = Some((offset, flaw));
            self.cut = match (walker.batch_end() - offset, flaw) {
                // What is no mark may have been meant to be one, unless it stood there before.
                (0, Flaw::Checksum | Flaw::Chain { .. } | Flaw::Length(_)) if !segment.header.again => SECTOR,
                (rest, _) => rest,
            };
            let from = align(walker.batch_end());
            self.search(Some((segment, from)));
            return Ok(None);
        }
    }

    /// Looks for marks behind the end of the chain: in the rest of its last segment, and in newer ones.
    fn search(&mut self, rest: Option<(ChainSegment, u64)>) {
        let identity = &self.setup.identity;
        let rest =
            rest.map(|(segment, from)| Search::new(identity, segment.header.segment, from, segment.len));
        let headless =
            self.survey.headless.iter().map(|(segment, len)| Search::new(identity, *segment, 0, *len));
        self.stage = Stage::Searching(rest.into_iter().chain(headless).collect());
    }

    /// Takes in what the first search found.
    fn searched(&mut self) {
        let Stage::Searching(searches) = &mut self.stage else { return };
        let Some(search) = searches.pop_front() else { return };
        self.claims.extend(search.found());
    }

    /// Damage, or a torn tail.
    fn decide(&mut self) -> Result<(), Refusal> {
        let (end, crc) = (self.end, self.replay.end().crc);
        for claim in &self.claims {
            let synced = claim.synced.position;
            if synced < end || (synced == end && claim.synced.crc == crc) {
                continue;
            }
            let proof = format!(
                "a mark in {} at offset {} proves that the log was synced up to offset {} of {}",
                FileName::Wal(claim.at.segment),
                claim.at.offset,
                synced.offset,
                FileName::Wal(synced.segment)
            );
            return Err(match self.bad {
                Some((offset, flaw)) => damaged(end.segment, offset, format!("{flaw}; {proof}")),
                None => damaged(synced.segment, 0, format!("its header is not valid; {proof}")),
            });
        }
        let (link, tail) = self.replay.conclude();
        let rebuild = Rebuild::new(&self.setup, self.survey.next, link, tail);
        self.stage = Stage::Rebuilding(Box::new(rebuild));
        Ok(())
    }

    fn finish(&mut self) -> RecoveryStep {
        let Stage::Rebuilding(rebuild) = &self.stage else { unreachable!("a recovery ends with a rebuild") };
        let (tail, bytes) = rebuild.end();
        assert!(tail.last() == self.replay.last(), "the log goes on behind its last entry");
        let (link, _) = self.replay.conclude();
        // The rest of the newest segment of these is cut off by the cleanup.
        let older = self.survey.chain.iter().filter(|it| it.header.segment < link.position.segment);
        let mut closed: Vec<Closed> = older
            .map(|it| {
                let (segment, used) = (it.header.segment, it.end.unwrap_or(it.len));
                Closed { segment, bytes: Some(it.len), used, next: it.next.unwrap_or(link.next) }
            })
            .collect();
        // What the first segment continues may be gone.
        if self.survey.chain.iter().any(|it| it.header.segment == link.position.segment) {
            let (segment, used) = (link.position.segment, link.position.offset);
            closed.push(Closed { segment, bytes: None, used, next: link.next });
        }
        let cleanup = cleanup(&self.survey, link.position);
        let start = Start { tail, bytes, closed: closed.into(), cleanup };
        RecoveryStep::Done(Box::new(Recovered {
            wal: Wal::new(self.setup.clone(), start),
            entries: std::mem::take(&mut self.replay.entries),
            cut: self.cut,
            damage: None,
        }))
    }

    /// Whether the segment that the hard state vouches for is missing, or cut to nothing.
    fn vouched_is_gone(&self) -> bool {
        let file = self.files.iter().find(|file| file.segment == self.vouched);
        self.vouched > 0 && file.is_none_or(|file| file.len < SECTOR)
    }

    /// All that is left of a damaged log was read.
    fn salvaged(&mut self) -> RecoveryStep {
        let Stage::Salvaged(salvage) = std::mem::replace(&mut self.stage, Stage::Listing) else {
            unreachable!("a salvage ends in its stage")
        };
        // Where the newest segment is gone altogether, nobody knows what it held.
        let gone = self.vouched_is_gone();
        let (log, doubtful) = salvage.finish(self.vouched);
        let files: Vec<u64> = self.files.iter().map(|file| file.segment).collect();
        let next = files.last().copied().max(Some(self.vouched)).unwrap_or(0) + 1;
        let refusal = self.damage.take().expect("only a damaged log is salvaged");
        let damage = Damage {
            text: HaltReason::from(refusal.clone()).to_string(),
            refusal,
            log,
            doubtful: doubtful || gone,
        };
        RecoveryStep::Done(Box::new(Recovered {
            wal: Wal::damaged(self.setup.clone(), next, files),
            entries: Vec::new(),
            cut: 0,
            damage: Some(damage),
        }))
    }
}

fn segment_file((name, len): (FileName, u64)) -> Option<SegmentFile> {
    match name {
        FileName::Wal(segment) if segment > 0 => {
            Some(SegmentFile { segment, len, header: Err(HeaderFlaw::Short) })
        }
        _ => None,
    }
}

fn read(segment: u64, offset: u64, len: u32) -> DiskOp {
    DiskOp::Read { file: FileName::Wal(segment), offset, len }
}
