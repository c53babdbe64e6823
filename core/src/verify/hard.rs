//! Judges the hard state: every slot of both files. Whether a start would take it is asked of the code that every start
//! runs ([`HardRecovery`]); which slots must be whole follows from the newest generation. It reads no file itself.

use bytes::Bytes;

use super::reading::Gap;
use super::report::{Consequence, Damage, FileReport, Note};
use crate::hard::format::{
    FILE_BYTES, SLOT_BYTES, SLOTS, SLOTS_PER_FILE, Slot, decode, place_of, slot_at, slot_of,
};
use crate::hard::{HardRecovery, HardRecoveryStep, HardState, HardStore};
use crate::io::{DiskError, DiskOp, DiskReply, FileName, HaltReason, Outbox, Output};

/// What was concluded from the two files.
#[derive(Clone, Debug, Default)]
pub(super) struct Judged {
    /// The state that a start would go on with, and the store for changes of it.
    pub(super) state: Option<(HardState, HardStore)>,
    /// The newest whole record, even if a start would refuse it.
    pub(super) newest: Option<HardState>,
    pub(super) files: Vec<FileReport>,
    pub(super) damage: Vec<Damage>,
    pub(super) notes: Vec<Note>,
}

/// What a directory holds.
pub(super) struct Found<'a> {
    /// The two files; `None` is one that is missing.
    pub(super) contents: [Option<Bytes>; 2],
    /// What of any file can't be read.
    pub(super) gaps: &'a [(FileName, Gap)],
    /// All files, with their lengths.
    pub(super) listing: &'a [(FileName, u64)],
}

impl Found<'_> {
    /// What a read of a whole slot gives.
    fn slot(&self, slot: u64) -> Result<Bytes, DiskError> {
        let (file, offset) = place_of(slot);
        let FileName::Hard(copy) = file else { unreachable!("slots lie in hard files") };
        let hit = |gap: &Gap| gap.from < offset + SLOT_BYTES && offset < gap.to;
        if let Some((_, gap)) = self.gaps.iter().find(|(named, gap)| *named == file && hit(gap)) {
            return Err(gap.error.clone());
        }
        let content = self.contents[usize::from(copy)].clone().unwrap_or_default();
        let len = content.len() as u64;
        Ok(content.slice(offset.min(len) as usize..(offset + SLOT_BYTES).min(len) as usize))
    }
}

/// Judges the files.
pub(super) fn judge(found: &Found) -> Judged {
    let read = |slot| match found.slot(slot) {
        Ok(bytes) => decode(slot, &bytes),
        Err(error) => Slot::Unreadable(error),
    };
    let slots: Vec<Slot> = (0..SLOTS).map(read).collect();
    let whole = slots.iter().filter_map(|slot| match slot {
        Slot::Valid(generation, state) => Some((*generation, state.clone())),
        _ => None,
    });
    let newest = whole.max_by_key(|(generation, _)| *generation);
    let mut judged = Judged::default();
    match &newest {
        Some((generation, state)) => {
            judged.slots(*generation, &slots);
            judged.recover(*generation, state, &slots, found);
        }
        None => judged.without_record(&slots, found),
    }
    for (copy, content) in found.contents.iter().enumerate() {
        if let Some(content) = content {
            judged.files.push(file_report(copy as u8, content, &slots, newest.as_ref()));
        }
    }
    judged.newest = newest.map(|(_, state)| state);
    judged
}

impl Judged {
    /// Every slot that was written must hold the record of its generation. The one after the newest may be torn.
    fn slots(&mut self, newest: u64, slots: &[Slot]) {
        for (slot, at) in slots.iter().zip(0..) {
            let (file, offset) = place_of(at);
            // The newest generation that this slot may hold.
            let back = (newest % SLOTS + SLOTS - at) % SLOTS;
            let expected = newest.checked_sub(back).filter(|generation| *generation > 0);
            let found = match slot {
                Slot::Valid(generation, _) if Some(*generation) == expected => continue,
                Slot::Empty if expected.is_none() => continue,
                Slot::Unknown(_) => continue,
                Slot::Valid(generation, _) => format!("a record of generation {generation}, out of its turn"),
                Slot::Empty => "a record is gone: there are zeros".to_owned(),
                Slot::Noise => "there is no record where one must be".to_owned(),
                Slot::Broken(_) => "a record is not whole".to_owned(),
                Slot::Unreadable(error) => format!("the disk can't read it: {error}"),
            };
            if at == slot_of(newest + 1) && !matches!(slot, Slot::Unreadable(_)) {
                let what = format!(
                    "{found}; a loss of power during a write leaves this, and the next start mends it"
                );
                self.notes.push(Note { file, offset, what });
            } else {
                let what = format!("{found}. A newer record is whole, so that nothing is lost");
                self.damage.push(Damage::new(file, offset, what, Consequence::Starts));
            }
        }
    }

