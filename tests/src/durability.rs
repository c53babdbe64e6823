//! Was each reply preceded by the syncs that it needs? Judged from system calls alone.
//!
//! Every write carries a value that no other write has, and its request an id of its own. A write is durable on a
//! node once a sync of the log's file has ended that began after the write call with its value had ended, and the
//! file's name was synced with its directory. No node may begin to send a reply to the write, or any reply that shows
//! its value, before the write is durable on a majority.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use crate::strace::Call;

/// What the value of every write begins with; sixteen hexadecimal digits of its number follow.
const VALUE: &[u8] = b"written-";
/// What the id of every write's request begins with; eight bytes of its number follow.
const ID: &[u8] = b"reply-no";

/// A write's value.
#[must_use]
pub fn value(number: u64) -> String {
    format!("written-{number:016x}")
}

/// The id of a write's request.
#[must_use]
pub fn id(number: u64) -> Uuid {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(ID);
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    Uuid::from_bytes(bytes)
}

/// What one node did.
#[derive(Clone, Debug)]
pub struct NodeCalls {
    /// Where it listens; what it sends from there goes to clients.
    pub address: String,
    /// Its calls, in the order in which they began.
    pub calls: Vec<Call>,
}

/// What was found in order, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Replies to writes.
    pub replies: usize,
    /// Values that other replies showed.
    pub shown: usize,
}

/// Checks the acknowledged writes.
///
/// # Errors
/// The first reply that came too early, or a write that can't be found in the calls.
pub fn check(nodes: &[NodeCalls], acknowledged: &BTreeSet<u64>) -> Result<Checked, String> {
    let majority = nodes.len() / 2 + 1;
    let durable: Vec<BTreeMap<u64, u64>> = nodes.iter().map(durable_at).collect();
    let mut checked = Checked::default();
    let mut replied = BTreeSet::new();
    for (place, node) in nodes.iter().enumerate() {
        for sent in sent(node) {
            if sent.is_reply && !acknowledged.contains(&sent.number) {
                // A refusal needs no sync.
                continue;
            }
            let in_time =
                durable.iter().filter(|of| of.get(&sent.number).is_some_and(|at| *at <= sent.begun)).count();
            if in_time < majority {
                return Err(format!(
                    "node {} began to send a reply {} at {} us, when write {} was durable on {in_time} of {} nodes: {:?}",
                    place + 1,
                    if sent.is_reply { "to a write" } else { "that shows a value" },
                    sent.begun,
                    sent.number,
                    nodes.len(),
                    durable.iter().map(|of| of.get(&sent.number)).collect::<Vec<_>>(),
                ));
            }
            if sent.is_reply {
                replied.insert(sent.number);
                checked.replies += 1;
            } else {
                checked.shown += 1;
            }
        }
    }
    match acknowledged.difference(&replied).next() {
        Some(number) => Err(format!("the reply to write {number} is not among the calls")),
        None => Ok(checked),
    }
}

/// When each write had become durable on a node.
fn durable_at(node: &NodeCalls) -> BTreeMap<u64, u64> {
    let mut durable = BTreeMap::new();
    let syncs: Vec<_> = node
        .calls
        .iter()
        .filter(|call| call.result == 0 && matches!(call.name.as_str(), "fdatasync" | "fsync"))
        .collect();
    let synced = |target: &str, after: u64| {
        syncs.iter().filter(|sync| sync.target == target && sync.begun >= after).map(|sync| sync.ended).min()
    };
    let created = |target: &str| {
        let mut opens = node.calls.iter().filter(|call| call.name == "openat" && call.target == target);
        opens.find(|call| call.args.contains("O_CREAT")).map(|call| call.ended)
    };
    for call in node.calls.iter().filter(|call| call.name.starts_with("pwrite") && call.result > 0) {
        let Some((directory, name)) = call.target.rsplit_once('/') else { continue };
        if !name.starts_with("wal-") {
            continue;
        }
        let (Some(bytes), Some(created)) = (synced(&call.target, call.ended), created(&call.target)) else {
            continue;
        };
        let Some(entry) = synced(directory, created) else { continue };
        for (_, number) in numbers(&call.data, VALUE, value_number) {
            let at = durable.entry(number).or_insert(u64::MAX);
            *at = bytes.max(entry).min(*at);
        }
    }
    durable
}

/// A mention of a write in something that was sent to a client.
struct Sent {
    number: u64,
    is_reply: bool,
    begun: u64,
}

