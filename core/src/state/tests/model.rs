//! Random logs, appended, committed, lost and rebuilt in random ways, against the naive model.

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::State;
use super::super::data::Kind;
use super::super::effect::{Cause, Deadline, DeleteCause, Effect, Entry, Founding, StoredReply};
use super::super::view::Forwarded;
use super::naive::Naive;
use super::scan;
use crate::access::rights::{Holder, Rules};
use crate::access::user::Pattern;
use crate::coordination::claim::{Claim, ClaimKey, ClaimKind, ClaimState, Wait};
use crate::coordination::lease::Lease;
use crate::coordination::limiter::{Limiter, time_bytes};
use crate::coordination::once::{Work, WorkState};
use crate::durability::Leeway;
use crate::error::{ErrorCode, Failure};
use crate::membership::Membership;
use crate::reply::Value;
use crate::time::Millis;
use crate::types::{Blob, BootNumber, ClusterId, Incarnation, Index, LeaseId, NodeId, SessionId};

/// Short ones, one with another as prefix, the empty one, and some beyond what a blob holds in itself.
const KEYS: [&str; 7] = ["", "a", "ab", "b/1", "b/2", "b/a-key-of-more-than-22-bytes", "c"];

#[derive(Clone, Debug)]
enum Step {
    Append {
        passed: u64,
        effects: Vec<Effect>,
    },
    CommitOne,
    CommitAll,
    /// As a follower does: committed without having been pending.
    AppendAndCommit {
        passed: u64,
        effects: Vec<Effect>,
    },
    /// The term is lost, and the next leader rebuilds pending from the same tail.
    Rebuild,
    /// The term is lost, and another leader's log has none of the tail.
    Lose,
}

fn key() -> impl Strategy<Value = Blob> {
    prop::sample::select(&KEYS[..]).prop_map(Blob::from)
}

fn deadline() -> impl Strategy<Value = Option<Deadline>> {
    prop::option::of((0..200u64, 0..3u32).prop_map(|(at, slack)| Deadline { at: Millis(at), slack }))
}

fn reply() -> impl Strategy<Value = StoredReply> {
    let failure = Failure::new(ErrorCode::Denied, "no");
    let outcome = prop_oneof![any::<i64>().prop_map(|n| Ok(Value::Int(n))), Just(Err(failure))];
    (outcome, any::<u64>()).prop_map(|(outcome, digest)| StoredReply { outcome, digest })
}

fn cause() -> impl Strategy<Value = DeleteCause> {
    prop_oneof![Just(DeleteCause::Deleted), Just(DeleteCause::Expired)]
}

fn lease() -> impl Strategy<Value = LeaseId> {
    (1..4u64).prop_map(LeaseId)
}

fn claim_key() -> impl Strategy<Value = ClaimKey> {
    (key(), any::<bool>(), 1..4u64).prop_map(|(name, lock, id)| {
        (if lock { ClaimKind::Lock } else { ClaimKind::Semaphore }, name, Index(id))
    })
}

/// One that waits, if it says until when.
fn a_claim(lease: LeaseId, until: Option<u64>) -> Claim {
    let wait = |until| ClaimState::Waiting(Wait { until: Millis(until), session: None, forward: None });
    Claim {
        user: "ann".into(),
        owner: "me".into(),
        permits: 1,
        capacity: 1,
        lease,
        ttl: 0,
        value: Blob::default(),
        state: until.map_or(ClaimState::Held, wait),
    }
}

