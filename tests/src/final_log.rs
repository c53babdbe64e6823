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
use steadfast_sim::history::History;

use crate::cluster::{Cluster, NAME};

/// The committed log of a stopped cluster: what its nodes' disks agree on, up to the newest position that a client of this history
/// heard of.
///
/// # Panics
/// If they do not agree, or what clients heard of does not lie on a majority of the disks.
#[must_use]
pub fn committed(cluster: &Cluster, history: &History) -> Vec<LogEntry> {
    let heard = history.ops.iter().filter_map(|op| op.receipt).map(|receipt| receipt.position).max();
    let heard = heard.expect("clients heard of positions");
    let logs = cluster.places().map(|place| {
        let node = NodeId(place as u16 + 1);
        let mut log = read(&cluster.data(place), node, NAME).expect("the log can be recovered");
        log.truncate(usize::try_from(heard.0).expect("a log in memory is small"));
        log
    });
    let logs: Vec<Vec<LogEntry>> = logs.collect();
    let longest = logs.iter().max_by_key(|log| log.len()).expect("there are nodes").clone();
    let have = |log: &&Vec<LogEntry>| log.last().is_some_and(|entry| entry.index >= heard);
    let copies = logs.iter().filter(have).count();
    assert!(
        copies > logs.len() / 2,
        "{heard}, of which a client heard, lies on {copies} of {} disks",
        logs.len()
    );
    for log in &logs {
        assert_eq!(log[..], longest[..log.len()], "committed entries are the same on every disk");
    }
    longest
}

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
