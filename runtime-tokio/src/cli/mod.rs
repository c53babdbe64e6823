//! The command line of `steadfast`: what it takes, and who does it.
//!
//! | file | job |
//! |---|---|
//! | `serve.rs` | `steadfast serve`, and `steadfast` alone |
//! | `settings.rs` | its settings, from options and a file |
//! | `shell.rs` | `steadfast cli` |
//! | `typing.rs` | lines that somebody types at its prompt |
//! | `status.rs` | `steadfast status` |
//! | `cluster.rs` | `steadfast cluster` |
//! | `watch.rs`, `observe.rs` | `steadfast watch`, `steadfast observe` |
//! | `bench` | `steadfast bench` |
//! | `verify.rs` | `steadfast verify` |
//! | `repair.rs` | `steadfast repair` |
//! | `recover.rs` | `steadfast recover` |
//! | `offline.rs` | what those three share: a directory that no server uses |
//! | `connect.rs` | the options by which `cli`, `watch`, `observe`, `bench`, `status` and `cluster` find and enter a cluster |
//! | `credentials.rs` | where a password comes from |
//! | `words.rs` | a line becomes words |
//! | `render.rs` | an answer becomes text |

pub mod bench;
pub mod cluster;
pub mod connect;
pub mod credentials;
pub mod observe;
mod offline;
pub mod recover;
pub mod render;
pub mod repair;
pub mod serve;
pub mod settings;
pub mod shell;
pub mod status;
mod typing;
pub mod verify;
pub mod watch;
pub mod words;

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use tokio::time::sleep;

use crate::client::Client;
use crate::server::config::ServerConfig;

/// Everything went well.
pub const EXIT_OK: u8 = 0;
/// A command failed, and did not take effect.
pub const EXIT_FAILED: u8 = 1;
/// The command line is wrong.
pub const EXIT_USAGE: u8 = 2;
/// A command has no answer, and may have taken effect.
pub const EXIT_INDETERMINATE: u8 = 3;
/// The cluster can't be reached or entered.
pub const EXIT_CONNECT: u8 = 4;

/// Steadfast, a durable replicated key-value database for coordination state.
///
/// Without a command, it serves: a single durable node on 127.0.0.1:7878 with its data in ./steadfast-data.
#[derive(Debug, Parser)]
#[command(name = "steadfast", version)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs a node.
    Serve(serve::ServeArgs),
    /// Executes commands: one, those of a pipe, or those that you type.
    Cli(shell::CliArgs),
    /// Prints what happens to keys, until it is stopped.
    Watch(watch::WatchArgs),
    /// Prints who leads an election, now and whenever that changes, until it is stopped.
    Observe(observe::ObserveArgs),
    /// Loads a cluster, and says how much it takes and how long each answer does.
    Bench(bench::BenchArgs),
    /// Shows where a cluster stands.
    Status(status::StatusArgs),
    /// Shows who belongs to a cluster, and changes it.
    Cluster(cluster::ClusterArgs),
    /// Reads everything in the data directory of a stopped node, and says what is damaged. Changes nothing.
    Verify(verify::VerifyArgs),
    /// Gives up the end of a damaged log that nobody else has. The last resort.
    Repair(repair::RepairArgs),
    /// Makes a cluster of one out of what one node has, after the majority was lost for good. The last resort.
    Recover(recover::RecoverArgs),
}

/// The whole program.
#[must_use]
pub fn main() -> ExitCode {
    main_with(|_| {})
}

/// The same with a last change to a node's configuration, for programs that need what no option sets.
#[must_use]
pub fn main_with(change: fn(&mut ServerConfig)) -> ExitCode {
    let code = match Args::parse().command.unwrap_or_else(|| Command::Serve(serve::ServeArgs::default())) {
        Command::Serve(args) => serve::main(&args, change),
        Command::Cli(args) => shell::main(&args),
        Command::Watch(args) => watch::main(&args),
        Command::Observe(args) => observe::main(&args),
        Command::Bench(args) => bench::main(&args),
        Command::Status(args) => status::main(&args),
        Command::Cluster(args) => cluster::main(&args),
        Command::Verify(args) => verify::main(&args),
        Command::Repair(args) => repair::main(&args),
        Command::Recover(args) => recover::main(&args),
    };
    ExitCode::from(code)
}

/// Pause before what failed in passing is tried again.
const PAUSE: Duration = Duration::from_millis(200);

/// A tokio runtime on this thread alone.
fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// Connects, trying again for so long if that is said, lets the client do its work, and gives the exit code.
fn with_client(
    connect: &connect::ConnectArgs,
    retry: Option<Duration>,
    work: impl AsyncFnOnce(Client) -> u8,
) -> u8 {
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("the system refused a runtime: {error}"));
            return EXIT_CONNECT;
        }
    };
    runtime.block_on(async {
        let until = retry.map(|retry| Instant::now() + retry);
        loop {
            match connect.connect().await {
                Ok(client) => return work(client).await,
                Err(refusal)
                    if refusal.passing && until.is_some_and(|until| Instant::now() + PAUSE < until) =>
                {
                    sleep(PAUSE).await;
                }
                Err(refusal) => {
                    complain(&refusal.text);
                    return EXIT_CONNECT;
                }
            }
        }
    })
}

/// Prints a line to standard output. Whoever reads it may have gone, as in `steadfast cli … | head`; that is no
/// error of ours.
fn say(line: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(line).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush())
}

/// Prints what went wrong to standard error, where nobody may listen.
fn complain(text: &str) {
    let _ = writeln!(io::stderr().lock(), "steadfast: {text}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_options_do_not_contradict_each_other() {
        Args::command().debug_assert();
    }

    #[test]
    fn without_a_command_it_serves() {
        assert!(Args::parse_from(["steadfast"]).command.is_none());
    }

    #[test]
    fn wrong_options_are_usage_errors() {
        for line in
            [&["steadfast", "fly"][..], &["steadfast", "serve", "--peer", "x"], &["steadfast", "--data", "x"]]
        {
            assert_eq!(
                Args::try_parse_from(line).expect_err("it is refused").exit_code(),
                i32::from(EXIT_USAGE)
            );
        }
    }
}