pub(super) fn effect() -> impl Strategy<Value = Effect> {
    let user = || prop::sample::select(&["root", "ann", "a-name-of-more-than-22-bytes"][..]);
    let id = || (1..30u64).prop_map(SessionId);
    prop_oneof![
        6 => (key(), "[a-z]{0,30}", deadline()).prop_map(|(key, value, deadline)| Effect::Put {
            key,
            value: value.into(),
            deadline
        }),
        3 => (key(), cause()).prop_map(|(key, cause)| Effect::Delete { key, cause }),
        2 => (key(), deadline()).prop_map(|(key, deadline)| Effect::Redate { key, deadline }),
        4 => (key(), vec((prop::sample::select(&["f", "g", "h"][..]), prop::option::of("[a-z]{0,600}")), 0..3)).prop_map(
            |(key, changes)| {
                let changes = changes.into_iter().map(|(name, value)| (name.into(), value.map(Blob::from)));
                Effect::Members { key, kind: Kind::Hash, changes: changes.collect() }
            }
        ),
        2 => (key(), key()).prop_map(|(from, to)| Effect::Moved { from, to }),
        2 => (key(), prop::option::of((1..9u64, 0..30u64, 1..9u64))).prop_map(|(name, limiter)| {
            let limiter = limiter.map(|(window, number, used)| Limiter::Fixed { window, number, used });
            Effect::Limited { name, limiter }
        }),
        2 => (key(), key(), prop::option::of((reply(), 0..200u64))).prop_map(|(user, id, kept)| {
            Effect::Kept { user, id, kept: kept.map(|(reply, until)| (reply, Millis(until))) }
        }),
        2 => (key(), prop::option::of(0..200u64)).prop_map(|(id, until)| {
            let state = WorkState::Running { until: Millis(9) };
            let work = |until| Work { fingerprint: "f".into(), token: Index(1), state, until: Millis(until) };
            Effect::Worked { id, work: until.map(work) }
        }),
        3 => (lease(), user(), prop::option::of((0..90u64, 0..200u64))).prop_map(|(id, user, lease)| {
            let lease = lease.map(|(ttl, at)| Lease { user: user.into(), ttl, renewed: Millis(at) });
            Effect::Leased { id, lease }
        }),
        1 => Just(Effect::LeasesSpared),
        4 => (key(), prop::option::of(lease())).prop_map(|(key, lease)| Effect::Attached { key, lease }),
        4 => (claim_key(), prop::option::of((lease(), prop::option::of(0..200u64)))).prop_map(|(key, claim)| {
            let claim = claim.map(|(lease, until)| a_claim(lease, until));
            Effect::Claimed { claim: key, now: claim }
        }),
        3 => (id(), 1..6u64, 1..3u64, 1..4u64, reply()).prop_map(|(id, seq, node, boot, reply)| Effect::WaitEnded {
            id: Index(seq),
            session: (boot < 3).then_some((id, seq)),
            forward: (seq > 2).then_some((Incarnation(node), BootNumber(boot), seq)),
            outcome: reply.outcome,
        }),
        3 => (key(), key(), prop::option::of(0..200u64)).prop_map(|(name, holder, until)| {
            Effect::Placed { name, holder, until: until.map(|until| time_bytes(Millis(until))) }
        }),
        3 => (user(), 0..150u64).prop_map(|(user, ttl)| Effect::SessionOpened { user: user.into(), ttl }),
        6 => (id(), 1..6u64, 0..4u64, reply())
            .prop_map(|(id, seq, floor, reply)| Effect::SessionStepped { id, seq, floor, reply }),
        1 => (id(), cause()).prop_map(|(id, cause)| Effect::SessionEnded { id, cause }),
        4 => (1..3u64, 1..4u64, 1..6u64, 0..4u64, reply()).prop_map(|(node, boot, seq, floor, reply)| {
            Effect::Forwarded { origin: Incarnation(node), boot: BootNumber(boot), seq, floor, reply }
        }),
        2 => (user(), 0..9u64)
            .prop_map(|(name, n)| Effect::UserPut { name: name.into(), user: super::user(n) }),
        1 => user().prop_map(|name| Effect::UserRemoved { name: name.into() }),
        2 => (user(), any::<bool>(), prop::option::of(0..3usize)).prop_map(|(name, role, roles)| {
            let rules = roles.map(|roles| Rules { roles: vec!["role".into(); roles], ..Rules::default() });
            let holder = if role { Holder::Role } else { Holder::User };
            Effect::Ruled { holder, name: name.into(), rules }
        }),
        2 => (key(), prop::option::of(0..9u64)).prop_map(|(key, ms)| Effect::Loosened {
            pattern: Pattern::Exact(key),
            leeway: ms.map(|ms| Leeway { ms, bytes: 1 }),
        }),
        1 => (1..5u16).prop_map(|count| Effect::Membership(membership(count))),
        1 => (1..5u16, prop::option::of(1..9u16)).prop_map(|(node, port)| Effect::Located {
            node: NodeId(node),
            address: port.map(|port| format!("host:{port}")),
        }),
        1 => (1..5u16, 0..3u32).prop_map(|(node, priority)| Effect::Preferred { node: NodeId(node), priority }),
        1 => (0..5u32).prop_map(Effect::Level),
        1 => any::<u128>().prop_map(|id| Effect::Founded(Founding {
            cluster: ClusterId(id),
            name: "steadfast".into(),
            members: vec![(NodeId(1), Incarnation(id as u64))],
        })),
    ]
}