    /// What a start would make of a directory with this newest record.
    fn recover(&mut self, generation: u64, newest: &HardState, slots: &[Slot], found: &Found) {
        let mut recovery = HardRecovery::new(newest.node, &newest.cluster_name);
        match run(&mut recovery, found) {
            Ok((Some(state), store)) => {
                if state.in_doubt && !newest.in_doubt {
                    self.in_doubt(generation, slots);
                }
                self.state = Some((state, store));
            }
            Ok((None, _)) => {}
            Err(reason) => {
                let newer = [1, 2].map(|next| slot_of(generation + next));
                let unread = newer.into_iter().find(|at| matches!(slots[*at as usize], Slot::Unreadable(_)));
                match unread {
                    Some(slot) => self.retell(slot, reason.to_string(), Consequence::Refuses),
                    None => self.refused(&reason, &found.contents),
                }
            }
        }
    }

    /// Something was said of this slot as harmless, and is not.
    fn retell(&mut self, slot: u64, what: String, consequence: Consequence) {
        let (file, offset) = place_of(slot);
        self.notes.retain(|note| (note.file, note.offset) != (file, offset));
        self.damage.retain(|damage| (damage.file, damage.offset) != (file, offset));
        self.damage.push(Damage::new(file, offset, what, consequence));
    }

    /// Of the two records behind the newest whole one, both are broken, or one can't be read.
    fn in_doubt(&mut self, newest: u64, slots: &[Slot]) {
        for slot in [1, 2].map(|next| slot_of(newest + next)) {
            let what = match &slots[slot as usize] {
                Slot::Unreadable(error) => {
                    format!("the disk can't read it ({error}), so that a newer term and vote may be lost")
                }
                Slot::Broken(_) | Slot::Noise => {
                    "a record is not whole, and neither is the one beside it, so that a newer term and vote may be lost"
                        .to_owned()
                }
                _ => continue,
            };
            self.retell(slot, what, Consequence::Doubts);
        }
    }

    fn refused(&mut self, reason: &HaltReason, contents: &[Option<Bytes>; 2]) {
        let wrong = (0..2_u8).find(|copy| {
            contents[usize::from(*copy)].as_ref().is_none_or(|content| (content.len() as u64) < FILE_BYTES)
        });
        let copy = wrong.unwrap_or(0);
        let offset = contents[usize::from(copy)].as_ref().map_or(0, |content| content.len() as u64);
        let (offset, what) = match wrong {
            Some(copy) if contents[usize::from(copy)].is_none() => (0, "the file is missing".to_owned()),
            Some(_) => (offset, format!("the file has {offset} bytes and must have {FILE_BYTES}")),
            None => (0, reason.to_string()),
        };
        self.damage.push(Damage::new(FileName::Hard(copy), offset, what, Consequence::Refuses));
    }

    /// Nothing says whose directory this is: it was never used, or its memory is lost.
    fn without_record(&mut self, slots: &[Slot], found: &Found) {
        let mut recovery = HardRecovery::new(crate::types::NodeId(0), "");
        let Err(reason) = run(&mut recovery, found) else { return };
        let broken = slots
            .iter()
            .zip(0..)
            .find(|(slot, _)| matches!(slot, Slot::Broken(_) | Slot::Noise | Slot::Unreadable(_)));
        let (file, offset) = broken.map_or((FileName::Hard(0), 0), |(_, at)| place_of(at));
        self.damage.push(Damage::new(file, offset, reason.to_string(), Consequence::Refuses));
    }
}

/// Runs a recovery on what was read already.
fn run(recovery: &mut HardRecovery, found: &Found) -> Result<(Option<HardState>, HardStore), HaltReason> {
    let mut out = Outbox::default();
    recovery.start(&mut out);
    loop {
        let issued = out.drain().find_map(|output| match output {
            Output::Disk { token, op } => Some((token, op)),
            _ => None,
        });
        let (token, op) = issued.expect("a recovery that is not done has an operation under way");
        let result = match op {
            DiskOp::List => Ok(DiskReply::Listing(found.listing.to_vec())),
            DiskOp::Read { file: FileName::Hard(copy), offset, .. } => {
                found.slot(slot_at(copy, offset)).map(DiskReply::Data)
            }
            other => unreachable!("a recovery of the hard state reads, and nothing else: {other:?}"),
        };
        if let HardRecoveryStep::Done(recovered) = recovery.disk_done(token, result, &mut out)? {
            return Ok((recovered.state, recovered.store));
        }
    }
}

fn file_report(copy: u8, content: &Bytes, slots: &[Slot], newest: Option<&(u64, HardState)>) -> FileReport {
    let file = FileName::Hard(copy);
    let whole =
        slots.iter().zip(0..).filter(|(slot, at)| matches!(slot, Slot::Valid(..)) && place_of(*at).0 == file);
    let whole = whole.count() as u64;
    let what = match newest {
        Some((generation, state)) => format!(
            "hard state, {whole} of {SLOTS_PER_FILE} slots; newest of both: generation {generation}, boot {}, term {}",
            state.boot, state.term
        ),
        None => "hard state, without a record".to_owned(),
    };
    FileReport::new(file, what, content.len() as u64, whole * SLOT_BYTES)
}
