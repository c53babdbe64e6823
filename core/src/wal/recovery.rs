//! Reads the log back at a start, and decides what is true.
//!
//! The rule ("Protocol-Aware Recovery", FAST'18, tells the two apart): bad bytes before the newest valid mark
//! anywhere are damage to what was durable, and are refused; after it, the log is cut at the first bad record,
//! whatever follows. Then the part behind the newest mark is written again elsewhere (`rebuild.rs`), and only
//! then is anything trusted. A crash at any point of this is recovered by doing it again.

use std::collections::VecDeque;

use bytes::Bytes;

use super::format::{Flaw, HEADER_BYTES, HeaderFlaw, Link, Mark, Position, SECTOR, SegmentHeader, align};
use super::rebuild::Rebuild;
use super::survey::{ChainSegment, SegmentFile, Survey, damaged, survey};
use super::walk::{Claim, Found, Search, Walker};
use super::writer::{Setup, Start, Wal};
use crate::disk::{Pending, Tokens};
use crate::io::{DiskError, DiskOp, DiskReply, FileName, HaltReason, Outbox, Owner, Token};
use crate::types::{Index, Term};

/// A recovery under way.
#[derive(Clone, Debug)]
pub struct Recovery {
    setup: Setup,
    vouched: u64,
    tokens: Tokens,
    pending: Option<Pending>,
    stage: Stage,
    files: Vec<SegmentFile>,
    survey: Survey,
    replay: Replay,
    /// Where the chain ends, if not at the end of a segment, and why.
    bad: Option<(u64, Flaw)>,
    /// The end of the chain: a sector boundary, and the checksum of the last record.
    end: (Position, u32),
    claims: Vec<Claim>,
    cut: u64,
}

/// What a finished recovery hands over.
#[derive(Clone, Debug)]
pub struct Recovered {
    /// The log, ready for appends once its segment is vouched for.
    pub wal: Wal,
    /// All surviving entries, without gaps from index 1, each durable.
    pub entries: Vec<(Index, Term, Bytes)>,
    /// Bytes of torn tail that were cut.
    pub cut: u64,
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
}

