//! What one test needs of the machine: a directory, ports, and patience with a limit.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Ports are taken from here on. It lies below the range from which systems draw the ports of outgoing connections:
/// one of those could sit on the port of a killed server when that comes back.
const PORTS_FROM: u32 = 10_000;
/// How many ports there are to choose from.
const PORTS: u32 = 20_000;
/// How long anything may take that a test waits for, unless it says otherwise.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A directory for one test. Removed when the test ends; kept, and named, if it fails.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// A fresh one. `name` is for whoever finds it later.
    ///
    /// # Panics
    /// If it can't be created.
    #[must_use]
    pub fn new(name: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("steadfast-{name}-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).expect("a test needs a temporary directory");
        Self(path)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// A path in it.
    #[must_use]
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("kept for inspection: {}", self.0.display());
        } else {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

/// Loopback addresses on which nobody listens, as far as that can be known.
///
/// # Panics
/// If there are none.
#[must_use]
pub fn free_addresses(count: usize) -> Vec<String> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id().wrapping_mul(131) % PORTS;
    let mut found = Vec::new();
    for _ in 0..PORTS {
        let port = PORTS_FROM + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % PORTS;
        let address = format!("127.0.0.1:{port}");
        if TcpListener::bind(&address).is_ok() {
            found.push(address);
        }
        if found.len() == count {
            return found;
        }
    }
    panic!("there are no {count} free ports");
}

/// Looks until there is something to see.
///
/// # Panics
/// If there is nothing within [`PATIENCE`]; `what` says what was waited for.
pub fn wait_for<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    wait_within(PATIENCE, what, look)
}

/// The same with another limit.
///
/// # Panics
/// If there is nothing to see in time.
pub fn wait_within<T>(patience: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(begun.elapsed() < patience, "waited {patience:?} in vain for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
