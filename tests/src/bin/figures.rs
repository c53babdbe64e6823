//! Prints the figures of `docs/benchmarks.md`, and the table of `docs/why.md`. Called as `figures serve …` it is the server that it
//! measures, and as `figures bench …` what loads it.

use std::process::ExitCode;

use steadfast_tests::failover;
use steadfast_tests::figures::options::{Options, USAGE};
use steadfast_tests::figures::{
    bytes, cluster, core, latency, leader_loss, replacement, restart, scale, throughput,
};

/// As the server has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    if matches!(std::env::args().nth(1).as_deref(), Some("serve" | "bench")) {
        return steadfast::cli::main_with(steadfast_tests::binary::for_a_test);
    }
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("figures: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let options = Options::parse(std::env::args().skip(1))?;
    let report = match options.figure.as_str() {
        "restart" => restart::run(&options),
        "snapshot-latency" => latency::run(&options),
        "bytes-per-write" => bytes::run(&options),
        "throughput" => throughput::run(&options),
        "cluster" => cluster::run(&options),
        "scale" => scale::run(&options),
        "leader-loss" => leader_loss::run(&options),
        "replacement" => replacement::run(&options),
        "core" => core::run(&options),
        "failover" => failover::report(&options),
        other => return Err(format!("there is no figure {other}\n{USAGE}")),
    };
    let report = report.map_err(|error| error.to_string())?;
    if options.json {
        println!("{:#}", report.json());
    } else {
        print!("{report}");
    }
    Ok(())
}
