//! Structured logs on standard error: how they look, and what the core's trace events become in them.

use std::io::{self, IsTerminal};

use steadfast_core::trace::Event;
use tracing::level_filters::LevelFilter;
use tracing::{debug, info, trace, warn};

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// What is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// What needs somebody's hand.
    Error,
    /// What an operator should know.
    Warn,
    /// What changes: roles, links, start and end.
    #[default]
    Info,
    /// Connections and rare states.
    Debug,
    /// Everything, down to each commit.
    Trace,
}

/// Sends log lines to standard error from now on. Once per process; later calls change nothing.
pub fn start(format: Format, level: Level) {
    let level = match level {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
        Level::Trace => LevelFilter::TRACE,
    };
    let lines = tracing_subscriber::fmt().with_max_level(level).with_writer(io::stderr).with_target(false);
    let _ = match format {
        Format::Text => {
            tracing::subscriber::set_global_default(lines.with_ansi(io::stderr().is_terminal()).finish())
        }
        Format::Json => tracing::subscriber::set_global_default(lines.json().flatten_event(true).finish()),
    };
}

/// One line for one event of the core.
pub fn event(event: &Event) {
    match event {
        Event::Reading { part, bytes, of } => {
            let (read, all) = (bytes >> 20, of >> 20);
            info!("reading {part}: {read} of {all} MiB, {} %", bytes * 100 / of.max(&1));
        }
        Event::Recovered { boot, last, cut } => {
            info!(%boot, %last, torn_bytes_cut = cut, "data directory read");
        }
        Event::Founded { cluster } => info!(%cluster, "member of a founded cluster"),
        Event::Members(members) => info!("members: {members}"),
        Event::Role { role, term, leader } => {
            let leader = leader.map(|leader| leader.0);
            info!(role = role.name(), %term, leader, "role");
        }
        Event::TransferBegun { to } => info!(%to, "the leadership is being transferred"),
        Event::Truncated { from } => info!(%from, "log cut where it conflicts with the leader's"),
        Event::Committed { index } => trace!(%index, "committed"),
        Event::SnapshotBegun { index } => debug!(%index, "snapshot begun"),
        Event::SnapshotTaken { index, bytes } => info!(%index, bytes, "snapshot taken"),
        Event::SnapshotInstalled { index } => info!(%index, "snapshot from the leader installed"),
        Event::Damaged { what, lost } => {
            warn!(lost, "the log is damaged, and is repaired from other nodes: {what}")
        }
        Event::Repaired { last } => info!(%last, "the damaged log is whole again"),
        Event::RootCreated => info!("the first administrator's password is in root-credentials"),
        Event::Probe(probe) => debug!(?probe, "rare state"),
        Event::Notice(text) => warn!("{text}"),
        Event::Clocks { accord, off, apart_ms } => {
            let off: Vec<u16> = off.iter().map(|node| node.0).collect();
            info!(%accord, ?off, apart_ms, "the voters' wall clocks");
        }
    }
}
