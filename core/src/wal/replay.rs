//! Makes entries of records: what supersedes what, from where on the end may not be durable, and how the log and
//! the snapshot fit together. It reads no file and knows no checksum but the chain's.

use bytes::Bytes;

use super::format::{Flaw, HEADER_BYTES, Link, Mark, Position};
use crate::types::{EntryId, Index, Term};

/// The entries behind the snapshot, as the records make them.
#[derive(Clone, Debug, Default)]
pub(super) struct Replay {
    /// The last entry that the snapshot covers.
    covered: EntryId,
    /// The term that the log itself has at that index, if it has one.
    at_covered: Option<Term>,
    pub(super) entries: Vec<(Index, Term, Bytes)>,
    /// The end of the log so far. Its position is not kept.
    end: Link,
    /// The newest place that is known to have been synced, as something to continue from.
    synced: Link,
    /// The lowest index behind it.
    tail_from: Option<Index>,
}

/// What an examination of a log without damage has found.
#[derive(Clone, Debug)]
pub(crate) struct Examined {
    /// The entries behind the snapshot.
    pub(crate) entries: Vec<(Index, Term, Bytes)>,
    /// Whether they follow from the snapshot, by the log's own last entry before them.
    pub(crate) follows: bool,
    /// Bytes of torn tail that a start would cut.
    pub(crate) cut: u64,
}

impl Replay {
    /// Behind a snapshot; all zeros if there is none.
    pub(super) fn new(covered: EntryId) -> Self {
        let at_covered = (covered.index == Index(0)).then_some(Term(0));
        Self { covered, at_covered, end: Link::after(EntryId::default()), ..Self::default() }
    }

    /// The log begins at this link: what came before is covered by the snapshot and gone.
    pub(super) fn begin(&mut self, link: Link) {
        assert!(link.next <= self.covered.index.next(), "what no snapshot covers is read");
        self.end = link;
        if link.last().index == self.covered.index {
            self.at_covered = Some(link.term);
        }
    }

    /// Where the log is now.
    pub(super) fn end(&self) -> Link {
        self.end
    }

    /// The checksum of the last record, an entry's or a mark's.
    pub(super) fn chained(&mut self, crc: u32) {
        self.end.crc = crc;
    }

    /// The entries before this place were durable.
    pub(super) fn synced(&mut self, link: Link) {
        self.synced = link;
        self.tail_from = None;
    }

    /// A batch begins. The first one of a segment says either that the segment's header was durable, or that
    /// what the header continues was.
    pub(super) fn mark(&mut self, at: Position, mark: &Mark, link: &Link) -> Result<(), Flaw> {
        let place = mark.synced.position;
        if place != at && (at.offset != HEADER_BYTES || place != link.position) {
            return Err(Flaw::Claim(place));
        }
        if mark.synced.last() != self.end.last() {
            return Err(Flaw::Claim(place));
        }
        self.synced(mark.synced);
        Ok(())
    }

    /// The next entry, or one that supersedes.
    pub(super) fn entry(&mut self, index: Index, term: Term, payload: Bytes) -> Result<(), Flaw> {
        if index == Index(0) || index > self.end.next {
            return Err(Flaw::Gap { expected: self.end.next, found: index });
        }
        self.entries.truncate(index.0.saturating_sub(self.covered.index.0 + 1) as usize);
        if index > self.covered.index {
            self.entries.push((index, term, payload));
        } else {
            self.at_covered = (index == self.covered.index).then_some(term);
        }
        self.end = Link { next: index.next(), term, ..self.end };
        self.tail_from = Some(self.tail_from.map_or(index, |from| from.min(index)));
        Ok(())
    }

    /// How the log goes on: behind which place, and with which entries written again. If the snapshot and the log
    /// do not follow from one another, the log begins anew behind the snapshot; what it holds beyond stays only if
    /// the two agree on the snapshot's last entry (Raft paper, figure 13, steps 6 and 7).
    pub(super) fn conclude(&mut self) -> (Link, &[(Index, Term, Bytes)]) {
        let agree = self.agrees();
        if !agree {
            self.entries.clear();
        }
        let fresh = Link::after(self.covered);
        let follows = agree && self.synced.position.segment > 0 && self.synced.next > self.covered.index;
        let from = match self.tail_from {
            _ if !follows => 0,
            None => self.entries.len(),
            Some(from) if from > self.covered.index => (from.0 - self.covered.index.0 - 1) as usize,
            Some(_) => return (fresh, &self.entries),
        };
        (if follows { self.synced } else { fresh }, &self.entries[from..])
    }

    /// Whether the log holds the snapshot's last entry under that entry's term.
    pub(super) fn agrees(&self) -> bool {
        self.at_covered == Some(self.covered.term)
    }

    /// What there is to know, once concluded.
    pub(super) fn examined(&mut self, cut: u64) -> Examined {
        Examined { follows: self.agrees(), entries: std::mem::take(&mut self.entries), cut }
    }

    /// The last entry's identity, once concluded.
    pub(super) fn last(&self) -> EntryId {
        self.entries.last().map_or(self.covered, |(index, term, _)| EntryId { index: *index, term: *term })
    }
}
