//! What a test needs of the machine and is not there. In continuous integration (the environment has `CI`) that is a failure, so
//! that nobody believes that it was tested; elsewhere the test is skipped, and says so where it is seen.

use std::io::Write;

/// Says that `what` was not tested, and `why`. Where `admits` names a variable, whoever sets it admits that the machine can't do it.
///
/// # Panics
/// In continuous integration, if nobody admitted it.
pub fn skip(what: &str, why: &str, admits: Option<&str>) {
    let admitted = admits.is_some_and(|variable| std::env::var_os(variable).is_some());
    let way_out =
        admits.map(|variable| format!("; where that can't be, set {variable}=1")).unwrap_or_default();
    assert!(
        admitted || std::env::var_os("CI").is_none(),
        "{what} must be tested in continuous integration, and can't be here: {why}{way_out}"
    );
    // Not by `eprintln!`, which nobody sees of a test that passes.
    let _ = writeln!(std::io::stderr(), "SKIPPED: {what} was not tested: {why}");
}
