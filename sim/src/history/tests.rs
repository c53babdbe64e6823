//! Histories survive being written and read, and nothing crooked is read as straight.

use steadfast_core::error::ErrorCode;
use steadfast_core::time::Millis;
use steadfast_core::types::Index;

use super::*;

fn args(line: &str) -> Vec<Blob> {
    line.split(' ').map(Blob::from).collect()
}

fn ok(value: Value, position: u64) -> Reply {
    Reply { outcome: Ok(value), receipt: Some(Receipt::durable(Index(position), Millis(7))) }
}

/// A recording with every kind of record.
fn recording() -> Recorder {
    let mut r = Recorder::default();
    let once = Some((SessionId(4), 1));
    let set = r.invoke(10, 1, Some(Blob::from("u")), args("SET k v PX 50 IFVERSION 3"), None);
    let get = r.invoke(11, 2, None, vec![Blob::from("GET"), Blob::from(vec![0xff, 0])], None);
    r.complete(12, 1, set, &ok(Value::ok(), 5), Some(NodeId(3)), once);
    r.complete(13, 2, get, &ok(Value::Bytes(Blob::from(vec![0x80])), 5), None, None);
    for (n, reply) in [
        Reply::refused(Failure::new(ErrorCode::Overloaded, "later")),
        Reply::refused(Failure::new(ErrorCode::TimedOut, "perhaps")),
        ok(Value::List(vec![Value::Nil, Value::Int(-4), Value::Bytes(Blob::from("x"))]), 9),
        ok(Value::Map(vec![("a".into(), Value::Status("up".into()))]), 9),
    ]
    .iter()
    .enumerate()
    {
        let op = r.invoke(20 + n as u64, 3, None, args("MSET a 1 b 2"), None);
        r.complete(20 + n as u64, 3, op, reply, None, None);
    }
    let op = r.invoke(30, 4, None, args("INCRBY c 5"), None);
    r.give_up(31, 4, op, None);
    r.invoke(32, 4, None, args("USER ADD bob secret"), None);
    r
}

fn file(records: &[Record]) -> String {
    let mut out = Vec::new();
    json::write(records, &mut out).expect("memory takes everything");
    String::from_utf8(out).expect("JSON is text")
}

#[test]
fn what_is_written_is_read_back_alike() {
    let recorder = recording();
    let read = json::read(&mut file(recorder.records()).as_bytes()).expect("well formed");
    assert_eq!(read, recorder.records());
    assert_eq!(History::from_records(&read), History::from_records(recorder.records()));
}

#[test]
fn the_first_lines_look_as_documented() {
    let text = file(&recording().records()[..4]);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines,
        [
            r#"{"index":0,"process":1,"type":"invoke","op":0,"f":"SET","key":"k","value":"v","expect":3,"time_ns":10,"user":"u","args":["SET","k","v","PX","50","IFVERSION","3"]}"#,
            r#"{"index":1,"process":2,"type":"invoke","op":1,"f":"GET","key":{"hex":"ff00"},"time_ns":11,"args":["GET",{"hex":"ff00"}]}"#,
            r#"{"index":2,"process":1,"type":"ok","op":0,"f":"SET","key":"k","value":{"status":"OK"},"time_ns":12,"session":4,"seq":1,"position":5,"time":7,"node":3}"#,
            r#"{"index":3,"process":2,"type":"ok","op":1,"f":"GET","key":{"hex":"ff00"},"value":{"hex":"80"},"time_ns":13,"position":5,"time":7}"#,
        ]
    );
}

#[test]
fn a_password_is_not_recorded() {
    assert!(!file(recording().records()).contains("secret"));
}

#[test]
fn an_operation_knows_what_it_learned_later() {
    let history = History::from_records(recording().records()).expect("in order");
    let set = &history.ops[0];
    assert_eq!((set.once(), set.node), (Some((SessionId(4), 1)), Some(NodeId(3))));
    assert!(!set.before(&history.ops[1]) && set.before(&history.ops[2]));
    assert!(history.ops[3].is_unknown() && history.ops[6].is_unknown() && history.ops[7].is_unknown());
    assert!(matches!(history.ops[2].end, End::Failed(_)));
}

#[test]
fn every_crooked_line_is_refused_with_its_number() {
    let text = file(&recording().records()[..4]);
    for (from, to) in [
        ("\"f\":\"GET\"", "\"f\":\"SET\""),
        ("\"key\":\"k\",\"value\":\"v\"", "\"key\":\"l\",\"value\":\"v\""),
        ("\"expect\":3,", ""),
        ("{\"hex\":\"80\"}", "{\"hex\":\"8\"}"),
        ("{\"hex\":\"80\"}", "{\"hex\":\"41\"}"),
        ("{\"hex\":\"80\"}", "1.5"),
        (",\"time\":7", ""),
        ("\"type\":\"ok\"", "\"type\":\"fail\""),
        ("\"type\":\"ok\"", "\"type\":\"info\""),
        (
            "\"op\":0,\"f\":\"SET\",\"key\":\"k\",\"value\":{",
            "\"op\":9,\"f\":\"SET\",\"key\":\"k\",\"value\":{",
        ),
        ("\"node\":3}", "\"node\":3,\"mood\":1}"),
        ("\"node\":3}", "\"node\":3"),
        ("\"user\":\"u\",", "\"user\":\"u\",\"user\":\"u\","),
    ] {
        let crooked = text.replacen(from, to, 1);
        assert_ne!(crooked, text, "{from}");
        assert!(matches!(json::read(&mut crooked.as_bytes()), Err(ReadError::Line { .. })), "{from}");
    }
    let cut = &text[..text.len() - 1];
    assert!(matches!(json::read(&mut cut.as_bytes()), Err(ReadError::Line { line: 4, .. })));
    let empty = text.replacen('\n', "\n\n", 1);
    assert!(matches!(json::read(&mut empty.as_bytes()), Err(ReadError::Line { line: 2, .. })));
}

#[test]
fn records_that_make_no_history_are_refused() {
    let good = recording().records().to_vec();
    let spoilt = |change: &dyn Fn(&mut Vec<Record>)| {
        let mut records = good.clone();
        change(&mut records);
        History::from_records(&records).expect_err("it is spoilt").index
    };
    assert_eq!(spoilt(&|r| r[3].time_ns = 5), 3);
    assert_eq!(spoilt(&|r| r[1].index = 7), 1);
    assert_eq!(spoilt(&|r| r[1].op = 0), 3);
    assert_eq!(spoilt(&|r| r[2].op = 77), 2);
    assert_eq!(spoilt(&|r| (r[0].session, r[0].seq) = (Some(SessionId(4)), Some(2))), 2);
    let twice = |r: &mut Vec<Record>| r[3] = Record { index: 3, time_ns: 13, ..r[2].clone() };
    assert_eq!(spoilt(&twice), 3);
}

#[test]
fn merging_counts_equal_times_as_concurrent() {
    let mut a = Recorder::default();
    let op = a.invoke(1, 1, None, args("GET k"), None);
    a.complete(5, 1, op, &ok(Value::Nil, 1), None, None);
    let mut b = Recorder::default();
    b.invoke(5, 2, None, args("GET k"), None);
    let merged = merge(vec![a.records().to_vec(), b.records().to_vec()]);
    let history = History::from_records(&merged).expect("in order");
    assert!(!history.ops[0].before(&history.ops[1]));
}

use super::json::ReadError;
