//! How scripts show nodes, messages and entries: one line each, in columns.

use super::host::Packet;
use crate::raft::{LogEntry, Message, Raft, Verdict};
use crate::types::{Index, NodeId, Term};

/// What happened at one node.
pub fn line(node: NodeId, text: &str) -> String {
    format!("{node:>4}  {text}")
}

/// An entry: `index@term:name`.
pub fn entry(index: Index, entry: &LogEntry) -> String {
    format!("{index}@{}:{}", entry.term, String::from_utf8_lossy(&entry.payload))
}

/// A message and where it goes; `note` says what else is to be known about it.
pub fn packet(packet: &Packet, note: &str) -> String {
    let text = format!("{}->{}  {}{note}", packet.from, packet.to, message(&packet.message));
    text.trim_end().to_owned()
}

/// Role, term, vote and leader.
pub fn standing(raft: &Raft) -> String {
    let node = |node: Option<NodeId>| node.map_or_else(|| "-".to_owned(), |node| node.to_string());
    let (role, term) = (raft.role().name(), raft.term());
    format!("{role:<14} term {term}  vote {}  leader {}", node(raft.vote()), node(raft.leader()))
}

/// A message's kind, as it is counted.
pub fn kind(message: &Message) -> &'static str {
    match message {
        Message::PreVote { .. } => "PreVote",
        Message::PreVoteReply { .. } => "PreVoteReply",
        Message::Vote { .. } => "Vote",
        Message::VoteReply { .. } => "VoteReply",
        Message::Append(_) => "Append",
        Message::AppendReply { .. } => "AppendReply",
        Message::TimeoutNow { .. } => "TimeoutNow",
        Message::Gone { .. } => "Gone",
        Message::Ahead { .. } => "Ahead",
    }
}

fn message(message: &Message) -> String {
    let granted = |granted: &bool| if *granted { "granted" } else { "refused" };
    let (term, rest) = match message {
        Message::PreVote { term, last_index, last_term }
        | Message::Vote { term, last_index, last_term, .. } => {
            (term, format!("last {last_index}@{last_term}"))
        }
        Message::PreVoteReply { term, granted: yes } | Message::VoteReply { term, granted: yes } => {
            (term, granted(yes).to_owned())
        }
        Message::Append(append) => {
            let mut rest =
                format!("prev {}@{}  commit {}", append.prev_index, append.prev_term, append.commit);
            rest += &round(append.round);
            rest += if append.relies { "" } else { "  relies on nothing forgotten" };
            for (offset, item) in append.entries.iter().enumerate() {
                let index = Index(append.prev_index.0 + 1 + offset as u64);
                rest += if offset == 0 { "  " } else { " " };
                rest += &entry(index, item);
            }
            (&append.term, rest)
        }
        Message::TimeoutNow { term } => (term, String::new()),
        Message::Gone { term, at } => (term, format!("at {at}")),
        Message::Ahead { term, end } => (term, format!("end {}@{}", end.index, end.term)),
        Message::AppendReply { term, round: asked, abstains, verdict, .. } => {
            let mut rest = match verdict {
                Verdict::Heard => "heard".to_owned(),
                Verdict::Match(index) => format!("match {index}"),
                Verdict::Conflict { rejected, hint_index, hint_term } => {
                    format!("conflict at {rejected}, try {hint_index}@{hint_term}")
                }
            };
            rest += &round(*asked);
            rest += if *abstains { "  abstains" } else { "" };
            (term, rest)
        }
    };
    let term: Term = *term;
    format!("{:<12}  term {term}  {rest}", kind(message))
}

fn round(round: u64) -> String {
    if round == 0 { String::new() } else { format!("  round {round}") }
}
