//! Raft's messages and their bytes inside a peer frame (`docs/formats.md`, Raft messages).

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use super::LogEntry;
use crate::types::{EntryId, Index, Term};

/// Bytes of a message before each entry's body: its term and length.
pub(super) const ENTRY_HEAD_BYTES: usize = 12;

/// What members say to each other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Message {
    /// Could I win the term `term` with this log? Changes nothing (thesis, section 9.6).
    PreVote {
        /// The term that the sender would open.
        term: Term,
        /// Its last index.
        last_index: Index,
        /// Its last entry's term.
        last_term: Term,
    },
    /// The answer: the asked term if granted, else the answerer's own.
    PreVoteReply {
        /// See above.
        term: Term,
        /// Whether it could.
        granted: bool,
    },
    /// Give me your vote in `term` (paper, section 5.2).
    Vote {
        /// The candidate's term.
        term: Term,
        /// Its last index.
        last_index: Index,
        /// Its last entry's term.
        last_term: Term,
        /// The leader wants it: whoever hears that one may vote all the same.
        forced: bool,
    },
    /// The answer, in the answerer's term.
    VoteReply {
        /// See above.
        term: Term,
        /// Whether the vote is given.
        granted: bool,
    },
    /// A leader's entries, or only its heartbeat.
    Append(Append),
    /// The answer to an append.
    AppendReply {
        /// The answerer's term.
        term: Term,
        /// The round of the append answered.
        round: u64,
        /// The answerer doubts its own memory and must not be counted.
        abstains: bool,
        /// The answerer elects nobody for the shortest election time-out from now on, unless the leader wants it.
        promises: bool,
        /// What it says about the log.
        verdict: Verdict,
    },
    /// A leader asks a follower that has all its entries to stand for election at once (thesis, section 3.10).
    TimeoutNow {
        /// The leader's term.
        term: Term,
    },
    /// To a node that wants to lead: by a membership that is committed it belongs to the cluster no more. Advice; changes nothing.
    Gone {
        /// The sender's term.
        term: Term,
        /// Where that membership, or one with the same to say, was in force.
        at: Index,
    },
    /// A witness's, to a node that wants to lead with an older log than its own. Advice; changes nothing.
    Ahead {
        /// The witness's term.
        term: Term,
        /// Where its log ends.
        end: EntryId,
    },
}

/// A leader's message to a follower (paper, section 5.3).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Append {
    /// The leader's term.
    pub term: Term,
    /// The index before the first entry.
    pub prev_index: Index,
    /// That entry's term.
    pub prev_term: Term,
    /// The leader's commit index.
    pub commit: Index,
    /// The newest read round that had begun when this was sent.
    pub round: u64,
    /// Whether the leader may rest on what the receiver said and may have forgotten: a receiver in doubt then
    /// stays so.
    pub relies: bool,
    /// Up to where both nodes with data beside a witness are known to hold the log durably; zero without a witness.
    pub held_by_both: Index,
    /// Whether the entries are what a witness may know of them: nobody else takes those.
    pub withheld: bool,
    /// The entries after `prev_index`, possibly none.
    pub entries: Vec<LogEntry>,
}

/// What an answer to an append says about the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Verdict {
    /// Nothing yet: the append arrived, and its entries are on their way to the disk.
    Heard,
    /// Everything up to here is durable and the leader's.
    Match(Index),
    /// The entry before the first does not fit.
    Conflict {
        /// The `prev_index` of the append answered.
        rejected: Index,
        /// The answerer's last index that may fit.
        hint_index: Index,
        /// That entry's term.
        hint_term: Term,
    },
}

/// Why bytes are no message. The frame around them was intact, so the sender is another version or wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageError {
    /// The fixed part can't be read.
    Head,
    /// The entries end early, or go on after the last.
    Entries,
    /// The numbers contradict each other: no member says this.
    Contradiction,
}

