//! Decides from the segments' headers alone which segments make up the log, in which order, and which were
//! left over. It refuses what no crash can explain; it reads no record.

use super::format::{HeaderFlaw, Identity, Link, SECTOR, SegmentHeader};
use crate::io::{FileName, HaltReason};
use crate::types::Index;

/// What was found of one segment file.
#[derive(Clone, Debug)]
pub(crate) struct SegmentFile {
    /// Its number, from its name.
    pub(super) segment: u64,
    /// Its length, in bytes.
    pub(crate) len: u64,
    /// Its first sector.
    pub(crate) header: Result<SegmentHeader, HeaderFlaw>,
}

/// One segment of the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChainSegment {
    /// Its header.
    pub(crate) header: SegmentHeader,
    /// Where the next segment continues the log; `None` for the newest.
    pub(crate) end: Option<u64>,
    /// The index with which the next segment goes on; `None` for the newest.
    pub(super) next: Option<Index>,
    /// Length of the file, in bytes.
    pub(crate) len: u64,
}

/// What there is of the log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Survey {
    /// The log, oldest first.
    pub(crate) chain: Vec<ChainSegment>,
    /// Newer files without a valid header: prepared, or torn in their first batch; number and length.
    pub(crate) headless: Vec<(u64, u64)>,
    /// Older files that no segment of the log continues: left over from an earlier recovery.
    pub(crate) leftover: Vec<u64>,
    /// The number for the next segment.
    pub(super) next: u64,
}

/// What an operator can do about damage.
const WAY_OUT: &str = "Nothing was changed. If a majority of the cluster is healthy without this node, move this data \
     directory away and start the node with an empty one: it copies everything and follows under a new identity, \
     but has no vote any more. Otherwise mend the disk, or put back an intact copy of this very state of the directory. \
     `steadfast verify` names all that is damaged; `steadfast repair`, the last resort, gives up what is lost";

/// Why a log is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It lost what was durable.
    Damaged {
        /// In which segment.
        segment: u64,
        /// Where, in bytes.
        offset: u64,
        /// How.
        what: String,
    },
    /// It begins behind all that a snapshot covers.
    Unfounded {
        /// With this segment.
        segment: u64,
        /// In words.
        what: String,
    },
    /// It belongs to another node, cluster or release.
    Foreign(String),
}

impl From<Refusal> for HaltReason {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Damaged { segment, offset, what } => Self::Damaged(format!(
                "{} is damaged at offset {offset}, in a part that was durable: {what}. The log is not cut there, \
                 since acknowledged writes would be lost. {WAY_OUT}",
                FileName::Wal(segment)
            )),
            Refusal::Unfounded { segment, what } => {
                Self::Damaged(format!("{} {what}. {WAY_OUT}", FileName::Wal(segment)))
            }
            Refusal::Foreign(text) => Self::WrongDirectory(text),
        }
    }
}

/// The refusal of a log that lost what was durable.
pub(super) fn damaged(segment: u64, offset: u64, what: impl std::fmt::Display) -> Refusal {
    Refusal::Damaged { segment, offset, what: what.to_string() }
}

/// Surveys all segment files, in the order of their numbers. `vouched` is the newest segment that the hard
/// state vouches for; `covered` the last index in the snapshot: what lies before is not needed, and may be gone.
///
/// # Errors
/// Damage, or a directory of another node, cluster or release.
pub(super) fn survey(
    identity: &Identity,
    vouched: u64,
    covered: Index,
    files: &[SegmentFile],
) -> Result<Survey, Refusal> {
    let files = &owned(identity, files)?[..];
    let mut survey = Survey { next: next_segment(files)?, ..Survey::default() };
    let newest = files.iter().rfind(|file| file.header.is_ok());
    check_vouched(vouched, newest, files)?;
    let mut link: Option<Link> = None;
    let mut wanted = newest.map_or(0, |file| file.segment);
    while wanted > 0 {
        let continued_by = survey.chain.last().map_or(wanted, |next: &ChainSegment| next.header.segment);
        let segment = chain_segment(wanted, continued_by, link, files)?;
        let before = segment.header.link;
        if before.position.segment >= wanted {
            return Err(damaged(wanted, 0, "its header says that it continues a newer segment"));
        }
        survey.chain.push(segment);
        if before.next <= covered.next() {
            break;
        }
        if before.position.segment == 0 {
            return Err(unfounded(wanted, before.next, covered));
        }
        link = Some(before);
        wanted = before.position.segment;
    }
    survey.chain.reverse();
    let newest = newest.map_or(0, |file| file.segment);
    for file in files {
        if file.segment > newest {
            survey.headless.push((file.segment, file.len));
        } else if !survey.chain.iter().any(|segment| segment.header.segment == file.segment) {
            survey.leftover.push(file.segment);
        }
    }
    Ok(survey)
}

/// The refusal of a log whose beginning lies behind all that a snapshot covers.
fn unfounded(segment: u64, next: Index, covered: Index) -> Refusal {
    let newest = match covered {
        Index(0) => "there is no snapshot".to_owned(),
        covered => format!("the newest snapshot is of entry {covered}"),
    };
    let what = format!("begins the log with entry {next}, and {newest}: a snapshot was lost");
    Refusal::Unfounded { segment, what }
}

