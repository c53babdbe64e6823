//! How much three nodes take, beside three of etcd: puts and linearizable reads of 64 connections, the two programs in turn, several rounds.
//!
//! Steadfast is loaded by `steadfast bench`, etcd through its own Go client by `tests/tools/etcd-load.go`, which is built here where Go and
//! that client are installed. Servers and tools share the same cores.

use std::io;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::daemon::{Daemon, is_installed};
use super::loads::{self, Figures, Load, Program};
use super::nodes::Nodes;
use super::options::Options;
use super::report::Report;
use super::{etcd, machine};
use crate::binary;
use crate::scratch::{PATIENCE, Scratch, free_addresses};

/// Where Debian keeps the sources of Go libraries.
const GOPATH: &str = "/usr/share/gocode";
/// The program that loads etcd.
const TOOL: &str = "tests/tools/etcd-load.go";

const LOADS: [Load; 2] = [
    Load {
        name: "put, 64 connections",
        operation: "set",
        connections: 64,
        pipeline: 1,
        requests: 0,
        target: 5.0,
    },
    Load {
        name: "get, 64 connections",
        operation: "get",
        connections: 64,
        pipeline: 1,
        requests: 0,
        target: 5.0,
    },
];

/// Three nodes of etcd, and where clients reach them.
struct Three {
    nodes: Vec<Daemon>,
    addresses: Vec<String>,
}

/// Measures, and says what was seen.
///
/// # Errors
/// If a program does not do what it should.
pub fn run(options: &Options) -> io::Result<Report> {
    let scratch = Scratch::new("figures-cluster");
    let (keys, seconds) = (options.keys(10_000), options.seconds(5));
    let mut notes = vec![format!("before: {}", machine::describe())];
    let ours = Nodes::start(scratch.path())?;
    until_answered(|| loads::of_steadfast(&ours.addresses(), &LOADS[0], keys, 1))?;
    let theirs = match tool(scratch.path())? {
        Some(tool) => {
            let three = etcd(scratch.path())?;
            until_answered(|| of_etcd(&tool, &three, &LOADS[0], keys, 1))?;
            Some((tool, three))
        }
        None => {
            notes.push("etcd, Go or etcd's client for it is not installed, and etcd left out".into());
            None
        }
    };
    let load_ours = |load: &Load| loads::of_steadfast(&ours.addresses(), load, keys, seconds);
    let ours = Program { servers: ours.processes(), tool: &load_ours };
    let load_theirs = theirs
        .as_ref()
        .map(|(tool, three)| (three, move |load: &Load| of_etcd(tool, three, load, keys, seconds)));
    let theirs = load_theirs.as_ref().map(|(three, tool)| Program { servers: &three.nodes, tool });
    let mut rows = Vec::new();
    for load in &LOADS {
        let (our, their) = loads::in_turn(load.name, load, options.rounds(3), &ours, theirs.as_ref())?;
        rows.push(loads::row(load, &our, &their));
    }
    notes.push(format!("after: {}", machine::describe()));
    notes.push(format!(
        "medians of {}, the programs in turn; a ratio is ours over theirs (etcd)",
        options.rounds(3)
    ));
    let title = "Operations per second of three nodes, values of 100 bytes".into();
    Ok(Report { title, columns: loads::columns(), rows, notes })
}

/// Asks until it is answered: nodes take a moment to find each other.
fn until_answered<T>(ask: impl Fn() -> io::Result<T>) -> io::Result<T> {
    let begun = Instant::now();
    loop {
        match ask() {
            Err(_) if begun.elapsed() < PATIENCE => std::thread::sleep(Duration::from_millis(200)),
            answered => return answered,
        }
    }
}

fn etcd(dir: &Path) -> io::Result<Three> {
    let all = free_addresses(6);
    let (clients, peers) = all.split_at(3);
    let cluster: Vec<String> =
        peers.iter().enumerate().map(|(place, peer)| format!("n{place}=http://{peer}")).collect();
    let start = |place: usize| {
        let (client, peer) = (format!("http://{}", clients[place]), format!("http://{}", peers[place]));
        let mut command = Command::new(etcd::PROGRAM);
        command.args(["--name", &format!("n{place}"), "--data-dir"]).arg(dir.join(format!("etcd{place}")));
        command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        command.args(["--initial-cluster", &cluster.join(","), "--logger", "zap", "--log-level", "error"]);
        Daemon::spawn(&mut command, &dir.join(format!("etcd{place}.log")))
    };
    let nodes = (0..3).map(start).collect::<io::Result<_>>()?;
    Ok(Three { nodes, addresses: clients.to_vec() })
}

/// Builds what loads etcd, if everything is there for it.
fn tool(dir: &Path) -> io::Result<Option<std::path::PathBuf>> {
    let client = Path::new(GOPATH).join("src/go.etcd.io/etcd/clientv3");
    if !is_installed(etcd::PROGRAM) || !is_installed("go") || !client.is_dir() {
        return Ok(None);
    }
    let built = dir.join("etcd-load");
    let mut command = Command::new("go");
    command.args(["build", "-o"]).arg(&built).arg(binary::root().join(TOOL));
    command.env("GO111MODULE", "off").env("GOPATH", GOPATH).env("GOCACHE", dir.join("gocache"));
    match command.status()?.success() {
        true => Ok(Some(built)),
        false => Err(io::Error::other(format!("{TOOL} can't be built"))),
    }
}

/// What its tool says.
fn of_etcd(tool: &Path, three: &Three, load: &Load, keys: u64, seconds: u64) -> io::Result<Figures> {
    let output = Command::new(tool)
        .args(["-endpoints", &three.addresses.join(","), "-operation", load.operation])
        .args(["-connections", &load.connections.to_string(), "-keys", &keys.to_string()])
        .args(["-warmup", "1ms", "-duration", &format!("{seconds}s")])
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let report: serde_json::Value = serde_json::from_str(text.trim())
        .map_err(|error| io::Error::other(format!("{error}: {}", String::from_utf8_lossy(&output.stderr))))?;
    let number = |name: &str| report[name].as_f64();
    match (number("per_second"), number("p99_us"), number("count")) {
        (Some(per_second), Some(p99), Some(count)) => Ok(Figures { per_second, p99: p99 / 1000.0, count }),
        _ => Err(io::Error::other(format!("{} printed {text:?}", tool.display()))),
    }
}
