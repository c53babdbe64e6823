//! Reads the hard state back at a start: the highest generation of all whole records.
//!
//! A crash leaves one record broken, the one under way; if two in a row are, or one of the two can't be read, the state
//! counts as in doubt. A file that is missing or short is damage, and so is a directory with a log and without any whole
//! record: refused. Nothing is written here.

use bytes::Bytes;

use super::format::{FILE_BYTES, SLOT_BYTES, SLOTS, Slot, decode, place_of, slot_of};
use super::{HardState, HardStore, Phase};
use crate::disk::{Pending, Tokens};
use crate::io::{DiskError, DiskErrorKind, DiskOp, DiskReply, FileName, HaltReason, Outbox, Owner, Token};
use crate::types::NodeId;

/// The highest generation that a directory may hold in which nothing was promised yet: its first record, and one more for
/// each sync that failed.
const FIRST_GENERATIONS: u64 = 3;

/// A recovery of the hard state under way.
#[derive(Clone, Debug)]
pub struct HardRecovery {
    node: NodeId,
    cluster_name: String,
    tokens: Tokens,
    pending: Option<Pending>,
    listed: bool,
    /// Lengths of the two files, if they exist.
    lengths: [Option<u64>; 2],
    /// A log segment or snapshot, if there is one.
    log: Option<FileName>,
    /// What was read so far, slot after slot, each by itself: one that can't be read says nothing of the others.
    contents: Vec<Result<Bytes, DiskError>>,
}

/// What a finished recovery of the hard state hands over.
#[derive(Clone, Debug)]
pub struct HardRecovered {
    /// The state, or `None` if the directory is empty. It may not be durable (after a failed sync): it must not
    /// be acted on before the new boot number, set over it, is durable.
    pub state: Option<HardState>,
    /// The store for further changes.
    pub store: HardStore,
    /// Slots that can't be read, in words; nothing is lost with them that is not doubted.
    pub unreadable: Vec<String>,
}

/// How far the recovery has come.
#[derive(Clone, Debug)]
pub enum HardRecoveryStep {
    /// An operation is under way.
    Working,
    /// All was read.
    Done(Box<HardRecovered>),
}

impl HardRecovery {
    /// For the directory of this node in the cluster with this name.
    #[must_use]
    pub fn new(node: NodeId, cluster_name: &str) -> Self {
        Self {
            node,
            cluster_name: cluster_name.to_owned(),
            tokens: Tokens::new(Owner::Hard),
            pending: None,
            listed: false,
            lengths: [None; 2],
            log: None,
            contents: Vec::new(),
        }
    }

    /// Issues the first operation.
    pub fn start(&mut self, out: &mut Outbox) {
        assert!(self.pending.is_none() && !self.listed, "a recovery starts once");
        self.pending = Some(self.tokens.issue("listing the data directory", DiskOp::List, out));
    }

    /// An operation of the recovery has ended. Its tokens are those of [`Owner::Hard`].
    ///
    /// # Errors
    /// A failed operation, damage, or a directory of another node, cluster or release.
    pub fn disk_done(
        &mut self,
        token: Token,
        result: Result<DiskReply, DiskError>,
        out: &mut Outbox,
    ) -> Result<HardRecoveryStep, HaltReason> {
        let pending = self.pending.take_if(|pending| pending.token == token);
        let pending = pending.expect("a driver reports an operation once, and only one that was issued");
        match (self.listed, result) {
            // What can't be read is as good as rotten.
            (true, Err(error)) if error.kind == DiskErrorKind::Io => self.contents.push(Err(error)),
            (listed, result) => match (listed, pending.settle(result)?) {
                (false, DiskReply::Listing(files)) => self.listed(&files),
                (true, DiskReply::Data(data)) => self.contents.push(Ok(data)),
                _ => panic!("a driver answers an operation with its own kind of reply"),
            },
        }
        while self.contents.len() < SLOTS as usize {
            let (file, offset) = place_of(self.contents.len() as u64);
            if self.len_of(file).is_some_and(|len| len > offset) {
                let op = DiskOp::Read { file, offset, len: SLOT_BYTES as u32 };
                self.pending = Some(self.tokens.issue("reading", op, out));
                return Ok(HardRecoveryStep::Working);
            }
            self.contents.push(Ok(Bytes::new()));
        }
        self.finish().map(|recovered| HardRecoveryStep::Done(Box::new(recovered)))
    }