impl Recovery {
    /// `vouched` is [`crate::hard::HardState::log_segment`].
    #[must_use]
    pub fn new(setup: Setup, vouched: u64) -> Self {
        Self {
            setup,
            vouched,
            tokens: Tokens::new(Owner::Recovery),
            pending: None,
            stage: Stage::Listing,
            files: Vec::new(),
            survey: Survey::default(),
            replay: Replay::default(),
            bad: None,
            end: (Position::default(), 0),
            claims: Vec::new(),
            cut: 0,
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
        self.accept(pending.settle(result)?);
        self.advance(out)
    }

    /// Takes in what an operation answered.
    fn accept(&mut self, reply: DiskReply) {
        match (&mut self.stage, reply) {
            (Stage::Listing, DiskReply::Listing(files)) => {
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
    fn advance(&mut self, out: &mut Outbox) -> Result<RecoveryStep, HaltReason> {
        loop {
            let op = match &mut self.stage {
                Stage::Listing => unreachable!("the listing is the first answer"),
                Stage::Headers(at) => match self.files.get(*at) {
                    Some(file) => Some(("reading", read(file.segment, 0, SECTOR as u32))),
                    None => {
                        self.survey = survey(&self.setup.identity, self.vouched, &self.files)?;
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
                        None
                    }
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
    fn walk(&mut self, at: usize) -> Result<(), HaltReason> {
        let Some(segment) = self.survey.chain.get(at) else {
            self.search(None);
            return Ok(());
        };
        let header = &segment.header;
        if header.link != (Link { position: header.link.position, ..self.replay.link(self.end.1) }) {
            let what = format!(
                "its header continues a log with index {} and checksum {:08x}, but the log before it has {} and {:08x}",
                header.link.next,
                header.link.crc,
                self.replay.next(),
                self.end.1
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
    fn follow(&mut self, at: usize) -> Result<Option<(&'static str, DiskOp)>, HaltReason> {
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
                Found::Mark { at, mark, prev_crc } => {
                    self.replay.mark(at, &mark, prev_crc, &segment.header.link).err()
                }
                Found::Entry { index, term, payload } => self.replay.entry(index, term, payload).err(),
                Found::End => {
                    let position = Position { segment: number, offset: align(walker.good_end()) };
                    self.end = (position, walker.crc());
                    self.walk(at + 1)?;
                    return Ok(None);
                }
                Found::Bad { flaw, .. } => Some(flaw),
            };
            let Some(flaw) = flaw else { continue };
            if segment.end.is_some() || !flaw.can_be_torn() {
                return Err(damaged(number, offset, flaw));
            }
            let position = Position { segment: number, offset: align(offset) };
            self.end = (position, walker.crc());
            self.bad = Some((offset, flaw));
            self.cut = walker.batch_end() - offset;
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
        let findings = search.findings();
        self.claims.extend(findings.claim);
        let in_chain = self.bad.filter(|_| search.segment() == self.end.0.segment);
        let from = in_chain.map_or(0, |(offset, _)| offset);
        self.cut = if in_chain.is_some() {
            self.cut.max(findings.used.saturating_sub(from))
        } else {
            self.cut + findings.used
        };
    }

    /// Damage, or a torn tail.
    fn decide(&mut self) -> Result<(), HaltReason> {
        let (end, crc) = self.end;
        for claim in &self.claims {
            if claim.synced < end || (claim.synced == end && claim.crc == crc) {
                continue;
            }
            let proof = format!(
                "a mark in {} at offset {} proves that the log was synced up to offset {} of {}",
                FileName::Wal(claim.at.segment),
                claim.at.offset,
                claim.synced.offset,
                FileName::Wal(claim.synced.segment)
            );
            return Err(match self.bad {
                Some((offset, flaw)) => damaged(end.segment, offset, format!("{flaw}; {proof}")),
                None => damaged(claim.synced.segment, 0, format!("its header is not valid; {proof}")),
            });
        }
        let (link, tail) = self.replay.tail();
        let rebuild = Rebuild::new(&self.setup, self.survey.next, link, tail);
        self.stage = Stage::Rebuilding(Box::new(rebuild));
        Ok(())
    }

    fn finish(&mut self) -> RecoveryStep {
        let Stage::Rebuilding(rebuild) = &self.stage else { unreachable!("a recovery ends with a rebuild") };
        let (tail, bytes) = rebuild.end();
        let (link, _) = self.replay.tail();
        assert!(tail.next == self.replay.next(), "the log goes on behind its last entry");
        let older = self.survey.chain.iter().filter(|segment| segment.header.segment < link.position.segment);
        let closed: u64 = older.map(|segment| segment.end.unwrap_or(segment.len)).sum();
        let start = Start {
            tail,
            bytes,
            closed_bytes: closed + link.position.offset,
            cleanup: cleanup(&self.survey, link.position),
        };
        RecoveryStep::Done(Box::new(Recovered {
            wal: Wal::new(self.setup.clone(), start),
            entries: std::mem::take(&mut self.replay.entries),
            cut: self.cut,
        }))
    }
}

/// What is no longer part of the log, once it is continued at `end` in a newer segment.
fn cleanup(survey: &Survey, end: Position) -> VecDeque<(&'static str, DiskOp)> {
    let dead = survey.chain.iter().map(|segment| segment.header.segment).filter(|it| *it > end.segment);
    let headless = survey.headless.iter().map(|(segment, _)| *segment);
    let mut ops: VecDeque<_> = dead
        .chain(headless)
        .chain(survey.leftover.iter().copied())
        .map(|segment| ("removing the unused", DiskOp::Remove { file: FileName::Wal(segment) }))
        .collect();
    if !ops.is_empty() {
        ops.push_back(("syncing the data directory after removals", DiskOp::SyncDir));
    }
    if survey.chain.iter().any(|it| it.header.segment == end.segment && it.len > end.offset) {
        let file = FileName::Wal(end.segment);
        ops.push_back(("cutting the unused end of", DiskOp::Truncate { file, len: end.offset }));
    }
    ops
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

/// The entries, as the records make them.
#[derive(Clone, Debug, Default)]
struct Replay {
    entries: Vec<(Index, Term, Bytes)>,
    /// The newest place that is known to have been synced, as something to continue from.
    synced: Link,
    /// The lowest index behind it.
    tail_from: Option<Index>,
}

impl Replay {
    /// The index that follows the last entry.
    fn next(&self) -> Index {
        Index(self.entries.len() as u64 + 1)
    }

    /// Where the log is now, without its position.
    fn link(&self, crc: u32) -> Link {
        Link { position: Position::default(), crc, next: self.next() }
    }

    /// The entries before this place were durable.
    fn synced(&mut self, link: Link) {
        self.synced = link;
        self.tail_from = None;
    }

    /// A batch begins. The first one of a segment says either that the segment's header was durable, or that
    /// what the header continues was.
    fn mark(&mut self, at: Position, mark: &Mark, prev_crc: u32, link: &Link) -> Result<(), Flaw> {
        if mark.synced != at && (at.offset != HEADER_BYTES || mark.synced != link.position) {
            return Err(Flaw::Claim(mark.synced));
        }
        self.synced(Link { position: mark.synced, ..self.link(prev_crc) });
        Ok(())
    }

    /// The next entry, or one that supersedes.
    fn entry(&mut self, index: Index, term: Term, payload: Bytes) -> Result<(), Flaw> {
        if index == Index(0) || index > self.next() {
            return Err(Flaw::Gap { expected: self.next(), found: index });
        }
        self.entries.truncate(index.prev().0 as usize);
        self.entries.push((index, term, payload));
        self.tail_from = Some(self.tail_from.map_or(index, |from| from.min(index)));
        Ok(())
    }

    /// What must be written again, and where it continues the log.
    fn tail(&self) -> (Link, &[(Index, Term, Bytes)]) {
        let from = self.tail_from.map_or(self.entries.len(), |from| from.prev().0 as usize);
        let link = if self.synced.next == Index(0) { self.link(0) } else { self.synced };
        (link, &self.entries[from..])
    }
}
