//! The log that a data directory holds, read by the core's own recovery from a copy in memory: recovery writes, and
//! what a test looks at must stay as it is.

use std::path::Path;
use std::{fs, io};

use steadfast_core::config::LogConfig;
use steadfast_core::hard::{HardRecovery, HardRecoveryStep, Phase};
use steadfast_core::io::{DiskError, DiskReply, FileName, Outbox, Output, Token};
use steadfast_core::state::effect::Entry;
use steadfast_core::time::Micros;
use steadfast_core::types::{EntryId, NodeId};
use steadfast_core::wal::{Identity, Recovery, RecoveryStep, Setup};
use steadfast_sim::check::log::LogEntry;
use steadfast_sim::explore::image::{Content, Image};

/// The entries of a stopped node's log, from index 1 on. Its last ones may not be committed.
///
/// # Errors
/// What the recovery refuses, in its words.
pub fn read(data: &Path, node: NodeId, cluster: &str) -> Result<Vec<LogEntry>, String> {
    let mut files = copy(data).map_err(|error| format!("{}: {error}", data.display()))?;
    let (mut hard, mut out) = (HardRecovery::new(node, cluster), Outbox::default());
    hard.start(&mut out);
    let hard = loop {
        let (token, result) = next(&mut files, &mut out);
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
        let (token, result) = next(&mut files, &mut out);
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

/// The files of a data directory of which a recovery of the log needs anything.
fn copy(data: &Path) -> io::Result<Image> {
    let mut image = Image::default();
    for entry in fs::read_dir(data)? {
        let entry = entry?;
        let name = entry.file_name().to_str().and_then(|name| name.parse().ok());
        if let Some(name @ (FileName::Hard(_) | FileName::Wal(_))) = name {
            image.files.insert(name, Content::new(fs::read(entry.path())?));
        }
    }
    Ok(image)
}

/// Executes the one operation that a recovery has under way.
fn next(image: &mut Image, out: &mut Outbox) -> (Token, Result<DiskReply, DiskError>) {
    let disk = out.drain().find_map(|output| match output {
        Output::Disk { token, op } => Some((token, op)),
        _ => None,
    });
    let (token, op) = disk.expect("a recovery that is not done has an operation under way");
    (token, image.execute(&op))
}