fn membership(count: u16) -> Membership {
    Membership::of((1..=count).map(|id| (NodeId(id), Incarnation(id.into()))).collect())
}

fn step() -> impl Strategy<Value = Step> {
    let work = || (0..20u64, vec(effect(), 0..4));
    prop_oneof![
        8 => work().prop_map(|(passed, effects)| Step::Append { passed, effects }),
        4 => Just(Step::CommitOne),
        1 => Just(Step::CommitAll),
        2 => work().prop_map(|(passed, effects)| Step::AppendAndCommit { passed, effects }),
        1 => Just(Step::Rebuild),
        1 => Just(Step::Lose),
    ]
}

/// A state with the log that it stands for.
struct Pair {
    state: State,
    log: Vec<Entry>,
}

impl Pair {
    fn log(&mut self, passed: u64, effects: Vec<Effect>) {
        let time = Millis(self.log.last().map_or(0, |last| last.time.0) + passed);
        self.log.push(Entry { time, cause: Cause::Command, effects });
    }

    fn append_rest(&mut self) {
        for at in self.state.tail().0 as usize..self.log.len() {
            self.state.append(Index(at as u64 + 1), &self.log[at]);
        }
    }

    fn commit(&mut self, upto: usize) {
        for at in self.state.committed().0 as usize..upto {
            self.state.commit(Index(at as u64 + 1), &self.log[at]);
        }
    }

    fn run(&mut self, step: Step) {
        let committed = self.state.committed().0 as usize;
        match step {
            Step::Append { passed, effects } => {
                self.log(passed, effects);
                self.append_rest();
            }
            Step::CommitOne => self.commit(self.log.len().min(committed + 1)),
            Step::CommitAll => self.commit(self.log.len()),
            Step::AppendAndCommit { passed, effects } => {
                self.commit(self.log.len());
                self.log(passed, effects);
                self.commit(self.log.len());
            }
            Step::Rebuild => {
                self.state.drop_pending();
                self.append_rest();
            }
            Step::Lose => {
                self.state.drop_pending();
                self.log.truncate(committed);
            }
        }
    }

