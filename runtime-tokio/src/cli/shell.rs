//! `steadfast cli`: executes one command, or the commands of a pipe, or those that somebody types. Answers go to
//! standard output, errors to standard error; the exit code says the worst that happened.

use std::ffi::OsString;
use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::os::unix::ffi::OsStringExt;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::connect::{ConnectArgs, parse_time};
use super::typing::Terminal;
use super::{EXIT_FAILED, EXIT_INDETERMINATE, EXIT_OK, EXIT_USAGE, PAUSE, complain, render, say, words};
use crate::client::{Answer, Client, Error};

/// Longest line of a pipe, in bytes: more than the longest command that a server takes.
const LINE_BYTES: u64 = 16 << 20;

/// Options of `steadfast cli`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "EXIT CODES\n  0  every command was executed\n  1  a command failed, and did not take effect\n  \
    2  usage\n  3  a command has no answer, and may have taken effect\n  4  can't connect or log in"
)]
pub struct CliArgs {
    #[command(flatten)]
    connect: ConnectArgs,
    /// One JSON object per command, errors included
    #[arg(long, conflicts_with = "raw")]
    json: bool,
    /// Values as their own bytes, for other programs
    #[arg(long)]
    raw: bool,
    /// Try again for so long what fails in passing, such as while there is no leader or too much to do; never what may have
    /// taken effect. Counted for connecting, and for each command anew
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    retry: Option<Duration>,
    /// Stop at the first command that fails
    #[arg(long)]
    stop_on_error: bool,
    /// The command with its arguments, such as SET key value. Without one, each line of standard input is one: words
    /// are separated by blanks, quoted with '…' or "…", and # begins a comment
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

/// Runs it; gives the exit code.
#[must_use]
pub fn main(args: &CliArgs) -> u8 {
    // Everything after the first word belongs to the command, so an option that does not exist looks like one.
    if let Some(word) = args.command.first().filter(|word| word.as_encoded_bytes().starts_with(b"-")) {
        complain(&format!("no such option: {}; see `steadfast cli --help`", word.display()));
        return EXIT_USAGE;
    }
    super::with_client(&args.connect, args.retry, async |client| {
        let mut shell = Shell { args, client, worst: EXIT_OK };
        match shell.run().await {
            Ok(()) => {}
            // Nobody reads the answers any more, as in `steadfast cli … | head`.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            Err(error) => {
                complain(&format!("can't read or print: {error}"));
                shell.note(EXIT_FAILED);
            }
        }
        shell.client.close().await;
        shell.worst
    })
}

struct Shell<'a> {
    args: &'a CliArgs,
    client: Client,
    worst: u8,
}

impl Shell<'_> {
    async fn run(&mut self) -> io::Result<()> {
        if !self.args.command.is_empty() {
            let command = self.args.command.iter().cloned().map(OsStringExt::into_vec).collect();
            return self.execute(command).await;
        }
        let prompt = || format!("{}> ", self.args.connect.addresses().join(","));
        let interactive = io::stdin().is_terminal();
        let terminal = if interactive { Some(Terminal::new(prompt())?) } else { None };
        let lines = Lines::start(terminal)?;
        let mut number = 0_u64;
        while let Some(line) = lines.next().await? {
            number += 1;
            let command = match words::split(&line) {
                Ok(command) => command,
                Err(error) if interactive => {
                    complain(&error.to_string());
                    continue;
                }
                Err(error) => {
                    complain(&format!("line {number}: {error}"));
                    self.note(EXIT_USAGE);
                    if self.args.stop_on_error {
                        break;
                    }
                    continue;
                }
            };
            if interactive && matches!(command.as_slice(), [word] if is_farewell(word)) {
                break;
            }
            if !command.is_empty() {
                self.execute(command).await?;
                if self.args.stop_on_error && self.worst != EXIT_OK {
                    break;
                }
            }
        }
        if interactive {
            // What was typed was seen to fail or not.
            self.worst = EXIT_OK;
        }
        Ok(())
    }

    async fn execute(&mut self, command: Vec<Vec<u8>>) -> io::Result<()> {
        let until = self.args.retry.map(|retry| Instant::now() + retry);
        loop {
            match self.client.command(command.clone()).await {
                Ok(answer) => return self.show(&answer),
                Err(error) if again(&error, until) => sleep(PAUSE).await,
                Err(error) => return self.show_error(&error),
            }
        }
    }

    fn show(&self, answer: &Answer) -> io::Result<()> {
        if self.args.json {
            say(render::answer_json(answer).as_bytes())
        } else if self.args.raw {
            say(&render::raw(&answer.value))
        } else {
            say(render::plain(&answer.value).as_bytes())
        }
    }

    fn show_error(&mut self, error: &Error) -> io::Result<()> {
        self.note(if error.is_definite() { EXIT_FAILED } else { EXIT_INDETERMINATE });
        if self.args.json {
            return say(render::error_json(error).as_bytes());
        }
        let _ = writeln!(io::stderr().lock(), "{}", render::error_plain(error));
        Ok(())
    }

    /// Remembers the worst: unknown is worse than failed, and a broken script is worst.
    fn note(&mut self, code: u8) {
        let badness =
            |code| [EXIT_OK, EXIT_FAILED, EXIT_INDETERMINATE, EXIT_USAGE].iter().position(|c| *c == code);
        if badness(code) > badness(self.worst) {
            self.worst = code;
        }
    }
}

