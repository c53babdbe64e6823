//! The bytes of entries are pinned: a change of any line in `corpus/formats/entries.txt` makes old logs
//! unreadable, and needs a new version of the layout.

use std::fmt::Write;

use super::*;
use crate::access::rights::{Holder, Rules};
use crate::access::user::{Grant, Pattern, Permission, User};
use crate::coordination::claim::{Claim, ClaimKey, ClaimKind, ClaimState, Wait};
use crate::coordination::lease::Lease;
use crate::coordination::limiter::{Limiter, time_bytes};
use crate::coordination::once::{Kept, Work, WorkState};
use crate::durability::Leeway;
use crate::error::{ErrorCode, Failure};
use crate::membership::{Change, Membership};
use crate::state::KeyRecord;
use crate::state::data::Data;
use crate::state::effect::Founding;
use crate::state::row::{Head, Item, Row, encode_head, encode_row, take_item};
use crate::types::{ClusterId, Incarnation, LeaseId};

const GOLDEN: &str = include_str!("../../../../corpus/formats/entries.txt");

fn stored(outcome: crate::reply::Outcome) -> StoredReply {
    StoredReply { outcome, digest: 0x0102_0304_0506_0708 }
}

fn founding() -> Effect {
    Effect::Founded(Founding {
        cluster: ClusterId(0xfeed),
        name: "steadfast".into(),
        members: vec![(NodeId(1), Incarnation(300)), (NodeId(2), Incarnation(u64::MAX))],
    })
}

fn membership() -> Membership {
    let voter = |id: u16| (NodeId(id), Incarnation(300 * u64::from(id)));
    let before = Membership::of([1, 2, 3].map(voter).into()).with_learners([NodeId(4), NodeId(9)]);
    before.change(Change::Replace { old: NodeId(2), new: voter(4) }).expect("a step")
}

fn degraded() -> Membership {
    let voter = |id: u16| (NodeId(id), Incarnation(300 * u64::from(id)));
    let witness = (NodeId(3), Incarnation::of_witness(3));
    Membership::of(vec![voter(1), voter(2), witness]).with_degraded(true)
}

