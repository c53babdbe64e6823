//! Finds the newest snapshot at a start and reads it. One that is damaged is passed over for an older one, if there
//! is one; whether the log reaches back to that is for the log to say. It writes nothing.

use super::format::Meta;
use super::reader::{LoadError, LoadStep, Loading};
use crate::disk::{Pending, Tokens};
use crate::io::{DiskError, DiskOp, DiskReply, FileName, HaltReason, Outbox, Owner, Token};
use crate::state::State;
use crate::types::{ClusterId, Index};

/// A recovery under way.
#[derive(Clone, Debug)]
pub struct SnapshotRecovery {
    cluster: ClusterId,
    hash_seed: (u64, u64),
    tokens: Tokens,
    listing: Option<Pending>,
    /// Snapshots that were not tried yet, oldest first, with the length of their files.
    left: Vec<(Index, u64)>,
    loading: Option<Loading>,
    /// What was left behind, and what is damaged.
    unused: Vec<FileName>,
    damage: Vec<Damaged>,
}

/// A snapshot that is damaged.
#[derive(Clone, Debug)]
pub struct Damaged {
    /// Its file, which stays until another one takes its place.
    pub file: FileName,
    /// What a header of it says, if one can be believed: its other blocks may be intact.
    pub meta: Option<Meta>,
    /// Where and how, in words.
    pub what: String,
}

/// What a finished recovery hands over.
#[derive(Clone, Debug)]
pub struct SnapshotRecovered {
    /// The state, of the newest snapshot or of nothing.
    pub state: State,
    /// That snapshot.
    pub meta: Option<Meta>,
    /// Files that nothing needs.
    pub unused: Vec<FileName>,
    /// Newer snapshots that are damaged, newest first.
    pub damage: Vec<Damaged>,
    /// For all further operations on snapshots.
    pub(crate) tokens: Tokens,
}

impl SnapshotRecovery {
    /// For the directory of a member of this cluster; keys are hashed under the seed.
    #[must_use]
    pub fn new(cluster: ClusterId, hash_seed: (u64, u64)) -> Self {
        Self {
            cluster,
            hash_seed,
            tokens: Tokens::new(Owner::Snapshot),
            listing: None,
            left: Vec::new(),
            loading: None,
            unused: Vec::new(),
            damage: Vec::new(),
        }
    }

    /// Issues the first operation.
    pub fn start(&mut self, out: &mut Outbox) {
        self.listing = Some(self.tokens.issue("listing the data directory", DiskOp::List, out));
    }

    /// An operation of the recovery has ended. Hands over what was found, once all is read.
    ///
    /// # Errors
    /// A failed operation, or a snapshot of another cluster or release.
    pub fn disk_done(
        &mut self,
        token: Token,
        result: Result<DiskReply, DiskError>,
        out: &mut Outbox,
    ) -> Result<Option<SnapshotRecovered>, HaltReason> {
        if let Some(listing) = self.listing.take_if(|pending| pending.token == token) {
            match listing.settle(result)? {
                DiskReply::Listing(files) => self.listed(&files),
                reply => panic!("a driver answers an operation with its own kind of reply, not {reply:?}"),
            }
            return Ok(self.next(out));
        }
        let loading = self.loading.as_mut().filter(|loading| loading.awaits(token));
        match loading.expect("only an operation that was issued is reported").disk_done(result) {
            Ok(LoadStep::Working) => {
                self.loading.as_mut().expect("it goes on").pump(&mut self.tokens, out);
                Ok(None)
            }
            Ok(LoadStep::Done(state, meta)) => {
                let older = self.left.drain(..).map(|(index, _)| FileName::Snapshot(index.0));
                self.unused.extend(older);
                Ok(Some(self.found(*state, Some(meta))))
            }
            Err(LoadError::Foreign(text)) => Err(HaltReason::WrongDirectory(text)),
            Err(error @ LoadError::Damaged { .. }) => {
                let loading = self.loading.take().expect("it has just failed");
                let (file, meta) = (FileName::Snapshot(loading.index().0), loading.meta());
                self.damage.push(Damaged { file, meta, what: error.to_string() });
                Ok(self.next(out))
            }
        }
    }

    fn listed(&mut self, files: &[(FileName, u64)]) {
        for (file, len) in files {
            match file {
                FileName::Snapshot(index) => self.left.push((Index(*index), *len)),
                FileName::SnapshotTmp(_) | FileName::SnapshotPart(_) => self.unused.push(*file),
                _ => {}
            }
        }
        self.left.sort_unstable();
    }

    /// Tries the newest that is left.
    fn next(&mut self, out: &mut Outbox) -> Option<SnapshotRecovered> {
        match self.left.pop() {
            Some((index, len)) => {
                let mut loading = Loading::new(self.cluster, index, len, self.hash_seed);
                loading.pump(&mut self.tokens, out);
                self.loading = Some(loading);
                None
            }
            None => Some(self.found(State::new(self.hash_seed), None)),
        }
    }

    fn found(&mut self, state: State, meta: Option<Meta>) -> SnapshotRecovered {
        SnapshotRecovered {
            state,
            meta,
            unused: std::mem::take(&mut self.unused),
            damage: std::mem::take(&mut self.damage),
            tokens: self.tokens.clone(),
        }
    }
}