    fn check(&self) {
        let state = &self.state;
        assert_eq!(state.tail().0 as usize, self.log.len());
        let base = Naive::of(&self.log[..state.committed().0 as usize]);
        assert!(state.iter_keys().eq(base.keys.clone()), "committed keys");
        assert_eq!(state.key_count(), base.keys.len());
        assert_eq!(state.session_count(), base.sessions.len());
        assert_eq!(state.user_count(), base.users.len());
        assert_eq!(state.level(), base.level);
        assert_eq!(state.founding(), base.founding.as_ref());
        let founded = |of: &Naive| Some(Membership::of(of.founding.as_ref()?.members.clone()));
        assert_eq!(state.membership(), base.membership.clone().or_else(|| founded(&base)));
        assert_eq!((state.addresses(), state.priorities()), (&base.addresses, &base.priorities));

        let tail = Naive::of(&self.log);
        assert_eq!(state.time(), tail.time);
        assert_eq!(state.next_due(), tail.next_due());
        self.check_keys(&tail);
        self.check_sessions(&tail);
        self.check_forwards(&tail);
        self.check_leases(&tail);
        let mut view = state.view(state.time());
        let users: Vec<_> = view.users().into_iter().map(|(name, user)| (name, (*user).clone())).collect();
        assert!(users.iter().map(|(name, user)| (name, user)).eq(tail.users.iter()), "users");
        for (holder, found) in [(Holder::User, view.rules_of_users()), (Holder::Role, view.roles())] {
            let rules = tail.rules.iter().filter(|((of, _), _)| *of == holder);
            assert!(
                found
                    .iter()
                    .map(|(name, rules)| (name, &**rules))
                    .eq(rules.map(|((_, name), it)| (name, it)))
            );
        }
        assert!(view.leeways().into_iter().eq(tail.leeways.clone()), "leeways");
        assert_eq!(view.membership(), tail.membership.clone().or_else(|| founded(&tail)));
        assert_eq!((view.addresses(), view.priorities()), (tail.addresses, tail.priorities));
        assert_eq!(view.level(), tail.level);
        let _ = view.finish();
    }

