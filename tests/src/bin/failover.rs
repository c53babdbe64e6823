//! Prints the table of `docs/why.md`: how often an order is charged twice when the leader dies at the worst moment.

use std::process::ExitCode;

use steadfast_tests::failover::{self, options::Options};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("failover: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let options = Options::parse(std::env::args().skip(1))?;
    let report = failover::report(&options).map_err(|error| error.to_string())?;
    if options.json {
        println!("{:#}", report.json());
    } else {
        print!("{report}");
    }
    Ok(())
}
