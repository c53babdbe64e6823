//! Finds the server's binary that was built with the running test.
//!
//! It is `src/bin/steadfast-under-test.rs`, which is `steadfast` under another name; Cargo builds it whenever it builds
//! a test of this package, so it is never older than the test. `STEADFAST_BIN` names another one, such as a build with a
//! planted bug, or a release; only that `steadfast` itself knows nothing of the variables for small files and for clocks.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;
use std::sync::OnceLock;

use steadfast::server::config::ServerConfig;

/// The environment variable with the size of a segment of the log, for the binary under test alone.
pub const SEGMENT_BYTES: &str = "STEADFAST_TEST_SEGMENT_BYTES";
/// The one with how much is logged between two snapshots.
pub const SNAPSHOT_BYTES: &str = "STEADFAST_TEST_SNAPSHOT_BYTES";
/// The one with how far the wall clock is off, in milliseconds.
pub const WALL_MS: &str = "STEADFAST_TEST_WALL_MS";
/// The one with how far the clocks drift, in millionths.
pub const DRIFT_PPM: &str = "STEADFAST_TEST_DRIFT_PPM";

/// The binary under test.
///
/// # Panics
/// If it is not where Cargo puts it.
#[must_use]
pub fn path() -> &'static Path {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    FOUND.get_or_init(|| {
        let path = std::env::var_os("STEADFAST_BIN").map_or_else(beside_the_test, PathBuf::from);
        assert!(path.exists(), "{} is missing; `cargo test` builds it", path.display());
        path
    })
}

/// Tests lie in `<target>/<profile>/deps`, binaries, of which one may ask, too, in `<target>/<profile>`.
fn beside_the_test() -> PathBuf {
    let program = std::env::current_exe().expect("a process has an executable");
    let here = program.parent().expect("a program lies in a directory");
    let profile =
        if here.ends_with("deps") { here.parent().expect("deps lies in a profile's") } else { here };
    profile.join("steadfast-under-test")
}

/// A command that runs the binary, free of what the caller's environment says about Steadfast.
#[must_use]
pub fn command() -> Command {
    let mut command = Command::new(path());
    clean(&mut command);
    command
}

/// Takes the environment variables that Steadfast reads away from a command.
pub fn clean(command: &mut Command) {
    for name in ["STEADFAST_ADDR", "STEADFAST_USER", "STEADFAST_PASSWORD", "STEADFAST_PASSWORD_FILE"] {
        command.env_remove(name);
    }
}

/// What the binary under test does to its configuration: it takes the sizes of files, and how far its clocks are off, from
/// those variables.
pub fn for_a_test(config: &mut ServerConfig) {
    fn said<T: FromStr>(name: &str) -> Option<T> {
        std::env::var(name).ok()?.parse().ok()
    }
    config.log.segment_bytes = said(SEGMENT_BYTES).unwrap_or(config.log.segment_bytes);
    config.snapshot.interval_bytes = said(SNAPSHOT_BYTES).unwrap_or(config.snapshot.interval_bytes);
    config.skew.wall_ms = said(WALL_MS).unwrap_or(config.skew.wall_ms);
    config.skew.drift_ppm = said(DRIFT_PPM).unwrap_or(config.skew.drift_ppm);
}

/// The repository's root.
#[must_use]
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the repository")
}
