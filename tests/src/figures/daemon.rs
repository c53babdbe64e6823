//! A process in a directory of its own, killed when dropped. It is waited for by nobody: how long it takes until it
//! answers is what is measured.

use std::fs::File;
use std::io;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

/// A process.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    /// Just before it was spawned.
    pub begun: Instant,
}

impl Daemon {
    /// Spawns a command; what it prints goes to the end of a file.
    ///
    /// # Errors
    /// If the system can't.
    pub fn spawn(command: &mut Command, log: &Path) -> io::Result<Self> {
        let log = File::options().create(true).append(true).open(log)?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let begun = Instant::now();
        Ok(Self { child: command.spawn()?, begun })
    }

    /// Kills it with SIGKILL, if it has not ended.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// The process's number.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended by itself.
    ///
    /// # Errors
    /// If it can't be asked for.
    pub fn has_ended(&mut self) -> io::Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Whether a program is installed.
#[must_use]
pub fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}
