//! Networks that can be cut: each node in a network namespace of its own, all joined by one bridge, so that the links between real
//! processes break as cables and switches do: packets stop coming, and nobody is told.
//!
//! The whole test runs in a network and a process namespace that it alone has ([`inside`]). Nothing of it can be seen from
//! outside, two of them never meet, and no names are needed; when its first process is gone, however it ended, the kernel kills
//! the rest and takes the interfaces away. So there is nothing to clean up, neither after a panic nor after a SIGKILL. Whoever is
//! not root gets a user namespace as well.
//!
//! *How a link is cut.* In one direction at a time: the sender takes another hardware address for its receiver's, one that nobody
//! has. Its packets are dropped, those of connections that stand already too, and what comes the other way comes. That needs `ip`
//! alone, and no module of the kernel for filters or queues.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use crate::scratch::Scratch;
use crate::skipped::skip;

/// The variable by which whoever runs the tests admits that no namespaces can be made here, as in many containers. The tests are
/// skipped then in continuous integration, too.
const WITHOUT: &str = "STEADFAST_WITHOUT_NAMESPACES";
/// Names the test that runs in namespaces already.
const INSIDE: &str = "STEADFAST_TEST_INSIDE";
/// What is used, with the package that has it.
const PROGRAMS: [(&str, &str); 4] =
    [("ip", "iproute2"), ("nsenter", "util-linux"), ("setpriv", "util-linux"), ("unshare", "util-linux")];
/// Where every node listens, each at its own address.
const PORT: u16 = 7878;
/// Most nodes of a network; their addresses end in one digit.
const MOST: usize = 9;

/// Runs the test of this name (as libtest knows it, modules and all) in namespaces of its own, by starting it once more. Where
/// that can't be done it is skipped, and says so.
///
/// # Panics
/// If the test fails in there; or, in continuous integration (the environment has `CI`), if there can be no namespaces and nobody
/// admitted that.
pub fn inside(test: &str, body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some_and(|name| name == test) {
        return body();
    }
    if !available(test) {
        return;
    }
    // Processes in there count from one, and directories are named after their numbers.
    let scratch = Scratch::new("namespaces");
    let mut command = apart();
    command.arg(std::env::current_exe().expect("a process has an executable"));
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]);
    command.env(INSIDE, test).env("TMPDIR", scratch.path()).stdin(Stdio::null());
    let output = command.output().expect("namespaces can be made here");
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    eprintln!("{}\n{}", said[0], said[1]);
    assert!(output.status.success(), "{test} failed in its namespaces: {}", output.status);
    assert!(said[0].contains("1 passed"), "no test has the name {test}: {}", said[0]);
}

fn available(what: &str) -> bool {
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
        if run(program_at(program).arg("-V"), "").is_err() {
            return Err(format!("{program} of the package {package} can't be run"));
        }
    }
    let mut command = apart();
    command.args(["ip", "-batch", "-"]);
    run(&mut command, "link add hub type bridge\nlink add one type veth peer name two\n")
        .map_err(|why| format!("no namespaces with a bridge can be made here: {why}"))
}