    /// The newest entry that touched one of these keys, if it is pending.
    fn newest_touch<'k>(&self, tail: &Naive, keys: impl Iterator<Item = &'k Blob>) -> Index {
        let touched = keys.filter_map(|key| tail.touched.get(key).copied());
        touched.filter(|index| *index > self.state.committed()).max().unwrap_or_default()
    }

    fn check_keys(&self, tail: &Naive) {
        let now = tail.time;
        let live = |key: &Blob| {
            let record = tail.keys.get(key)?;
            (record.deadline.is_none_or(|deadline| deadline.due() > now)).then_some(record)
        };
        for key in KEYS.map(Blob::from) {
            let mut view = self.state.view(now);
            assert_eq!(view.key(&key).as_ref(), live(&key), "key {key}");
            let limiter = tail.limiters.get(&key).filter(|limiter| limiter.until() > now);
            assert_eq!(self.state.view(now).limiter(&key).as_ref(), limiter, "limiter {key}");
            let work = tail.works.get(&key).filter(|work| work.until > now);
            assert_eq!(self.state.view(now).work(&key).as_ref(), work, "work {key}");
            let kept = self.state.view(now).kept(key.clone(), key.clone()).map(|kept| kept.until);
            assert_eq!(kept.as_ref(), tail.answers.get(&(key.clone(), key.clone())), "answer {key}");
            let finished = view.finish();
            let due = tail.keys.contains_key(&key) && live(&key).is_none();
            assert_eq!(finished.effects.len(), usize::from(due), "a due key's deletion is drafted");
            let expected = self.newest_touch(tail, std::iter::once(&key));
            assert_eq!(finished.dependency.index(), expected, "dependency of key {key}");
        }
        for prefix in ["", "a", "b/", "zz"] {
            let mut view = self.state.view(now);
            let found = scan(&mut view, prefix.as_bytes(), None, usize::MAX);
            let within =
                || KEYS.iter().map(|key| Blob::from(*key)).filter(|key| key.starts_with(prefix.as_bytes()));
            let mut expected: Vec<Blob> = within().filter(|key| live(key).is_some()).collect();
            expected.sort();
            assert_eq!(found, expected, "scan of {prefix}");
            let keys: Vec<Blob> = within().collect();
            let expected = self.newest_touch(tail, keys.iter());
            assert_eq!(view.finish().dependency.index(), expected, "dependency of the scan of {prefix}");
        }
    }

    fn check_sessions(&self, tail: &Naive) {
        let now = tail.time;
        let mut view = self.state.view(now);
        assert_eq!(view.session_count(), tail.sessions.len());
        for id in 1..=self.log.len() as u64 {
            let session = tail.sessions.get(&id);
            let session = session.filter(|it| it.record.active.0.saturating_add(it.record.ttl) > now.0);
            assert_eq!(view.session(SessionId(id)).as_ref(), session.map(|session| &session.record));
            for seq in 0..7 {
                let expected = session.and_then(|session| session.replies.get(&seq).cloned());
                let found = view.session_reply(SessionId(id), seq);
                assert_eq!(found.map(|(index, reply)| (index, (*reply).clone())), expected);
            }
        }
        let _ = view.finish();
    }

    fn check_leases(&self, tail: &Naive) {
        let mut view = self.state.view(tail.time);
        for id in (1..4).map(LeaseId) {
            let lease = tail.leases.get(&id).map(|lease| lease.clone().spared(tail.spared));
            assert_eq!(view.lease(id), lease, "lease {id}");
            let (keys, claims) = view.hanging(id);
            let hangs = tail.key_leases.iter().filter(|(_, lease)| **lease == id).map(|(key, _)| key);
            assert!(keys.iter().eq(hangs), "keys of lease {id}");
            let names: usize =
                keys.iter().map(|key| key.len()).chain(claims.iter().map(|key| key.1.len())).sum();
            assert_eq!(view.load(id), (keys.len() + claims.len(), names));
            let hangs = tail.claims.iter().filter(|(_, claim)| claim.lease == id).map(|(key, _)| key);
            assert!(claims.iter().eq(hangs), "claims of lease {id}");
        }
        for key in KEYS.map(Blob::from) {
            let lease = view.key(&key).and_then(|_| tail.key_leases.get(&key).copied());
            assert_eq!(view.lease_of(&key), lease, "the lease of {key}");
            for kind in [ClaimKind::Lock, ClaimKind::Semaphore] {
                let claims = tail.claims.iter().filter(|((of, name, _), _)| *of == kind && *name == key);
                let found = view.claims(kind, &key);
                assert!(found.iter().map(|(key, claim)| (key, claim)).eq(claims), "claims on {key}");
            }
        }
        let waits: BTreeSet<ClaimKey> = view.waits().into_iter().collect();
        let wait = tail.claims.iter().filter(|(_, claim)| claim.wait().is_some()).map(|(key, _)| key);
        assert!(waits.iter().eq(wait), "waits");
        let _ = view.finish();
    }

    fn check_forwards(&self, tail: &Naive) {
        let mut view = self.state.view(tail.time);
        for (node, boot, seq) in
            (1..3).flat_map(|node| (1..5).flat_map(move |boot| (0..7).map(move |seq| (node, boot, seq))))
        {
            let expected = match tail.forwards.get(&node) {
                Some(known) if known.boot > boot => Forwarded::OldBoot,
                Some(known) if known.boot == boot && seq <= known.floor => Forwarded::Stale,
                Some(known) if known.boot == boot => {
                    known.replies.get(&seq).map_or(Forwarded::New, |(index, reply)| Forwarded::Known {
                        index: *index,
                        reply: Arc::new(reply.clone()),
                    })
                }
                Some(_) | None => Forwarded::New,
            };
            assert_eq!(view.forwarded(Incarnation(node), BootNumber(boot), seq), expected);
        }
        let _ = view.finish();
    }
}

proptest! {
    #![proptest_config(super::cases(1000))]

    #[test]
    fn any_history_of_appends_commits_and_losses_agrees_with_the_naive_model(
        steps in vec(step(), 1..40),
    ) {
        let mut pair = Pair { state: State::new((1, 2)), log: Vec::new() };
        for step in steps {
            pair.run(step);
            pair.check();
        }
        let mut replayed = State::new((3, 4));
        for (at, entry) in pair.log[..pair.state.committed().0 as usize].iter().enumerate() {
            replayed.commit(Index(at as u64 + 1), entry);
        }
        prop_assert_eq!(replayed.digest(), pair.state.digest(), "the log replayed from nothing");
    }
}
