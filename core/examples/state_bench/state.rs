//! The replicated state as it is: a command's whole way through view, pending and base.

use std::collections::VecDeque;

use steadfast_core::access::user::User;
use steadfast_core::reply::Value;
use steadfast_core::state::State;
use steadfast_core::state::effect::{Cause, Deadline, Effect, Entry, StoredReply};
use steadfast_core::time::Millis;
use steadfast_core::types::{Blob, Index, SessionId};

use crate::measure::{Bench, name, shuffled, used, value};

/// How many entries are appended and not yet committed: those of a few syncs.
const WINDOW: usize = 512;

/// A leader's state with the entries that are under way.
struct Leader {
    state: State,
    waiting: VecDeque<Entry>,
}

impl Leader {
    fn new() -> Self {
        let mut leader = Self { state: State::new((1, 2)), waiting: VecDeque::new() };
        let user = User { generation: Index(1), password: String::new(), grants: Vec::new() };
        leader.log(vec![Effect::UserPut { name: "root".into(), user }]);
        leader.log(vec![Effect::SessionOpened { user: "root".into(), ttl: u64::MAX }]);
        leader
    }

    /// Appends, and commits what falls out of the window.
    fn log(&mut self, effects: Vec<Effect>) {
        let entry = Entry { time: self.state.time(), cause: Cause::Command, effects };
        self.state.append(self.state.tail().next(), &entry);
        self.waiting.push_back(entry);
        if self.waiting.len() > WINDOW {
            self.commit_one();
        }
    }

    fn commit_one(&mut self) {
        let entry = self.waiting.pop_front().expect("an entry waits");
        self.state.commit(self.state.committed().next(), &entry);
    }

    fn settle(&mut self) {
        while !self.waiting.is_empty() {
            self.commit_one();
        }
    }

    /// SET: the user is checked, the key is read, the value written.
    fn set(&mut self, key: &[u8], value: Blob, deadline: Option<Deadline>) {
        let mut view = self.state.view(self.state.time());
        used(view.user(b"root"));
        used(view.key(key));
        view.put(key.into(), value, deadline);
        self.log(view.finish().effects);
    }

    fn set_in_session(&mut self, key: &[u8], value: Blob, seq: u64) {
        let mut view = self.state.view(self.state.time());
        used(view.user(b"root"));
        let id = SessionId(2);
        used(view.session(id));
        used(view.session_reply(id, seq));
        used(view.key(key));
        view.put(key.into(), value, None);
        let reply = StoredReply { outcome: Ok(Value::ok()), digest: seq };
        view.effect(Effect::SessionStepped { id, seq, floor: seq.saturating_sub(16), reply });
        self.log(view.finish().effects);
    }

    fn delete(&mut self, key: &[u8]) {
        let mut view = self.state.view(self.state.time());
        used(view.user(b"root"));
        used(view.key(key));
        view.delete(key.into());
        self.log(view.finish().effects);
    }

    fn get(&self, key: &[u8]) {
        let mut view = self.state.view(self.state.time());
        used(view.user(b"root"));
        used(view.key(key));
        used(view.finish());
    }
}

pub fn run(keys: usize) {
    let order = shuffled(keys, 1);
    let again = shuffled(keys, 2);
    let bench = Bench::new("state", keys);

    let mut leader = Leader::new();
    bench.time_each("create", keys, |at| leader.set(&name(order[at]), value(at), None));
    leader.settle();
    bench.memory();
    bench.time("read", keys, |at| leader.get(&name(again[at])));
    bench.time("read of a missing key", keys, |at| leader.get(&name(again[at])[..15]));
    bench.time_each("overwrite", keys, |at| leader.set(&name(again[at]), value(at), None));
    let counts = keys / 2;
    bench.time("overwrite in a session", counts, |at| {
        leader.set_in_session(&name(again[at]), value(at), at as u64 + 1);
    });
    let deadline = Some(Deadline { at: Millis(1 << 40), slack: 1 });
    bench.time("overwrite with a deadline", counts, |at| leader.set(&name(again[at]), value(at), deadline));
    bench.time("overwrite, deadline taken away", counts, |at| leader.set(&name(again[at]), value(at), None));
    bench.time("delete", counts, |at| leader.delete(&name(again[at])));
    bench.time("create again", counts, |at| leader.set(&name(again[at]), value(at), None));
    leader.settle();
    bench.memory();

    bench.time("scan of 1000 keys", 200, |at| {
        let mut view = leader.state.view(leader.state.time());
        let mut seen = 0;
        view.scan((b"key:", Some(b"key;")), Some(&name(order[at])), &mut |key, _| {
            used(key);
            seen += 1;
            seen < 1000
        });
        used(view.finish());
    });
    entries(&bench);
    bench.time("follower: decode and commit an overwrite", counts, follower(&mut leader.state, &order));
    bench.time("next due", counts, |_| used(leader.state.next_due()));
    bench.time("digest of everything", 1, |_| used(leader.state.digest()));
    bench.time("clone of everything", 1, |_| used(leader.state.clone()));
}

fn entries(bench: &Bench) {
    let entry = |at: usize| Entry {
        time: Millis(1_700_000_000_000),
        cause: Cause::Command,
        effects: vec![Effect::Put { key: name(at)[..].into(), value: value(at), deadline: None }],
    };
    let sample = entry(0);
    let bytes = sample.encode();
    bench.time("encode an entry of one put", bench.keys, |_| used(sample.encode()));
    bench.time("decode an entry of one put", bench.keys, |_| used(Entry::decode(&bytes)));
}

fn follower<'a>(state: &'a mut State, order: &'a [usize]) -> impl FnMut(usize) + 'a {
    let key = |at: usize| Blob::from(&name(order[at])[..]);
    let time = state.time();
    let entry = move |at| Entry {
        time,
        cause: Cause::Command,
        effects: vec![Effect::Put { key: key(at), value: value(at), deadline: None }],
    };
    let encoded: Vec<_> = (0..order.len() / 2).map(|at| entry(at).encode()).collect();
    move |at| {
        let entry = Entry::decode(&encoded[at]).expect("an entry that was just encoded");
        state.commit(state.committed().next(), &entry);
    }
}
