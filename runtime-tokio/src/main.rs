//! The binary `steadfast`: the server and its command line.

use std::process::ExitCode;

/// Records of keys are many small allocations that come and go: this one is faster at it than the C library's (`docs/dependencies.md`).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    steadfast::cli::main()
}