/// A command that runs what is appended to it in a network and a process namespace of its own, and takes all that runs in there
/// along when this process ends.
fn apart() -> Command {
    let mut command = program_at("setpriv");
    command.args(["--pdeathsig", "KILL", "unshare"]);
    command.args(["--net", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    if !is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

/// Where such programs lie, and not everybody looks.
fn program_at(program: &str) -> Command {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(program);
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    command
}

/// Runs a command with this input; the error is what it said.
fn run(command: &mut Command, input: &str) -> Result<(), String> {
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child = command.spawn().map_err(|error| format!("{program}: {error}"))?;
    // A command that failed has closed the pipe, and says why.
    let _ = child.stdin.take().expect("it is piped").write_all(input.as_bytes());
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}

/// One direction of a link: from the node at the first place to the node at the second. Places count from zero.
pub type Way = (usize, usize);

/// Both directions between two nodes.
#[must_use]
pub fn both(one: usize, other: usize) -> Vec<Way> {
    vec![(one, other), (other, one)]
}

/// From each of these to each of those.
#[must_use]
pub fn towards(these: &[usize], those: &[usize]) -> Vec<Way> {
    these.iter().flat_map(|from| those.iter().map(|to| (*from, *to))).collect()
}

/// Both directions between each of these and each of those.
#[must_use]
pub fn between(these: &[usize], those: &[usize]) -> Vec<Way> {
    [towards(these, those), towards(those, these)].concat()
}

/// Nodes on a bridge. The test itself is at the bridge and reaches all of them, always.
#[derive(Debug)]
pub struct Network {
    // A namespace lives as long as a process is in it.
    holders: Vec<Child>,
}

impl Network {
    /// A network of so many nodes, with all links whole. Only [`inside`].
    ///
    /// # Panics
    /// If it can't be made.
    #[must_use]
    pub fn new(nodes: usize) -> Self {
        assert!(std::env::var_os(INSIDE).is_some(), "outside it would be seen by the whole machine");
        assert!(nodes <= MOST, "{nodes} nodes, and the addresses are made for {MOST}");
        let network = Self { holders: (0..nodes).map(|_| holder()).collect() };
        let mut hub = String::from("link set lo up\nlink add hub type bridge\nlink set hub up\n");
        hub += "addr add 10.9.0.254/24 dev hub\n";
        for (place, holder) in network.holders.iter().enumerate() {
            let (own, pid) = (hardware(place, true), holder.id());
            hub += &format!("link add node{place} type veth peer name eth0 address {own} netns {pid}\n");
            hub += &format!("link set node{place} master hub up\n");
        }
        run(program_at("ip").args(["-batch", "-"]), &hub).expect("a bridge can be made");
        for place in 0..nodes {
            network.at(
                place,
                &format!("link set lo up\nlink set eth0 up\naddr add {}/24 dev eth0\n", ip(place)),
            );
        }
        network.heal();
        network
    }

    /// Where each node listens.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        (0..self.holders.len()).map(|place| format!("{}:{PORT}", ip(place))).collect()
    }

    /// Runs what is appended to it at a node, and becomes that.
    #[must_use]
    pub fn enter(&self, place: usize) -> Vec<OsString> {
        let namespace = format!("--net=/proc/{}/ns/net", self.holders[place].id());
        ["nsenter", &namespace, "--"].map(OsString::from).into()
    }

    /// Cuts these directions, and heals all others.
    ///
    /// # Panics
    /// If that can't be done.
    pub fn cut(&self, ways: impl IntoIterator<Item = Way>) {
        let ways: BTreeSet<Way> = ways.into_iter().collect();
        let nodes = self.holders.len();
        assert!(ways.iter().all(|(from, to)| from != to && *from < nodes && *to < nodes), "{ways:?}");
        for from in 0..nodes {
            let others = (0..nodes).filter(|to| *to != from);
            let lines = others.map(|to| {
                let lladdr = hardware(to, !ways.contains(&(from, to)));
                format!("neigh replace {} lladdr {lladdr} dev eth0 nud permanent\n", ip(to))
            });
            self.at(from, &lines.collect::<String>());
        }
    }

    /// Heals all links.
    pub fn heal(&self) {
        self.cut([]);
    }

    fn at(&self, place: usize, batch: &str) {
        let mut command = program_at("nsenter");
        command.args(&self.enter(place)[1..]).args(["ip", "-batch", "-"]);
        run(&mut command, batch).expect("a node's network can be set up");
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for holder in &mut self.holders {
            let _ = holder.kill();
            let _ = holder.wait();
        }
    }
}

/// A process that does nothing in a network namespace of its own.
fn holder() -> Child {
    let mut child = Command::new("unshare")
        .args(["--net", "--", "sh", "-c", "echo; exec cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a network namespace can be made");
    // The line comes from within.
    child.stdout.as_mut().expect("it is piped").read_exact(&mut [0]).expect("it is in its namespace");
    child
}

fn ip(place: usize) -> String {
    format!("10.9.0.{}", place + 1)
}

/// A node's hardware address, or one that nobody has.
fn hardware(place: usize, is_there: bool) -> String {
    format!("02:00:00:00:{}:0{}", if is_there { "00" } else { "ff" }, place + 1)
}
