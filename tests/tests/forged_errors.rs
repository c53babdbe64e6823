//! Every kind of call to the disk fails once, at one moment or another: strace forges the answer of the kernel. The server
//! stops and says on which file and why, and the next start finds every acknowledged write.

#![cfg(target_os = "linux")]

use std::fs;
use std::path::{Path, PathBuf};

use steadfast_tests::ledger::{Ledger, Told};
use steadfast_tests::process::{Options, Process};
use steadfast_tests::scratch::{Scratch, wait_for};
use steadfast_tests::strace;

/// Writes after which a forged answer must have come.
const WRITES: usize = 200;
/// Their length.
const VALUE: usize = 600;

#[test]
fn a_sync_that_fails_at_whatever_call_stops_the_node_and_loses_nothing() {
    if !strace::available() {
        return;
    }
    let mut story = Story::begin();
    for at in [1, 2, 3, 4, 7, 20, 60] {
        let (note, stopped) = story.fails("fdatasync", "EIO", at);
        assert!(stopped, "a node does not go on after a failed sync");
        let mut syncs = note.lines().skip_while(|line| !line.contains("(INJECTED)"));
        let failed = target(syncs.next().expect("it failed"));
        assert_eq!(syncs.find(|line| target(line) == failed), None, "a failed sync is not tried again");
    }
    for at in [1, 2, 3] {
        let (_, stopped) = story.fails("fsync", "EIO", at);
        assert!(stopped, "a node does not go on after a failed sync of its directory");
    }
    story.end();
}

#[test]
fn a_write_that_fails_at_whatever_call_loses_nothing() {
    if !strace::available() {
        return;
    }
    let mut story = Story::begin();
    for (error, at) in
        [("ENOSPC", 1), ("ENOSPC", 4), ("ENOSPC", 30), ("EDQUOT", 2), ("EDQUOT", 25), ("EIO", 12)]
    {
        story.fails("pwrite64", error, at);
    }
    for (call, at) in [("rename,renameat,renameat2", 1), ("unlink,unlinkat", 1), ("ftruncate", 1)] {
        story.fails(call, "EIO", at);
    }
    story.end();
}

#[test]
fn a_file_that_cannot_be_read_at_a_start_is_named_and_nothing_is_lost() {
    if !strace::available() {
        return;
    }
    let mut story = Story::begin();
    let server = story.options.start();
    story.ledger.write_all(&mut server.raw(), WRITES, VALUE);
    assert_eq!(server.stop(), Some(0));
    let files = story.files();
    for kind in ["hard-", "wal-", "snapshot-"] {
        let file =
            files.iter().rfind(|file| name(file).starts_with(kind)).expect("there is one of each kind");
        let note = story.scratch.join("note");
        let forger = strace::forger("pread64", "error=EIO", &[file], &note);
        let (code, said) = match story.options.clone().under(forger).try_start() {
            Err(refused) => refused,
            Ok(server) => panic!("it started without {}: {}", file.display(), server.log()),
        };
        assert!(code == 5 || code == 6, "exit code {code}: {said}");
        for words in [name(file).as_str(), "Input/output error"] {
            assert!(said.contains(words), "{words:?} is not in {said}");
        }
    }
    story.end();
}

/// One node through many failures.
struct Story {
    scratch: Scratch,
    options: Options,
    ledger: Ledger,
}

impl Story {
    fn begin() -> Self {
        let scratch = Scratch::new("forged-errors");
        let options = Options::single(&scratch.join("data")).small_files();
        assert_eq!(options.start().stop(), Some(0), "a cluster is founded");
        Self { scratch, options, ledger: Ledger::default() }
    }

    /// A start, and writes, during which each thread's so many-th call fails. What strace noted, and whether the node stopped.
    fn fails(&mut self, call: &str, error: &str, at: u32) -> (String, bool) {
        let note = self.scratch.join("note");
        let how = format!("error={error}:when={at}");
        let options = self.options.clone().under(strace::forger(call, &how, &[], &note));
        let ended = match options.try_start() {
            Ok(server) => self.write(server),
            Err(ended) => Some(ended),
        };
        let noted = wait_for("strace to end", || {
            fs::read_to_string(&note)
                .ok()
                .filter(|text| text.contains("+++ exited") || text.contains("+++ killed"))
        });
        assert!(noted.contains("(INJECTED)"), "{call} did not fail with {error} at call {at}:\n{noted}");
        if let Some((code, said)) = &ended {
            let words = if error == "EIO" { "the disk failed" } else { "the disk is full" };
            assert!(
                *code == 5 && said.contains(words),
                "{call}, {how}: exit code {code}, and {words:?} not in {said}"
            );
            assert!(!said.contains("panicked"), "{said}");
        }
        self.nothing_is_lost(&format!("{call}, {how}"));
        (noted, ended.is_some())
    }

    /// Writes until the server is gone, if it goes; its exit code then, and what it said.
    fn write(&mut self, mut server: Process) -> Option<(i32, String)> {
        let client = server.try_raw();
        let gone = client.is_none_or(|mut client| {
            (0..WRITES).any(|_| self.ledger.write(&mut client, VALUE) == Told::Unknown)
        });
        if !gone && server.is_running() {
            server.kill();
            return None;
        }
        Some((server.wait().expect("it was not killed"), server.log_of_this_life()))
    }

    fn nothing_is_lost(&self, after: &str) {
        let server = self.options.start();
        assert_eq!(self.ledger.wrong(&mut server.raw()), [] as [&str; 0], "after {after}");
        server.kill();
    }

    /// In the end there is something to lose, and a book that lies is contradicted.
    fn end(mut self) {
        let server = self.options.start();
        let mut client = server.raw();
        self.ledger.write_all(&mut client, 5, VALUE);
        assert_eq!(self.ledger.wrong(&mut client), [] as [&str; 0]);
        let told = self.ledger.clone().delete(&mut client);
        assert!(told.is_ok(), "{told:?}");
        assert_eq!(self.ledger.wrong(&mut client).len(), 1, "what is gone is missed");
    }

    fn files(&self) -> Vec<PathBuf> {
        let found = fs::read_dir(self.options.data()).expect("it is there");
        let mut files: Vec<PathBuf> = found.map(|file| file.expect("it can be listed").path()).collect();
        files.sort();
        files
    }
}

fn name(file: &Path) -> String {
    file.file_name().expect("a file has a name").to_string_lossy().into_owned()
}

/// The file that a noted call is about.
fn target(line: &str) -> Option<&str> {
    line.split_once('<')?.1.split_once('>').map(|(file, _)| file)
}
