//! Real server processes for tests: started on a free port, read for their banner, killed or stopped.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use steadfast::{Client, Config};
use tokio::net::TcpSocket;

/// The binary under test.
pub fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_steadfast"));
    for name in ["STEADFAST_ADDR", "STEADFAST_USER", "STEADFAST_PASSWORD", "STEADFAST_PASSWORD_FILE"] {
        command.env_remove(name);
    }
    command
}

/// A directory for one test, removed when the test ends.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("steadfast-server-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).expect("a test needs a temporary directory");
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A running server; killed when dropped.
pub struct Server {
    child: Child,
    pub banner: String,
    pub address: String,
    data: PathBuf,
}

impl Server {
    /// A single node on a free port.
    pub fn start(data: &Path) -> Self {
        Self::start_with(data, &["--listen", "127.0.0.1:0"])
    }

    /// With these options; returns once the banner is there.
    pub fn start_with(data: &Path, options: &[&str]) -> Self {
        let mut child = binary()
            .arg("serve")
            .arg("--data")
            .arg(data)
            .args(options)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the server's binary is there");
        let mut out = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut banner = String::new();
        while !banner.contains("\n  try ") || !banner.ends_with('\n') {
            if out.read_line(&mut banner).expect("the banner is text") == 0 {
                let mut errors = String::new();
                let _ = child.stderr.take().expect("it is piped").read_to_string(&mut errors);
                panic!("the server ended before its banner: {errors}");
            }
        }
        // Nobody reads the log; a full pipe must not stop the server.
        let mut log = child.stderr.take().expect("it is piped");
        std::thread::spawn(move || {
            let mut text = String::new();
            let _ = log.read_to_string(&mut text);
            if std::env::var_os("STEADFAST_TEST_LOG").is_some() {
                eprintln!("{text}");
            }
        });
        let address = banner.lines().find_map(|line| line.trim().strip_prefix("address"));
        let address = address.expect("the banner names the address").trim().to_owned();
        Self { child, banner, address, data: data.to_owned() }
    }

    /// A client with the administrator's credentials.
    pub async fn client(&self) -> Client {
        self.client_with(|config| config).await
    }

    pub async fn client_with(&self, change: impl FnOnce(Config) -> Config) -> Client {
        let (user, password) = credentials(&self.data);
        let config = Config::new([self.address.clone()]).credentials(user, password);
        Client::connect(change(config)).await.expect("the server takes its administrator")
    }

    /// Runs `steadfast cli` against it.
    pub fn cli(&self, args: &[&str], input: &str) -> Output {
        let mut child = binary()
            .args(["cli", "--addr", &self.address, "--data"])
            .arg(&self.data)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary is there");
        // A command on the command line reads no input, so the pipe may be closed already.
        let _ = child.stdin.take().expect("it is piped").write_all(input.as_bytes());
        child.wait_with_output().expect("it ends")
    }

    /// What one command prints; it must succeed.
    pub fn answer(&self, args: &[&str]) -> String {
        let output = self.cli(args, "");
        assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it was killed");
    }

    /// SIGTERM, and the exit code.
    pub fn stop(mut self) -> ExitStatus {
        self.signal("TERM");
        self.child.wait().expect("it ends")
    }

    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(sent.expect("there is kill").success());
    }

    pub fn wait(&mut self) -> ExitStatus {
        self.child.wait().expect("it ends")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a server that must not start; gives its exit code and what it said.
pub fn refused(args: &[&str]) -> (i32, String) {
    let mut child = binary()
        .arg("serve")
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary is there");
    let mut errors = child.stderr.take().expect("it is piped");
    let (sender, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut said = Vec::new();
        let _ = errors.read_to_end(&mut said);
        let _ = sender.send(text(&said));
    });
    let said = ended.recv_timeout(Duration::from_secs(30));
    let _ = child.kill();
    let status = child.wait().expect("it ends");
    let said = said.expect("a server that must not start ends");
    (status.code().unwrap_or_else(|| panic!("it was killed: {said}")), said)
}

/// The administrator's user and password.
pub fn credentials(data: &Path) -> (String, String) {
    let file = fs::read_to_string(data.join("root-credentials")).expect("the server wrote its credentials");
    let mut lines = file.lines();
    let mut field =
        |name| lines.next().and_then(|line| line.strip_prefix(name)).expect("two lines").to_owned();
    (field("user "), field("password "))
}

/// An address at which nobody listens, and nobody will while the socket is held.
#[must_use]
pub fn address_of_nobody() -> (TcpSocket, String) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
    let address = socket.local_addr().expect("an address").to_string();
    (socket, address)
}

/// Addresses on which nobody listens, as far as that can be known.
pub fn free_addresses(count: usize) -> Vec<String> {
    let listeners: Vec<_> =
        (0..count).map(|_| TcpListener::bind("127.0.0.1:0").expect("loopback is there")).collect();
    listeners.iter().map(|listener| listener.local_addr().expect("it is bound").to_string()).collect()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end().to_owned()
}
