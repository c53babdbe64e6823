//! System calls of a server, as strace saw them: which, on what, with which bytes, when they began and ended.
//!
//! The order is to be trusted. strace notes a call's beginning while the thread is stopped before it, and its end while
//! the thread is stopped after it: what is noted as ended has ended, and what is noted later to begin had not begun.
//! The times of several strace processes are those of one machine's clock.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::skipped::skip;

/// The calls that write, sync or create.
const CALLS: &str = "trace=pwrite64,pwritev,fdatasync,fsync,write,writev,sendto,sendmsg,openat";
/// How many bytes of each call are noted; more than any batch of the tests' few and small writes.
const BYTES: usize = 16_384;

/// Whether strace can be used here.
///
/// # Panics
/// In continuous integration (the environment has `CI`), if it can't: there the test must not be skipped.
#[must_use]
pub fn available() -> bool {
    let tried = Command::new("strace").args(["-f", "-o", "/dev/null", "true"]).stdin(Stdio::null()).output();
    let why = match tried {
        Ok(output) if output.status.success() => return true,
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(error) => error.to_string(),
    };
    skip("what needs strace", &why, None);
    false
}

/// The command under which a server runs so that its calls are noted in this file. The tracer is a grandchild, so
/// that the server itself is the child that is signalled and waited for.
#[must_use]
pub fn tracer(file: &Path, preload: Option<&Path>) -> Vec<OsString> {
    let bytes = BYTES.to_string();
    let fixed =
        ["strace", "-D", "-f", "--seccomp-bpf", "-ttt", "-T", "-yy", "-xx", "-s", &bytes, "-e", CALLS, "-o"];
    let mut command: Vec<OsString> = fixed.into_iter().map(OsString::from).collect();
    command.push(file.into());
    if let Some(library) = preload {
        command.push("-E".into());
        command.push([OsString::from("LD_PRELOAD="), library.into()].into_iter().collect());
    }
    command
}

/// The command under which what these calls answer is forged; `how` is `error=EIO:when=3`, `retval=0` and the like.
/// strace counts the calls of each thread for itself. With files, only calls on those are counted and forged. What was
/// forged is noted.
#[must_use]
pub fn forger(calls: &str, how: &str, files: &[&Path], note: &Path) -> Vec<OsString> {
    let mut command: Vec<OsString> =
        ["strace", "-D", "-f", "-y", "-e"].into_iter().map(OsString::from).collect();
    command.push(format!("trace={calls}").into());
    command.push("-e".into());
    command.push(format!("inject={calls}:{how}").into());
    command.push("-o".into());
    command.push(note.into());
    for file in files {
        command.push("-P".into());
        command.push(file.into());
    }
    command
}

/// One call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The thread that made it. A process has the number of its first one.
    pub thread: u32,
    /// Its name.
    pub name: String,
    /// When it began, in microseconds.
    pub begun: u64,
    /// When it had ended, in microseconds.
    pub ended: u64,
    /// The file or socket that it is about; for `openat` the one that was opened.
    pub target: String,
    /// The bytes that were written, as far as they were noted.
    pub data: Vec<u8>,
    /// What it returned; below zero if it failed.
    pub result: i64,
    /// Its arguments as strace wrote them.
    pub args: String,
}

/// Reads a trace whose process has ended; `None` while strace is still writing.
///
/// # Panics
/// If a line can't be understood.
#[must_use]
pub fn read(file: &Path, process: u32) -> Option<Vec<Call>> {
    let text = fs::read_to_string(file).ok()?;
    let last = text.lines().next_back()?;
    let over = last.starts_with(&format!("{process} ")) && last.contains("+++ ");
    over.then(|| parse(&text))
}

/// Reads a trace.
///
/// # Panics
/// If a line can't be understood.
#[must_use]
pub fn parse(text: &str) -> Vec<Call> {
    let mut calls = Vec::new();
    let mut unfinished: Vec<(u32, u64, String)> = Vec::new();
    for line in text.lines() {
        let (thread, rest) = line.split_once(' ').expect("a line begins with a thread");
        let thread = thread.parse().unwrap_or_else(|_| panic!("no thread: {line}"));
        let (time, rest) = rest.trim_start().split_once(' ').expect("then comes the time");
        let time = micros(time);
        if rest.starts_with("+++") || rest.starts_with("---") {
            continue;
        }
        if let Some(begin) = rest.strip_suffix(" <unfinished ...>") {
            unfinished.push((thread, time, begin.to_owned()));
        } else if let Some(end) = rest.strip_prefix("<... ") {
            let at = unfinished.iter().position(|(of, ..)| *of == thread).expect("what is resumed has begun");
            let (_, begun, begin) = unfinished.swap_remove(at);
            let (_, end) = end.split_once(" resumed>").expect("the rest follows");
            calls.extend(call(thread, begun, Some(time), &format!("{begin}{end}")));
        } else {
            calls.extend(call(thread, time, None, rest));
        }
    }
    calls.sort_by_key(|call| call.begun);
    calls
}

