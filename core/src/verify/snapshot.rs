//! Examines one snapshot: both headers, every block, and whether the rows make a state. The state is made by the code
//! that every start runs ([`Loading`]); behind a block which that refuses, the others are looked at one by one.

use bytes::Bytes;

use super::report::FileReport;
use crate::disk::Tokens;
use crate::founding::identity;
use crate::hard::HardState;
use crate::io::{DiskError, DiskErrorKind, DiskOp, DiskReply, FileName, HaltReason, Outbox, Output, Owner};
use crate::snapshot::format::{HeaderFlaw, SECTOR, verify_block};
use crate::snapshot::{LoadError, LoadStep, Loading, Meta};
use crate::state::effect::Founding;
use crate::time::Millis;
use crate::types::{ClusterId, EntryId, Index};

/// A snapshot that is being examined.
#[derive(Clone, Debug)]
pub(super) struct Examination {
    index: Index,
    len: u64,
    stage: Stage,
    /// Its two headers, at the beginning and at the end.
    headers: Vec<Result<Meta, HeaderFlaw>>,
    loading: Loading,
    tokens: Tokens,
    found: Found,
}

#[derive(Clone, Debug)]
enum Stage {
    /// Reads one header, then the other.
    Headers,
    /// Makes a state; the read under way.
    Loading(Option<DiskOp>),
    /// Looks at the blocks behind a damaged one, this one next.
    Rest(Meta, u32),
    Over,
}

/// What there is to say about a snapshot.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    pub(super) index: Index,
    pub(super) len: u64,
    /// Offsets at which it is damaged, and how.
    pub(super) flaws: Vec<(u64, String)>,
    /// The same of one of its headers, while the other is intact.
    pub(super) header_flaw: Option<(u64, String)>,
    /// It belongs to another cluster or release.
    pub(super) foreign: Option<String>,
    /// What it holds, if a start would use it.
    pub(super) state: Option<Held>,
    /// What it holds for another cluster.
    pub(super) elsewhere: Option<Held>,
}

/// What a snapshot holds.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) at: EntryId,
    pub(super) blocks: u32,
    pub(super) keys: usize,
    pub(super) users: usize,
    pub(super) time: Millis,
    pub(super) founding: Option<Founding>,
}

impl Examination {
    /// Of the snapshot of this index, whose file has this length.
    pub(super) fn new(cluster: ClusterId, index: Index, len: u64) -> Self {
        Self {
            index,
            len,
            stage: Stage::Headers,
            headers: Vec::new(),
            // No hash is ever seen, so any seed does.
            loading: Loading::new(cluster, index, len, (0, 0)),
            tokens: Tokens::new(Owner::Snapshot),
            found: Found { index, len, ..Found::default() },
        }
    }

    /// The next read; `None` when all is read.
    pub(super) fn next_op(&self) -> Option<DiskOp> {
        let file = FileName::Snapshot(self.index.0);
        match &self.stage {
            Stage::Headers => {
                let offset = if self.headers.is_empty() { 0 } else { self.len.saturating_sub(SECTOR) };
                Some(DiskOp::Read { file, offset, len: SECTOR as u32 })
            }
            Stage::Loading(op) => op.clone(),
            Stage::Rest(meta, number) => {
                Some(DiskOp::Read { file, offset: meta.offset(*number), len: meta.block_len(*number) })
            }
            Stage::Over => None,
        }
    }

