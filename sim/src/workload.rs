//! Draws what the clients do: who they are, on which keys they work, and their lists of operations.
//!
//! Every written value is unique, so that a judge can tell writes apart. Keys say what they are for:
//! `c` counters, `r` registers, `u` unique keys written once, `m` keys written together, `t` keys with
//! deadlines, `s` strings in every way, `h` hashes, `x` keys of transactions, `o` keys and ids of
//! commands under ids, `k` locks and what hangs on leases. Names of limiters begin with `l`.

mod access;
mod coordination;
mod durability;
pub mod members;

use access::{admin, setup};
use coordination::{limit, lock, once, transaction, watch};

use crate::rng::Stream;
use crate::schedule::{ClientSpec, Cluster, Op, ROOT_PASSWORD};

/// The users other than root in a cluster with access control.
const USERS: [&str; 3] = ["ann", "bob", "cyd"];

/// What a run's clients have in common.
struct Plan {
    hot: u64,
    think_us: u64,
    big_ppm: u32,
    mix: Vec<(Family, u64)>,
    access: bool,
    /// Whether many keys come due at about the same time.
    due_together: bool,
    /// The first letters of the keys that clients work on.
    kinds: Vec<char>,
    /// The last so many clients do nothing but watch.
    watchers: u64,
    /// Whose password the first client changes again and again, if anybody's.
    storm: Option<&'static str>,
    /// Whether the first client changes rules again and again.
    rules: bool,
}

/// A family of operations.
#[derive(Clone, Copy, PartialEq)]
enum Family {
    Counter,
    Register,
    Compare,
    Unique,
    Many,
    Deadline,
    Scan,
    SetGet,
    Admin,
    Misc,
    Text,
    Hash,
    Limit,
    Txn,
    Once,
    Lock,
    Watch,
}

/// Setup, clients, and the length of the safety phase in microseconds.
pub fn draw(stream: &mut Stream, cluster: &Cluster) -> (Vec<Op>, Vec<ClientSpec>, u64) {
    let plan = plan(stream, cluster);
    let crowded = stream.chance(650_000);
    let clients = if crowded { stream.between(8, 14) } else { stream.between(1, 7) };
    let total = stream.magnitude(60, 900);
    let safety_us = stream.magnitude(1_500_000, 12_000_000);
    let sessions_ppm = *stream.pick(&[0, 500_000, 1_000_000]);
    let users = stream.between(1, USERS.len() as u64);
    let mut setup = if cluster.access { setup(stream, users) } else { vec![] };
    setup.extend(durability::setup(stream));
    if plan.due_together && plan.hot.is_multiple_of(2) {
        setup.push(durability::whatever_is_due());
    }
    let list = (0..clients).map(|number| {
        let user =
            if number == 0 || stream.chance(300_000) { "root" } else { USERS[stream.below(users) as usize] };
        let session = stream.chance(sessions_ppm);
        let lanes = if stream.chance(400_000) { stream.between(2, 6) } else { 1 } as u16;
        let mut counter = 0;
        let count = total / clients + 1;
        let think = pace(safety_us, count, &plan);
        ClientSpec {
            user: user.into(),
            password: if user == "root" { ROOT_PASSWORD.into() } else { password(user) },
            session,
            lanes,
            home: stream.between(1, u64::from(cluster.nodes)) as u16,
            stays: stream.chance(500_000),
            repeats_ppm: *stream.pick(&[0, 100_000, 300_000, 700_000]),
            start_us: stream.below(200_000),
            deadline_ms: *stream.pick(&[300, 1_000, 3_000, 10_000]),
            ops: (0..count)
                .map(|_| {
                    op(stream, &plan, number, number + plan.watchers >= clients.max(2), &mut counter, think)
                })
                .collect(),
        }
    });
    let list = list.collect();
    (setup, list, safety_us)
}