fn samples() -> Vec<(&'static str, Entry)> {
    let every_value = Value::List(vec![
        Value::Nil,
        Value::ok(),
        Value::Int(-1),
        Value::Bytes("v".into()),
        Value::Map(vec![("n".into(), Value::Int(64))]),
    ]);
    let pairs = Value::Pairs(vec![(Value::Bytes("f".into()), Value::Bytes("v".into()))]);
    let failure = Failure::new(ErrorCode::Denied, "no");
    let grants = vec![
        Grant { pattern: Pattern::Exact("k".into()), permission: Permission::Read },
        Grant { pattern: Pattern::Prefix("p/".into()), permission: Permission::Write },
        Grant { pattern: Pattern::Prefix("".into()), permission: Permission::Admin },
    ];
    let ann = User { generation: Index(200), password: "$argon2id$".into(), grants };
    let session = |seq, reply| Effect::SessionStepped { id: SessionId(9), seq, floor: 1, reply };
    let boot = (Incarnation(2), BootNumber(3));
    let forwarded =
        Effect::Forwarded { origin: boot.0, boot: boot.1, seq: 4, floor: 3, reply: stored(Ok(Value::Nil)) };
    let with = |cause, effects| Entry { time: Millis(1_700_000_000_000), cause, effects };
    let one = |effect| with(Cause::Command, vec![effect]);
    vec![
        ("a term's first entry", with(Cause::TermStart, vec![])),
        ("the clock", with(Cause::Clock, vec![])),
        ("founded", with(Cause::System, vec![founding(), Effect::Level(1)])),
        ("put", one(put("key", "value"))),
        ("put with a deadline", one(put_until("key", "value", 1_700_000_060_000, 121))),
        ("delete", one(delete("key"))),
        ("expiry", with(Cause::Expiry, vec![expired("key"), expired("other")])),
        ("redate", one(redate("key", deadline(5, 1)))),
        ("persist", one(redate("key", None))),
        ("session opened", one(opened("ann", 600_000))),
        ("session stepped, every value", one(session(2, stored(Ok(every_value))))),
        ("session stepped, a failure", one(session(3, stored(Err(failure))))),
        ("session ended", one(ended(9))),
        ("forwarded", one(forwarded)),
        ("user put", one(Effect::UserPut { name: "ann".into(), user: ann })),
        ("user removed", one(Effect::UserRemoved { name: "ann".into() })),
        ("members of a hash", one(members("key", &[("f", Some("v")), ("gone", None)]))),
        ("moved", one(moved("key", "name"))),
        ("session stepped, pairs", one(session(4, stored(Ok(pairs))))),
        ("limited, each kind", with(Cause::Command, limiters().into_iter().map(limited).collect())),
        (
            "kept and worked",
            with(Cause::Command, vec![kept(), worked(WorkState::Running { until: Millis(8) })]),
        ),
        ("work done", one(worked(WorkState::Done { answer: "paid".into() }))),
        ("limiter forgotten", with(Cause::Expiry, vec![Effect::Limited { name: "l".into(), limiter: None }])),
        ("a lease, granted and ended", with(Cause::Command, vec![leased(Some(lease())), leased(None)])),
        ("a term's first entry that spares leases", with(Cause::TermStart, vec![Effect::LeasesSpared])),
        ("attached and detached", with(Cause::Command, vec![attached(Some(LeaseId(7))), attached(None)])),
        ("a claim that waits, is held and is gone", {
            let claims = [Some(claim(waiting())), Some(claim(ClaimState::Held)), None];
            with(Cause::Command, claims.into_iter().map(claimed).collect())
        }),
        (
            "a wait that ended",
            one(Effect::WaitEnded {
                id: Index(7),
                session: Some((SessionId(9), 2)),
                forward: Some((Incarnation(2), BootNumber(3), 4)),
                outcome: Ok(Value::Nil),
            }),
        ),
        (
            "rules of a user, and a role that is gone",
            with(Cause::Command, vec![ruled(Holder::User, Some(rules())), ruled(Holder::Role, None)]),
        ),
        (
            "loosened, and no longer",
            with(
                Cause::Command,
                [Some(Leeway { ms: 500, bytes: 70_000 }), None]
                    .map(|leeway| Effect::Loosened { pattern: Pattern::Prefix("fast:".into()), leeway })
                    .into(),
            ),
        ),
        (
            "members, while node 4 takes the place of node 2",
            with(
                Cause::Members,
                vec![Effect::Membership(membership()), Effect::Membership(membership().settled())],
            ),
        ),
        (
            "a node reached there, and one of which that is not known any more",
            with(
                Cause::Members,
                vec![
                    Effect::Located { node: NodeId(4), address: Some("10.0.0.4:7878".into()) },
                    Effect::Located { node: NodeId(2), address: None },
                ],
            ),
        ),
        ("a node that leads rather than others", one(Effect::Preferred { node: NodeId(2), priority: 300 })),
        ("session stepped, waiting", one(session(5, stored(Ok(Value::Waiting(Index(7))))))),
        (
            "placed",
            one(Effect::Placed { name: "l".into(), holder: "me".into(), until: Some(time_bytes(Millis(9))) }),
        ),
        (
            "members, degraded beside a witness",
            Entry {
                time: Millis(1_700_000_000_000),
                cause: Cause::Members,
                effects: vec![Effect::Membership(degraded())],
            },
        ),
    ]
}

fn lease() -> Lease {
    Lease { user: "ann".into(), ttl: 1000, renewed: Millis(9) }
}

fn rules() -> Rules {
    let glob = Grant { pattern: Pattern::Glob("a?b".into()), permission: Permission::Lock };
    Rules { grants: Vec::new(), denials: vec![glob], roles: vec!["ops".into()] }
}

fn ruled(holder: Holder, rules: Option<Rules>) -> Effect {
    Effect::Ruled { holder, name: "ann".into(), rules }
}

fn leased(lease: Option<Lease>) -> Effect {
    Effect::Leased { id: LeaseId(7), lease }
}

fn attached(lease: Option<LeaseId>) -> Effect {
    Effect::Attached { key: "key".into(), lease }
}

fn waiting() -> ClaimState {
    let forward = Some((Incarnation(2), BootNumber(3), 4));
    ClaimState::Waiting(Wait { until: Millis(9), session: Some((SessionId(9), 2)), forward })
}

fn claim(state: ClaimState) -> Claim {
    let (user, owner) = ("ann".into(), "me".into());
    Claim { user, owner, permits: 2, capacity: 3, lease: LeaseId(7), ttl: 1000, value: "here".into(), state }
}

fn claim_key() -> ClaimKey {
    (ClaimKind::Semaphore, "name".into(), Index(7))
}

fn claimed(now: Option<Claim>) -> Effect {
    Effect::Claimed { claim: claim_key(), now }
}

fn limiters() -> Vec<Limiter> {
    vec![
        Limiter::Fixed { window: 1000, number: 7, used: 2 },
        Limiter::Sliding { window: 1000, slots: vec![(3, 1), (5, 2)] },
        Limiter::Bucket { period: 1000, refill: 2, debt: 300, at: Millis(9) },
        Limiter::Places([(Blob::from("me"), time_bytes(Millis(9)))].into_iter().collect()),
    ]
}