/// Whether a command is tried again after this error: it did not take effect, and there is time left.
fn again(error: &Error, until: Option<Instant>) -> bool {
    error.is_definite() && error.is_passing() && until.is_some_and(|until| Instant::now() + PAUSE < until)
}

fn is_farewell(word: &[u8]) -> bool {
    word.eq_ignore_ascii_case(b"quit") || word.eq_ignore_ascii_case(b"exit")
}

/// Lines of standard input, read on a thread of their own, each only when it is asked for: so that the client goes
/// on working while nobody types, and a prompt appears after the answer.
struct Lines {
    ask: mpsc::Sender<oneshot::Sender<io::Result<Option<Vec<u8>>>>>,
}

impl Lines {
    fn start(mut terminal: Option<Terminal>) -> io::Result<Self> {
        let (ask, asked) = mpsc::channel::<oneshot::Sender<_>>();
        thread::Builder::new().name("input".into()).spawn(move || {
            while let Ok(answer) = asked.recv() {
                let line = match &mut terminal {
                    Some(terminal) => terminal.line(),
                    None => read_line(&mut io::stdin().lock()),
                };
                let _ = answer.send(line);
            }
        })?;
        Ok(Self { ask })
    }

    async fn next(&self) -> io::Result<Option<Vec<u8>>> {
        let gone = || io::Error::other("the thread that reads the input is gone");
        let (answer, line) = oneshot::channel();
        self.ask.send(answer).map_err(|_| gone())?;
        line.await.map_err(|_| gone())?
    }
}

/// The next line without its end; `None` at the end of the input.
fn read_line(input: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let read = input.by_ref().take(LINE_BYTES).read_until(b'\n', &mut line)?;
    if read as u64 == LINE_BYTES && line.last() != Some(&b'\n') {
        return Err(io::Error::other(format!("a line is longer than {LINE_BYTES} bytes")));
    }
    Ok((read > 0).then_some(line))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli;
    use clap::Parser;

    fn parsed(line: &[&str]) -> CliArgs {
        #[derive(Parser)]
        struct Only {
            #[command(flatten)]
            args: CliArgs,
        }
        Only::try_parse_from([&["cli"], line].concat()).unwrap_or_else(|error| panic!("{error}")).args
    }

    #[test]
    fn options_come_before_the_command_and_everything_after_belongs_to_it() {
        let args = parsed(&["--json", "--addr", "a:1", "INCRBY", "k", "-5", "--json"]);
        assert!(args.json);
        assert_eq!(args.connect.addresses(), ["a:1"]);
        assert_eq!(args.command, ["INCRBY", "k", "-5", "--json"].map(OsString::from));
    }

    #[test]
    fn several_addresses_may_be_given() {
        assert_eq!(
            parsed(&["--addr", "a:1,b:2", "--addr", "c:3", "PING"]).connect.addr,
            ["a:1", "b:2", "c:3"]
        );
    }

    #[test]
    fn json_and_raw_exclude_each_other() {
        let line = ["steadfast", "cli", "--json", "--raw", "PING"];
        assert!(cli::Args::try_parse_from(line).is_err());
    }

    #[test]
    fn lines_end_at_a_line_end_or_at_the_end_of_the_input() {
        let mut input = &b"a\n\nb"[..];
        let mut next = || read_line(&mut input).expect("it can be read");
        assert_eq!(next(), Some(b"a\n".to_vec()));
        assert_eq!(next(), Some(b"\n".to_vec()));
        assert_eq!(next(), Some(b"b".to_vec()));
        assert_eq!(next(), None);
    }

    #[test]
    fn a_line_without_end_is_refused_before_it_fills_the_memory() {
        let mut endless = io::BufReader::new(io::repeat(b'x'));
        assert!(read_line(&mut endless).is_err());
    }
}
