//! The log that a data directory holds, read by the core's own recovery from a copy in memory: recovery writes, and
//! what a test looks at must stay as it is.

use std::collections::BTreeMap;
use std::path::Path;
use std::{fs, io};

use bytes::Bytes;
use steadfast_core::config::LogConfig;
use steadfast_core::hard::{HardRecovery, HardRecoveryStep, Phase};
use steadfast_core::io::{DiskError, DiskErrorKind, DiskOp, DiskReply, FileName, Outbox, Output, Token};
use steadfast_core::state::effect::Entry;
use steadfast_core::time::Micros;
use steadfast_core::types::{EntryId, NodeId};
use steadfast_core::wal::{Identity, Recovery, RecoveryStep, Setup};
use steadfast_sim::check::log::LogEntry;

/// The entries of a stopped node's log, from index 1 on. Its last ones may not be committed.
///
/// # Errors
/// What the recovery refuses, in its words.
pub fn read(data: &Path, node: NodeId, cluster: &str) -> Result<Vec<LogEntry>, String> {
    let mut files = Files::copy(data).map_err(|error| format!("{}: {error}", data.display()))?;
    let (mut hard, mut out) = (HardRecovery::new(node, cluster), Outbox::default());
    hard.start(&mut out);
    let hard = loop {
        let (token, result) = files.next(&mut out);
        match hard.disk_done(token, result, &mut out).map_err(|reason| reason.to_string())? {
            HardRecoveryStep::Working => {}
            HardRecoveryStep::Done(recovered) => break recovered.state,
        }
    };
    let state = hard.ok_or("the directory is empty")?;
    let Phase::Founded(founding) = &state.phase else { return Err("its cluster was never founded".into()) };
    let setup = Setup {
        identity: Identity { cluster: founding.cluster, node, incarnation: state.incarnation },
        boot: state.boot.next(),
        nonce: 0,
        log: LogConfig::default(),
        idle_mark: Micros::from_millis(5),
    };
    let mut recovery = Recovery::new(setup, state.log_segment, EntryId::default(), false);
    recovery.start(&mut out);
    let entries = loop {
        let (token, result) = files.next(&mut out);
        match recovery.disk_done(token, result, &mut out).map_err(|reason| reason.to_string())? {
            RecoveryStep::Working => {}
            RecoveryStep::Done(recovered) => break recovered.entries,
        }
    };
    let decoded = entries.into_iter().map(|(index, term, payload)| {
        let entry = Entry::decode(&payload).map_err(|error| format!("entry {index}: {error}"))?;
        Ok(LogEntry { index, term, entry })
    });
    decoded.collect()
}

/// A data directory in memory.
#[derive(Debug)]
struct Files(BTreeMap<FileName, Vec<u8>>);

impl Files {
    fn copy(data: &Path) -> io::Result<Self> {
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(data)? {
            let entry = entry?;
            let name = entry.file_name().to_str().and_then(|name| name.parse().ok());
            if let Some(name @ (FileName::Hard(_) | FileName::Wal(_))) = name {
                files.insert(name, fs::read(entry.path())?);
            }
        }
        Ok(Self(files))
    }

    /// Executes the one operation that a recovery has under way.
    fn next(&mut self, out: &mut Outbox) -> (Token, Result<DiskReply, DiskError>) {
        let disk = out.drain().find_map(|output| match output {
            Output::Disk { token, op } => Some((token, op)),
            _ => None,
        });
        let (token, op) = disk.expect("a recovery that is not done has an operation under way");
        (token, self.execute(op))
    }

    fn execute(&mut self, op: DiskOp) -> Result<DiskReply, DiskError> {
        match op {
            DiskOp::List => {
                let lengths = self.0.iter().map(|(name, data)| (*name, data.len() as u64));
                return Ok(DiskReply::Listing(lengths.collect()));
            }
            DiskOp::Read { file, offset, len } => {
                let data = self.file(file)?;
                let from = usize::try_from(offset).unwrap_or(usize::MAX).min(data.len());
                let to = from.saturating_add(len as usize).min(data.len());
                return Ok(DiskReply::Data(Bytes::copy_from_slice(&data[from..to])));
            }
            DiskOp::Create { file } => drop(self.0.insert(file, Vec::new())),
            DiskOp::WriteAt { file, offset, data } => {
                let held = self.file(file)?;
                let from = usize::try_from(offset).expect("a log in memory is small");
                held.resize(held.len().max(from + data.len()), 0);
                held[from..from + data.len()].copy_from_slice(&data);
            }
            DiskOp::Truncate { file, len } => {
                self.file(file)?.resize(usize::try_from(len).expect("a log in memory is small"), 0);
            }
            DiskOp::Rename { from, to } => {
                let data = std::mem::take(self.file(from)?);
                self.0.remove(&from);
                self.0.insert(to, data);
            }
            DiskOp::Remove { file } => drop(self.0.remove(&file)),
            DiskOp::Sync { .. } | DiskOp::SyncDir => {}
        }
        Ok(DiskReply::Done)
    }

    fn file(&mut self, name: FileName) -> Result<&mut Vec<u8>, DiskError> {
        let missing = || DiskError { kind: DiskErrorKind::NotFound, message: format!("no file {name}") };
        self.0.get_mut(&name).ok_or_else(missing)
    }
}
