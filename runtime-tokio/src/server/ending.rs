//! Why a server did not start or has stopped, for the operator: what happened, what it means for the data,
//! and the way out. And the process's exit code for each.

use std::path::{Path, PathBuf};
use std::{fmt, io};

use steadfast_core::io::{DiskErrorKind, HaltReason};

use super::config::ConfigError;
use super::datadir::DataDirError;

/// Stopped as asked.
pub const EXIT_OK: u8 = 0;
/// Could not start.
pub const EXIT_START: u8 = 1;
/// The command line or the configuration is wrong.
pub const EXIT_USAGE: u8 = 2;
/// The disk failed or is full.
pub const EXIT_DISK: u8 = 5;
/// What is on disk can't be used as it is.
pub const EXIT_DATA: u8 = 6;
/// Asked to stop, and not everything under way could be answered.
pub const EXIT_UNFINISHED: u8 = 7;
/// An error in the program (`EX_SOFTWARE` of sysexits.h).
pub const EXIT_INTERNAL: u8 = 70;

/// Why a server could not start.
#[derive(Debug)]
pub enum StartError {
    /// The configuration is wrong.
    Config(ConfigError),
    /// The data directory can't be used.
    Data(DataDirError),
    /// Can't listen.
    Listen {
        /// On what.
        listen: String,
        /// The operating system's words.
        error: io::Error,
    },
    /// No randomness.
    Seed(io::Error),
    /// A thread or file that the system refused.
    Other(io::Error),
}

impl StartError {
    /// The process's exit code.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) => EXIT_USAGE,
            _ => EXIT_START,
        }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Data(error) => error.fmt(f),
            Self::Listen { listen, error } if error.kind() == io::ErrorKind::AddrInUse => write!(
                f,
                "{listen} is in use by another program: stop that one, or choose another address with --listen"
            ),
            Self::Listen { listen, error } => {
                write!(
                    f,
                    "can't listen on {listen}: {error}; choose an address of this machine with --listen"
                )
            }
            Self::Seed(error) => {
                write!(f, "can't read /dev/urandom: {error}; a node needs randomness to start")
            }
            Self::Other(error) => write!(f, "the system refused a thread or a file: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

impl From<ConfigError> for StartError {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

impl From<DataDirError> for StartError {
    fn from(error: DataDirError) -> Self {
        Self::Data(error)
    }
}

/// How a server ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The node says why.
    Halted(HaltReason),
    /// An assertion of the node failed; it was printed.
    Panicked,
    /// The node could not answer everything in time after it was asked to stop.
    Unfinished,
}

impl Ending {
    /// The process's exit code.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Halted(HaltReason::Stopped) => EXIT_OK,
            Self::Halted(HaltReason::Disk { .. }) => EXIT_DISK,
            Self::Halted(_) => EXIT_DATA,
            Self::Panicked => EXIT_INTERNAL,
            Self::Unfinished => EXIT_UNFINISHED,
        }
    }

    /// The ending of a server with this data directory, in words.
    #[must_use]
    pub fn in_words(&self, data: &Path) -> InWords {
        InWords { ending: self.clone(), data: data.to_owned() }
    }
}

/// An ending to be printed.
#[derive(Debug)]
pub struct InWords {
    ending: Ending,
    data: PathBuf,
}

impl fmt::Display for InWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let data = self.data.display();
        match &self.ending {
            Ending::Halted(reason @ HaltReason::Disk { error, .. })
                if error.kind == DiskErrorKind::NoSpace =>
            {
                write!(
                    f,
                    "the disk is full: {reason}. Everything acknowledged is safe. Free some space for {data}, \
                     then start again"
                )
            }
            Ending::Halted(reason @ HaltReason::Disk { .. }) => write!(
                f,
                "the disk failed: {reason}. Everything acknowledged before is safe as far as the disk keeps it; \
                 nothing is tried again on a disk that failed once. Look into the system's log (dmesg) about \
                 the disk of {data}, then start again"
            ),
            Ending::Halted(reason @ HaltReason::Stopped) => reason.fmt(f),
            Ending::Halted(reason) => write!(f, "can't go on with the data in {data}: {reason}"),
            Ending::Panicked => write!(
                f,
                "the node stopped at the failed assertion above, which is an error in this program: please \
                 report it. Everything acknowledged is safe in {data}; the node may be started again"
            ),
            Ending::Unfinished => f.write_str(
                "stopped before everything under way was answered: the clients concerned are told nothing, \
                 and their commands may or may not take effect",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use steadfast_core::io::{DiskError, FileName};

    fn words(reason: HaltReason) -> String {
        Ending::Halted(reason).in_words(Path::new("/data")).to_string()
    }

    fn disk(kind: DiskErrorKind) -> HaltReason {
        let error = DiskError { kind, message: "some words (os error 28)".into() };
        HaltReason::Disk { doing: "syncing".into(), file: Some(FileName::Wal(1)), error }
    }

    #[test]
    fn a_full_disk_is_named_with_its_cause_and_the_way_out() {
        let text = words(disk(DiskErrorKind::NoSpace));
        for part in ["disk is full", "wal-0000000000000001", "os error 28", "Free some space for /data"] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn every_ending_has_its_exit_code() {
        let code = |reason| Ending::Halted(reason).exit_code();
        assert_eq!(code(HaltReason::Stopped), EXIT_OK);
        assert_eq!(code(disk(DiskErrorKind::Io)), EXIT_DISK);
        assert_eq!(code(HaltReason::WrongDirectory(String::new())), EXIT_DATA);
        assert_eq!(Ending::Panicked.exit_code(), EXIT_INTERNAL);
        assert_eq!(Ending::Unfinished.exit_code(), EXIT_UNFINISHED);
    }

    #[test]
    fn a_port_in_use_is_a_clear_message() {
        let error = io::Error::from(io::ErrorKind::AddrInUse);
        let text = StartError::Listen { listen: "127.0.0.1:7878".into(), error }.to_string();
        assert!(text.contains("127.0.0.1:7878 is in use") && text.contains("--listen"), "{text}");
    }
}
