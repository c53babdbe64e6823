//! `steadfast serve`: runs a node until it is told to stop. The banner goes to standard output, logs and errors to
//! standard error.

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{io, thread};

use clap::Args;
use steadfast_core::config::AccessMode;
use steadfast_core::io::FileName;
use steadfast_core::types::NodeId;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{oneshot, watch};

use super::settings::Settings;
use super::{EXIT_USAGE, complain, say};
use crate::server::config::{DEFAULT_ADDRESS, DEFAULT_DATA, ServerConfig};
use crate::server::ending::{EXIT_START, EXIT_UNFINISHED, Ending};
use crate::server::logging;
use crate::server::{Progress, Server};

/// How long the banner of a single node waits for the node to be ready.
const READY: Duration = Duration::from_secs(10);
/// How long it waits for a credentials file, which the operator may have removed long ago, or for a cluster's leader.
const BRIEFLY: Duration = Duration::from_millis(500);

/// Options of `steadfast serve`.
#[derive(Clone, Debug, Default, Args)]
#[command(after_help = "A cluster of three, one line on each machine:\n  \
    steadfast serve --id 1 --listen 10.0.0.1:7878 --peer 2=10.0.0.2:7878 --peer 3=10.0.0.3:7878\n  \
    steadfast serve --id 2 --listen 10.0.0.2:7878 --peer 1=10.0.0.1:7878 --peer 3=10.0.0.3:7878\n  \
    steadfast serve --id 3 --listen 10.0.0.3:7878 --peer 1=10.0.0.1:7878 --peer 2=10.0.0.2:7878\n\n\
    One more, which joins them; then tell them of it (steadfast cluster add 4 10.0.0.4:7878):\n  \
    steadfast serve --join --id 4 --listen 10.0.0.4:7878 --peer 1=10.0.0.1:7878\n\n\
    EXIT CODES\n  0  stopped as asked\n  1  could not start\n  2  usage\n  5  the disk failed or is full\n  \
    6  the data can't be used as it is\n  7  stopped with work unanswered\n  70 an error in the program")]
pub struct ServeArgs {
    /// A file with settings, in TOML; its keys are the names of these options, which come before it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
}

impl ServeArgs {
    /// All settings, those of the file included.
    fn settle(&self) -> Result<Settings, String> {
        match &self.config {
            Some(file) => Ok(self.settings.clone().or(Settings::read(file)?)),
            None => Ok(self.settings.clone()),
        }
    }
}

/// Runs it, with a last change to its configuration; gives the exit code.
#[must_use]
pub fn main(args: &ServeArgs, change: fn(&mut ServerConfig)) -> u8 {
    let settled = args.settle().and_then(|settings| Ok((settings.config()?, settings)));
    let (mut config, settings) = match settled {
        Ok(settled) => settled,
        Err(text) => {
            complain(&text);
            return EXIT_USAGE;
        }
    };
    logging::start(settings.log_format.unwrap_or_default(), settings.log_level.unwrap_or_default());
    change(&mut config);
    match super::runtime() {
        Ok(runtime) => {
            let code = runtime.block_on(serve(&config));
            // A name that is being resolved for a peer holds up nothing.
            runtime.shutdown_background();
            code
        }
        Err(error) => {
            complain(&format!("the system refused a runtime: {error}"));
            EXIT_START
        }
    }
}

async fn serve(config: &ServerConfig) -> u8 {
    // Before anything else, so that no signal finds the process half started.
    let stop = match listen() {
        Ok(stop) => stop,
        Err(error) => {
            complain(&format!("can't listen to signals: {error}"));
            return EXIT_START;
        }
    };
    let server = match Server::start(config).await {
        Ok(server) => server,
        Err(error) => {
            complain(&error.to_string());
            return error.exit_code();
        }
    };
    let banner = Banner {
        program: std::env::args().next().unwrap_or_else(|| "steadfast".into()),
        address: config.address(server.address()),
        data: config.data.clone(),
        members: config.peers.len() + 1,
        id: config.id,
        cluster: config.cluster.clone(),
        open: config.access == AccessMode::InsecureNoAuth,
        fresh: server.is_fresh(),
    };
    let progress = server.progress();
    tokio::spawn(async move {
        if banner.is_due(progress).await {
            let _ = say(banner.text().as_bytes());
        }
    });
    let ending = server.run(async { drop(stop.await) }).await;
    match &ending {
        Ending::Halted(steadfast_core::io::HaltReason::Stopped) => tracing::info!("stopped"),
        other => complain(&other.in_words(&config.data).to_string()),
    }
    ending.exit_code()
}

/// What an operator sees first.
struct Banner {
    /// As it was called: a shell finds it by the same word again.
    program: String,
    address: String,
    data: PathBuf,
    members: usize,
    id: NodeId,
    cluster: String,
    open: bool,
    fresh: bool,
}

impl Banner {
    /// Waits until the command that the banner names would work, or for as long as an operator should wait. False
    /// if the node has halted.
    async fn is_due(&self, progress: watch::Receiver<Progress>) -> bool {
        // A cluster may have to wait long for its other nodes, and its operator not for this.
        let patience = if self.members == 1 { READY } else { BRIEFLY };
        tokio::time::timeout(patience, self.is_ready(progress)).await.unwrap_or(true)
    }

