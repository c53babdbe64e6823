//! What `verify`, `repair` and `recover` share: a data directory that no server uses, examined from its first to its last
//! byte, and old files kept in a directory of their own. Nothing here changes any of a node's files.

use std::fmt::Write as _;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use steadfast_core::io::{DiskError, DiskOp, DiskReply, FileName, HaltReason};
use steadfast_core::verify::{Verified, Verify};

use super::{EXIT_OK, complain, say};
use crate::server::datadir::DataDirError;
use crate::server::disk::Disk;

/// Why nothing came of it, and the exit code that says so.
pub type Refused = (u8, String);

/// Tells what came of it; gives the exit code.
#[must_use]
pub fn told(outcome: Result<String, Refused>) -> u8 {
    match outcome {
        Ok(text) => {
            let _ = say(text.as_bytes());
            EXIT_OK
        }
        Err((code, text)) => {
            complain(&text);
            code
        }
    }
}

/// Executes what the core asks for, one operation after the other, until there is nothing more.
///
/// # Errors
/// Where the core gives up.
pub fn drive<C>(
    disk: &mut Disk,
    core: &mut C,
    next_op: impl Fn(&mut C) -> Option<DiskOp>,
    done: impl Fn(&mut C, Result<DiskReply, DiskError>) -> Result<(), HaltReason>,
) -> Result<(), HaltReason> {
    while let Some(op) = next_op(core) {
        let result = disk.execute(op);
        done(core, result)?;
    }
    Ok(())
}

/// Reads everything, in a directory that is kept free of servers meanwhile.
///
/// # Errors
/// Why it can't be read, in words.
pub fn examine(dir: &Path) -> Result<Verified, String> {
    let files = readable(dir).map_err(|error| format!("can't read {}: {error}", dir.display()))?;
    if files == 0 {
        return Err(format!("{} holds no node's data: name a data directory", dir.display()));
    }
    let failed = |error: io::Error| format!("can't read the data directory {}: {error}", dir.display());
    let mut disk = Disk::read_only(dir).map_err(failed)?;
    let mut verify = Verify::new();
    drive(&mut disk, &mut verify, Verify::next_op, Verify::done).map_err(|reason| reason.to_string())?;
    Ok(verify.finish())
}

/// How many files there are that belong to a node, all of which may be read. What the user may not read is no damage.
fn readable(dir: &Path) -> io::Result<usize> {
    let mut found = 0;
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).map(str::parse::<FileName>);
        if let Some(Ok(_)) = name {
            File::open(&path)
                .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
            found += 1;
        }
    }
    Ok(found)
}

/// Why a directory can't be had, in words that fit a command which does not serve.
#[must_use]
pub fn unavailable(error: &DataDirError) -> String {
    match error {
        DataDirError::InUse { path, process } => {
            let process = process.map(|process| format!(" (process {process})")).unwrap_or_default();
            format!("a server{process} uses {}: stop it first", path.display())
        }
        DataDirError::Io { doing, path, error } => {
            format!("can't {doing} the data directory {}: {error}", path.display())
        }
    }
}

/// The first directory of this kind that does not exist: `kind-1`, `kind-2` and so on.
#[must_use]
pub fn next_aside(data: &Path, kind: &str) -> PathBuf {
    let names = (1..).map(|number: u64| data.join(format!("{kind}-{number}")));
    names.into_iter().find(|path| !path.exists()).expect("there are more numbers than directories")
}

/// Gives each file a second name in a directory beside, durably, before it loses its first one. A file that will be
/// changed where it is, is copied, and so is every one where a file system has no second names.
///
/// # Errors
/// What the system says; the files themselves are as they were.
pub fn put_aside(
    data: &Path,
    kind: &str,
    files: &[FileName],
    changes: impl Fn(FileName) -> bool,
) -> io::Result<PathBuf> {
    let aside = next_aside(data, kind);
    DirBuilder::new().mode(0o700).create(&aside)?;
    for file in files {
        let (from, to) = (data.join(file.to_string()), aside.join(file.to_string()));
        if changes(*file) || fs::hard_link(&from, &to).is_err() {
            fs::copy(&from, &to)?;
            File::open(&to)?.sync_all()?;
        }
    }
    File::open(&aside)?.sync_all()?;
    File::open(data)?.sync_all()?;
    Ok(aside)
}

/// Milliseconds since 1970 as a date and a time of day, in UTC.
#[must_use]
pub fn date(millis: u64) -> String {
    let (days, second) = (millis / 86_400_000, millis / 1000 % 86_400);
    // Years of 365.2425 days that begin in March, so that leap days come last (Howard Hinnant's civil_from_days).
    let shifted = days + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let of_month = of_year - (153 * month + 2) / 5 + 1;
    let (month, later) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = era * 400 + year + later;
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year}-{month:02}-{of_month:02} {hour:02}:{minute:02}:{second:02} UTC")
}

/// A thing in its number: `1 entry`, `2 entries`.
#[must_use]
pub fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// Runs of indexes: `17`, `17 to 20, 33`.
#[must_use]
pub fn runs(runs: &[(steadfast_core::types::Index, steadfast_core::types::Index)]) -> String {
    let mut text = String::new();
    for (from, to) in runs {
        let separator = if text.is_empty() { "" } else { ", " };
        // Writing to a string can't fail.
        let _ = match from == to {
            true => write!(text, "{separator}{from}"),
            false => write!(text, "{separator}{from} to {to}"),
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use steadfast_core::types::Index;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(date(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(date(951_782_400_000), "2000-02-29 00:00:00 UTC");
        assert_eq!(date(1_700_000_000_000), "2023-11-14 22:13:20 UTC");
        assert_eq!(date(1_735_689_599_999), "2024-12-31 23:59:59 UTC");
    }

    #[test]
    fn runs_are_short_where_they_can_be() {
        assert_eq!(runs(&[(Index(3), Index(3)), (Index(5), Index(9))]), "3, 5 to 9");
        assert_eq!(
            (counted(1, "entry", "entries"), counted(0, "entry", "entries")),
            ("1 entry".into(), "0 entries".into())
        );
    }
}