    fn listed(&mut self, files: &[(FileName, u64)]) {
        self.listed = true;
        for (file, len) in files {
            match file {
                FileName::Hard(copy) if *copy < 2 => self.lengths[usize::from(*copy)] = Some(*len),
                FileName::Wal(_) | FileName::Snapshot(_) => self.log = Some(*file),
                _ => {}
            }
        }
    }

    fn finish(&mut self) -> Result<HardRecovered, HaltReason> {
        let slots = (0..).zip(&self.contents).map(|(slot, content)| match content {
            Ok(bytes) => decode(slot, bytes),
            Err(error) => Slot::Unreadable(error.clone()),
        });
        let slots: Vec<Slot> = slots.collect();
        if let Some(version) = slots.iter().find_map(|slot| match slot {
            Slot::Unknown(version) => Some(version),
            _ => None,
        }) {
            return Err(HaltReason::WrongDirectory(format!(
                "the hard state has format {version}, which this build does not know: start a release that does"
            )));
        }
        let newest = slots.iter().filter_map(|slot| match slot {
            Slot::Valid(generation, state) => Some((*generation, state)),
            _ => None,
        });
        let newest = newest.max_by_key(|(generation, _)| *generation);
        let found = match newest {
            Some((generation, state)) if !self.is_of_an_unfinished_creation(generation, state) => {
                self.check_files()?;
                self.check_owner(state)?;
                let mut state = state.clone();
                let successors = successors(generation, &slots);
                if state.is_alone() {
                    check_readable(&successors)?;
                }
                state.in_doubt |= are_broken(&successors);
                Some((generation, state))
            }
            _ => {
                self.check_unused(&slots)?;
                None
            }
        };
        let unreadable = slots.iter().zip(0..).filter_map(|(slot, at)| match slot {
            Slot::Unreadable(error) => {
                let (file, offset) = place_of(at);
                Some(format!(
                    "{file} can't be read at offset {offset} ({error}); the newest of the other records counts"
                ))
            }
            _ => None,
        });
        Ok(HardRecovered {
            state: found.as_ref().map(|(_, state)| state.clone()),
            unreadable: unreadable.collect(),
            store: HardStore::new(self.tokens.clone(), found),
        })
    }

    fn len_of(&self, file: FileName) -> Option<u64> {
        let FileName::Hard(copy) = file else { unreachable!("slots lie in hard files") };
        self.lengths[usize::from(copy)]
    }

    /// Whether a record is that of an earlier attempt at the very first start, on sectors that came back when the files
    /// were made anew: they are not complete, and nothing was promised.
    fn is_of_an_unfinished_creation(&self, generation: u64, state: &HardState) -> bool {
        let complete = self.lengths.iter().all(|len| len.is_some_and(|len| len >= FILE_BYTES));
        !complete && self.log.is_none() && generation <= FIRST_GENERATIONS && state.phase == Phase::Fresh
    }

    /// Both files were complete before the first record was written.
    fn check_files(&self) -> Result<(), HaltReason> {
        for (copy, len) in self.lengths.iter().enumerate() {
            let file = FileName::Hard(copy as u8);
            let what = match len {
                None => "is missing".to_owned(),
                Some(len) if *len < FILE_BYTES => format!("has {len} bytes and must have {FILE_BYTES}"),
                Some(_) => continue,
            };
            return Err(damaged(format!("{file} {what}")));
        }
        Ok(())
    }

