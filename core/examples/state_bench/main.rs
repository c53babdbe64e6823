//! Times the replicated state and what could stand in its place, at a million keys of 16-byte names and
//! 100-byte values; `docs/dependencies.md` has the figures that the choice rests on.
//!
//! `cargo run --release --example state_bench -p steadfast-core -- [NAME [KEYS]]`. Without a name, each
//! candidate runs in a process of its own, so that the memory it takes is its own too.

// A benchmark reads the clock, its arguments and its own memory, and prints: none of it is the core's.
#![allow(clippy::disallowed_types, clippy::disallowed_methods, clippy::disallowed_macros)]

mod alternatives;
mod measure;
mod state;

/// A candidate's name, and what runs it.
type Candidate = (&'static str, fn(usize));

const CANDIDATES: &[Candidate] = &[
    ("state", state::run),
    ("ordered-map", alternatives::ordered_map),
    ("hash-only", alternatives::hash_only),
    ("one-hash-table", alternatives::one_hash_table),
    ("order-by-keys", alternatives::order_by_keys),
    ("keys-in-arcs", alternatives::keys_in_arcs),
    ("growing-vector", alternatives::growing_vector),
];

fn main() {
    let mut arguments = std::env::args().skip(1);
    let chosen = arguments.next();
    let keys = arguments.next().map_or(1_000_000, |keys| keys.parse().expect("KEYS is a number"));
    match chosen {
        Some(name) => {
            let known = CANDIDATES.iter().find(|(candidate, _)| *candidate == name);
            let (_, run) = known.expect("NAME is one of the candidates");
            run(keys);
        }
        None => CANDIDATES.iter().for_each(|(name, _)| run_alone(name, keys)),
    }
}

fn run_alone(name: &str, keys: usize) {
    let program = std::env::current_exe().expect("the program knows its own file");
    let status = std::process::Command::new(program).arg(name).arg(keys.to_string()).status();
    assert!(status.expect("the program can run itself").success(), "{name} failed");
}
