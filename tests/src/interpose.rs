//! A server whose disk misbehaves: a library, loaded before libc, takes the place of one function.
//!
//! A lying `fdatasync` is the negative control of the durability test. To the server everything looks as it should,
//! and the system call is never made, or too late: exactly what a build does that skips the sync. It takes
//! a second to make, and no production code has a switch that could ever turn syncs off, as a feature of Cargo would
//! be, which `--all-features` turns on. A failing call is a broken disk, without one.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// How the disk misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `fdatasync` does nothing.
    SyncSkipped,
    /// `fdatasync` returns at once, and syncs a moment later.
    SyncLate,
    /// `fdatasync` fails with EIO once the trigger is there.
    SyncFails,
}

const SYNC_SKIPPED: &str = r#"
#[unsafe(no_mangle)]
pub extern "C" fn fdatasync(_: i32) -> i32 { 0 }
"#;

const SYNC_LATE: &str = r#"
unsafe extern "C" { fn fsync(file: i32) -> i32; }
#[unsafe(no_mangle)]
pub extern "C" fn fdatasync(file: i32) -> i32 {
    std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(10));
        unsafe { fsync(file) }
    });
    0
}
"#;

const SYNC_FAILS: &str = r#"
unsafe extern "C" { fn fsync(file: i32) -> i32; fn __errno_location() -> *mut i32; }
#[unsafe(no_mangle)]
pub extern "C" fn fdatasync(file: i32) -> i32 {
    if !std::path::Path::new(TRIGGER).exists() { return unsafe { fsync(file) } }
    unsafe { *__errno_location() = 5 };
    -1
}
"#;

/// The file that makes a disk fail from then on, in the directory of the library.
#[must_use]
pub fn trigger(directory: &Path) -> PathBuf {
    directory.join("trigger")
}

/// Makes the library in this directory.
///
/// # Panics
/// If the compiler does not.
#[must_use]
pub fn library(fault: Fault, directory: &Path) -> PathBuf {
    let (name, source) = match fault {
        Fault::SyncSkipped => ("sync_skipped", SYNC_SKIPPED),
        Fault::SyncLate => ("sync_late", SYNC_LATE),
        Fault::SyncFails => ("sync_fails", SYNC_FAILS),
    };
    let source = format!("#![allow(dead_code)]\nconst TRIGGER: &str = {:?};\n{source}", trigger(directory));
    let (from, to) = (directory.join(format!("{name}.rs")), directory.join(format!("lib{name}.so")));
    fs::write(&from, &source).expect("a test can write to its directory");
    let output = Command::new(compiler())
        .args(["--edition", "2024", "--crate-type", "cdylib", "-O", "-o"])
        .arg(&to)
        .arg(&from)
        .output()
        .expect("whoever builds this test has a compiler");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    to
}

/// The compiler beside the Cargo that runs the test.
fn compiler() -> OsString {
    let beside = std::env::var_os("CARGO").map(|cargo| Path::new(&cargo).with_file_name("rustc"));
    beside.filter(|path| path.exists()).map_or_else(|| "rustc".into(), Into::into)
}