fn kept() -> Effect {
    let kept = Some((stored(Ok(Value::ok())), Millis(9)));
    Effect::Kept { user: "ann".into(), id: "id".into(), kept }
}

fn work(state: WorkState) -> Work {
    Work { fingerprint: "print".into(), token: Index(7), state, until: Millis(9) }
}

fn worked(state: WorkState) -> Effect {
    Effect::Worked { id: "id".into(), work: Some(work(state)) }
}

fn limited(limiter: Limiter) -> Effect {
    Effect::Limited { name: "l".into(), limiter: Some(limiter) }
}

const ROWS: &str = include_str!("../../../../corpus/formats/rows.txt");

/// The rows that the pinned snapshot does not have.
fn rows() -> Vec<(&'static str, Row)> {
    let fields = |names: &[&str]| names.iter().map(|name| ((*name).into(), "v".into())).collect();
    let record =
        |names| KeyRecord { data: Data::Hash(fields(names)), revision: Index(7), deadline: deadline(9, 1) };
    vec![
        ("a hash", Row::Key("key".into(), record(&["f", "g"]))),
        ("a large hash, its beginning", Row::Begun("key".into(), record(&["f"]), 3)),
        (
            "an answer under an id",
            Row::Answer(
                ("ann".into(), "id".into()),
                Kept { stored: (Index(7), answer(1, 5)), until: Millis(9) },
            ),
        ),
        ("work", Row::Work("id".into(), work(WorkState::Done { answer: "paid".into() }))),
        ("a lease", Row::Lease(LeaseId(7), lease())),
        ("the lease of a key", Row::KeyLease("key".into(), LeaseId(7))),
        ("a claim", Row::Claim(claim_key(), claim(waiting()))),
        ("rules", Row::Rules((Holder::User, "ann".into()), Arc::new(rules()))),
        ("a leeway", Row::Leeway(Pattern::Prefix("fast:".into()), Leeway { ms: 500, bytes: 70_000 })),
        ("members", Row::Membership((), membership())),
        ("how much a node is preferred as the leader", Row::Priority(NodeId(2), 300)),
        ("where a node is reached", Row::Address(NodeId(4), "10.0.0.4:7878".into())),
        ("when leases were spared", Row::Spared((), Millis(9))),
        ("a limiter", Row::Limiter("l".into(), limiters().remove(0))),
        ("a large hash, more of it", Row::More(vec![("g".into(), "v".into()), ("h".into(), "v".into())])),
        ("members, degraded beside a witness", Row::Membership((), degraded())),
    ]
}

#[test]
fn the_bytes_of_rows_are_those_of_the_golden_file() {
    let lines = rows().into_iter().map(|(name, row)| {
        let mut bytes = Vec::new();
        encode_row(&mut bytes, &row);
        assert_eq!(take_item(&bytes), Ok(Some((Item::Row(row), &[][..]))), "{name}");
        format!("{name}: {}\n", hex(&bytes))
    });
    let head = Head {
        committed: Index(7),
        time: Millis(9),
        level: 2,
        keys: 1,
        rows: Box::new([0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        ..Head::default()
    };
    let mut bytes = Vec::new();
    encode_head(&mut bytes, &head);
    assert_eq!(take_item(&bytes), Ok(Some((Item::Head(head), &[][..]))));
    let head = format!("a head with later tables: {}\n", hex(&bytes));
    let lines = lines.chain([head]);
    let golden: String =
        ROWS.lines().filter(|line| !line.starts_with('#')).map(|line| format!("{line}\n")).collect();
    assert_eq!(lines.collect::<String>(), golden);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

fn written() -> String {
    let mut text = String::new();
    for (name, entry) in samples() {
        writeln!(text, "{name}: {}", hex(&entry.encode())).expect("memory takes whatever is written");
    }
    text
}

#[test]
fn the_bytes_of_entries_are_those_of_the_golden_file() {
    let golden: String =
        GOLDEN.lines().filter(|line| !line.starts_with('#')).map(|line| format!("{line}\n")).collect();
    assert_eq!(written(), golden);
}

#[test]
fn the_golden_file_is_read_as_it_was_meant() {
    let lines: Vec<&str> = GOLDEN.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(lines.len(), samples().len());
    for ((name, entry), line) in samples().into_iter().zip(lines) {
        let (found, hex) = line.split_once(": ").expect("a line is a name and bytes");
        let bytes: Vec<u8> = (0..hex.len() / 2)
            .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).expect("hexadecimal digits"))
            .collect();
        assert_eq!((found, Entry::decode(&bytes)), (name, Ok(entry)));
    }
}