    async fn is_ready(&self, mut progress: watch::Receiver<Progress>) -> bool {
        if progress.wait_for(|progress| progress.leader.is_some()).await.is_err() {
            return false;
        }
        let waits = self.members == 1 && !self.open && (self.fresh || !self.credentials().exists());
        if !waits {
            return true;
        }
        let created = progress.wait_for(|progress| progress.root_created);
        let patience = if self.fresh { READY } else { BRIEFLY };
        match tokio::time::timeout(patience, created).await {
            Ok(created) => created.is_ok(),
            Err(_) => true,
        }
    }

    fn credentials(&self) -> PathBuf {
        self.data.join(FileName::RootCredentials.to_string())
    }

    fn text(&self) -> String {
        let data = if self.data.is_relative() && !self.data.starts_with(".") {
            Path::new(".").join(&self.data)
        } else {
            self.data.clone()
        };
        let credentials = data.join(FileName::RootCredentials.to_string());
        let login = if self.open {
            "none are asked for: everybody who can connect is an administrator".to_owned()
        } else if self.members > 1 && !credentials.exists() {
            format!("{} on the node that led first", credentials.display())
        } else if credentials.exists() {
            credentials.display().to_string()
        } else {
            format!("those that you know; {} was removed", credentials.display())
        };
        format!(
            "steadfast {version}, node {id} of {members} in cluster \"{cluster}\"\n  \
             address      {address}\n  data         {data}\n  credentials  {login}\n  try          {hint}",
            version = env!("CARGO_PKG_VERSION"),
            id = self.id,
            members = self.members,
            cluster = self.cluster,
            address = self.address,
            data = data.display(),
            hint = self.hint(),
        )
    }

    /// The next command to try, as short as the defaults allow.
    fn hint(&self) -> String {
        let mut words = vec![format!("{} cli", quoted_for_shell(&self.program))];
        if self.address != DEFAULT_ADDRESS {
            words.push(format!("--addr {}", self.address));
        }
        if !self.open && self.data != Path::new(DEFAULT_DATA) {
            words.push(format!("--data {}", quoted_for_shell(&self.data.display().to_string())));
        }
        words.push("SET greeting hello".into());
        words.join(" ")
    }
}

fn quoted_for_shell(text: &str) -> String {
    let plain = |char: char| char.is_ascii_alphanumeric() || "/._-+=:,@".contains(char);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// The signals that ask for the end.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}

/// Ready at the first signal. A second one ends the process at once, whatever the server's thread is doing: these are heard on another.
fn listen() -> io::Result<oneshot::Receiver<()>> {
    let runtime = super::runtime()?;
    let mut signals = {
        let _runtime = runtime.enter();
        Signals::new()?
    };
    let (stop, asked) = oneshot::channel();
    let hear = async move {
        signals.next().await;
        let _ = stop.send(());
        signals.next().await;
        complain("stopped at once, as asked twice: clients may miss answers");
        std::process::exit(i32::from(EXIT_UNFINISHED));
    };
    thread::Builder::new().name("signals".into()).spawn(move || runtime.block_on(hear))?;
    Ok(asked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli;
    use clap::Parser;

    fn banner() -> Banner {
        Banner {
            program: "steadfast".into(),
            address: DEFAULT_ADDRESS.into(),
            data: DEFAULT_DATA.into(),
            members: 1,
            id: NodeId(1),
            cluster: "steadfast".into(),
            open: false,
            fresh: true,
        }
    }

    #[test]
    fn the_next_command_to_try_is_short_with_the_defaults_and_complete_without() {
        assert_eq!(banner().hint(), "steadfast cli SET greeting hello");
        let program = "target/release/steadfast".into();
        let other = Banner { program, address: "[::1]:1".into(), data: "/my data".into(), ..banner() };
        let wanted = "target/release/steadfast cli --addr [::1]:1 --data '/my data' SET greeting hello";
        assert_eq!(other.hint(), wanted);
    }

    #[test]
    fn the_banner_says_where_everything_is() {
        let text = banner().text();
        for part in ["127.0.0.1:7878", "./steadfast-data", "root-credentials", "SET greeting hello"] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn options_are_taken_whatever_a_file_says_and_nonsense_is_not() {
        let settings = |line: &str| match cli::Args::try_parse_from(line.split(' ')).ok()?.command? {
            cli::Command::Serve(args) => args.settle().ok(),
            _ => None,
        };
        let open = settings("steadfast serve --insecure-no-auth --id 1 --peer 2=h:1 --peer 3=h:2")
            .expect("accepted");
        assert_eq!((open.insecure_no_auth, open.id, open.peer.len()), (Some(true), Some(1), 2));
        assert_eq!(settings("steadfast serve --id 1 --peer 2"), None);
        assert_eq!(settings("steadfast serve --log-level loud"), None);
        assert_eq!(settings("steadfast serve --config /does/not/exist"), None);
    }
}