fn plan(stream: &mut Stream, cluster: &Cluster) -> Plan {
    use Family::{
        Admin, Compare, Counter, Deadline, Hash, Limit, Lock, Many, Misc, Once, Register, Scan, SetGet, Text,
        Txn, Unique, Watch,
    };
    // Where the leader deletes few keys at a time, others are found due before it comes to them.
    let due_together = stream.chance(if cluster.limits.expiry_batch.is_some() { 700_000 } else { 200_000 });
    let mut mix = Vec::new();
    for family in [
        Counter, Register, Compare, Unique, Many, Deadline, Scan, SetGet, Admin, Misc, Text, Hash, Limit,
        Txn, Once, Lock, Watch,
    ] {
        let (on, weight) = (stream.chance(550_000), stream.magnitude(1, 16));
        if on && (family != Admin || cluster.access) {
            let weight = match family {
                Admin | Misc => weight.min(2),
                // Each that waits keeps a lane from writing.
                Watch => weight.min(6),
                Deadline if due_together => weight * 4,
                _ => weight,
            };
            mix.push((family, weight));
        }
    }
    if !mix.iter().any(|(family, _)| matches!(family, Counter | Register)) {
        mix.push((Counter, 4));
        mix.push((Register, 4));
    }
    let mut plan = Plan {
        hot: stream.between(1, 5),
        think_us: stream.magnitude(500, 100_000),
        big_ppm: *stream.pick(&[0, 0, 20_000, 200_000]),
        kinds: kinds(&mix),
        mix,
        access: cluster.access,
        due_together,
        watchers: if stream.chance(400_000) { stream.between(1, 2) } else { 0 },
        storm: (cluster.access && stream.chance(120_000)).then(|| *stream.pick(&USERS)),
        rules: cluster.access && stream.chance(300_000),
    };
    // Whether a scan keeps to the rules shows only where there are both.
    if plan.rules && !plan.mix.iter().any(|(family, _)| *family == Scan) {
        plan.mix.push((Scan, 4));
    }
    plan
}

/// The first letters of the keys in a mix.
fn kinds(mix: &[(Family, u64)]) -> Vec<char> {
    let kinds = mix.iter().filter_map(|(family, _)| match family {
        Family::Counter => Some('c'),
        Family::Many => Some('m'),
        Family::Deadline => Some('t'),
        Family::Text => Some('s'),
        Family::Hash => Some('h'),
        Family::Txn => Some('x'),
        Family::Once => Some('o'),
        Family::Lock => Some('k'),
        _ => None,
    });
    kinds.chain(['r']).collect()
}

/// The mean pause of a client, so that its list lasts for a good part of the safety phase.
fn pace(safety_us: u64, count: u64, plan: &Plan) -> u64 {
    (safety_us / count).max(plan.think_us) * 3 / 4
}

/// A user's first password.
#[must_use]
pub fn password(user: &str) -> String {
    format!("first password of {user}")
}

fn op(stream: &mut Stream, plan: &Plan, client: u64, watches: bool, counter: &mut u64, think: u64) -> Op {
    let weights: u64 = plan.mix.iter().map(|(_, weight)| weight).sum();
    let mut draw = stream.below(weights);
    let family = plan.mix.iter().find(|(_, weight)| {
        let here = draw < *weight;
        draw = draw.saturating_sub(*weight);
        here
    });
    let family = family.map_or(Family::Register, |(family, _)| *family);
    let family = if watches { Family::Watch } else { family };
    *counter += 1;
    let value = value(stream, plan, client, *counter);
    let mut words = words(stream, plan, family, client, *counter, &value);
    if let Some(user) = plan.storm.filter(|_| client == 0 && stream.chance(500_000)) {
        words = format!("USER PASSWORD {user} {}", password(user).replace(' ', "~"));
    }
    if plan.rules && client == 0 && stream.chance(500_000) {
        words = access::rules(stream);
    }
    // Bursts matter as much as the mean: half of the pauses are short.
    let think_us = if stream.chance(500_000) { stream.below(think / 8 + 1) } else { stream.below(think * 3) };
    Op { think_us, args: words.split(' ').map(|word| word.replace('~', " ")).collect() }
}

