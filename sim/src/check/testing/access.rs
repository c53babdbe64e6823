//! A revoke holds from its position on.

use steadfast_core::reply::Value;

use super::{Bench, bytes};
use crate::check::Verdict;
use crate::check::access::judge;
use crate::history::{End, History};

fn rejects(bench: &Bench, doctor: impl FnOnce(&mut History)) {
    let mut history = bench.history();
    assert_eq!(judge(&history), Verdict::Passed, "before it is doctored");
    doctor(&mut history);
    let verdict = judge(&history);
    assert!(verdict.failed(), "a doctored history: {verdict}");
}

/// Bob may read and write below `pub:`.
fn granted() -> Bench {
    let mut b = Bench::new();
    for line in
        ["USER ADD bob secret", "GRANT READ ON pub:* TO bob", "GRANT WRITE ON pub:* TO bob", "SET pub:k v"]
    {
        b.run_as(1, "root", line);
    }
    b.run_as(2, "bob", "SET pub:k w GET");
    b
}

#[test]
fn a_success_after_the_revoke_is_found() {
    let mut b = granted();
    b.run_as(1, "root", "REVOKE READ ON pub:* FROM bob");
    b.run_as(2, "bob", "SET pub:k x");
    let read = b.run_as(2, "bob", "GET pub:k") as usize;
    rejects(&b, |h| h.ops[read].end = End::Ok(bytes("x")));
}

#[test]
fn a_success_that_only_its_position_gives_away_is_found() {
    let mut b = granted();
    let read = b.ask_as(2, Some("bob"), None, "GET pub:k");
    b.run_as(1, "root", "REVOKE READ ON pub:* FROM bob");
    b.act(read);
    b.tell(read);
    rejects(&b, |h| h.ops[read as usize].end = End::Ok(bytes("w")));
}

#[test]
fn a_success_beside_the_revoke_passes_as_does_one_after_a_new_grant() {
    let mut b = granted();
    let read = b.ask_as(2, Some("bob"), None, "GET pub:k");
    b.act(read);
    b.run_as(1, "root", "REVOKE READ ON pub:* FROM bob");
    b.tell(read);
    b.run_as(1, "root", "GRANT READ ON pub:k TO bob");
    b.run_as(2, "bob", "GET pub:k");
    assert!(b.history().ops.iter().filter(|op| op.value() == Some(&bytes("w"))).count() == 2);
    assert_eq!(judge(&b.history()), Verdict::Passed);
}

#[test]
fn what_was_never_granted_is_found() {
    let mut b = granted();
    let ops: Vec<usize> = ["GET private", "USER LIST", "DEL private", "SET private x"]
        .map(|line| b.run_as(2, "bob", line) as usize)
        .into();
    for op in ops {
        rejects(&b, |h| h.ops[op].end = End::Ok(Value::Nil));
    }
    // A page that shows a key which it may not.
    let scan = b.run_as(2, "bob", "SCAN p") as usize;
    let page = |keys: &[&str]| {
        End::Ok(Value::List(vec![Value::Nil, Value::List(keys.iter().map(|k| bytes(k)).collect())]))
    };
    assert_eq!(b.history().ops[scan].end, page(&["pub:k"]));
    rejects(&b, |h| h.ops[scan].end = page(&["private", "pub:k"]));
}

#[test]
fn a_removed_user_who_succeeds_is_found() {
    let mut b = granted();
    b.run_as(1, "root", "USER REMOVE bob");
    let ops: Vec<usize> =
        ["PING", "GET pub:k", "SESSION OPEN"].map(|line| b.run_as(2, "bob", line) as usize).into();
    for op in ops {
        rejects(&b, |h| h.ops[op].end = End::Ok(Value::Nil));
    }
    // Made anew, the user does not get the old grants back.
    b.run_as(1, "root", "USER ADD bob secret");
    let read = b.run_as(2, "bob", "GET pub:k") as usize;
    rejects(&b, |h| h.ops[read].end = End::Ok(bytes("w")));
}
