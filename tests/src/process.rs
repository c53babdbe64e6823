//! One server process: started with its log in a file, killed or stopped, and its log printed if the test fails.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use crate::binary;
use crate::raw::RawClient;
use crate::scratch::wait_for;

/// How many of the log's last bytes a failed test prints.
const TAIL: usize = 6000;

/// How to start a server.
#[derive(Clone, Debug)]
pub struct Options {
    data: PathBuf,
    /// Banner and log are named after it; where the data lies, unless that was moved.
    beside: PathBuf,
    args: Vec<String>,
    tracer: Vec<OsString>,
    preload: Option<PathBuf>,
    env: Vec<(&'static str, String)>,
}

impl Options {
    /// A single node with its data here, on a free port.
    #[must_use]
    pub fn single(data: &Path) -> Self {
        Self::new(data, ["--listen", "127.0.0.1:0"])
    }

    /// A node with these arguments of `serve`.
    #[must_use]
    pub fn new(data: &Path, args: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let args = args.into_iter().map(Into::into).collect();
        Self {
            data: data.to_owned(),
            beside: data.to_owned(),
            args,
            tracer: Vec::new(),
            preload: None,
            env: Vec::new(),
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: &str) -> Self {
        self.args.push(arg.to_owned());
        self
    }

    /// Takes an argument away.
    #[must_use]
    pub fn without(mut self, arg: &str) -> Self {
        self.args.retain(|it| it != arg);
        self
    }

    /// Moves the data to another place, such as a file system of its own; banner and log stay.
    #[must_use]
    pub fn data_at(mut self, data: &Path) -> Self {
        data.clone_into(&mut self.data);
        self
    }

    /// Segments of the log of 32 KiB, and a snapshot after every 64 KiB.
    #[must_use]
    pub fn small_files(self) -> Self {
        self.files(32 << 10, 64 << 10)
    }

    /// Segments of the log of so many bytes, and a snapshot after every so many.
    #[must_use]
    pub fn files(mut self, segment: u64, snapshot: u64) -> Self {
        self.env.retain(|(name, _)| ![binary::SEGMENT_BYTES, binary::SNAPSHOT_BYTES].contains(name));
        self.env.push((binary::SEGMENT_BYTES, segment.to_string()));
        self.env.push((binary::SNAPSHOT_BYTES, snapshot.to_string()));
        self
    }

    /// Sets the wall clock off by so many milliseconds, and has both clocks drift by so many millionths.
    #[must_use]
    pub fn clocks(mut self, wall_ms: i64, drift_ppm: i32) -> Self {
        self.env.push((binary::WALL_MS, wall_ms.to_string()));
        self.env.push((binary::DRIFT_PPM, drift_ppm.to_string()));
        self
    }

    /// Runs the server under this command, which must end up as the server's process itself.
    #[must_use]
    pub fn under(mut self, tracer: Vec<OsString>) -> Self {
        self.tracer = tracer;
        self
    }

    /// Loads this library before libc.
    #[must_use]
    pub fn preload(mut self, library: PathBuf) -> Self {
        self.preload = Some(library);
        self
    }

    /// Where the data lies.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.data
    }

    fn command(&self) -> Command {
        let mut command = match self.tracer.split_first() {
            None => Command::new(binary::path()),
            Some((tracer, args)) => {
                let mut command = Command::new(tracer);
                command.args(args).arg(binary::path());
                command
            }
        };
        binary::clean(&mut command);
        if let Some(library) = &self.preload {
            command.env("LD_PRELOAD", library);
        }
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command.args(["serve", "--data"]).arg(&self.data).args(&self.args);
        command
    }

    /// Runs a server that must not start; gives its exit code and what it said.
    ///
    /// # Panics
    /// If it starts.
    #[must_use]
    pub fn refused(&self) -> (i32, String) {
        self.try_start().expect_err("a server to refuse to start")
    }

    /// Starts a server that may refuse to; its exit code then, and what it said.
    ///
    /// # Errors
    /// If it ends before its banner.
    ///
    /// # Panics
    /// If it does neither, or is killed.
    pub fn try_start(&self) -> Result<Process, (i32, String)> {
        let mut process = self.launch();
        let ended = wait_for("a server's banner or end", || match process.is_running() {
            true => process.look_for_banner().map(|()| false),
            false => Some(true),
        });
        match ended {
            false => Ok(process),
            true => Err((process.wait().expect("it was not killed"), process.log_of_this_life())),
        }
    }

    /// Starts a server and waits for its banner.
    ///
    /// # Panics
    /// With the log, if it ends before that.
    #[must_use]
    pub fn start(&self) -> Process {
        let mut process = self.launch();
        wait_for("a server's banner", || {
            let ended = process.child.try_wait().expect("a child can be waited for");
            assert!(ended.is_none(), "the server ended before its banner ({ended:?}):\n{}", process.log());
            process.look_for_banner()
        });
        process
    }

