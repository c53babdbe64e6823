//! The pages under `docs/` that list commands and errors say what the code says.
//!
//! `STEADFAST_WRITE_DOCS=1 cargo test -p steadfast-core --test docs` prints `docs/commands.md` anew.

// A test may read its environment and files; the core may not.
#![allow(clippy::disallowed_methods)]

use std::path::{Path, PathBuf};

use steadfast_core::command::catalogue;
use steadfast_core::error::{Certainty, ErrorCode};

fn page(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name)
}

/// The difference between a page of errors and the table in the code, if there is one.
fn difference(page: &str) -> Option<String> {
    let rows: Vec<Vec<&str>> = page
        .lines()
        .filter(|line| line.starts_with("| ") && line.as_bytes().get(2).is_some_and(u8::is_ascii_digit))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    if rows.len() != ErrorCode::ALL.len() {
        return Some(format!("{} rows for {} codes", rows.len(), ErrorCode::ALL.len()));
    }
    for (row, code) in rows.iter().zip(ErrorCode::ALL) {
        let certainty = match code.certainty() {
            Certainty::Definite => "definite",
            Certainty::Indeterminate => "indeterminate",
        };
        let wanted = [code.number().to_string(), format!("`{}`", code.name()), certainty.to_owned()];
        let explained = row.len() == 5 && row[3..].iter().all(|cell| cell.ends_with('.'));
        if !explained || row[..3] != wanted {
            return Some(format!("{row:?} is not {wanted:?} with a meaning and a way out"));
        }
    }
    None
}

#[test]
fn the_page_of_errors_lists_every_code_with_its_number_and_certainty() {
    let text = std::fs::read_to_string(page("errors.md")).expect("docs/errors.md is there");
    assert_eq!(difference(&text), None);
    assert!(
        difference(&text.replace("| 17 | `TIMED_OUT` | indeterminate |", "| 17 | `TIMED_OUT` | definite |"))
            .is_some()
    );
    assert!(difference(&text.replace("| 5 | `UNAUTHENTICATED`", "| 5 | `UNAUTHORISED`")).is_some());
    assert!(difference("").is_some());
}

#[test]
fn the_page_of_commands_is_what_the_catalogue_prints() {
    let path = page("commands.md");
    if std::env::var("STEADFAST_WRITE_DOCS").is_ok() {
        std::fs::write(&path, catalogue::document()).expect("docs/commands.md can be written");
    }
    let text = std::fs::read_to_string(&path).expect("docs/commands.md is there");
    assert!(
        text == catalogue::document(),
        "docs/commands.md is out of date: STEADFAST_WRITE_DOCS=1 cargo test -p steadfast-core --test docs"
    );
}

/// Every golden file is read by some test of this crate, and those of all releases are there.
#[test]
fn every_golden_file_is_pinned_by_a_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut sources = Vec::new();
    let mut left = vec![root.join("core/src")];
    while let Some(directory) = left.pop() {
        for entry in std::fs::read_dir(directory).expect("it is there") {
            let path = entry.expect("it is there").path();
            match path.is_dir() {
                true => left.push(path),
                false => sources.push(std::fs::read_to_string(path).expect("source is text")),
            }
        }
    }
    let names = std::fs::read_dir(root.join("corpus/formats")).expect("the corpus is there");
    let names: Vec<String> =
        names.map(|it| it.expect("it is there").file_name().to_string_lossy().into_owned()).collect();
    let is_pinned =
        |name: &str| sources.iter().any(|text| text.contains(&format!("corpus/formats/{name}\")")));
    let unpinned: Vec<_> = names.iter().filter(|name| !is_pinned(name)).collect();
    assert!(unpinned.is_empty(), "no test reads {unpinned:?}");
    assert!(!is_pinned("wal-segment-v0.bin"), "the search finds what is there");
    // What a release has written stays readable: a name goes into this list with the release, and never out of it.
    for name in ["entries.txt", "hard-state-v1.bin", "snapshot-v1.bin", "wal-segment-v2.bin"] {
        assert!(names.iter().any(|it| it == name), "{name} is gone");
    }
}
