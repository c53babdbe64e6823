//! Random histories of a database that executes one command after the other, seen by clients who overlap:
//! all judges pass them, and of random lies told to the clients they find whole classes.
//!
//! The database is the core's own evaluation, so that these tests also compare it with the judges' model.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use steadfast_core::error::{ErrorCode, Failure};
use steadfast_core::reply::Value;
use steadfast_core::types::{Blob, SessionId};

use super::Bench;
use crate::check::{Verdict, judge};
use crate::history::{End, History, Operation};

/// What happens next in a random run.
#[derive(Clone, Debug)]
enum Event {
    /// An idle client asks; a busy one's command takes effect, or its answer arrives.
    Client(u64),
    /// A busy client is never told, and goes on under another name.
    Lost(u64),
    /// A client repeats its last command in a session.
    Again(u64),
    /// Time passes.
    Wait(u64),
}

const CLIENTS: u64 = 6;

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        40 => (0..CLIENTS).prop_map(Event::Client),
        2 => (0..CLIENTS).prop_map(Event::Lost),
        2 => (0..CLIENTS).prop_map(Event::Again),
        3 => (1u64..200).prop_map(Event::Wait),
        1 => (4_000u64..7_000).prop_map(Event::Wait),
    ]
}

/// A command, on few keys so that much meets.
fn command() -> impl Strategy<Value = String> {
    let key = prop::sample::select(vec!["a", "b", "pub:c", "pub:d"]);
    let value = prop::sample::select(vec!["1", "2", "x", "y"]);
    let any_key = key.clone();
    prop_oneof![
        6 => any_key.clone().prop_map(|k| format!("GET {k}")),
        2 => any_key.clone().prop_map(|k| format!("GETV {k}")),
        6 => (any_key.clone(), value.clone()).prop_map(|(k, v)| format!("SET {k} {v}")),
        2 => (any_key.clone(), value.clone(), 1u64..300).prop_map(|(k, v, ms)| format!("SET {k} {v} PX {ms}")),
        2 => (any_key.clone(), value.clone()).prop_map(|(k, v)| format!("SET {k} {v} NX")),
        2 => (any_key.clone(), value.clone()).prop_map(|(k, v)| format!("SET {k} {v} XX GET")),
        2 => (any_key.clone(), value.clone(), 0u64..40).prop_map(|(k, v, n)| format!("SET {k} {v} IFVERSION {n}")),
        5 => (any_key.clone(), -2i64..4).prop_map(|(k, n)| format!("INCRBY {k} {n}")),
        2 => (key.clone(), key.clone()).prop_map(|(k, l)| format!("DEL {k} {l}")),
        2 => (key.clone(), key.clone()).prop_map(|(k, l)| format!("EXISTS {k} {l}")),
        2 => (any_key.clone(), -1i64..300).prop_map(|(k, ms)| format!("PEXPIRE {k} {ms}")),
        1 => any_key.clone().prop_map(|k| format!("EXPIRE {k} 1")),
        2 => any_key.clone().prop_map(|k| format!("PTTL {k}")),
        1 => any_key.clone().prop_map(|k| format!("PERSIST {k}")),
        2 => (key.clone(), key.clone()).prop_map(|(k, l)| format!("MGET {k} {l}")),
        2 => (key.clone(), key, value).prop_map(|(k, l, v)| format!("MSET {k} {v} {l} 7")),
        2 => (1usize..4).prop_map(|n| format!("SCAN pub: COUNT {n}")),
        1 => Just("SCAN a".to_owned()),
        1 => Just("SESSION OPEN".to_owned()),
        1 => (3u64..30).prop_map(|id| format!("SESSION END {id}")),
        1 => Just("WHOAMI".to_owned()),
        1 => Just("USER LIST".to_owned()),
        1 => prop::sample::select(vec!["USER ADD bob p", "USER REMOVE bob", "USER PASSWORD bob q"]).prop_map(String::from),
        2 => prop::sample::select(vec![
            "GRANT READ ON pub:* TO bob", "GRANT WRITE ON pub:* TO bob", "GRANT READ ON a TO bob",
            "REVOKE READ ON pub:* FROM bob", "REVOKE WRITE ON pub:* FROM bob", "REVOKE READ ON a FROM bob",
        ]).prop_map(String::from),
    ]
}

/// Who a client is: most are the administrator, who may do everything; two are bob.
fn user(client: u64) -> &'static str {
    if client < 4 { "root" } else { "bob" }
}

