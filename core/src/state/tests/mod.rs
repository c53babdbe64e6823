//! Tests of the replicated state, and the small words that they share.

mod codec;
mod dependencies;
mod draft;
mod due;
mod golden;
mod key_table;
mod model;
mod naive;
mod replicas;

use std::sync::Arc;

use proptest::prelude::ProptestConfig;

use super::data::Kind;
use super::effect::{Answer, Cause, Deadline, DeleteCause, Effect, Entry, StoredReply};
use super::{State, View};
use crate::access::user::User;
use crate::reply::Value;
use crate::time::Millis;
use crate::types::{Blob, BootNumber, Incarnation, Index, NodeId, SessionId};

/// So many random cases. A failing one is printed whole, and belongs into a test of its own.
fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

fn entry(time: u64, effects: Vec<Effect>) -> Entry {
    Entry { time: Millis(time), cause: Cause::Command, effects }
}

fn put(key: &str, value: &str) -> Effect {
    Effect::Put { key: key.into(), value: value.into(), deadline: None }
}

fn put_until(key: &str, value: &str, at: u64, slack: u32) -> Effect {
    Effect::Put { key: key.into(), value: value.into(), deadline: deadline(at, slack) }
}

fn delete(key: &str) -> Effect {
    Effect::Delete { key: key.into(), cause: DeleteCause::Deleted }
}

fn expired(key: &str) -> Effect {
    Effect::Delete { key: key.into(), cause: DeleteCause::Expired }
}

fn redate(key: &str, deadline: Option<Deadline>) -> Effect {
    Effect::Redate { key: key.into(), deadline }
}

fn members(key: &str, changes: &[(&str, Option<&str>)]) -> Effect {
    let changes = changes.iter().map(|(name, value)| ((*name).into(), value.map(Blob::from))).collect();
    Effect::Members { key: key.into(), kind: Kind::Hash, changes }
}

fn moved(from: &str, to: &str) -> Effect {
    Effect::Moved { from: from.into(), to: to.into() }
}

/// The first keys of a scan.
fn scan(view: &mut View<'_>, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Vec<Blob> {
    let mut found = Vec::new();
    if limit > 0 {
        let (from, until) = crate::access::rights::prefix_span(prefix);
        view.scan((&from, until.as_ref().map(Blob::as_slice)), after, &mut |key, _| {
            found.push(key.into());
            found.len() < limit
        });
    }
    found
}

fn opened(user: &str, ttl: u64) -> Effect {
    Effect::SessionOpened { user: user.into(), ttl }
}

fn stepped(id: u64, seq: u64, floor: u64) -> Effect {
    Effect::SessionStepped { id: SessionId(id), seq, floor, reply: reply(seq) }
}

fn ended(id: u64) -> Effect {
    Effect::SessionEnded { id: SessionId(id), cause: DeleteCause::Deleted }
}

fn forwarded(origin: u64, boot: u64, seq: u64, floor: u64) -> Effect {
    Effect::Forwarded { origin: Incarnation(origin), boot: BootNumber(boot), seq, floor, reply: reply(seq) }
}

fn user_put(name: &str, generation: u64) -> Effect {
    Effect::UserPut { name: name.into(), user: user(generation) }
}

fn user(generation: u64) -> User {
    User { generation: Index(generation), password: "$argon2id$".into(), grants: Vec::new() }
}

fn deadline(at: u64, slack: u32) -> Option<Deadline> {
    Some(Deadline { at: Millis(at), slack })
}

fn reply(seq: u64) -> StoredReply {
    StoredReply { outcome: Ok(Value::Int(seq as i64)), digest: seq * 31 }
}

/// The answer as it is kept since an entry at this time.
fn answer(seq: u64, time: u64) -> Arc<Answer> {
    Arc::new(Answer { time: Millis(time), reply: reply(seq) })
}

/// A state with these entries committed.
fn committed(entries: &[Entry]) -> State {
    let mut state = State::default();
    for entry in entries {
        state.commit(state.committed().next(), entry);
    }
    state
}

/// Appends entries, each with one effect, at the tail's time.
fn append(state: &mut State, effects: Vec<Effect>) {
    for effect in effects {
        append_entry(state, &entry(state.time().0, vec![effect]));
    }
}

fn append_entry(state: &mut State, entry: &Entry) {
    state.append(state.tail().next(), entry);
}
