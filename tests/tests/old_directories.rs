//! Data directories that earlier releases wrote: this release starts on each of them and finds everything there, and it
//! writes what it would find again. `corpus/directories` has them, with what to ask and what must be answered.
//!
//! When a format of a file on disk changes, a directory of the release before it is kept, and one of the new release is
//! added: `STEADFAST_NEW_DIRECTORY=NAME cargo test -p steadfast-tests --test old_directories`.

use std::fs;
use std::path::{Path, PathBuf};

use steadfast_tests::binary;
use steadfast_tests::process::{Options, run, text};
use steadfast_tests::scratch::Scratch;

/// Questions begin with this, each on a line; the answer follows up to the next one.
const ASKED: &str = "> ";

/// What every new directory is asked.
const QUESTIONS: [&str; 9] = [
    "GET plain",
    "GET long",
    "GET counter",
    "GET deleted",
    "MGET row:0001 row:0120 row:0240",
    "SCAN row:000 COUNT 5",
    "GET unmarked:3",
    "USER SHOW ann",
    "PTTL lasting",
];

fn directories() -> PathBuf {
    binary::root().join("corpus/directories")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("it can be created");
    for entry in fs::read_dir(from).expect("it is there") {
        let entry = entry.expect("it is there");
        fs::copy(entry.path(), to.join(entry.file_name())).expect("it can be copied");
    }
}

/// What a server answers to these questions, in the form of the file.
fn asked<'a>(options: &Options, questions: impl Iterator<Item = &'a str>) -> String {
    let server = options.start();
    let mut book = String::new();
    for question in questions {
        let args: Vec<&str> = question.split(' ').collect();
        book += &format!("{ASKED}{question}\n{}\n", server.answer(&args));
    }
    assert_eq!(server.stop(), Some(0));
    book
}

#[test]
fn every_directory_of_an_earlier_release_is_read_and_nothing_is_missing() {
    let scratch = Scratch::new("old-directories");
    if let Ok(name) = std::env::var("STEADFAST_NEW_DIRECTORY") {
        write_new(&directories().join(name), &scratch);
    }
    let mut found = 0;
    for entry in fs::read_dir(directories()).expect("the corpus is there") {
        let directory = entry.expect("it is there").path();
        let data = scratch.join(directory.file_name().expect("a directory has a name"));
        copy(&directory.join("data"), &data);
        let mut verify = binary::command();
        verify.arg("verify").arg(&data);
        let verified = run(verify, b"");
        assert_eq!(verified.status.code(), Some(0), "{}: {}", directory.display(), text(&verified.stdout));
        let book = fs::read_to_string(directory.join("answers.txt")).expect("it says what to ask");
        let questions: Vec<&str> = book.lines().filter_map(|line| line.strip_prefix(ASKED)).collect();
        assert!(questions.len() >= QUESTIONS.len(), "{} asks too little", directory.display());
        let options = Options::single(&data);
        // Twice: what this release has made of it is read too.
        for _ in 0..2 {
            assert_eq!(asked(&options, questions.iter().copied()), book, "{}", directory.display());
        }
        found += 1;
    }
    assert!(found > 0, "there is no directory in {}", directories().display());
}

#[test]
fn a_directory_with_another_answer_than_expected_is_noticed() {
    let scratch = Scratch::new("old-directories");
    let options = Options::single(&scratch.join("data"));
    let server = options.start();
    let _ = server.credentials();
    server.answer(&["SET", "plain", "another"]);
    assert_eq!(server.stop(), Some(0));
    assert_ne!(asked(&options, ["GET plain"].into_iter()), format!("{ASKED}GET plain\n\"value\"\n"));
}

/// Writes a directory as this release does: several segments, a snapshot, and an end that was killed.
fn write_new(directory: &Path, scratch: &Scratch) {
    let data = scratch.join("new");
    let options = Options::single(&data).files(8 << 10, 24 << 10);
    let server = options.start();
    let _ = server.credentials();
    server.answer(&["SET", "plain", "value"]);
    server.answer(&["SET", "long", &"0123456789".repeat(90)]);
    server.answer(&["SET", "deleted", "value"]);
    server.answer(&["DEL", "deleted"]);
    server.answer(&["SET", "lasting", "value", "PX", "60000"]);
    server.answer(&["PERSIST", "lasting"]);
    server.answer(&["USER", "ADD", "ann", "correct-horse"]);
    server.answer(&["GRANT", "READ", "ON", "session:*", "TO", "ann"]);
    for number in 0..=240 {
        server.answer(&["SET", &format!("row:{number:04}"), &format!("{number} of the first life")]);
        server.answer(&["INCRBY", "counter", "1"]);
    }
    assert_eq!(server.stop(), Some(0));
    let server = options.start();
    (0..8).for_each(|number| {
        server.answer(&["SET", &format!("unmarked:{number}"), "written shortly before the end"]);
    });
    server.kill();
    copy(&data, &directory.join("data"));
    let book = asked(&options, QUESTIONS.into_iter());
    fs::write(directory.join("answers.txt"), book).expect("it can be written");
}
