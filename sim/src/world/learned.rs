//! What clients have learned from answers and put into later commands: revisions, tokens, the place of a scan or a watch. It decides
//! nothing about what is asked.

use steadfast_core::client::OpOutcome;
use steadfast_core::error::ErrorCode;
use steadfast_core::reply::{Receipt, Value};
use steadfast_core::types::{Blob, Index, SessionId};

use super::World;
use crate::schedule::Op;

/// What one client has learned for itself. Revisions and leases are known to all.
#[derive(Clone, Debug, Default)]
pub(super) struct Learned {
    /// The last key of the scan before.
    cursor: String,
    /// Up to where it was told of changes, and the newest position that it has heard of.
    told: Index,
    newest: Index,
    /// What confirms that it may drop the keys with a prefix, and the prefix.
    token: (String, String),
    /// What the leader of whom it heard last said.
    saying: String,
    /// Its newest session.
    pub(super) session: SessionId,
}

impl World<'_> {
    /// An operation's words, with what only the moment knows filled in.
    pub(super) fn words(&self, worker: usize, op: &Op) -> Vec<Blob> {
        let learned = &self.workers[worker].learned;
        let fill = |word: &String| match word.as_str() {
            "$rev" | "$token" => {
                let named = match op.args[0].as_str() {
                    "ONCE" | "LOCK" | "SEMAPHORE" | "ELECTION" => 2,
                    "TXN" => 3,
                    "SET" if word == "$token" => 4,
                    _ => 1,
                };
                let revision = op.args.get(named).and_then(|key| self.revisions.get(key));
                Blob::from(revision.map_or("0".to_string(), ToString::to_string))
            }
            "$lease" => Blob::from(self.leases[op.think_us as usize % self.leases.len()].to_string()),
            "$after" => Blob::from(learned.cursor.as_str()),
            "$told" => Blob::from(learned.told.to_string()),
            "$drop" => Blob::from(learned.token.0.as_str()),
            "$doomed" => Blob::from(learned.token.1.as_str()),
            "$saying" => Blob::from(learned.saying.as_str()),
            "$session" => Blob::from(learned.session.0.to_string()),
            "$newest" => Blob::from(learned.newest.to_string()),
            "$half" => Blob::from((learned.newest.0 / 2).to_string()),
            "$late" => Blob::from((learned.newest.0 / 4 * 3).to_string()),
            word => Blob::from(word),
        };
        op.args.iter().map(fill).collect()
    }

    /// Remembers revisions and the place of a scan.
    pub(super) fn learn(&mut self, worker: usize, op: &Op, outcome: &OpOutcome, receipt: Receipt) {
        let state = &mut self.workers[worker].learned;
        state.newest = state.newest.max(receipt.position);
        if matches!(outcome, OpOutcome::Failed(failure) if failure.code == ErrorCode::HistoryGone) {
            // What is behind it is lost to a watch; it goes on from here.
            state.told = receipt.position;
        }
        let OpOutcome::Ok(value) = outcome else { return };
        let revision = match (op.args[0].as_str(), value) {
            ("SET", Value::Status(_)) | ("INCRBY", Value::Int(_)) => receipt.position,
            ("GETV", Value::List(items)) => match items[..] {
                [_, Value::Int(revision)] => Index(u64::try_from(revision).unwrap_or(0)),
                _ => return,
            },
            ("LEASE", Value::Int(lease)) if op.args[1] == "GRANT" => {
                self.leases.rotate_right(1);
                self.leases[0] = *lease;
                return;
            }
            ("DROP", Value::Map(pairs)) => {
                if let Some((_, Value::Bytes(token))) = pairs.iter().find(|(name, _)| name == "token") {
                    state.token = (token.to_string(), op.args[2].clone());
                }
                return;
            }
            ("CHANGES", Value::Map(pairs)) => {
                let position = pairs.iter().find(|(name, _)| name == "position");
                if let Some((_, Value::Int(position))) = position {
                    state.told = Index(u64::try_from(*position).unwrap_or(0));
                }
                return;
            }
            ("ONCE" | "LOCK" | "SEMAPHORE" | "ELECTION", Value::Map(pairs)) => {
                if let Some((_, Value::Bytes(value))) = pairs.iter().find(|(name, _)| name == "value") {
                    state.saying = value.to_string();
                }
                let token = pairs.iter().find(|(name, _)| name == "token");
                if let Some((_, Value::Int(token))) = token {
                    self.revisions.insert(op.args[2].clone(), Index(u64::try_from(*token).unwrap_or(0)));
                }
                return;
            }
            ("SCAN", Value::List(items)) => {
                state.cursor = match items.first() {
                    Some(Value::Bytes(cursor)) => cursor.to_string(),
                    _ => String::new(),
                };
                return;
            }
            _ => return,
        };
        let newest = self.revisions.entry(op.args[1].clone()).or_default();
        *newest = (*newest).max(revision);
    }
}