    /// The read that [`Self::next_op`] named has ended.
    ///
    /// # Errors
    /// A failure that says nothing about the file's bytes, such as that it has gone.
    pub(super) fn done(&mut self, result: Result<DiskReply, DiskError>) -> Result<(), HaltReason> {
        if let Err(error) = &result
            && error.kind != DiskErrorKind::Io
        {
            let (doing, file) = ("reading".into(), Some(FileName::Snapshot(self.index.0)));
            return Err(HaltReason::Disk { doing, file, error: error.clone() });
        }
        match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Headers => self.header(&data(result)),
            Stage::Loading(_) => self.loaded(result),
            Stage::Rest(meta, number) => {
                if let Err(flaw) = verify_block(&meta, number, &data(result)) {
                    self.found.flaws.push((meta.offset(number), flaw.to_string()));
                }
                self.rest(meta, number + 1);
            }
            Stage::Over => unreachable!("an examination that is over reads nothing"),
        }
        Ok(())
    }

    fn header(&mut self, bytes: &Bytes) {
        self.headers.push(Meta::decode(bytes));
        self.stage = Stage::Headers;
        if let [first, last] = self.headers[..] {
            let believed = |header: Result<Meta, HeaderFlaw>| {
                header.is_ok_and(|meta| meta.seal.at.index == self.index && meta.file_bytes() == self.len)
            };
            let place = match (believed(first), believed(last)) {
                (true, true) if first != last => Some((self.len - SECTOR, "the end")),
                (true, false) => Some((self.len - SECTOR, "the end")),
                (false, true) => Some((0, "the beginning")),
                _ => None,
            };
            self.found.header_flaw = place.map(|(offset, place)| {
                (offset, format!("the header at {place} of the file is not valid; the other one is"))
            });
            self.load();
        }
    }

    /// Issues the next read of the loading.
    fn load(&mut self) {
        let mut out = Outbox::default();
        self.loading.pump(&mut self.tokens, &mut out);
        let op = out.drain().find_map(|output| match output {
            Output::Disk { op, .. } => Some(op),
            _ => None,
        });
        self.stage = Stage::Loading(op);
    }

    fn loaded(&mut self, result: Result<DiskReply, DiskError>) {
        match self.loading.disk_done(result) {
            Ok(LoadStep::Working) => self.load(),
            Ok(LoadStep::Done(state, meta)) => {
                let held = Some(Held {
                    at: meta.seal.at,
                    blocks: meta.blocks,
                    keys: state.key_count(),
                    users: state.user_count(),
                    time: state.time(),
                    founding: state.founding().cloned(),
                });
                match self.found.foreign {
                    None => self.found.state = held,
                    Some(_) => self.found.elsewhere = held,
                }
            }
            // Of another cluster's it does not matter what is damaged.
            Err(_) if self.found.foreign.is_some() => {}
            Err(LoadError::Foreign(text)) => {
                self.found.foreign = Some(text);
                self.load_elsewhere();
            }
            Err(LoadError::Damaged { offset, what, .. }) => {
                self.found.flaws.push((offset, what));
                let meta = self
                    .headers
                    .iter()
                    .flatten()
                    .find(|meta| meta.seal.at.index == self.index && meta.file_bytes() == self.len);
                if let Some(meta) = meta.copied()
                    && (meta.offset(0)..meta.trailer()).contains(&offset)
                {
                    let number = (offset - meta.offset(0)) / u64::from(meta.seal.block_bytes);
                    self.rest(meta, number as u32 + 1);
                }
            }
        }
    }

    /// It is another cluster's: reads it as that one would, for a recovery that has not ended leaves such a file.
    fn load_elsewhere(&mut self) {
        let whole = |meta: &&Meta| meta.seal.at.index == self.index && meta.file_bytes() == self.len;
        if let Some(meta) = self.headers.iter().flatten().find(whole) {
            self.loading = Loading::new(meta.seal.cluster, self.index, self.len, (0, 0));
            self.load();
        }
    }

    fn rest(&mut self, meta: Meta, next: u32) {
        self.stage = if next < meta.blocks { Stage::Rest(meta, next) } else { Stage::Over };
    }

    /// What was found.
    pub(super) fn finish(self) -> Found {
        self.found
    }
}

impl Found {
    pub(super) fn file(&self) -> FileName {
        FileName::Snapshot(self.index.0)
    }

    /// Whether a recovery from a lost majority, which has not come to its end, has left it here.
    pub(super) fn is_of_a_recovery(&self, owner: &HardState) -> bool {
        let founding = self.elsewhere.as_ref().and_then(|held| held.founding.as_ref());
        founding.is_some_and(|founding| {
            founding.name == owner.cluster_name
                && matches!(founding.members[..], [(node, _)] if node == owner.node)
                && founding.cluster == identity(&founding.name, &founding.members)
        })
    }

    /// The file in a line.
    pub(super) fn report(&self) -> FileReport {
        let what = match &self.state {
            Some(held) => format!(
                "snapshot of entry {} (term {}), {} blocks: {} keys, {} users",
                held.at.index, held.at.term, held.blocks, held.keys, held.users
            ),
            None => format!("snapshot of entry {}", self.index),
        };
        FileReport::new(self.file(), what, self.len, self.len)
    }
}

/// What can't be read is as good as rotten.
fn data(result: Result<DiskReply, DiskError>) -> Bytes {
    match result {
        Ok(DiskReply::Data(bytes)) => bytes,
        Ok(reply) => panic!("a driver answers an operation with its own kind of reply, not {reply:?}"),
        Err(_) => Bytes::new(),
    }
}