/// A whole call; `None` for one that never returned because its process ended.
fn call(thread: u32, begun: u64, ended: Option<u64>, text: &str) -> Option<Call> {
    let (name, rest) = text.split_once('(').expect("a call has arguments");
    let (args, result) = rest.rsplit_once(" = ").expect("a call has a result");
    let (result, took) = match result.rsplit_once(" <") {
        Some((result, took)) => (result, micros(took.trim_end_matches('>'))),
        None => (result, 0),
    };
    if result.starts_with('?') {
        return None;
    }
    let number: String = result.chars().take_while(|c| *c == '-' || c.is_ascii_digit()).collect();
    let result_number: i64 = number.parse().unwrap_or_else(|_| panic!("no result: {text}"));
    let target = if name == "openat" { target_of(result) } else { target_of(args) };
    let mut data = if matches!(name, "openat" | "fdatasync" | "fsync") { Vec::new() } else { strings(args) };
    data.truncate(usize::try_from(result_number).unwrap_or(0));
    Some(Call {
        thread,
        name: name.to_owned(),
        begun,
        ended: ended.unwrap_or(begun + took),
        target,
        data,
        result: result_number,
        args: args.to_owned(),
    })
}

/// What a descriptor, written as `7<…>`, stands for.
fn target_of(text: &str) -> String {
    let Some((number, rest)) = text.split_once('<') else { return String::new() };
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return String::new();
    }
    // A socket's name has a `->` in it.
    let end = [">,", ">)"].iter().filter_map(|mark| rest.find(mark)).min().unwrap_or(rest.len());
    String::from_utf8_lossy(&unescaped(rest[..end].trim_end_matches('>'))).into_owned()
}

/// The bytes of all quoted strings, one after another.
fn strings(args: &str) -> Vec<u8> {
    args.split('"').skip(1).step_by(2).flat_map(unescaped).collect()
}

fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len() / 4);
    let mut rest = text.as_bytes();
    loop {
        match rest {
            [b'\\', b'x', high, low, tail @ ..] => {
                let digit = |byte: &u8| {
                    char::from(*byte).to_digit(16).expect("strace writes hexadecimal digits") as u8
                };
                bytes.push(digit(high) << 4 | digit(low));
                rest = tail;
            }
            [byte, tail @ ..] => {
                bytes.push(*byte);
                rest = tail;
            }
            [] => return bytes,
        }
    }
}

/// `seconds.micros` in microseconds.
fn micros(text: &str) -> u64 {
    let (seconds, micros) = text.split_once('.').unwrap_or_else(|| panic!("no time: {text}"));
    let number = |text: &str| text.parse::<u64>().unwrap_or_else(|_| panic!("no number: {text}"));
    number(seconds) * 1_000_000 + number(micros)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn calls_are_read_whole_and_in_two_parts() {
        let calls = parse(concat!(
            "12 5.000001 fdatasync(15<\\x2f\\x77> <unfinished ...>\n",
            "13 5.000010 writev(17<TCP:[127.0.0.1:1->127.0.0.1:2]>, [{iov_base=\"\\x53\\x46\", iov_len=2}, ",
            "{iov_base=\"\\x41\", iov_len=1}], 2) = 3 <0.000007>\n",
            "12 5.000020 <... fdatasync resumed>) = 0 <0.000018>\n",
            "12 6.000000 +++ exited with 0 +++\n",
        ));
        assert_eq!(calls.len(), 2);
        assert_eq!((calls[0].target.as_str(), calls[0].begun, calls[0].ended), ("/w", 5_000_001, 5_000_020));
        assert_eq!((calls[1].data.as_slice(), calls[1].ended), (&b"SFA"[..], 5_000_017));
        assert_eq!((calls[0].thread, calls[1].thread), (12, 13));
        assert_eq!(calls[1].target, "TCP:[127.0.0.1:1->127.0.0.1:2]");
    }

    #[test]
    fn only_what_was_taken_counts_as_written() {
        let calls = parse(
            "1 1.000000 sendto(3<TCP:[a:1->b:2]>, \"\\x41\\x42\\x43\", 3, 0, NULL, 0) = 1 <0.000001>\n",
        );
        assert_eq!(calls[0].data, b"A");
    }
}
