//! Draws what the operator sets up before a run, and the commands on users, roles, grants and denials in it.

use super::{USERS, durability, password};
use crate::rng::Stream;
use crate::schedule::Op;

pub(super) fn setup(stream: &mut Stream, users: u64) -> Vec<Op> {
    let mut ops = Vec::new();
    let by_role = stream.chance(400_000);
    if by_role {
        ops.push(Op::new(0, &["ROLE", "ADD", "ops"]));
        for prefix in ["c*", "r*", "t*", "k*"] {
            for permission in ["READ", "WRITE", "WATCH"] {
                ops.push(Op::new(0, &["GRANT", permission, "ON", prefix, "TO", "ROLE", "ops"]));
            }
        }
        ops.push(Op::new(0, &["GRANT", "LOCK", "ON", "k*", "TO", "ROLE", "ops"]));
    }
    // What is granted to a user, too, does not hang on the role.
    let own = if by_role { 400_000 } else { 850_000 };
    for user in ["root"].iter().chain(&USERS[..users as usize]) {
        if *user != "root" {
            ops.push(Op::new(0, &["USER", "ADD", user, &password(user)]));
            if by_role && stream.chance(700_000) {
                ops.push(Op::new(0, &["ROLE", "GIVE", "ops", "TO", user]));
            }
        }
        for prefix in ["c*", "r*", "u*", "m*", "t*", "s*", "h*", "x*", "o*", "k*"] {
            for permission in ["READ", "WRITE"] {
                if *user == "root" || stream.chance(own) {
                    ops.push(Op::new(0, &["GRANT", permission, "ON", prefix, "TO", user]));
                }
            }
        }
        if *user != "root" && stream.chance(850_000) {
            ops.push(Op::new(0, &["GRANT", "LIMIT", "ON", "l*", "TO", user]));
        }
        if *user != "root" && stream.chance(own) {
            ops.push(Op::new(0, &["GRANT", "LOCK", "ON", "k*", "TO", user]));
        }
        for pattern in ["s*", "h*", "*"] {
            if stream.chance(500_000) {
                ops.push(Op::new(0, &["GRANT", "DROP", "ON", pattern, "TO", user]));
            }
        }
        for pattern in ["*", "r*", "c*"] {
            if *user != "root" && stream.chance(600_000) {
                ops.push(Op::new(0, &["GRANT", "WATCH", "ON", pattern, "TO", user]));
            }
        }
    }
    ops
}

pub(super) fn admin(stream: &mut Stream, choice: u64) -> String {
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
        12..16 => format!("REVOKE WATCH ON {} FROM {user}", *stream.pick(&["*", "*", "r*", "c*"])),
        16..19 => format!("GRANT WATCH ON {} TO {user}", *stream.pick(&["*", "r*", "c*"])),
        19..34 => roles(stream, user, permission, pattern),
        34..48 => format!("REVOKE {permission} ON {pattern} FROM {user}"),
        48..85 => format!("GRANT {permission} ON {pattern} TO {user}"),
        85..88 => format!("USER PASSWORD {user} {}", password(user).replace(' ', "~")),
        88..90 => durability::change(stream),
        90..93 => format!("USER REMOVE {user}"),
        93..97 => format!("USER ADD {user} {}", password(user).replace(' ', "~")),
        _ => "WHOAMI".into(),
    }
}

/// Rules that are made and taken again and again, of a few keys at which others are at work.
pub(super) fn rules(stream: &mut Stream) -> String {
    let user = *stream.pick(&USERS);
    let permission = *stream.pick(&["READ", "READ", "WRITE", "WATCH", "WATCH", "LOCK", "DELETE", "DROP"]);
    let prefix =
        if permission == "LOCK" { "k*" } else { *stream.pick(&["c*", "r*", "r*", "h*", "s*", "u*"]) };
    let (gives, denies) = (stream.chance(550_000), stream.chance(500_000));
    let pick = |yes: bool, words: [&'static str; 2]| if yes { words[0] } else { words[1] };
    let to = pick(gives, ["TO", "FROM"]);
    match stream.below(12) {
        0..4 => format!("{} {permission} ON {prefix} {to} ROLE ops", pick(gives, ["GRANT", "REVOKE"])),
        4 => format!("ROLE {} ops {to} {user}", pick(gives, ["GIVE", "TAKE"])),
        5..8 => {
            // What may be written and not deleted, and what of a prefix may not be read, is told apart by a denial alone.
            let permission = *stream.pick(&["DELETE", "DELETE", "READ", "READ", permission]);
            let to = pick(denies, ["TO", "FROM"]);
            let pattern = *stream.pick(&["r0", "r1", "c0", "h0", "s0", "r?", "*1"]);
            format!("{} {permission} ON {pattern} {to} {user}", pick(denies, ["DENY", "UNDENY"]))
        }
        8 => format!("{} WATCH ON * {to} {user}", pick(gives, ["GRANT", "REVOKE"])),
        // A wait ends when its user's own right does.
        9 => format!("{} LOCK ON k* {to} {user}", pick(gives, ["GRANT", "REVOKE"])),
        _ => format!("{} {permission} ON {prefix} {to} {user}", pick(gives, ["GRANT", "REVOKE"])),
    }
}

/// Roles and denials, a few of each, with patterns of every kind.
fn roles(stream: &mut Stream, user: &str, permission: &str, pattern: &str) -> String {
    let role = *stream.pick(&["ops", "dev"]);
    let glob = *stream.pick(&["r?", "*1", "[ck]*0", "k?", "r0", "h0", pattern]);
    let permission = if stream.chance(250_000) { *stream.pick(&["LOCK", "WATCH"]) } else { permission };
    match stream.below(20) {
        14 | 17..20 => {
            format!("DENY ADMIN ON {} TO {}", area(stream), *stream.pick(&["root", "root", "ROLE ops", user]))
        }
        15 => format!("UNDENY ADMIN ON {} FROM {}", area(stream), *stream.pick(&["root", "ROLE ops", user])),
        16 => format!("GRANT ADMIN ON {} TO {}", area(stream), *stream.pick(&["ROLE ops", user])),
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

/// What there is to administer.
fn area(stream: &mut Stream) -> &'static str {
    stream.pick::<&str>(&["*", "*", "users", "users", "cluster", "configuration"])
}
