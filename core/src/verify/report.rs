//! What an examination says: files, damage, and what that means for a start. Plain data; the command line makes text of it.

use std::fmt;

use crate::hard::Phase;
use crate::io::FileName;
use crate::types::{BootNumber, ClusterId, EntryId, Incarnation, Index, NodeId, Term};

/// Everything that was found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Whose directory it is, if its hard state says so.
    pub owner: Option<DirectoryOwner>,
    /// Every file of the directory, in the order of their names.
    pub files: Vec<FileReport>,
    /// What is wrong, in the order of files and offsets.
    pub damage: Vec<Damage>,
    /// What a crash may leave, and what a start puts right.
    pub notes: Vec<Note>,
    /// The log, as far as it can be read.
    pub log: LogReport,
}

/// Whose directory it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryOwner {
    /// The node.
    pub node: NodeId,
    /// The directory's own identity.
    pub incarnation: Incarnation,
    /// The cluster's name.
    pub cluster_name: String,
    /// The cluster, once it is founded.
    pub cluster: Option<ClusterId>,
    /// By how many nodes it was founded; 0 before that.
    pub members: usize,
    /// How often the directory was started.
    pub boot: BootNumber,
    /// The node's term.
    pub term: Term,
    /// Whether it doubts term and vote.
    pub in_doubt: bool,
}

impl DirectoryOwner {
    pub(super) fn new(state: &crate::hard::HardState) -> Self {
        let founding = match &state.phase {
            Phase::Founded(founding) => Some(founding),
            Phase::Fresh | Phase::Prepared(_) => None,
        };
        Self {
            node: state.node,
            incarnation: state.incarnation,
            cluster_name: state.cluster_name.clone(),
            cluster: founding.map(|founding| founding.cluster),
            members: founding.map_or(0, |founding| founding.members.len()),
            boot: state.boot,
            term: state.term,
            in_doubt: state.in_doubt,
        }
    }
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileReport {
    /// Which.
    pub file: FileName,
    /// What it is, and what it holds.
    pub what: String,
    /// Its length, in bytes.
    pub bytes: u64,
    /// How much of that is in use, in bytes.
    pub used: u64,
    /// Whether it is needed.
    pub standing: Standing,
}

/// What a file is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It holds what the node must not lose.
    Needed,
    /// Nothing needs it any more, or yet.
    Spare,
    /// It has no checksum, so that nobody can tell.
    Unchecked,
}

impl FileReport {
    pub(super) fn new(file: FileName, what: String, bytes: u64, used: u64) -> Self {
        Self { file, what, bytes, used, standing: Standing::Needed }
    }

    pub(super) fn spare(file: FileName, what: &str, bytes: u64) -> Self {
        Self { file, what: what.to_owned(), bytes, used: 0, standing: Standing::Spare }
    }
}

/// What a start does about damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Consequence {
    /// It starts and loses nothing: what is damaged is there a second time, or is needed no more.
    Starts,
    /// It starts, in doubt of its term and vote: in a cluster it abstains until a leader that was elected without it
    /// has committed an entry to it.
    Doubts,
    /// A start does not notice.
    Unnoticed,
    /// Alone it does not start. In a cluster it starts, and fetches what is lost from the other nodes.
    Fetches,
    /// It does not start.
    Refuses,
}

impl Consequence {
    /// The word for programs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Starts => "starts",
            Self::Doubts => "starts_in_doubt",
            Self::Unnoticed => "unnoticed",
            Self::Fetches => "fetches_from_others",
            Self::Refuses => "refuses",
        }
    }
}

impl fmt::Display for Consequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Starts => "the node starts, and loses nothing",
            Self::Doubts => {
                "the node starts; as a member of a cluster it does not vote until a leader that was elected without it \
                 has brought it up to date"
            }
            Self::Unnoticed => "a start does not notice this, and the node may tell clients what is wrong",
            Self::Fetches => {
                "alone the node does not start; in a cluster it starts, and fetches what is lost from the other nodes"
            }
            Self::Refuses => "the node does not start, neither alone nor in a cluster",
        })
    }
}

/// Something that was durable and is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// In which file.
    pub file: FileName,
    /// Where, in bytes.
    pub offset: u64,
    /// What is wrong.
    pub what: String,
    /// What a start does about it.
    pub consequence: Consequence,
}

impl Damage {
    pub(super) fn new(file: FileName, offset: u64, what: String, consequence: Consequence) -> Self {
        Self { file, offset, what, consequence }
    }
}

/// Something that is no damage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// In which file.
    pub file: FileName,
    /// Where, in bytes.
    pub offset: u64,
    /// What it is.
    pub what: String,
}

/// The log behind the snapshot that a start would use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogReport {
    /// The last entry that the snapshot covers; all zeros without one.
    pub covered: EntryId,
    /// The last entry that can be read.
    pub last: EntryId,
    /// How many entries can be read.
    pub entries: u64,
    /// What is lost between those: the first and the last of each run.
    pub lost: Vec<(Index, Index)>,
    /// Whether more may be lost behind the last one.
    pub more_lost: bool,
}

impl Report {
    /// Whether nothing is damaged.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        self.damage.is_empty()
    }

    /// Whether the node would start, in a cluster of one.
    #[must_use]
    pub fn starts_alone(&self) -> bool {
        self.damage.iter().all(|damage| damage.consequence < Consequence::Fetches)
    }

    /// Whether the node would start in a cluster of more.
    #[must_use]
    pub fn starts_in_a_cluster(&self) -> bool {
        self.damage.iter().all(|damage| damage.consequence < Consequence::Refuses)
    }

    /// Whether a file is intact.
    #[must_use]
    pub fn is_file_intact(&self, file: FileName) -> bool {
        self.damage.iter().all(|damage| damage.file != file)
    }

    /// Whether the directory belongs to a node that is alone in its cluster, if it says so.
    #[must_use]
    pub fn is_alone(&self) -> Option<bool> {
        self.owner.as_ref().filter(|owner| owner.members > 0).map(|owner| owner.members == 1)
    }
}
