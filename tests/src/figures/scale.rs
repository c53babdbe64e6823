//! What a write costs one durable node when there are more keys, and when there are more connections. The node alone: other programs are
//! in `throughput.rs`.

use std::io;

use super::loads::{self, Load, Program};
use super::options::Options;
use super::report::{Cell, Report, median};
use super::restart::start_empty;
use super::steadfast::Steadfast;
use super::{machine, system};
use crate::scratch::Scratch;

/// How many keys there are, with 50 connections, as far as `--keys` goes.
const KEYS: [u64; 4] = [10_000, 100_000, 1_000_000, 10_000_000];
/// How many connections there are, with the second of those.
const CONNECTIONS: [u32; 5] = [1, 10, 100, 1_000, 5_000];

/// Measures, and says what was seen.
///
/// # Errors
/// If the node does not do what it should.
pub fn run(options: &Options) -> io::Result<Report> {
    let mut notes = vec![format!("before: {}", machine::describe())];
    let mut rows = Vec::new();
    let most = options.keys(KEYS[3]);
    for keys in KEYS.into_iter().filter(|keys| *keys <= most) {
        rows.extend(measure(options, keys, &[50])?);
    }
    rows.extend(measure(options, KEYS[1], &CONNECTIONS)?);
    notes.push(format!("after: {}", machine::describe()));
    notes.push(format!("medians of {}; one request under way on each connection", options.rounds(3)));
    Ok(Report {
        title: "What a write of 100 bytes costs one durable node".into(),
        columns: vec!["keys", "connections", "/s", "99 % ms", "us each", "MiB"],
        rows,
        notes,
    })
}

/// A key of `steadfast bench`.
fn key(number: u64) -> Vec<u8> {
    format!("bench:key:{number:012}").into_bytes()
}

/// Of one node with so many keys: a row for each number of connections.
fn measure(options: &Options, keys: u64, connections: &[u32]) -> io::Result<Vec<Vec<Cell>>> {
    let scratch = Scratch::new("figures-scale");
    let server = Steadfast::new(scratch.join("steadfast"), keys, 0);
    let node = [start_empty(&server)?];
    eprintln!("{keys} keys: loading");
    system::load_named(&server, key, keys, keys, 0)?;
    let tool = |load: &Load| loads::of_steadfast(&[server.address()], load, keys, options.seconds(3));
    let program = Program { servers: &node, tool: &tool };
    let mut rows = Vec::new();
    for connections in connections {
        let load = Load {
            name: "SET",
            operation: "set",
            connections: *connections,
            pipeline: 1,
            requests: 0,
            target: 0.0,
        };
        let name = format!("{keys} keys, {connections} connections");
        let (seen, _) = loads::in_turn(&name, &load, options.rounds(3), &program, None)?;
        let mib = machine::memory(node[0].id())?.now as f64 / f64::from(1 << 20);
        rows.push(vec![
            Cell::from(keys),
            Cell::from(u64::from(*connections)),
            Cell::Number(median(&seen.per_second), 0),
            Cell::Number(median(&seen.p99), 2),
            Cell::Number(median(&seen.cost), 1),
            Cell::Number(mib, 0),
        ]);
    }
    Ok(rows)
}