/// All bytes that went to one client, and where in them each call began, and when.
#[derive(Default)]
struct Stream {
    bytes: Vec<u8>,
    pieces: Vec<(usize, u64)>,
}

fn sent(node: &NodeCalls) -> Vec<Sent> {
    let mut streams: BTreeMap<&str, Stream> = BTreeMap::new();
    let from_here = format!("TCP:[{}->", node.address);
    for call in node.calls.iter().filter(|call| call.target.starts_with(&from_here) && call.result > 0) {
        let stream = streams.entry(&call.target).or_default();
        stream.pieces.push((stream.bytes.len(), call.begun));
        stream.bytes.extend_from_slice(&call.data);
    }
    let mut found = Vec::new();
    for Stream { bytes, pieces } in streams.values() {
        // A frame may leave in several calls; the one that counts is that with the mention's first byte.
        let begun =
            |at: usize| pieces.iter().rev().find(|(from, _)| *from <= at).map_or(0, |(_, begun)| *begun);
        let replies = numbers(bytes, ID, id_number).into_iter().map(|(at, number)| (at, number, true));
        let values = numbers(bytes, VALUE, value_number).into_iter().map(|(at, number)| (at, number, false));
        found.extend(replies.chain(values).map(|(at, number, is_reply)| Sent {
            number,
            is_reply,
            begun: begun(at),
        }));
    }
    found
}

/// All numbers behind a mark, with their places.
fn numbers(bytes: &[u8], mark: &[u8], read: fn(&[u8]) -> Option<u64>) -> Vec<(usize, u64)> {
    let starts =
        bytes.windows(mark.len()).enumerate().filter(|(_, window)| *window == mark).map(|(at, _)| at);
    starts.filter_map(|at| Some((at, read(&bytes[at + mark.len()..])?))).collect()
}

fn value_number(rest: &[u8]) -> Option<u64> {
    u64::from_str_radix(std::str::from_utf8(rest.get(..16)?).ok()?, 16).ok()
}

fn id_number(rest: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(rest.get(..8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(name: &str, begun: u64, target: &str, data: &[u8]) -> Call {
        let result = if data.is_empty() { 0 } else { data.len() as i64 };
        let args = if name == "openat" { "O_CREAT" } else { "" };
        Call {
            thread: 1,
            name: name.into(),
            begun,
            ended: begun + 5,
            target: target.into(),
            data: data.into(),
            result,
            args: args.into(),
        }
    }

    /// A node that creates, writes, syncs and replies at these times.
    fn node(write: u64, sync: u64, reply: u64) -> NodeCalls {
        let calls = vec![
            call("openat", 1, "/d/wal-1", b""),
            call("fsync", 10, "/d", b""),
            call("pwrite64", write, "/d/wal-1", value(7).as_bytes()),
            call("fdatasync", sync, "/d/wal-1", b""),
            call("writev", reply, "TCP:[a:1->b:2]", id(7).as_bytes()),
        ];
        NodeCalls { address: "a:1".into(), calls }
    }

    fn of(nodes: &[NodeCalls]) -> Result<Checked, String> {
        check(nodes, &BTreeSet::from([7]))
    }

    #[test]
    fn a_reply_after_the_sync_is_in_order() {
        assert_eq!(of(&[node(20, 30, 40)]), Ok(Checked { replies: 1, shown: 0 }));
    }

    #[test]
    fn a_reply_before_the_sync_has_ended_is_too_early() {
        assert!(of(&[node(20, 30, 34)]).is_err());
    }

    #[test]
    fn a_sync_that_began_before_the_write_had_ended_does_not_cover_it() {
        assert!(of(&[node(20, 24, 40)]).is_err());
    }

    #[test]
    fn a_file_whose_name_was_never_synced_is_not_durable() {
        let mut node = node(20, 30, 40);
        node.calls.remove(1);
        assert!(of(&[node]).is_err());
    }

    #[test]
    fn one_of_three_is_no_majority() {
        let mut others = [node(20, 90, 99), node(20, 90, 99)];
        others.iter_mut().for_each(|node| drop(node.calls.pop()));
        let [second, third] = others;
        assert!(of(&[node(20, 30, 40), second, third.clone()]).is_err());
        let mut second = node(20, 30, 99);
        second.calls.pop();
        assert!(of(&[node(20, 30, 40), second, third]).is_ok());
    }

    #[test]
    fn a_reply_that_is_missing_is_no_reply_in_order() {
        let mut node = node(20, 30, 40);
        node.calls.pop();
        assert!(of(&[node]).is_err());
    }
}
