//! Draws operations on limiters, transactions, ids, leases, claims and watches. `~` stands for a space inside a word.

use super::Plan;
use crate::rng::Stream;

/// Limiters, most of which are about full: `l` names.
pub(super) fn limit(stream: &mut Stream, client: u64, choice: u64) -> String {
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
pub(super) fn transaction(stream: &mut Stream, plan: &Plan, choice: u64, value: &str) -> String {
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
pub(super) fn once(stream: &mut Stream, choice: u64) -> String {
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
pub(super) fn lock(stream: &mut Stream, client: u64, choice: u64, value: &str) -> String {
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
        20..31 => format!("LOCK RELEASE k{number} $token"),
        31..34 => format!("LOCK RENEW k{number} $token"),
        34..36 => format!("LOCK SHOW k{number}"),
        // With it go the waits in it.
        36..41 => "SESSION END $session".into(),
        41..43 => format!("SET kg{number} {value} FENCE k{number} $token"),
        43..45 => format!("SET kg{number} {value} FENCE {} $token", *stream.pick(&["ke", "ke", "ks"])),
        45..47 => format!("TXN IF LOCK k{number} = $token THEN 3 INCRBY kc 1 ELSE 2 GET kc"),
        47..48 => "TXN IF LOCK ke = $token THEN 3 INCRBY kc 1 ELSE 2 GET kc".into(),
        48..57 => format!("SEMAPHORE ACQUIRE ks 3 {owner} {backing} PERMITS {}{wait}", stream.between(1, 3)),
        57..63 => "SEMAPHORE RELEASE ks $token".into(),
        63..64 => "SEMAPHORE SHOW ks".into(),
        64..69 => format!("ELECTION CAMPAIGN ke {owner} {value} {backing}{wait}"),
        69..71 => format!("ELECTION PROCLAIM ke $token {value}"),
        71..74 => "ELECTION RESIGN ke $token".into(),
        74..77 => match stream.below(3) {
            0 => format!("ELECTION OBSERVE ke{wait}"),
            _ => format!("ELECTION OBSERVE ke UNLIKE $token $saying{wait}"),
        },
        77..82 => format!("LEASE GRANT {}", stream.magnitude(100, 4_000)),
        82..84 => "LEASE KEEPALIVE $lease".into(),
        84..86 => "LEASE REVOKE $lease".into(),
        86..90 => format!("SET kl{number} {} LEASE $lease", stream.below(9)),
        90..91 => format!("LEASE ATTACH $lease kl{number} kl2"),
        91..92 => format!("LEASE DETACH kl{number}"),
        92..94 => format!("INCRBY kl{number} 1"),
        94..95 => format!("TXN IF LEASE kl{number} = $lease THEN 3 SET kl2 1 ELSE 2 DEL kl{number}"),
        95 => (*stream.pick(&["LEASE SHOW $lease", "LEASE LIST"])).into(),
        96 => format!("LEASE DETACH kl{number}"),
        97..98 => format!("PEXPIRE kl{number} 200"),
        98..99 => format!("RENAME kl{number} kl2"),
        _ => format!("GET kl{number}"),
    }
}

/// Requests for changes: most go on from where the client was told of everything, some begin anew or ask for what is to come.
pub(super) fn watch(stream: &mut Stream, plan: &Plan) -> String {
    let from = match stream.below(20) {
        0 => "0".to_owned(),
        1 => stream.below(400).to_string(),
        2..9 => "$newest".to_owned(),
        _ => "$told".to_owned(),
    };
    let mut words = format!("CHANGES {from}");
    for _ in 0..stream.between(1, 3) {
        let kind = *stream.pick(&plan.kinds);
        words += &match stream.below(10) {
            0..4 => format!(" KEY {kind}{}", stream.below(plan.hot)),
            4 => format!(" PREFIX {kind}1"),
            5 => " PREFIX ".into(),
            _ => format!(" PREFIX {kind}"),
        };
    }
    if stream.chance(200_000) {
        let kinds = ["created", "modified", "deleted", "expired"];
        words += &format!(" ONLY {} ONLY {}", stream.pick(&kinds), stream.pick(&kinds));
    }
    if stream.chance(300_000) {
        words += " PREVIOUS";
    }
    if stream.chance(500_000) {
        words += &format!(" COUNT {}", stream.between(1, 6));
    }
    if stream.chance(700_000) {
        words += &format!(" WAIT {}", stream.magnitude(10, 2_000));
    }
    words
}
