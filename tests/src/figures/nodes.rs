//! Three nodes of Steadfast without access control, each a process that can be killed and started again, and what they say of themselves.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::daemon::Daemon;
use super::steadfast::Connection;
use crate::binary;
use crate::scratch::{PATIENCE, free_addresses};

/// How long a node has for an answer about itself. A leader that hears no majority gives none.
const ANSWER: Duration = Duration::from_secs(2);
/// How often it is asked while something is waited for.
const PAUSE: Duration = Duration::from_millis(20);

/// The nodes. The one at place `p` has the number `p + 1`.
#[derive(Debug)]
pub(super) struct Nodes {
    dir: PathBuf,
    addresses: Vec<String>,
    processes: Vec<Daemon>,
}

impl Nodes {
    /// Founds a cluster with its data here.
    pub fn start(dir: &Path) -> io::Result<Self> {
        let mut nodes = Self { dir: dir.to_owned(), addresses: free_addresses(3), processes: Vec::new() };
        for place in 0..nodes.addresses.len() {
            let process = nodes.launch(place, &[])?;
            nodes.processes.push(process);
        }
        Ok(nodes)
    }

    /// Where clients reach them.
    pub fn addresses(&self) -> Vec<&str> {
        self.addresses.iter().map(String::as_str).collect()
    }

    /// Their processes, also those that were killed.
    pub fn processes(&self) -> &[Daemon] {
        &self.processes
    }

    /// Where a node's data lies.
    pub fn data(&self, place: usize) -> PathBuf {
        self.dir.join(format!("node{}", place + 1))
    }

    /// Kills a node with SIGKILL.
    pub fn kill(&mut self, place: usize) {
        self.processes[place].kill();
    }

    /// Starts a node that was killed.
    pub fn restart(&mut self, place: usize) -> io::Result<()> {
        self.processes[place] = self.launch(place, &[])?;
        Ok(())
    }

    /// Starts one more node, with an empty directory, that is to join; its place.
    pub fn join(&mut self) -> io::Result<usize> {
        let place = self.addresses.len();
        self.addresses.extend(free_addresses(1));
        let process = self.launch(place, &["--join"])?;
        self.processes.push(process);
        Ok(place)
    }

    fn launch(&self, place: usize, more: &[&str]) -> io::Result<Daemon> {
        let program =
            std::env::var_os("STEADFAST_BIN").map_or_else(std::env::current_exe, |it| Ok(it.into()))?;
        let mut command = Command::new(program);
        binary::clean(&mut command);
        command.args(["serve", "--insecure-no-auth", "--id", &(place + 1).to_string()]).args(more);
        command.args(["--listen", &self.addresses[place], "--data"]).arg(self.data(place));
        for (other, address) in self.addresses.iter().enumerate().filter(|(other, _)| *other != place) {
            command.args(["--peer", &format!("{}={address}", other + 1)]);
        }
        Daemon::spawn(&mut command, &self.data(place).with_extension("log"))
    }

    /// A connection to a node.
    pub fn connect(&self, place: usize) -> io::Result<Connection> {
        Connection::open(&self.addresses[place], ANSWER)
    }

    /// The place of the node that leads, as this one says.
    pub fn leader_by(&self, place: usize) -> io::Result<usize> {
        let number = self.connect(place)?.info("leader")?;
        usize::try_from(number)
            .ok()
            .and_then(|number| number.checked_sub(1))
            .ok_or_else(|| io::Error::other(format!("node {} names {number} as the leader", place + 1)))
    }

    /// Waits until these nodes name one leader, which is one of them, and each has what that had committed; the leader's place.
    pub fn in_step(&self, places: &[usize]) -> io::Result<usize> {
        until("nodes that are in step", || {
            let leader = self.leader_by(places[0])?;
            let wanted = self.connect(leader)?.info("commit")?;
            for place in places {
                let mut node = self.connect(*place)?;
                let (named, commit) = (node.info("leader")?, node.info("commit")?);
                if named != leader as u64 + 1 || commit < wanted {
                    return Err(io::Error::other(format!("node {} is at {commit} of {wanted}", place + 1)));
                }
            }
            match places.contains(&leader) {
                true => Ok(leader),
                false => Err(io::Error::other(format!("node {} leads", leader + 1))),
            }
        })
    }
}

/// Tries until it comes out.
pub(super) fn until<T>(what: &str, mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let begun = Instant::now();
    loop {
        match attempt() {
            Err(_) if begun.elapsed() < PATIENCE => std::thread::sleep(PAUSE),
            done => return done.map_err(|error| io::Error::other(format!("no {what}: {error}"))),
        }
    }
}
