//! The server's binary, line by line that of `steadfast`, built by Cargo for this package's tests: it builds no other
//! package's binaries for them, and a test that called Cargo would build everything a second time, as features are
//! unified anew for every set of packages.

use std::process::ExitCode;

fn main() -> ExitCode {
    steadfast::cli::main()
}