/// The words of one operation; `~` stands for a space inside a word.
fn words(stream: &mut Stream, plan: &Plan, family: Family, client: u64, count: u64, value: &str) -> String {
    let hot = |stream: &mut Stream, kind: char| format!("{kind}{}", stream.below(plan.hot));
    let choice = stream.below(100);
    match family {
        Family::Counter => {
            let key = hot(stream, 'c');
            let delta = stream.between_signed(-3, 9);
            match choice {
                0 if stream.chance(100_000) => format!("INCRBY {key} {}", i64::MAX),
                0..70 => format!("INCRBY {key} {delta}"),
                70..95 => format!("GET {key}"),
                _ => format!("DEL {key}"),
            }
        }
        Family::Register => {
            let key = hot(stream, 'r');
            match choice {
                0..40 => format!("SET {key} {value}"),
                40..80 => format!("GET {key}"),
                80..84 => format!("SET {key} {value} NX"),
                84..88 => format!("SET {key} {value} XX"),
                88..92 => format!("DEL {key}"),
                92..95 => format!("EXISTS {key} {}", hot(stream, 'r')),
                _ => format!("INCRBY {key} 1"),
            }
        }
        Family::Compare => {
            let key = hot(stream, 'r');
            match choice {
                0..55 => format!("SET {key} {value} IFVERSION $rev"),
                55..65 => format!("SET {key} {value} IFVERSION 0"),
                _ => format!("GETV {key}"),
            }
        }
        Family::Unique => match choice {
            0..70 => format!("SET u{client}-{count} {value} NX"),
            _ => format!("GET u{}-{}", stream.below(client + 1), stream.between(1, count)),
        },
        Family::Many => {
            let (one, two) = (hot(stream, 'm'), hot(stream, 'r'));
            match choice {
                0..45 => format!("MSET {one} {value} {two} {value}"),
                45..90 => format!("MGET {one} {two}"),
                _ => format!("DEL {one} {two}"),
            }
        }
        Family::Deadline => deadline(stream, plan, choice, value),
        Family::Scan => {
            let prefix = *stream.pick(&["c", "r", "u", "m", "t", "r0", "s", "h"]);
            match choice {
                0..50 => format!("SCAN {prefix} AFTER $after COUNT {}", stream.between(1, 8)),
                50..82 => format!("SCAN {prefix} COUNT {}", stream.between(1, 8)),
                82..89 => format!("DROP PREPARE {}", doomed(stream, plan)),
                _ => {
                    let prefix = if stream.chance(800_000) { "$doomed".into() } else { doomed(stream, plan) };
                    format!("DROP CONFIRM {prefix} $drop COUNT {}", stream.between(1, 5))
                }
            }
        }
        Family::Text => text(stream, plan, choice, value),
        Family::Hash => hash(stream, plan, choice, value),
        Family::Limit => limit(stream, client, choice),
        Family::Once => once(stream, choice),
        Family::Lock => lock(stream, client, choice, value),
        Family::Watch => watch(stream, plan),
        Family::Txn => transaction(stream, plan, choice, value),
        Family::SetGet => format!("SET {} {value} GET", hot(stream, 'r')),
        Family::Admin if plan.access => admin(stream, choice),
        Family::Admin | Family::Misc => match choice {
            0..20 => "PING".into(),
            20..30 => "INFO".into(),
            30..40 => durability::change(stream),
            40..60 => "WHOAMI".into(),
            60..70 => "SESSION OPEN".into(),
            70..80 => "USER LIST".into(),
            _ => format!("EXISTS {}", hot(stream, 'c')),
        },
    }
}

/// Strings in all other ways: `s` keys, some of which are hashes for a while.
fn text(stream: &mut Stream, plan: &Plan, choice: u64, value: &str) -> String {
    let key = format!("s{}", stream.below(plan.hot));
    let other = format!("s{}", stream.below(plan.hot));
    let ttl = stream.magnitude(20, 2_000);
    // Cluster time begins in the year 2023: some of these moments have passed.
    let at = 1_700_000_000_000 + stream.below(20_000);
    match choice {
        0..8 => format!("SET {key} {value} KEEPTTL"),
        8..14 => format!("SET {key} {value} PXAT {at}"),
        14..18 => format!("SETNX {key} {value}"),
        18..22 => format!("MSETNX {key} {value} {other} {value}"),
        22..27 => format!("GETDEL {key}"),
        27..31 => format!("GETEX {key} PX {ttl}"),
        31..34 => format!("GETEX {key} {}", *stream.pick(&["PERSIST", "EXAT 1700000009", "PX 5"])),
        34..40 => format!("INCRBYFLOAT {key} {}.{}", stream.between_signed(-9, 9), stream.below(100)),
        40..46 => format!("APPEND {key} {}", stream.below(10)),
        46..50 => format!("SET {key} {}.5", stream.below(10)),
        50..53 => format!("STRLEN {key}"),
        53..57 => format!("GETRANGE {key} {} {}", stream.between_signed(-4, 4), stream.between_signed(-2, 9)),
        57..60 => format!("TYPE {key}"),
        60..66 => format!("PEXPIRE {key} {ttl} {}", *stream.pick(&["NX", "XX", "GT", "LT"])),
        66..70 => format!("PEXPIREAT {key} {at}"),
        70..74 => format!("{} {key}", *stream.pick(&["TTL", "EXPIRETIME", "PEXPIRETIME"])),
        74..80 => format!("RENAME {key} {other}"),
        80..84 => format!("RENAMENX {key} {other}"),
        84..87 => format!("KEYS {}*", *stream.pick(&["s", "s1", "h", "c"])),
        87..90 => format!("SCAN s MATCH s{}* COUNT {}", stream.below(2), stream.between(1, 4)),
        90..92 => "DBSIZE".into(),
        92..95 => format!("HSET {key} a {value}"),
        95..97 => format!("GET {key}"),
        _ => format!("DEL {key}"),
    }
}

