//! Memberships as scripts write them: `{1,2,4<1,2,3+5}` has the voters 1, 2 and 4, those before were 1, 2 and 3, and 5 learns. A
//! data directory that is not the node's first is named with its number: `3.101`. A witness's has a `w` behind the node, `3w` or `3w101`, and
//! a membership that is degraded a `!` at the end.

use bytes::Bytes;

use crate::membership::{Membership, Voter};
use crate::raft::LogEntry;
use crate::types::{Incarnation, NodeId};

/// The entry's name that brings this membership.
pub fn write(membership: &Membership) -> Bytes {
    let set = |voters: &[Voter]| voters.iter().map(voter).collect::<Vec<_>>().join(",");
    let mut text = format!("{{{}", set(membership.voters()));
    if membership.is_joint() {
        text += &format!("<{}", set(membership.before()));
    }
    if !membership.learners().is_empty() {
        let learners: Vec<String> = membership.learners().iter().map(ToString::to_string).collect();
        text += &format!("+{}", learners.join(","));
    }
    if membership.is_degraded() {
        text += "!";
    }
    (text + "}").into()
}

/// The membership that an entry of this name brings.
pub fn read(name: &Bytes) -> Option<Membership> {
    let text = std::str::from_utf8(name).ok()?.strip_prefix('{')?.strip_suffix('}')?;
    let (text, degraded) = text.strip_suffix('!').map_or((text, false), |text| (text, true));
    let (sets, learners) = text.split_once('+').unwrap_or((text, ""));
    let (voters, before) = sets.split_once('<').unwrap_or((sets, ""));
    let set = |text: &str| text.split(',').filter(|word| !word.is_empty()).map(parse).collect();
    let learners = learners.split(',').filter(|word| !word.is_empty()).map(|word| parse(word).0).collect();
    Some(Membership::from_parts(set(voters), set(before), learners).with_degraded(degraded))
}

/// The newest membership that any of these entries brings.
pub fn newest(entries: &[LogEntry]) -> Option<Membership> {
    entries.iter().rev().find_map(|entry| read(&entry.payload))
}

fn voter((node, incarnation): &Voter) -> String {
    let number = incarnation.0 & 0xffff_ffff;
    match (incarnation.is_witness(), number == u64::from(node.0)) {
        (true, true) => format!("{node}w"),
        (true, false) => format!("{node}w{number}"),
        (false, true) => node.to_string(),
        (false, false) => format!("{node}.{number}"),
    }
}

/// What a witness of a script may know of an entry: memberships, and of all else nothing.
pub fn withhold(name: &Bytes) -> Bytes {
    if read(name).is_some() { name.clone() } else { Bytes::from_static(b"-") }
}

/// `3`, `3.101`, `3w` or `3w101`.
pub fn parse(text: &str) -> Voter {
    let number = |text: &str| text.parse::<u64>().unwrap_or_else(|_| panic!("not a number: {text}"));
    if let Some((node, directory)) = text.split_once('w') {
        let directory = if directory.is_empty() { node } else { directory };
        return (NodeId(number(node) as u16), Incarnation::of_witness(number(directory)));
    }
    let (node, incarnation) = text.split_once('.').unwrap_or((text, text));
    (NodeId(number(node) as u16), Incarnation(number(incarnation)))
}