/// The fixed part, in postcard; an append's entries follow it as (term u64, length u32, body), little-endian.
#[derive(Serialize, Deserialize)]
enum Head {
    PreVote(Term, Index, Term),
    PreVoteReply(Term, bool),
    Vote(Term, Index, Term, bool),
    VoteReply(Term, bool),
    Append {
        term: Term,
        prev: (Index, Term),
        commit: Index,
        round: u64,
        relies: bool,
        held_by_both: Index,
        withheld: bool,
        entries: u32,
    },
    AppendReply {
        term: Term,
        round: u64,
        abstains: bool,
        promises: bool,
        verdict: Verdict,
    },
    TimeoutNow(Term),
    Gone(Term, Index),
    Ahead(Term, EntryId),
}

impl Message {
    /// The bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let (head, entries): (Head, &[LogEntry]) = match self {
            Self::PreVote { term, last_index, last_term } => {
                (Head::PreVote(*term, *last_index, *last_term), &[])
            }
            Self::PreVoteReply { term, granted } => (Head::PreVoteReply(*term, *granted), &[]),
            Self::Vote { term, last_index, last_term, forced } => {
                (Head::Vote(*term, *last_index, *last_term, *forced), &[])
            }
            Self::VoteReply { term, granted } => (Head::VoteReply(*term, *granted), &[]),
            Self::Append(append) => (
                Head::Append {
                    term: append.term,
                    prev: (append.prev_index, append.prev_term),
                    commit: append.commit,
                    round: append.round,
                    relies: append.relies,
                    held_by_both: append.held_by_both,
                    withheld: append.withheld,
                    entries: append.entries.len() as u32,
                },
                &append.entries,
            ),
            Self::AppendReply { term, round, abstains, promises, verdict } => {
                let (term, round, abstains, promises) = (*term, *round, *abstains, *promises);
                (Head::AppendReply { term, round, abstains, promises, verdict: *verdict }, &[])
            }
            Self::TimeoutNow { term } => (Head::TimeoutNow(*term), &[]),
            Self::Gone { term, at } => (Head::Gone(*term, *at), &[]),
            Self::Ahead { term, end } => (Head::Ahead(*term, *end), &[]),
        };
        let body: usize = entries.iter().map(|entry| ENTRY_HEAD_BYTES + entry.payload.len()).sum();
        let head = postcard::to_stdvec(&head).expect("plain numbers always encode");
        let mut bytes = BytesMut::with_capacity(head.len() + body);
        bytes.put_slice(&head);
        for entry in entries {
            bytes.put_u64_le(entry.term.0);
            bytes.put_u32_le(
                u32::try_from(entry.payload.len()).expect("an entry is bounded by the frame limit"),
            );
            bytes.put_slice(&entry.payload);
        }
        bytes.freeze()
    }

    /// The message in these bytes. Bodies share the buffer. What Raft asserts of every message is checked here.
    pub fn decode(bytes: &Bytes) -> Result<Self, MessageError> {
        let message = Self::read(bytes)?;
        if message.is_sound() { Ok(message) } else { Err(MessageError::Contradiction) }
    }

    fn read(bytes: &Bytes) -> Result<Self, MessageError> {
        let (head, rest) = postcard::take_from_bytes::<Head>(bytes).map_err(|_| MessageError::Head)?;
        let rest = bytes.slice(bytes.len() - rest.len()..);
        if !matches!(head, Head::Append { .. }) && !rest.is_empty() {
            return Err(MessageError::Entries);
        }
        Ok(match head {
            Head::PreVote(term, last_index, last_term) => Self::PreVote { term, last_index, last_term },
            Head::PreVoteReply(term, granted) => Self::PreVoteReply { term, granted },
            Head::Vote(term, last_index, last_term, forced) => {
                Self::Vote { term, last_index, last_term, forced }
            }
            Head::VoteReply(term, granted) => Self::VoteReply { term, granted },
            Head::Append { term, prev, commit, round, relies, held_by_both, withheld, entries } => {
                Self::Append(Append {
                    term,
                    prev_index: prev.0,
                    prev_term: prev.1,
                    commit,
                    round,
                    relies,
                    held_by_both,
                    withheld,
                    entries: decode_entries(rest, entries)?,
                })
            }
            Head::AppendReply { term, round, abstains, promises, verdict } => {
                Self::AppendReply { term, round, abstains, promises, verdict }
            }
            Head::TimeoutNow(term) => Self::TimeoutNow { term },
            Head::Gone(term, at) => Self::Gone { term, at },
            Head::Ahead(term, end) => Self::Ahead { term, end },
        })
    }
}

