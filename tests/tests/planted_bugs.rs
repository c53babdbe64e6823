//! Every planted bug of `corpus/mutants/` still applies to the code as it is: a change that moves what a patch touches
//! has to move the patch along, or nobody hunts that bug any more. The hunt itself is `--bin mutants`.

use std::path::{Path, PathBuf};
use std::process::Command;

use steadfast_tests::skipped::skip;

/// Whether git can be used here. In continuous integration it must be.
fn available() -> bool {
    let here = Command::new("git").arg("--version").output().is_ok();
    if !here {
        skip("whether planted bugs still apply", "there is no git", None);
    }
    here
}

fn patches(directory: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(directory).expect("the corpus has planted bugs");
    let files = files.map(|file| file.expect("a file can be listed").path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "patch")).collect()
}

fn applies(root: &Path, patch: &Path) -> bool {
    let checked = Command::new("git").args(["apply", "--check"]).arg(patch).current_dir(root).output();
    checked.expect("git runs").status.success()
}

#[test]
fn every_planted_bug_still_applies() {
    if !available() {
        return;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate has a workspace");
    let mut all = patches(&root.join("corpus/mutants"));
    all.extend(patches(&root.join("corpus/mutants/open")));
    assert!(all.len() >= 16, "only {} planted bugs were found", all.len());
    let stale: Vec<&PathBuf> = all.iter().filter(|patch| !applies(root, patch)).collect();
    assert!(stale.is_empty(), "these no longer apply: {stale:#?}");
}

#[test]
fn a_patch_that_changes_what_is_not_there_does_not_apply() {
    if !available() {
        return;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate has a workspace");
    let patch = std::env::temp_dir().join(format!("steadfast-stale-{}.patch", std::process::id()));
    let text =
        "--- a/core/src/lib.rs\n+++ b/core/src/lib.rs\n@@ -1 +1 @@\n-nobody ever wrote this line\n+or this\n";
    std::fs::write(&patch, text).expect("a temporary file can be written");
    let applied = applies(root, &patch);
    std::fs::remove_file(&patch).expect("it was just written");
    assert!(!applied);
}