/// A random run. Every other client works in a session.
fn run(events: &[Event], mut commands: impl Iterator<Item = String>) -> Bench {
    let mut bench = Bench::with_core();
    bench.run_as(0, "root", "USER ADD bob p");
    bench.run_as(0, "root", "GRANT READ ON pub:* TO bob");
    let mut clients: Vec<Client> = (0..CLIENTS).map(|id| Client::new(&mut bench, id)).collect();
    for event in events {
        match event {
            Event::Wait(ms) => bench.wait(*ms),
            Event::Client(id) => clients[*id as usize].step(&mut bench, &mut commands),
            Event::Lost(id) => clients[*id as usize].lose(),
            Event::Again(id) => clients[*id as usize].again(&mut bench),
        }
    }
    bench
}

struct Client {
    id: u64,
    name: u64,
    session: Option<SessionId>,
    seq: u64,
    last: Option<String>,
    asked: Option<u64>,
    acted: bool,
}

impl Client {
    fn new(bench: &mut Bench, id: u64) -> Self {
        let open = bench.run_as(id, user(id), "SESSION OPEN");
        let session = match bench.history().ops[open as usize].value() {
            Some(Value::Int(session)) if id.is_multiple_of(2) => Some(SessionId(*session as u64)),
            _ => None,
        };
        Self { id, name: id, session, seq: 0, last: None, asked: None, acted: false }
    }

    fn once(&self) -> Option<(SessionId, u64)> {
        self.session.map(|session| (session, self.seq))
    }

    fn step(&mut self, bench: &mut Bench, commands: &mut impl Iterator<Item = String>) {
        match self.asked {
            None => {
                let command = commands.next().expect("commands enough");
                self.seq += 1;
                self.asked = Some(bench.ask_as(self.name, Some(user(self.id)), self.once(), &command));
                self.last = Some(command);
                self.acted = false;
            }
            Some(op) if !self.acted => {
                bench.act(op);
                self.acted = true;
            }
            Some(op) => {
                bench.tell(op);
                self.asked = None;
            }
        }
    }

    fn lose(&mut self) {
        if self.asked.take().is_some() {
            self.name += 100;
        }
    }

    /// The same command under the same number: a client that lost its answer and another process that asks on.
    fn again(&mut self, bench: &mut Bench) {
        if let (None, Some(_), Some(command)) = (self.asked, self.session, &self.last) {
            self.asked = Some(bench.ask_as(self.name, Some(user(self.id)), self.once(), command));
            self.acted = false;
        }
    }
}

/// A lie about one operation: what its client was told instead. `None` if it is no lie about this one.
type Lie = fn(&History, usize) -> Option<Operation>;

fn told(op: &Operation, value: Value) -> Option<Operation> {
    Some(Operation { end: End::Ok(value), ..op.clone() })
}

fn refused(op: &Operation, code: ErrorCode) -> Option<Operation> {
    Some(Operation { end: End::Failed(Failure::new(code, "a lie")), ..op.clone() })
}

fn no_such_value(history: &History, at: usize) -> Option<Operation> {
    let op = &history.ops[at];
    matches!(op.value()?, Value::Bytes(_)).then(|| told(op, Value::Bytes(Blob::from("never written"))))?
}

fn missing_for_there(history: &History, at: usize) -> Option<Operation> {
    let op = &history.ops[at];
    matches!(op.value()?, Value::Bytes(_)).then(|| told(op, Value::Nil))?
}

fn other_number(history: &History, at: usize) -> Option<Operation> {
    let op = &history.ops[at];
    match op.value()? {
        Value::Int(number) => told(op, Value::Int(number.wrapping_add(1))),
        _ => None,
    }
}

/// In a session: elsewhere a lost command that does the same could have done it.
fn other_condition(history: &History, at: usize) -> Option<Operation> {
    let op = &history.ops[at];
    let is = |at: usize, word: &str| op.args.get(at) == Some(&Blob::from(word));
    let conditional = op.once().is_some() && is(0, "SET") && (is(3, "NX") || is(3, "IFVERSION"));
    match op.value()? {
        Value::Nil if conditional => told(op, Value::ok()),
        Value::Status(_) if conditional => told(op, Value::Nil),
        _ => None,
    }
}