/// A prefix whose keys are dropped: of those that only one judge follows, which would else be left with few.
fn doomed(stream: &mut Stream, plan: &Plan) -> String {
    let prefixes = [('s', "s"), ('s', "s1"), ('h', "h"), ('x', "x"), ('k', "kl")];
    let here: Vec<&str> =
        prefixes.iter().filter(|(kind, _)| plan.kinds.contains(kind)).map(|(_, prefix)| *prefix).collect();
    if here.is_empty() { "s".into() } else { (*stream.pick(&here)).into() }
}

/// Hashes of a few fields; with a large value now and then they take the large shape.
fn hash(stream: &mut Stream, plan: &Plan, choice: u64, value: &str) -> String {
    let key = format!("h{}", stream.below(if plan.due_together { 12 } else { plan.hot }));
    let ttl = if plan.due_together { *stream.pick(&[100, 300]) } else { stream.magnitude(20, 2_000) };
    let field = *stream.pick(&["a", "b", "count", "d"]);
    match choice {
        0..22 => format!("HSET {key} {field} {value}"),
        22..28 => format!("HSET {key} {field} {value} e {value} {field} {}", stream.below(9)),
        28..31 => format!("HMSET {key} {field} 1 f {value}"),
        31..36 => format!("HSETNX {key} {field} {value}"),
        36..46 => format!("HGET {key} {field}"),
        46..50 => format!("HMGET {key} a {field} none"),
        50..58 => format!("HDEL {key} {field} {}", *stream.pick(&["a", "e", "none"])),
        58..61 => format!("HEXISTS {key} {field}"),
        61..75 => format!("HINCRBY {key} count {}", stream.between_signed(-3, 9)),
        75..78 => format!("HLEN {key}"),
        78..82 => format!("{} {key}", *stream.pick(&["HGETALL", "HKEYS", "HVALS"])),
        82..90 => format!("PEXPIRE {key} {ttl} LT"),
        90..93 => format!("RENAME {key} h{}", stream.below(plan.hot)),
        93..95 => format!("GET {key}"),
        95..97 => format!("SET {key} {value}"),
        _ => format!("DEL {key}"),
    }
}

fn deadline(stream: &mut Stream, plan: &Plan, choice: u64, value: &str) -> String {
    let key = format!("t{}", stream.below(if plan.due_together { 24 } else { plan.hot }));
    let ttl = if plan.due_together { *stream.pick(&[100, 300]) } else { stream.magnitude(20, 2_000) };
    match choice {
        0..30 => format!("SET {key} {value} PX {ttl}"),
        30..34 => format!("SET {key} {value} EX {}", stream.between(1, 2)),
        34..44 => format!("SET {key} {value}"),
        44..55 if plan.due_together => {
            // Among so many, one is due more often than not.
            let first = stream.below(24);
            let keys = (0..8).map(|n| format!(" t{}", (first + n) % 24));
            format!("MGET{}", keys.collect::<String>())
        }
        44..65 => format!("GET {key}"),
        65..75 => format!("PTTL {key}"),
        75..85 => format!("PEXPIRE {key} {ttl}"),
        85..87 => format!("EXPIRE {key} 1"),
        87 => format!("PEXPIRE {key} {}", -(ttl as i64)),
        88..93 => format!("PERSIST {key}"),
        93..96 => format!("EXISTS {key}"),
        _ => format!("DEL {key}"),
    }
}

fn value(stream: &mut Stream, plan: &Plan, client: u64, count: u64) -> String {
    let (big, size) = (stream.chance(plan.big_ppm), stream.magnitude(256, 6_000));
    let padding = if big { "x".repeat(size as usize) } else { String::new() };
    format!("v{client}-{count}{padding}")
}
