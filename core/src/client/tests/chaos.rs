//! The client against a cluster that loses, delays, refuses, forgets and lies about nothing: whatever happens, an
//! outcome never promises too much. The cluster is a model of what a server guarantees; a cluster that breaks the
//! guarantee must be noticed, or this test would prove nothing.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use super::*;
use crate::protocol::native::Once;

/// What the cluster remembers.
#[derive(Default)]
struct Model {
    sessions: BTreeMap<SessionId, Record>,
    index: u64,
    /// How often each command took effect, by its key.
    executed: BTreeMap<Blob, u64>,
    /// Attempts that a node still has, and that may arrive at any time or never.
    parked: Vec<Request>,
    /// A planted bug: answers are not remembered.
    forgetful: bool,
}

#[derive(Default)]
struct Record {
    floor: u64,
    answers: BTreeMap<u64, (Vec<Blob>, Reply)>,
}

impl Model {
    /// What the leader does with a request.
    fn execute(&mut self, request: &Request) -> Reply {
        self.index += 1;
        let text = text(request);
        if text.starts_with("SESSION OPEN") {
            self.sessions.insert(SessionId(self.index), Record::default());
            return evaluated(Ok(Value::Int(self.index as i64)), self.index);
        }
        if text.starts_with("GET") {
            return evaluated(Ok(Value::Nil), self.index);
        }
        let Some(once) = request.once else { return self.change(request) };
        match self.admit(request, once) {
            Some(reply) => reply,
            None => {
                let reply = self.change(request);
                let record = self.sessions.get_mut(&once.session).expect("admitted");
                record.floor = record.floor.max(once.floor);
                record.answers = record.answers.split_off(&(record.floor + 1));
                record.answers.insert(once.seq, (request.args.clone(), reply.clone()));
                reply
            }
        }
    }

    fn admit(&self, request: &Request, once: Once) -> Option<Reply> {
        let refuse = |code| Some(evaluated(Err(code), self.index));
        let Some(record) = self.sessions.get(&once.session) else { return refuse(ErrorCode::SessionUnknown) };
        match record.answers.get(&once.seq) {
            _ if self.forgetful => return None,
            Some((args, reply)) if *args == request.args => return Some(reply.clone()),
            Some(_) => return refuse(ErrorCode::SessionConflict),
            None => {}
        }
        let floor = record.floor.max(once.floor);
        if once.seq <= floor {
            return refuse(ErrorCode::SessionStale);
        }
        assert!(once.seq <= once.floor + 8, "the client never exceeds the window");
        None
    }

    fn change(&mut self, request: &Request) -> Reply {
        if request.args[1].starts_with(b"text") {
            return evaluated(Err(ErrorCode::NotAnInteger), self.index);
        }
        *self.executed.entry(request.args[1].clone()).or_default() += 1;
        evaluated(Ok(Value::Int(1)), self.index)
    }
}

struct Chaos {
    bench: Bench,
    rng: ChaCha8Rng,
    model: Model,
    /// Connections that a server has taken, and whether it executes nothing more on them.
    /// Each open connection, with how many unknown outcomes it was told of.
    unknowns: BTreeMap<ConnId, u32>,
    /// Each command's key, which is its own.
    submitted: BTreeMap<u64, Blob>,
    calm: bool,
}

const REFUSALS: [ErrorCode; 8] = [
    ErrorCode::Overloaded,
    ErrorCode::NoLeader,
    ErrorCode::ShuttingDown,
    ErrorCode::TooManyRequests,
    ErrorCode::DeadlineExceeded,
    ErrorCode::LeaderChanged,
    ErrorCode::Changed,
    ErrorCode::Unauthenticated,
];

impl Chaos {
    fn new(seed: u64, use_session: bool, forgetful: bool) -> Self {
        let mut seeds = [0; 32];
        seeds[..8].copy_from_slice(&seed.to_le_bytes());
        let credentials = Some(Credentials { user: Blob::from("u"), password: "p".into() });
        let config = ClientConfig { use_session, credentials, attempt_ms: 400, drain_ms: 50, ..config(3) };
        Self {
            bench: Bench::new(config),
            rng: ChaCha8Rng::from_seed(seeds),
            model: Model { forgetful, ..Model::default() },
            unknowns: BTreeMap::new(),
            submitted: BTreeMap::new(),
            calm: false,
        }
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.rng.next_u64() % bound
    }

    fn chance(&mut self, percent: u64) -> bool {
        !self.calm && self.below(100) < percent
    }

    fn run(mut self) -> Self {
        for op in 0..60 {
            let command = match self.below(10) {
                0..=5 => format!("INCRBY key-{op} 1"),
                6 => format!("INCRBY text-{op} 1"),
                _ => format!("GET key-{op}"),
            };
            let deadline = [150, 800, 6000][self.below(3) as usize];
            self.submitted.insert(op, words(&command)[1].clone());
            self.bench.submit_until(op, &command, deadline as u32);
            for _ in 0..self.below(4) {
                self.turn();
            }
        }
        self.calm = true;
        for _ in 0..2000 {
            self.turn();
        }
        // What nodes still hold may arrive at the very end.
        while let Some(request) = self.model.parked.pop() {
            self.model.execute(&request);
        }
        self
    }