/// The files, with those headers alone believed that are this directory's own, of this release, under their right
/// name. Another directory's header is a refusal if there is none of this one's; beside them it is what an earlier owner
/// of the disk block has left.
fn owned(identity: &Identity, files: &[SegmentFile]) -> Result<Vec<SegmentFile>, Refusal> {
    let at_home = |file: &SegmentFile| file.header.is_ok_and(|header| header.identity == *identity);
    let home = files.iter().any(at_home);
    let mut files = files.to_vec();
    for file in &mut files {
        check_owner(identity, file, home)?;
        if let Ok(header) = file.header
            && (header.identity != *identity || header.segment != file.segment)
        {
            file.header = Err(HeaderFlaw::Elsewhere(header.segment));
        }
    }
    Ok(files)
}

fn check_owner(identity: &Identity, file: &SegmentFile, home: bool) -> Result<(), Refusal> {
    let name = FileName::Wal(file.segment);
    let header = match &file.header {
        Ok(header) => header,
        Err(HeaderFlaw::Version(version)) => {
            return Err(Refusal::Foreign(format!(
                "{name} has log format {version}, which this build does not know: start a release that does"
            )));
        }
        Err(HeaderFlaw::Sector(bytes)) => {
            return Err(Refusal::Foreign(format!(
                "{name} was written for sectors of {bytes} bytes, and this build knows {SECTOR}: \
                 start a release that does"
            )));
        }
        Err(_) => return Ok(()),
    };
    let found = header.identity;
    if found != *identity && !home {
        return Err(Refusal::Foreign(format!(
            "{name} belongs to node {} (directory {}) of cluster {}, but this is node {} (directory {}) of \
             cluster {}: start the node that it belongs to, or choose another data directory",
            found.node,
            found.incarnation,
            found.cluster,
            identity.node,
            identity.incarnation,
            identity.cluster
        )));
    }
    Ok(())
}

/// The number for a new segment: higher than all there are, so that no number that was used is used twice.
fn next_segment(files: &[SegmentFile]) -> Result<u64, Refusal> {
    let newest = files.last().map_or(0, |file| file.segment);
    newest.checked_add(1).ok_or_else(|| {
        let name = FileName::Wal(newest);
        Refusal::Foreign(format!("{name} is no file of this database: move it away"))
    })
}

/// The segment that the hard state vouches for must be there, or a newer one of the log. When it was vouched for, it had
/// its own header, as what a start has written, or it was prepared and the segment before it had.
fn check_vouched(vouched: u64, newest: Option<&SegmentFile>, files: &[SegmentFile]) -> Result<(), Refusal> {
    let newest = newest.map_or(0, |file| file.segment);
    if newest >= vouched {
        return Ok(());
    }
    let there = |segment: u64| files.iter().find(|file| file.segment == segment);
    let (lost, at, what) = match there(vouched) {
        None => (vouched, 0, "the file is missing".to_owned()),
        Some(file) if file.len < SECTOR => {
            (vouched, file.len, "the file was cut to less than a header".to_owned())
        }
        // It was prepared and never used, or its first batch is torn.
        Some(_) if newest > 0 && newest + 1 == vouched => return Ok(()),
        // Whichever of the two had the header, it has none now. A start's own segment may follow one that is gone.
        Some(_) if there(vouched - 1).is_some() => {
            let newer = FileName::Wal(vouched);
            (vouched - 1, 0, format!("its header is not valid, or that of {newer} is the one that was lost"))
        }
        Some(_) => (vouched, 0, "its header is not valid".to_owned()),
    };
    Err(damaged(lost, at, format!("{what}, and the hard state says that it was complete")))
}

/// The segment that the log needs next, going backwards.
fn chain_segment(
    segment: u64,
    continued_by: u64,
    end: Option<Link>,
    files: &[SegmentFile],
) -> Result<ChainSegment, Refusal> {
    let continued_by = FileName::Wal(continued_by);
    let Some(file) = files.iter().find(|file| file.segment == segment) else {
        return Err(damaged(segment, 0, format!("the file is missing, and {continued_by} continues it")));
    };
    let Ok(header) = file.header else {
        return Err(damaged(segment, 0, format!("its header is not valid, and {continued_by} continues it")));
    };
    // The newest segment still has its zeros; older ones may have been cut to what they hold.
    let needed = end.map_or(header.bytes, |end| end.position.offset);
    let newer = files.iter().find(|newer| newer.segment > segment && newer.header.is_err());
    if let (None, true, Some(newer)) = (end, file.len < needed, newer) {
        let what = format!(
            "its header is not valid, and {} was cut because it continues it",
            FileName::Wal(segment)
        );
        return Err(damaged(newer.segment, 0, what));
    }
    if file.len < needed {
        let what = format!("the file ends at {} and must have at least {needed} bytes", file.len);
        return Err(damaged(segment, file.len, what));
    }
    let (next, end) = (end.map(|end| end.next), end.map(|end| end.position.offset));
    Ok(ChainSegment { header, end, next, len: file.len })
}
