//! A real file system of its own for one test, which can lose its power or be full: ext4 in an image file, mounted by
//! a loop device, and gone when the test ends, however it ends.
//!
//! *Power loss.* ext4 is shut down without flushing its journal (the ioctl `FS_IOC_SHUTDOWN`, by `xfs_io`), then mounted
//! again, which replays the journal. What was written and not synced is gone, as far as the kernel had not written it
//! back by itself; what was synced is there. What this does not do: tear sectors, or lose what the kernel had handed to
//! the device before a flush. That is the simulator's part.

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::scratch::{PATIENCE, Scratch};
use crate::skipped::skip;

/// The variable by which whoever runs the tests admits that nothing can be mounted here, as in most containers. The
/// tests are skipped then in continuous integration, too.
const WITHOUT: &str = "STEADFAST_WITHOUT_MOUNTS";
/// What is used, with the package that has it.
const PROGRAMS: [(&str, &str); 4] =
    [("mkfs.ext4", "e2fsprogs"), ("xfs_io", "xfsprogs"), ("mount", "mount"), ("umount", "mount")];

/// Whether file systems can be made, mounted and shut down here; if not, says that `what` was not tested.
///
/// # Panics
/// In continuous integration (the environment has `CI`), if they can't and nobody admitted that: there the test must
/// not be skipped.
#[must_use]
pub fn available(what: &str) -> bool {
    static TRIED: OnceLock<Result<(), String>> = OnceLock::new();
    let why = match TRIED.get_or_init(attempt) {
        Ok(()) => return true,
        Err(why) => why,
    };
    skip(what, why, Some(WITHOUT));
    false
}

fn attempt() -> Result<(), String> {
    for (program, package) in PROGRAMS {
        if as_root(program, &["-V".as_ref()]).is_err() {
            return Err(format!("{program} of the package {package} can't be run, or not as root"));
        }
    }
    let scratch = Scratch::new("mount");
    let mut filesystem = Filesystem::make(scratch.path(), 16)?;
    filesystem.shut_down()?;
    filesystem.unmount()?;
    filesystem.mount()
}

/// A mounted file system; unmounted when dropped, and its loop device is free then.
#[derive(Debug)]
pub struct Filesystem {
    image: PathBuf,
    at: PathBuf,
    mounted: bool,
}

impl Filesystem {
    /// A fresh one of so many MiB, with its image in this directory.
    ///
    /// # Panics
    /// If it can't be made, which [`available`] has ruled out.
    #[must_use]
    pub fn new(directory: &Path, mib: u64) -> Self {
        Self::make(directory, mib).expect("file systems can be mounted here")
    }

    fn make(directory: &Path, mib: u64) -> Result<Self, String> {
        let image = directory.join("image");
        let at = directory.join("disk");
        let words = |error: std::io::Error| format!("{}: {error}", directory.display());
        fs::File::create(&image).and_then(|file| file.set_len(mib << 20)).map_err(words)?;
        fs::create_dir_all(&at).map_err(words)?;
        // Nothing is kept back for root, whom nobody refuses it.
        run("mkfs.ext4", &["-q".as_ref(), "-F".as_ref(), "-m".as_ref(), "0".as_ref(), image.as_ref()])?;
        let mut made = Self { image, at, mounted: false };
        made.mount()?;
        let owner = fs::metadata("/proc/self").map_err(words)?;
        run("chown", &[format!("{}:{}", owner.uid(), owner.gid()).as_ref(), made.at.as_ref()])?;
        Ok(made)
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.at
    }

    /// The power is gone: from now on every call fails, and what was not synced is lost.
    ///
    /// # Panics
    /// If it can't be shut down.
    pub fn lose_power(&self) {
        self.shut_down().expect("a mounted file system can be shut down");
    }

    /// The power is back: mounts it again. Nobody may have a file of it open.
    ///
    /// # Panics
    /// If it can't be mounted.
    pub fn restore_power(&mut self) {
        self.unmount()
            .and_then(|()| self.mount())
            .expect("a file system whose journal is whole can be mounted");
    }

    fn mount(&mut self) -> Result<(), String> {
        run("mount", &["-o".as_ref(), "loop".as_ref(), self.image.as_ref(), self.at.as_ref()])?;
        self.mounted = true;
        Ok(())
    }

    fn shut_down(&self) -> Result<(), String> {
        run("xfs_io", &["-x".as_ref(), "-c".as_ref(), "shutdown".as_ref(), self.at.as_ref()])
    }

    /// A killed process lets go of its files a moment later.
    fn unmount(&mut self) -> Result<(), String> {
        let begun = Instant::now();
        while let Err(why) = run("umount", &[self.at.as_ref()]) {
            if begun.elapsed() > PATIENCE {
                return Err(why);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.mounted = false;
        Ok(())
    }
}

impl Drop for Filesystem {
    fn drop(&mut self) {
        if !self.mounted {
            return;
        }
        // Whoever still has a file open keeps it until then; the loop device goes with the last of them.
        if let Err(why) = run("umount", &["-l".as_ref(), self.at.as_ref()]) {
            let _ = writeln!(std::io::stderr(), "{} is still mounted: {why}", self.at.display());
        }
    }
}

/// Runs a program as root; the error is what it said.
fn run(program: &str, args: &[&std::ffi::OsStr]) -> Result<(), String> {
    let output = as_root(program, args).map_err(|error| format!("{program}: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}

fn as_root(program: &str, args: &[&std::ffi::OsStr]) -> std::io::Result<Output> {
    let is_root = fs::metadata("/proc/self")?.uid() == 0;
    let mut command = match is_root {
        true => Command::new(program),
        false => Command::new("sudo"),
    };
    if !is_root {
        command.args(["-n", program]);
    }
    // Where such programs lie, and not everybody looks.
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    let output = command.args(args).stdin(Stdio::null()).output()?;
    match output.status.code() {
        // What `sudo` says of a program that it does not find, or may not run.
        Some(1) if !is_root && output.stdout.is_empty() && output.stderr.starts_with(b"sudo:") => {
            Err(std::io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
        }
        _ => Ok(output),
    }
}
