//! The binary `steadfast`: the server and its command line.

use std::process::ExitCode;

/// The C library's allocator grows the heap of any but the first thread by a few pages at a time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    steadfast::cli::main()
}