    /// A little time passes and something happens.
    fn turn(&mut self) {
        let pause = self.below(40);
        self.bench.pass(pause);
        if let Some((conn, _)) = self.bench.connects.pop_front() {
            match self.below(4) {
                0 if !self.calm => self.bench.step(ClientInput::ConnectFailed { conn }),
                1 if !self.calm => {} // Never answers.
                _ => {
                    self.unknowns.insert(conn, 0);
                    self.bench.step(ClientInput::Connected { conn });
                }
            }
        }
        let conns: Vec<ConnId> = self.unknowns.keys().copied().collect();
        for conn in conns {
            while let Some(frame) = self.bench.next_frame(conn) {
                self.receive(conn, frame);
            }
            if self.chance(4) {
                self.end(conn);
            }
        }
        if self.chance(2) {
            self.model.sessions.pop_first();
        }
        if self.chance(20) && !self.model.parked.is_empty() {
            let at = self.below(self.model.parked.len() as u64) as usize;
            let request = self.model.parked.swap_remove(at);
            self.model.execute(&request);
        }
    }

    /// The server's side of the connection ends, in one of the ways in which connections end.
    fn end(&mut self, conn: ConnId) {
        match self.below(3) {
            0 => self.bench.hang_up(conn),
            1 => self.bench.step(ClientInput::Bytes { conn, data: bytes(b"SFC1 and then rubbish") }),
            _ => self.bench.say(conn, ServerFrame::Goodbye(Failure::new(ErrorCode::ShuttingDown, ""))),
        }
        self.unknowns.remove(&conn);
    }

    fn receive(&mut self, conn: ConnId, frame: ClientFrame) {
        let request = match frame {
            ClientFrame::Hello(_) if self.chance(10) => return, // Never welcomes.
            ClientFrame::Hello(_) => {
                let node = self.below(3) as usize;
                let leader = self.chance(30).then(|| led_by((node + 1) % 3)).flatten();
                return self.bench.say(conn, ServerFrame::Welcome(Welcome { leader, ..welcome(node) }));
            }
            ClientFrame::Request(request) => request,
        };
        if self.unknowns.get(&conn).is_none_or(|unknowns| *unknowns != request.unknowns) {
            return self.bench.reply(conn, &request, refusal(ErrorCode::AfterIndeterminate));
        }
        if self.chance(8) {
            let code = REFUSALS[self.below(REFUSALS.len() as u64) as usize];
            return self.bench.reply(conn, &request, refusal(code));
        }
        if self.chance(8) {
            *self.unknowns.entry(conn).or_default() += 1;
            match self.below(2) {
                0 => drop(self.model.execute(&request)),
                _ => self.model.parked.push(request.clone()),
            }
            let code = [ErrorCode::TimedOut, ErrorCode::LeaderLost][self.below(2) as usize];
            return self.bench.reply(conn, &request, refusal(code));
        }
        if self.chance(5) {
            return self.model.parked.push(request); // Takes it and keeps silent.
        }
        let reply = self.model.execute(&request);
        if self.chance(8) {
            return; // The answer is lost.
        }
        self.bench.reply(conn, &request, reply);
    }

    /// The first outcome that promised too much, or too little.
    fn judge(&self) -> Result<(), String> {
        for (op, key) in &self.submitted {
            let Some(told) = self.bench.told.get(op) else { return Err(format!("{op} was never done")) };
            let executed = self.model.executed.get(key).copied().unwrap_or(0);
            let fits = match &told.outcome {
                OpOutcome::Ok(Value::Nil) => executed == 0, // A read.
                OpOutcome::Ok(_) => executed == 1,
                OpOutcome::Failed(_) => executed == 0,
                OpOutcome::Unknown(_) => executed <= 1 && told.attempts > 0,
            };
            if !fits {
                return Err(format!("{op} on {key} was executed {executed} times: {told:?}"));
            }
        }
        Ok(())
    }
}

#[test]
fn an_outcome_never_promises_too_much() {
    let mut outcomes = [0; 3];
    for seed in 0..150 {
        let chaos = Chaos::new(seed, seed % 4 != 0, false).run();
        if let Err(what) = chaos.judge() {
            panic!("seed {seed}: {what}");
        }
        for told in chaos.bench.told.values() {
            let kind = match told.outcome {
                OpOutcome::Ok(_) => 0,
                OpOutcome::Failed(_) => 1,
                OpOutcome::Unknown(_) => 2,
            };
            outcomes[kind] += 1;
        }
    }
    assert!(outcomes.iter().all(|&count| count > 100), "each outcome is common here: {outcomes:?}");
}

#[test]
fn a_cluster_that_forgets_its_answers_is_noticed() {
    let noticed = (1..60).filter(|seed| Chaos::new(*seed, true, true).run().judge().is_err()).count();
    assert!(noticed > 10, "only {noticed} of 59 runs noticed that commands were executed twice");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let told = || Chaos::new(3, true, false).run().bench.told;
    assert_eq!(told(), told());
}