fn shorter_page(history: &History, at: usize) -> Option<Operation> {
    let op = &history.ops[at];
    let Value::List(items) = op.value()? else { return None };
    let (last, rest) = items.split_last()?;
    match last {
        Value::List(keys) => {
            let keys = keys.split_last()?.1.to_vec();
            told(op, Value::List([rest, &[Value::List(keys)]].concat()))
        }
        _ => told(op, Value::List(rest.to_vec())),
    }
}

fn denied(history: &History, at: usize) -> Option<Operation> {
    history.ops[at].value().and_then(|_| refused(&history.ops[at], ErrorCode::Denied))
}

fn allowed(history: &History, at: usize) -> Option<Operation> {
    match &history.ops[at].end {
        End::Failed(failure) if failure.code == ErrorCode::Denied => told(&history.ops[at], Value::Int(1)),
        _ => None,
    }
}

/// In a session, and only where nobody asked again under the same number: of two attempts one may well have
/// been refused. Outside of sessions another like command of unknown outcome could excuse it.
fn never_happened(history: &History, at: usize) -> Option<Operation> {
    let op = &history.ops[at];
    let alone =
        op.once().is_some() && history.ops.iter().filter(|other| other.once() == op.once()).count() == 1;
    let lie = || Operation { receipt: None, ..refused(op, ErrorCode::Overloaded).expect("a refusal") };
    op.value().filter(|_| always_writes(op) && alone).map(|_| lie())
}

/// In a session, for the same reason.
fn another_position(history: &History, at: usize) -> Option<Operation> {
    let op = &history.ops[at];
    let tells = op.value().is_some() && op.once().is_some() && always_writes(op);
    let mut receipt = op.receipt.filter(|_| tells)?;
    receipt.position = receipt.position.prev();
    Some(Operation { receipt: Some(receipt), ..op.clone() })
}

fn another_time(history: &History, at: usize) -> Option<Operation> {
    let mut receipt = history.ops[at].receipt?;
    receipt.time.0 += 1;
    Some(Operation { receipt: Some(receipt), ..history.ops[at].clone() })
}

fn always_writes(op: &Operation) -> bool {
    let is = |word: &str| op.args[0] == Blob::from(word);
    is("INCRBY") || is("MSET") || (is("SET") && op.args.len() == 3)
}

const LIES: [(&str, Lie); 10] = [
    ("a value that nobody wrote", no_such_value),
    ("nothing where there was a value", missing_for_there),
    ("a number off by one", other_number),
    ("a condition turned round", other_condition),
    ("a list that lacks its last", shorter_page),
    ("a refusal where there was none", denied),
    ("a success where access was denied", allowed),
    ("a write that was done, reported as not done", never_happened),
    ("a write at another position", another_position),
    ("another time than the position's", another_time),
];

/// Random runs of about this many events.
fn runs(events: usize) -> impl Strategy<Value = (Vec<Event>, Vec<String>)> {
    (prop::collection::vec(event(), events), prop::collection::vec(command(), events))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn honest_histories_pass_every_judge((events, commands) in runs(250)) {
        let bench = run(&events, commands.into_iter());
        prop_assert_eq!(judge(&bench.history(), &bench.log), Verdict::Passed);
    }

    #[test]
    fn lies_to_clients_are_found((events, commands) in runs(150), pick in any::<prop::sample::Index>()) {
        let bench = run(&events, commands.into_iter());
        let honest = bench.history();
        for (name, lie) in LIES {
            let lies: Vec<(usize, Operation)> =
                (0..honest.ops.len()).filter_map(|at| Some((at, lie(&honest, at)?))).collect();
            if lies.is_empty() {
                continue;
            }
            let (at, told) = pick.get(&lies).clone();
            let mut history = honest.clone();
            history.ops[at] = told;
            let verdict = judge(&history, &bench.log);
            prop_assert!(verdict.failed(), "{}: {} was {}", name, &history.ops[at], &honest.ops[at]);
        }
    }
}

#[test]
fn the_random_runs_offer_a_place_for_every_lie() {
    let mut runner = TestRunner::deterministic();
    let mut places = [0; LIES.len()];
    for _ in 0..10 {
        let (events, commands) = runs(250).new_tree(&mut runner).expect("a run").current();
        let history = run(&events, commands.into_iter()).history();
        for (count, (_, lie)) in places.iter_mut().zip(LIES) {
            *count += (0..history.ops.len()).filter(|at| lie(&history, *at).is_some()).count();
        }
    }
    assert!(places.iter().all(|count| *count > 0), "{places:?}");
}
