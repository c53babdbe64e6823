//! The server's binary, that of `steadfast` but for two things: a test can have small files, so that segments are
//! finished and snapshots taken within a second, and clocks that are off. Cargo builds it for this package's tests: it builds no other package's
//! binaries for them, and a test that called Cargo would build everything a second time, as features are unified anew
//! for every set of packages.

use std::process::ExitCode;

fn main() -> ExitCode {
    steadfast::cli::main_with(steadfast_tests::binary::for_a_test)
}
