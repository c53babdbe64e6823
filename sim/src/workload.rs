//! Draws what the clients do: who they are, on which keys they work, and their lists of operations.
//!
//! Every written value is unique, so that a judge can tell writes apart. Keys say what they are for:
//! `c` counters, `r` registers, `u` unique keys written once, `m` keys written together, `t` keys with
//! deadlines, `s` strings in every way, `h` hashes, `x` keys of transactions, `o` keys and ids of
//! commands under ids. Names
//! of limiters begin with `l`.

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
    /// Whose password the first client changes again and again, if anybody's.
    storm: Option<&'static str>,
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
    let setup = if cluster.access { setup(stream, users) } else { vec![] };
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
            ops: (0..count).map(|_| op(stream, &plan, number, &mut counter, think)).collect(),
        }
    });
    let list = list.collect();
    (setup, list, safety_us)
}

fn plan(stream: &mut Stream, cluster: &Cluster) -> Plan {
    use Family::{
        Admin, Compare, Counter, Deadline, Hash, Limit, Lock, Many, Misc, Once, Register, Scan, SetGet, Text,
        Txn, Unique,
    };
    // Where the leader deletes few keys at a time, others are found due before it comes to them.
    let due_together = stream.chance(if cluster.limits.expiry_batch.is_some() { 700_000 } else { 200_000 });
    let mut mix = Vec::new();
    for family in [
        Counter, Register, Compare, Unique, Many, Deadline, Scan, SetGet, Admin, Misc, Text, Hash, Limit,
        Txn, Once, Lock,
    ] {
        let (on, weight) = (stream.chance(550_000), stream.magnitude(1, 16));
        if on && (family != Admin || cluster.access) {
            let weight = match family {
                Admin | Misc => weight.min(2),
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
    Plan {
        hot: stream.between(1, 5),
        think_us: stream.magnitude(500, 100_000),
        big_ppm: *stream.pick(&[0, 0, 20_000, 200_000]),
        mix,
        access: cluster.access,
        due_together,
        storm: (cluster.access && stream.chance(120_000)).then(|| *stream.pick(&USERS)),
    }
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

fn setup(stream: &mut Stream, users: u64) -> Vec<Op> {
    let mut ops = Vec::new();
    let by_role = stream.chance(400_000);
    if by_role {
        ops.push(Op::new(0, &["ROLE", "ADD", "ops"]));
        for prefix in ["c*", "r*", "t*", "k*"] {
            ops.push(Op::new(0, &["GRANT", "READ", "ON", prefix, "TO", "ROLE", "ops"]));
            ops.push(Op::new(0, &["GRANT", "WRITE", "ON", prefix, "TO", "ROLE", "ops"]));
        }
    }
    for user in ["root"].iter().chain(&USERS[..users as usize]) {
        if *user != "root" {
            ops.push(Op::new(0, &["USER", "ADD", user, &password(user)]));
            if by_role && stream.chance(700_000) {
                ops.push(Op::new(0, &["ROLE", "GIVE", "ops", "TO", user]));
            }
        }
        for prefix in ["c*", "r*", "u*", "m*", "t*", "s*", "h*", "x*", "o*", "k*"] {
            for permission in ["READ", "WRITE"] {
                if *user == "root" || stream.chance(850_000) {
                    ops.push(Op::new(0, &["GRANT", permission, "ON", prefix, "TO", user]));
                }
            }
        }
        if *user != "root" && stream.chance(850_000) {
            ops.push(Op::new(0, &["GRANT", "LIMIT", "ON", "l*", "TO", user]));
        }
        if *user != "root" && stream.chance(850_000) {
            ops.push(Op::new(0, &["GRANT", "LOCK", "ON", "k*", "TO", user]));
        }
    }
    ops
}

fn op(stream: &mut Stream, plan: &Plan, client: u64, counter: &mut u64, think: u64) -> Op {
    let weights: u64 = plan.mix.iter().map(|(_, weight)| weight).sum();
    let mut draw = stream.below(weights);
    let family = plan.mix.iter().find(|(_, weight)| {
        let here = draw < *weight;
        draw = draw.saturating_sub(*weight);
        here
    });
    let family = family.map_or(Family::Register, |(family, _)| *family);
    *counter += 1;
    let value = value(stream, plan, client, *counter);
    let mut words = words(stream, plan, family, client, *counter, &value);
    if let Some(user) = plan.storm.filter(|_| client == 0 && stream.chance(500_000)) {
        words = format!("USER PASSWORD {user} {}", password(user).replace(' ', "~"));
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
            let after = if choice < 50 { "AFTER $after " } else { "" };
            format!("SCAN {prefix} {after}COUNT {}", stream.between(1, 8))
        }
        Family::Text => text(stream, plan, choice, value),
        Family::Hash => hash(stream, plan, choice, value),
        Family::Limit => limit(stream, client, choice),
        Family::Once => once(stream, choice),
        Family::Lock => lock(stream, client, choice, value),
        Family::Txn => transaction(stream, plan, choice, value),
        Family::SetGet => format!("SET {} {value} GET", hot(stream, 'r')),
        Family::Admin if plan.access => admin(stream, choice),
        Family::Admin | Family::Misc => match choice {
            0..20 => "PING".into(),
            20..40 => "INFO".into(),
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

/// Hashes of a few fields; with a large value now and then they take the large shape.
fn hash(stream: &mut Stream, plan: &Plan, choice: u64, value: &str) -> String {
    let key = format!("h{}", stream.below(plan.hot));
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
        78..86 => format!("{} {key}", *stream.pick(&["HGETALL", "HKEYS", "HVALS"])),
        86..90 => format!("PEXPIRE {key} {} LT", stream.magnitude(20, 2_000)),
        90..93 => format!("RENAME {key} h{}", stream.below(plan.hot)),
        93..95 => format!("GET {key}"),
        95..97 => format!("SET {key} {value}"),
        _ => format!("DEL {key}"),
    }
}

/// Limiters, most of which are about full: `l` names.
fn limit(stream: &mut Stream, client: u64, choice: u64) -> String {
    let number = stream.below(2);
    let peek = if stream.chance(150_000) { " PEEK" } else { "" };
    let cost = if stream.chance(250_000) { format!(" COST {}", stream.between(1, 4)) } else { String::new() };
    // Another window now and then, as after a deployment.
    let ms = if stream.chance(80_000) { 333 } else { 100 + number * 900 };
    match choice {
        0..22 => format!("LIMIT FIXED lf{number} 3 {ms}{cost}{peek}"),
        22..46 => format!("LIMIT SLIDING ls{number} 3 {ms}{cost}{peek}"),
        46..68 => format!("LIMIT BUCKET lb{number} 3 2 {ms}{cost}{peek}"),
        68..84 => format!("LIMIT CONCURRENCY lc{number} 2 client-{client} {ms}{peek}"),
        84..94 => format!("LIMIT RELEASE lc{number} client-{client}"),
        94..96 => format!("LIMIT SLIDING lf{number} 3 {ms}"),
        96..98 => format!("LIMIT RESET l{}{number}", *stream.pick(&["f", "s", "b", "c"])),
        _ => format!("GET lf{number}"),
    }
}

/// Transactions on `x` keys: transfers between accounts, compare and set, some that fail half way.
fn transaction(stream: &mut Stream, plan: &Plan, choice: u64, value: &str) -> String {
    let hot = plan.hot + 1;
    let (one, two) = (format!("x{}", stream.below(hot)), format!("x{}", stream.below(hot)));
    let amount = stream.between(1, 4);
    match choice {
        0..35 => format!(
            "TXN IF NUMBER {one} >= {amount} THEN 3 INCRBY {one} -{amount} 3 INCRBY {two} {amount} ELSE 4 SET {one} 9 NX"
        ),
        35..45 => format!(
            "TXN IF REVISION {one} = $rev THEN 3 SET {one} {amount} 2 GET {two} ELSE 3 MGET {one} {two}"
        ),
        45..55 => {
            format!("TXN IF MISSING {one} VALUE {two} != {amount} THEN 3 SET {one} {amount} ELSE 2 DEL {one}")
        }
        55..63 => format!("TXN THEN 3 SET {one} {amount} 3 INCRBY xh 1 2 GET {two}"),
        63..68 => format!("TXN IF EXISTS {one} THEN 4 HSET xh f {value} 3 SET {two} {amount} 3 HDEL xh f"),
        68..73 => format!("TXN THEN 3 PEXPIRE {one} 300 2 PTTL {one} 3 RENAME {one} {two}"),
        73..78 => format!("TXN THEN 5 LIMIT FIXED lf0 3 100 3 INCRBY {one} 1"),
        78..88 => format!("TXN THEN 2 GET {one} 2 GET {two}"),
        88..90 => format!("TXN IF EXISTS {one} THEN 2 GET {one} ELSE 2 GET r0"),
        90..92 => format!("TXN IF MISSING {one} THEN 2 GET c0 ELSE 2 GET {one}"),
        92..94 => format!("GETV {one}"),
        94..96 => "HSET xh f 1".into(),
        _ => format!("DEL {one}"),
    }
}

/// Commands under few ids, each most often the same one, and work: `o` keys and ids.
fn once(stream: &mut Stream, choice: u64) -> String {
    let id = stream.below(12);
    // One id in six is too old, or of the day after tomorrow.
    let born = match id {
        0 => 1_699_800_000_000_u64,
        1 => 1_700_200_000_000,
        id => 1_700_000_000_000 - id * 1000,
    };
    let hold = *stream.pick(&[50, 400, 5_000]);
    match choice {
        0..45 => format!("ONCE RUN oi{id} BORN {born} INCRBY o{} {id}", id % 3),
        45..50 => format!("ONCE RUN oi{id} BORN {born} INCRBY o{} 1", id % 3),
        50..58 => format!(
            "ONCE RUN oi{} BORN {born} TXN IF NUMBER o{} > 3 THEN 2 DEL o0 ELSE 3 HINCRBY oh f {id}",
            id + 20,
            id % 3
        ),
        58..63 => format!("ONCE RUN oi{} BORN {born} INCRBY oh {id}", id + 40),
        63..66 => "HSET oh f 1".into(),
        66..80 => format!("ONCE BEGIN ow{} print {hold}", id % 4),
        80..83 => format!("ONCE BEGIN ow{} other {hold}", id % 4),
        83..91 => format!("ONCE FINISH ow{} $token done-{id}", id % 4),
        91..94 => format!("ONCE FAIL ow{} $token", id % 4),
        94..98 => format!("ONCE SHOW ow{}", id % 4),
        _ => format!("GET o{}", id % 3),
    }
}

/// Leases, and locks, semaphores and elections that are about always wanted by somebody: `k` names and keys.
fn lock(stream: &mut Stream, client: u64, choice: u64, value: &str) -> String {
    let number = stream.below(2);
    let backing = match stream.below(6) {
        0 => "LEASE $lease".to_owned(),
        _ => format!("PX {}", stream.magnitude(40, 3_000)),
    };
    let wait = match stream.below(5) {
        0..2 => String::new(),
        _ => format!(" WAIT {}", stream.magnitude(10, 3_000)),
    };
    // Now and then another client's name, or one of several of its own.
    let owner = if stream.chance(100_000) { stream.below(client + 1) } else { client };
    let owner = format!("w{owner}{}", *stream.pick(&["", "", "b"]));
    match choice {
        0..20 => format!("LOCK ACQUIRE k{number} {owner} {backing}{wait}"),
        20..32 => format!("LOCK RELEASE k{number} $token"),
        32..36 => format!("LOCK RENEW k{number} $token"),
        36..39 => format!("LOCK SHOW k{number}"),
        39..45 => format!("SET kg{number} {value} FENCE k{number} $token"),
        45..48 => format!("TXN IF LOCK k{number} = $token THEN 3 INCRBY kc 1 ELSE 2 GET kc"),
        48..57 => format!("SEMAPHORE ACQUIRE ks 3 {owner} {backing} PERMITS {}{wait}", stream.between(1, 3)),
        57..63 => "SEMAPHORE RELEASE ks $token".into(),
        63..64 => "SEMAPHORE SHOW ks".into(),
        64..69 => format!("ELECTION CAMPAIGN ke {owner} {value} {backing}{wait}"),
        69..71 => format!("ELECTION PROCLAIM ke $token {value}"),
        71..74 => "ELECTION RESIGN ke $token".into(),
        74..77 => "ELECTION OBSERVE ke".into(),
        77..82 => format!("LEASE GRANT {}", stream.magnitude(100, 4_000)),
        82..84 => "LEASE KEEPALIVE $lease".into(),
        84..86 => "LEASE REVOKE $lease".into(),
        86..90 => format!("SET kl{number} {} LEASE $lease", stream.below(9)),
        90..91 => format!("LEASE ATTACH $lease kl{number} kl2"),
        91..92 => format!("LEASE DETACH kl{number}"),
        92..94 => format!("INCRBY kl{number} 1"),
        94..95 => format!("TXN IF LEASE kl{number} = $lease THEN 3 SET kl2 1 ELSE 2 DEL kl{number}"),
        95..96 => "LEASE SHOW $lease".into(),
        96..97 => "LEASE LIST".into(),
        97..98 => format!("PEXPIRE kl{number} 200"),
        98..99 => format!("RENAME kl{number} kl2"),
        _ => format!("GET kl{number}"),
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

fn admin(stream: &mut Stream, choice: u64) -> String {
    let user = *stream.pick(&USERS);
    let (permission, pattern) = (
        *stream.pick(&["READ", "WRITE"]),
        *stream.pick(&["c*", "r*", "m*", "t*", "r0", "s*", "h*", "x*", "o*", "k*"]),
    );
    match choice {
        0..3 => format!("REVOKE LIMIT ON l* FROM {user}"),
        3..5 => format!("GRANT LIMIT ON l* TO {user}"),
        5..9 => format!("REVOKE LOCK ON k* FROM {user}"),
        9..12 => format!("GRANT LOCK ON k* TO {user}"),
        12..34 => roles(stream, user, permission, pattern),
        34..48 => format!("REVOKE {permission} ON {pattern} FROM {user}"),
        48..85 => format!("GRANT {permission} ON {pattern} TO {user}"),
        85..90 => format!("USER PASSWORD {user} {}", password(user).replace(' ', "~")),
        90..93 => format!("USER REMOVE {user}"),
        93..97 => format!("USER ADD {user} {}", password(user).replace(' ', "~")),
        _ => "WHOAMI".into(),
    }
}

/// Roles and denials, a few of each, with patterns of every kind.
fn roles(stream: &mut Stream, user: &str, permission: &str, pattern: &str) -> String {
    let role = *stream.pick(&["ops", "dev"]);
    let glob = *stream.pick(&["r?", "*1", "[ck]*0", "k?", pattern]);
    let permission = if stream.chance(150_000) { "LOCK" } else { permission };
    match stream.below(20) {
        14 | 17..20 => format!("DENY ADMIN ON * TO {}", *stream.pick(&["root", "root", "ROLE ops", user])),
        15 => format!("UNDENY ADMIN ON * FROM {}", *stream.pick(&["root", "ROLE ops", user])),
        16 => format!("GRANT ADMIN ON * TO {}", *stream.pick(&["ROLE ops", user])),
        0 | 1 => format!("ROLE ADD {role}"),
        2 | 3 => format!("ROLE GIVE {role} TO {user}"),
        4 => format!("ROLE TAKE {role} FROM {user}"),
        5 | 6 => format!("GRANT {permission} ON {pattern} TO ROLE {role}"),
        7 => format!("REVOKE {permission} ON {pattern} FROM ROLE {role}"),
        8 => format!("DENY {permission} ON {glob} TO {user}"),
        9 => format!("UNDENY {permission} ON {glob} FROM {user}"),
        10 => format!("DENY {permission} ON {glob} TO ROLE {role}"),
        11 => format!("UNDENY {permission} ON {glob} FROM ROLE {role}"),
        12 => format!("ROLE REMOVE {role}"),
        _ => format!("CHECK {user} {permission} r0"),
    }
}

fn value(stream: &mut Stream, plan: &Plan, client: u64, count: u64) -> String {
    let (big, size) = (stream.chance(plan.big_ppm), stream.magnitude(256, 6_000));
    let padding = if big { "x".repeat(size as usize) } else { String::new() };
    format!("v{client}-{count}{padding}")
}
