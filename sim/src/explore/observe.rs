//! What the recording learns from a node's step: the entries of its log, what it calls committed and durable, what it
//! says about itself, and which operations it issues.
//!
//! A node that contradicts itself, the other nodes or the entries that were committed is found here, while the
//! script still runs. Nothing here changes what happens next.

use std::sync::Arc;

use steadfast_core::inspect::{Inspection, RoleName};
use steadfast_core::io::{DiskOp, FileName, Output, Owner, Token};
use steadfast_core::trace::{Event, Probe};
use steadfast_core::types::Index;

use super::cluster::Cluster;
use super::ledger::Holds;
use super::machine::{Machine, Op, Stage, log_write};
use super::recording::{Point, Recording};

impl Cluster {
    /// Notes what a step has made of the node's log, and what it now counts as durable itself.
    pub(super) fn observe(
        &mut self,
        node: usize,
        seen: &Inspection,
        outputs: &[Output],
    ) -> Result<(), String> {
        let (machine, recording) = (&mut self.machines[node], &mut self.recording);
        let before = machine.seen.replace(seen.clone());
        if matches!(seen.role, RoleName::Recovering | RoleName::Founding) {
            return Ok(());
        }
        commits(machine, recording, before.map_or(Index(0), |before| before.commit), seen)?;
        for output in outputs {
            let Output::Trace(event) = output else { continue };
            if !promises(event) {
                continue;
            }
            let ledger = Arc::make_mut(&mut machine.ledger);
            match event {
                Event::Recovered { .. } => {
                    machine.recovered = true;
                    if seen.start > Index(0) {
                        ledger.covered(recording, seen.start)?;
                    }
                }
                Event::Truncated { from } => machine.noted = machine.noted.min(from.prev().0),
                // The log may begin anew.
                Event::SnapshotInstalled { index } => {
                    machine.noted = 0;
                    ledger.covered(recording, *index)?;
                }
                Event::SnapshotTaken { index, .. } => ledger.covered(recording, *index)?,
                _ => {}
            }
            ledger.said(event);
        }
        let core = machine.node.as_ref().expect("it was just stepped");
        for at in machine.noted.max(seen.start.0) + 1..=seen.last.0 {
            let holds = Holds { node: core, start: seen.start, recording };
            let behind = holds.term(Index(at - 1));
            let (entry, behind) =
                holds.entry(Index(at)).zip(behind).ok_or("an entry is missing from its log")?;
            recording.propose(Index(at), entry, behind)?;
        }
        machine.noted = seen.last.0;
        if seen.durable.0 > machine.ledger.log.len() as u64 {
            let holds = Holds { node: core, start: seen.start, recording };
            Arc::make_mut(&mut machine.ledger).vouches(holds, seen.durable)?;
        }
        Ok(())
    }

    pub(super) fn issued(&mut self, node: usize, token: Token, op: DiskOp) {
        let mine = matches!(token.owner, Owner::Wal);
        let written;
        let kinds: &[&'static str] = match &op {
            DiskOp::Create { .. } => &["file created"],
            DiskOp::Rename { from: FileName::Wal(_), .. } => &["file renamed", "log segment recycled"],
            DiskOp::Rename { .. } => &["file renamed"],
            // What the recovery left to be removed goes before the first snapshot is durable.
            DiskOp::Remove { file: FileName::Wal(_) } if mine && self.machines[node].snapshot_taken => {
                &["file removed", "log segment removed after a snapshot"]
            }
            DiskOp::Remove { .. } => &["file removed"],
            DiskOp::Truncate { .. } => &["file cut"],
            DiskOp::SyncDir => &["directory synced"],
            DiskOp::WriteAt { file: FileName::Wal(segment), offset, data } if mine => {
                written = log_write(*segment, *offset, data);
                written.as_slice()
            }
            _ => &[],
        };
        kinds.iter().for_each(|kind| self.recording.cover(kind));
        let silent = matches!(op, DiskOp::List | DiskOp::Read { .. } | DiskOp::Sync { .. } | DiskOp::SyncDir);
        self.machines[node].ops.push(Op { token, op, stage: Stage::Issued });
        if !silent {
            self.machines[node].moment = None;
            self.boundary(node, Point::Issued);
        }
    }

    pub(super) fn said(&mut self, node: usize, event: &Event) {
        let what = match event {
            Event::Recovered { cut, .. } => {
                if *cut > 0 {
                    self.recording.cover("torn tail cut");
                }
                if self.machines[node].starts == 1 {
                    return;
                }
                "recovery"
            }
            Event::Founded { .. } => "founding",
            Event::Truncated { .. } => "conflict truncation",
            Event::RootCreated => "administrator created",
            Event::SnapshotTaken { .. } => {
                self.machines[node].snapshot_taken = true;
                "snapshot taken"
            }
            Event::SnapshotInstalled { .. } => "snapshot installed",
            Event::Probe(Probe::TruncationUnderSync) => "truncation under a write",
            Event::Probe(Probe::RowKeptForSnapshot) => "row kept for a snapshot",
            _ => return,
        };
        self.recording.cover(what);
    }
}

/// Whether an event says something that a ledger keeps.
fn promises(event: &Event) -> bool {
    matches!(
        event,
        Event::Recovered { .. }
            | Event::Truncated { .. }
            | Event::RootCreated
            | Event::SnapshotBegun { .. }
            | Event::SnapshotTaken { .. }
            | Event::SnapshotInstalled { .. }
    )
}

/// What a node calls committed must be so for all, and its state must be what these entries give.
fn commits(
    machine: &Machine,
    recording: &mut Recording,
    before: Index,
    seen: &Inspection,
) -> Result<(), String> {
    let core = machine.node.as_ref().expect("it was just stepped");
    for at in before.0.min(seen.commit.0) + 1..=seen.commit.0 {
        let index = Index(at);
        let holds = Holds { node: core, start: seen.start, recording };
        let Some(entry) = holds.entry(index) else {
            return Err(format!("it has applied entry {index}, which neither its log nor a snapshot has"));
        };
        if let Some((_, body)) = core.entry(index) {
            recording.commit(index, entry, body)?;
        }
    }
    match recording.committed_at(seen.commit) {
        Some(known) if known.digest != seen.state_digest => {
            Err(format!("its state at {} is not what the committed entries give", seen.commit))
        }
        _ => Ok(()),
    }
}
