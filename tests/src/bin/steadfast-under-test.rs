//! The server's binary, that of `steadfast` but for one thing: a test can have small files, so that segments are
//! finished and snapshots taken within a second. Cargo builds it for this package's tests: it builds no other package's
//! binaries for them, and a test that called Cargo would build everything a second time, as features are unified anew
//! for every set of packages.

use std::process::ExitCode;

use steadfast::server::config::ServerConfig;
use steadfast_tests::binary::{SEGMENT_BYTES, SNAPSHOT_BYTES};

fn main() -> ExitCode {
    steadfast::cli::main_with(with_small_files)
}

fn with_small_files(config: &mut ServerConfig) {
    let bytes = |name| std::env::var(name).ok()?.parse().ok();
    config.log.segment_bytes = bytes(SEGMENT_BYTES).unwrap_or(config.log.segment_bytes);
    config.snapshot.interval_bytes = bytes(SNAPSHOT_BYTES).unwrap_or(config.snapshot.interval_bytes);
}