    /// Starts a server and waits for nothing.
    ///
    /// # Panics
    /// If the system can't.
    #[must_use]
    pub fn launch(&self) -> Process {
        let name = self.beside.file_name().map_or("node".into(), |name| name.to_string_lossy().into_owned());
        let beside = |ending| self.beside.with_file_name(format!("{name}.{ending}"));
        let (out, log) = (beside("banner"), beside("log"));
        fs::create_dir_all(out.parent().expect("the data lies in a directory")).expect("it can be created");
        let file = |path: &Path, append: bool| {
            File::options().create(true).write(true).append(append).truncate(!append).open(path)
        };
        let log_from = fs::metadata(&log).map_or(0, |log| log.len() as usize);
        let child = self
            .command()
            .stdin(Stdio::null())
            .stdout(file(&out, false).expect("a file can be created"))
            .stderr(file(&log, true).expect("a file can be created"))
            .spawn()
            .unwrap_or_else(|error| panic!("can't run {:?}: {error}", self.command()));
        Process {
            child,
            data: self.data.clone(),
            out,
            log,
            log_from,
            banner: String::new(),
            address: String::new(),
            ended: None,
        }
    }
}

/// A server process; killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    data: PathBuf,
    out: PathBuf,
    log: PathBuf,
    /// How much its predecessors had logged.
    log_from: usize,
    /// What it printed when it was ready.
    pub banner: String,
    /// Where it listens.
    pub address: String,
    ended: Option<ExitStatus>,
}

impl Process {
    /// A single node on a free port with its data in this directory.
    #[must_use]
    pub fn single(data: &Path) -> Self {
        Options::single(data).start()
    }

    fn look_for_banner(&mut self) -> Option<()> {
        let text = fs::read_to_string(&self.out).ok()?;
        if !text.contains("\n  try ") || !text.ends_with('\n') {
            return None;
        }
        let address = text.lines().find_map(|line| line.trim().strip_prefix("address"));
        self.address = address.expect("the banner names the address").trim().to_owned();
        self.banner = text;
        Some(())
    }

    /// Where the data lies.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Everything that it and its predecessors on the same data logged.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// What it logged itself.
    #[must_use]
    pub fn log_of_this_life(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        text(log.get(self.log_from..).unwrap_or_default())
    }

    /// The process's number.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The administrator's user and password.
    #[must_use]
    pub fn credentials(&self) -> (String, String) {
        wait_for("root-credentials", || credentials(&self.data))
    }

    /// A raw connection, logged in as the administrator.
    #[must_use]
    pub fn raw(&self) -> RawClient {
        let (user, password) = self.credentials();
        RawClient::login(&self.address, &user, &password)
    }

    /// The same, or nothing if it ends before that.
    #[must_use]
    pub fn try_raw(&mut self) -> Option<RawClient> {
        wait_for("a login, or a server to end", || {
            if !self.is_running() {
                return Some(None);
            }
            let (user, password) = credentials(&self.data)?;
            RawClient::try_login(&self.address, &user, &password).map(Some)
        })
    }

    /// Runs `steadfast cli` against it, with the credentials of its data directory.
    ///
    /// # Panics
    /// If it can't be run.
    #[must_use]
    pub fn cli(&self, args: &[&str], input: &[u8]) -> Output {
        let mut command = binary::command();
        command.args(["cli", "--addr", &self.address, "--data"]).arg(&self.data).args(args);
        run(command, input)
    }

    /// What one command prints; it must succeed.
    ///
    /// # Panics
    /// If it does not.
    pub fn answer(&self, args: &[&str]) -> String {
        let output = self.cli(args, b"");
        assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// SIGKILL; returns when it is gone.
    pub fn kill(mut self) {
        self.end();
    }

    /// Sends SIGTERM, and returns at once.
    pub fn terminate(&self) {
        self.signal("TERM");
    }

    /// SIGTERM, and the exit code once it is gone.
    #[must_use]
    pub fn stop(mut self) -> Option<i32> {
        self.terminate();
        self.wait()
    }

    /// The exit code, once it is gone.
    ///
    /// # Panics
    /// If it does not end in time.
    pub fn wait(&mut self) -> Option<i32> {
        let status =
            wait_for("a server to end", || self.child.try_wait().expect("a child can be waited for"));
        self.ended = Some(status);
        status.code()
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// If the process is gone already.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.id().to_string()]).status();
        assert!(sent.expect("there is kill").success(), "the process is there");
    }

    /// Whether it still runs.
    #[must_use]
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child can be waited for").is_none()
    }

    fn end(&mut self) {
        if self.ended.is_none() {
            let _ = self.child.kill();
            self.ended = self.child.wait().ok();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
        if std::thread::panicking() {
            let log = self.log();
            let cut = log.len().saturating_sub(TAIL);
            let from = (cut..log.len()).find(|at| log.is_char_boundary(*at)).unwrap_or(log.len());
            eprintln!("--- {} (the end of it) ---\n{}", self.log.display(), &log[from..]);
        }
    }
}

/// Runs a command with this input and waits for it.
///
/// # Panics
/// If it can't be run.
#[must_use]
pub fn run(mut command: Command, input: &[u8]) -> Output {
    use std::io::Write;
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("can't run {command:?}: {error}"));
    // A command that reads no input may have closed the pipe already.
    let _ = child.stdin.take().expect("it is piped").write_all(input);
    child.wait_with_output().expect("a child can be waited for")
}

/// The administrator's user and password, once a server wrote them into its data directory.
#[must_use]
pub fn credentials(data: &Path) -> Option<(String, String)> {
    let file = fs::read_to_string(data.join("root-credentials")).ok()?;
    let mut lines = file.lines();
    let user = lines.next()?.strip_prefix("user ")?.to_owned();
    Some((user, lines.next()?.strip_prefix("password ")?.to_owned()))
}

/// A program's output as text.
#[must_use]
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end().to_owned()
}