    fn check_owner(&self, state: &HardState) -> Result<(), HaltReason> {
        if state.node != self.node || state.cluster_name != self.cluster_name {
            return Err(HaltReason::WrongDirectory(format!(
                "the data directory belongs to node {} of cluster \"{}\", but this is node {} of cluster \"{}\": \
                 start the node that it belongs to, or choose another data directory",
                state.node, state.cluster_name, self.node, self.cluster_name
            )));
        }
        match (&state.phase, self.log) {
            (Phase::Fresh, Some(file)) => {
                Err(damaged(format!("{file} exists, but by the hard state no cluster was founded yet")))
            }
            _ => Ok(()),
        }
    }

    /// Without any whole record that counts, the directory must be one in which nothing was promised: no log, and nothing
    /// broken but first records, torn before any was durable. They may lie anywhere: a start that made the files anew
    /// may have got back the sectors of an earlier attempt. If it was used after all, it comes back under another
    /// incarnation, as a wiped disk does.
    fn check_unused(&self, slots: &[Slot]) -> Result<(), HaltReason> {
        for (slot, at) in slots.iter().zip(0..) {
            if let Slot::Unreadable(error) = slot {
                let (file, offset) = place_of(at);
                let what =
                    format!("no record is whole, and {file} can't be read at offset {offset}: {error}");
                return Err(damaged(what));
            }
        }
        if let Some(file) = self.log {
            let found = match self.lengths {
                [None, None] => "hard-0 and hard-1 are missing",
                _ => "neither hard-0 nor hard-1 holds a whole record",
            };
            return Err(damaged(format!("{found}, but there is a log ({file})")));
        }
        let used = |slot: &Slot| matches!(slot, Slot::Broken(generation) if *generation > FIRST_GENERATIONS);
        match slots.iter().zip(0..).find(|(slot, _)| used(slot)) {
            None => Ok(()),
            Some((_, at)) => {
                let (file, offset) = place_of(at);
                Err(damaged(format!("no record is whole; one of them is in {file} at offset {offset}")))
            }
        }
    }
}

/// The two slots that would hold what follows the newest whole record, each with its number.
fn successors(generation: u64, slots: &[Slot]) -> [(u64, &Slot); 2] {
    [1, 2].map(|successor| {
        let slot = slot_of(generation.wrapping_add(successor));
        (slot, &slots[slot as usize])
    })
}

/// Whether both records that would follow the newest whole one are broken. One is what a crash leaves: every start syncs
/// what it found before it writes the next. A second one was most likely durable and rotted, and its copy with it; a
/// failed sync followed by a power loss, over a slot that an earlier crash broke, can leave the same. No crash leaves a
/// slot that can't be read: one is enough.
fn are_broken(successors: &[(u64, &Slot)]) -> bool {
    successors.iter().any(|(_, slot)| matches!(slot, Slot::Unreadable(_)))
        || successors.iter().all(|(_, slot)| matches!(slot, Slot::Broken(_) | Slot::Noise))
}

/// A cluster of one has nobody to tell it what it forgot.
fn check_readable(successors: &[(u64, &Slot)]) -> Result<(), HaltReason> {
    for (at, slot) in successors {
        if let Slot::Unreadable(error) = slot {
            let (file, offset) = place_of(*at);
            return Err(damaged(format!(
                "{file} can't be read at offset {offset}, where the newest record may be: {error}"
            )));
        }
    }
    Ok(())
}

/// The refusal of a directory whose boot, term and vote are lost.
fn damaged(what: String) -> HaltReason {
    HaltReason::Damaged(format!(
        "The hard state (boot, term and vote) is damaged: {what}. A node that forgot its vote may elect two \
         leaders, so it does not start. Nothing was changed. If a majority of the cluster is healthy without this \
         node, move this data directory away and start the node with an empty one: it copies everything and follows \
         under a new identity, but has no vote any more. Otherwise mend the disk, or put back an intact copy of this \
         very state of the directory"
    ))
}
