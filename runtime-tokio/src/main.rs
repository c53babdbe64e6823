//! The binary `steadfast`: the server and its command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    steadfast::cli::main()
}