impl Message {
    /// Whether a member can have meant this: terms never go down along a log, nor beyond the leader's, and there is
    /// always a next term and a next index.
    fn is_sound(&self) -> bool {
        let term = match self {
            Self::PreVote { term, last_term, .. } | Self::Vote { term, last_term, .. } => {
                if last_term >= term {
                    return false;
                }
                term
            }
            Self::PreVoteReply { term, .. }
            | Self::VoteReply { term, .. }
            | Self::AppendReply { term, .. }
            | Self::TimeoutNow { term }
            | Self::Gone { term, .. }
            | Self::Ahead { term, .. } => term,
            Self::Append(append) => {
                let terms = append.entries.iter().map(|entry| entry.term);
                let rising = std::iter::once(append.prev_term).chain(terms).chain([append.term]).is_sorted();
                let last = append.prev_index.0.checked_add(append.entries.len() as u64);
                if !rising || last.is_none_or(|last| last == u64::MAX) {
                    return false;
                }
                &append.term
            }
        };
        *term < Term(u64::MAX)
    }
}

fn decode_entries(mut rest: Bytes, count: u32) -> Result<Vec<LogEntry>, MessageError> {
    let mut entries = Vec::new();
    for _ in 0..count {
        let Some((term, after)) = rest.split_first_chunk::<8>() else { return Err(MessageError::Entries) };
        let Some((len, body)) = after.split_first_chunk::<4>() else { return Err(MessageError::Entries) };
        let (term, len) = (Term(u64::from_le_bytes(*term)), u32::from_le_bytes(*len) as usize);
        if len > body.len() {
            return Err(MessageError::Entries);
        }
        entries.push(LogEntry { term, payload: rest.slice(ENTRY_HEAD_BYTES..ENTRY_HEAD_BYTES + len) });
        rest = rest.slice(ENTRY_HEAD_BYTES + len..);
    }
    if rest.is_empty() { Ok(entries) } else { Err(MessageError::Entries) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(term: u64) -> LogEntry {
        LogEntry { term: Term(term), payload: Bytes::from_static(b"x") }
    }

    fn append(prev_term: u64, entries: Vec<LogEntry>) -> Message {
        let (prev_index, prev_term) = (Index(7), Term(prev_term));
        let (term, commit) = (Term(4), Index(9));
        Message::Append(Append {
            term,
            prev_index,
            prev_term,
            commit,
            round: 1,
            relies: true,
            held_by_both: commit,
            withheld: false,
            entries,
        })
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let message = append(2, vec![entry(2), entry(4)]);
        assert_eq!(Message::decode(&message.encode()), Ok(message));
    }

    #[test]
    fn every_truncation_is_refused() {
        let bytes = append(2, vec![entry(2), entry(4)]).encode();
        for len in 0..bytes.len() {
            assert!(Message::decode(&bytes.slice(..len)).is_err(), "cut at {len}");
        }
    }

    #[test]
    fn a_message_that_contradicts_itself_is_refused() {
        let vote = |term, last_term| Message::Vote {
            term: Term(term),
            last_index: Index(1),
            last_term: Term(last_term),
            forced: false,
        };
        let nonsense = [
            append(5, vec![]),
            append(2, vec![entry(3), entry(2)]),
            append(2, vec![entry(5)]),
            vote(3, 3),
            vote(u64::MAX, 1),
            Message::VoteReply { term: Term(u64::MAX), granted: false },
        ];
        for message in nonsense {
            assert_eq!(Message::decode(&message.encode()), Err(MessageError::Contradiction), "{message:?}");
        }
    }
}
