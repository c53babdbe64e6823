//! The command line of the simulator. It reads arguments, prints, and chooses the exit status: 0 all passed,
//! 1 a failure, 2 usage, 3 inconclusive beyond the bound.

use std::io::{IsTerminal, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Args, Parser, Subcommand};
use steadfast_sim::campaign::{self, Plan, Totals};
use steadfast_sim::run::{self, Verdict};
use steadfast_sim::schedule::Schedule;
use steadfast_sim::{bounded, draw, explore, history, judge, report, shrink, world};

/// Seeded simulations of Steadfast.
#[derive(Parser)]
#[command(name = "steadfast-sim", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run seeds, each twice, and judge them.
    Run(RunArgs),
    /// Run one seed or saved schedule again, readable.
    Replay(ReplayArgs),
    /// Make a failing seed or schedule smaller, as long as the same judge still fails.
    Shrink(ShrinkArgs),
    /// Explore all of something small: what a crash may leave of a short recorded workload, or what can happen to Raft
    /// in few steps.
    Explore(ExploreArgs),
    /// Judge a recorded history by the judges that need no log.
    Check {
        /// JSON lines, as clients write them.
        history: PathBuf,
    },
    /// Print the schedule of a seed.
    Schedule {
        /// The seed.
        seed: u64,
    },
}

#[derive(Args)]
struct RunArgs {
    /// The seeds: FROM..TO, TO not included, or a single one.
    #[arg(long, value_parser = seeds, default_value = "0..1000")]
    seeds: Range<u64>,
    /// Run this saved schedule instead of seeds.
    #[arg(long, value_name = "FILE")]
    schedule: Option<PathBuf>,
    /// Threads; by default as many as the machine has.
    #[arg(long)]
    jobs: Option<usize>,
    /// Take up no more seeds after this time: 60s, 5m, 500ms.
    #[arg(long, value_parser = duration)]
    budget: Option<Duration>,
    /// Run the Ith of N parts of the seeds, counted from 1.
    #[arg(long, value_parser = shard, default_value = "1/1", value_name = "I/N")]
    shard: (u64, u64),
    /// Print one JSON document instead of text.
    #[arg(long)]
    json: bool,
    /// Write every run's history into this directory.
    #[arg(long, value_name = "DIR")]
    history: Option<PathBuf>,
    /// Hunt for one failure: execute each seed once only, and take up no more after the first that fails.
    #[arg(long)]
    fail_fast: bool,
    /// Print how often each rare state was met, but don't fail for one that never was.
    #[arg(long)]
    without_probes: bool,
}

#[derive(Args)]
struct ReplayArgs {
    /// A seed, or a file with a schedule.
    what: String,
    /// Print one line per event.
    #[arg(long)]
    trace: bool,
    /// Stop after the event with this number, and print where every node stands.
    #[arg(long, value_name = "EVENT")]
    until: Option<u64>,
    /// Write the history to this file.
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,
}

#[derive(Args)]
struct ShrinkArgs {
    /// A seed, or a file with a schedule.
    what: String,
    /// Stop after this time.
    #[arg(long, value_parser = duration, default_value = "60s")]
    budget: Duration,
    /// Where the smaller schedule goes; standard output if not given.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Args)]
struct ExploreArgs {
    /// Restart nodes on everything that a crash may leave, at every boundary of a short recorded workload.
    #[arg(long, required_unless_present = "bounded", conflicts_with = "bounded")]
    crash_points: bool,
    /// Search all that can happen to Raft in few steps.
    #[arg(long)]
    bounded: bool,
    #[command(flatten)]
    bounds: BoundedArgs,
    /// Draws the order of what happens, and the random variants.
    #[arg(long, default_value = "1", conflicts_with = "bounded")]
    seed: u64,
    /// A cluster of 1 or 3 nodes; one after the other if not given.
    #[arg(long, value_parser = ["1", "3"], conflicts_with = "bounded")]
    nodes: Option<String>,
    /// Many more variants and recoveries: minutes rather than seconds.
    #[arg(long, conflicts_with = "bounded")]
    thorough: bool,
    /// Threads; by default as many as the machine has.
    #[arg(long)]
    jobs: Option<usize>,
    /// Run one image again, named as a failure shows it, and print what was on the disk and what was found.
    #[arg(long, value_parser = explore::report::parse_name, value_name = "BOUNDARY:VARIANT", requires = "nodes")]
    only: Option<explore::search::Name>,
    /// Print JSON instead of text, one document for each cluster.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct BoundedArgs {
    /// With --bounded: most steps of a path.
    #[arg(long, default_value = "8", conflicts_with = "crash_points")]
    depth: usize,
    /// With --bounded: this search only; all of them, one after the other, if not given.
    #[arg(long, value_parser = plan, value_name = "NAME", conflicts_with = "crash_points")]
    plan: Option<bounded::Plan>,
    /// With --bounded: most states of each search.
    #[arg(long, default_value = "8000000", conflicts_with = "crash_points")]
    states: usize,
    /// With --bounded: end all searches after this time: 60s, 5m, 500ms.
    #[arg(long, value_parser = duration, conflicts_with = "crash_points")]
    budget: Option<Duration>,
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run(args) => run_campaign(&args),
        Command::Replay(args) => replay(&args),
        Command::Shrink(args) => shrink_schedule(&args),
        Command::Explore(args) if args.bounded => Ok(explore_bounded(&args)),
        Command::Explore(args) => explore_crash_points(&args),
        Command::Check { history } => check(&history),
        Command::Schedule { seed } => {
            print!("{}", draw::schedule(seed).to_json());
            Ok(0)
        }
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(message) => {
            eprintln!("steadfast-sim: {message}");
            ExitCode::from(2)
        }
    }
}

fn run_campaign(args: &RunArgs) -> Result<u8, String> {
    let schedule = args.schedule.as_deref().map(load_file).transpose()?;
    if let Some(directory) = &args.history {
        std::fs::create_dir_all(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    }
    let jobs = args.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let plan = Plan {
        seeds: args.seeds.clone(),
        schedule,
        jobs,
        budget: args.budget,
        shard: args.shard,
        history: args.history.clone(),
        fail_fast: args.fail_fast,
        probes_must_fire: !args.without_probes,
    };
    let begun = Instant::now();
    let mut progress = Progress::new(begun);
    let totals = campaign::run(&plan, &mut |totals| progress.show(totals));
    progress.clear();
    let cpu = campaign::cpu_seconds(begun, jobs);
    if args.json {
        println!("{:#}", report::json(&totals, cpu));
    } else {
        let source = args.schedule.as_ref().map(|path| path.display().to_string());
        print!("{}", report::text(&totals, source.as_deref(), cpu));
    }
    Ok(totals.exit_code())
}

fn replay(args: &ReplayArgs) -> Result<u8, String> {
    let schedule = load(&args.what)?;
    println!("{}", schedule.summary());
    let out = std::io::stdout();
    let mut out = std::io::BufWriter::new(out.lock());
    let trace = args.trace;
    let mut closed = false;
    let mut listener = |line: steadfast_sim::trace::Line| {
        // A reader that has seen enough, such as `head`, ends the printing and not the run.
        if trace && !closed && writeln!(out, "{line}").is_err() {
            closed = true;
        }
    };
    let until = args.until.unwrap_or(u64::MAX);
    let (remains, verdict) = run::listened(&schedule, &mut listener, until);
    let mut say = |line: String| drop(writeln!(out, "{line}"));
    if args.until.is_some() {
        for (n, seen) in remains.seen.iter().enumerate() {
            say(format!("n{}  {}", n + 1, seen.as_ref().map_or("down".into(), world::describe)));
        }
    }
    if let Some(path) = &args.history {
        write_history(path, remains.recorder.records())?;
    }
    let seconds = remains.sim_us as f64 / 1e6;
    say(format!(
        "trace={} events={} ops={} sim_seconds={seconds:.1}",
        remains.hash, remains.events, remains.ops
    ));
    say(verdict.to_string());
    Ok(match verdict {
        Verdict::Passed => 0,
        Verdict::Failed { .. } => 1,
        Verdict::Inconclusive(_) if args.until.is_some() => 0,
        Verdict::Inconclusive(_) => 3,
    })
}

fn shrink_schedule(args: &ShrinkArgs) -> Result<u8, String> {
    let schedule = load(&args.what)?;
    eprintln!("from {}", shrink::size(&schedule));
    let mut show = |size: &str| eprintln!("  to {size}");
    let (smallest, tried) = shrink::shrink(&schedule, args.budget, &mut show)?;
    eprintln!("{tried} schedules tried");
    match &args.out {
        Some(path) => {
            std::fs::write(path, smallest.to_json())
                .map_err(|error| format!("{}: {error}", path.display()))?;
            println!("steadfast-sim replay {} --trace", path.display());
        }
        None => print!("{}", smallest.to_json()),
    }
    Ok(1)
}

fn explore_crash_points(args: &ExploreArgs) -> Result<u8, String> {
    let jobs = args.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let clusters = match args.nodes.as_deref() {
        Some("1") => vec![1],
        Some(_) => vec![3],
        None => vec![1, 3],
    };
    let mut code = 0;
    for nodes in clusters {
        let plan = explore::Plan::new(nodes, args.seed, args.thorough, jobs);
        if let Some(name) = args.only {
            let (text, passed) = explore::search::only(&plan, name)?;
            print!("{text}");
            return Ok(u8::from(!passed));
        }
        let line = std::sync::Mutex::new(Progress::new(Instant::now()));
        let totals = explore::run(&plan, &|done, parts| {
            if let Ok(mut line) = line.lock() {
                line.say(|| format!("{done} of {parts} moments and recoveries"));
            }
        });
        if let Ok(line) = line.into_inner() {
            line.clear();
        }
        if args.json {
            println!("{:#}", explore::report::json(&totals));
        } else {
            print!("{}", explore::report::text(&totals));
        }
        code = code.max(totals.exit_code());
    }
    Ok(code)
}

fn explore_bounded(args: &ExploreArgs) -> u8 {
    let jobs = args.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let BoundedArgs { depth, plan, states, budget } = &args.bounds;
    let plans = plan.clone().map_or_else(bounded::plans, |plan| vec![plan]);
    let reach = bounded::Reach { depth: *depth, states: *states, budget: *budget, jobs };
    let found = bounded::run(&plans, &reach);
    if args.json {
        println!("{:#}", bounded::report::json(&found));
    } else {
        print!("{}", bounded::report::text(&found));
    }
    bounded::exit_code(&found)
}

fn check(path: &Path) -> Result<u8, String> {
    let file = std::fs::File::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let records = history::json::read(&mut std::io::BufReader::new(file))
        .map_err(|error| format!("{}: {error}", path.display()))?;
    let (verdict, operations) = judge::history_alone(&records).map_err(|error| error.to_string())?;
    println!("operations={operations} {verdict}");
    Ok(match verdict {
        Verdict::Passed => 0,
        Verdict::Failed { .. } => 1,
        Verdict::Inconclusive(_) => 3,
    })
}

fn write_history(path: &Path, records: &[history::Record]) -> Result<(), String> {
    let complain = |error| format!("{}: {error}", path.display());
    let file = std::fs::File::create(path).map_err(complain)?;
    let mut out = std::io::BufWriter::new(file);
    history::json::write(records, &mut out).and_then(|()| out.flush()).map_err(complain)
}

/// A seed's schedule, or the one in a file.
fn load(what: &str) -> Result<Schedule, String> {
    match what.parse() {
        Ok(seed) => Ok(draw::schedule(seed)),
        Err(_) => load_file(Path::new(what)),
    }
}

fn load_file(path: &Path) -> Result<Schedule, String> {
    let complain = |error: String| format!("{}: {error}", path.display());
    let text = std::fs::read_to_string(path).map_err(|error| complain(error.to_string()))?;
    Schedule::from_json(&text).map_err(complain)
}

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let number = |text: &str| text.parse::<u64>().map_err(|_| format!("{text} is no seed"));
    let range = match text.split_once("..") {
        Some((from, to)) => number(from)?..number(to)?,
        None => number(text)?..number(text)?.saturating_add(1),
    };
    if range.is_empty() { Err(format!("{text} holds no seed")) } else { Ok(range) }
}

fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text} is no duration; write 60s, 5m or 500ms");
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().map_err(|_| wrong())?;
    match &text[digits..] {
        "ms" => Ok(Duration::from_millis(number)),
        "s" | "" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(number.saturating_mul(60))),
        _ => Err(wrong()),
    }
}

fn plan(name: &str) -> Result<bounded::Plan, String> {
    let plans = bounded::plans();
    let names: Vec<&str> = plans.iter().map(|plan| plan.name).collect();
    let unknown = format!("{name} is no search; there are {}", names.join(", "));
    plans.into_iter().find(|plan| plan.name == name).ok_or(unknown)
}

fn shard(text: &str) -> Result<(u64, u64), String> {
    let parts =
        text.split_once('/').and_then(|(i, n)| Some((i.parse::<u64>().ok()?, n.parse::<u64>().ok()?)));
    match parts {
        Some((i, n)) if (1..=n).contains(&i) => Ok((i - 1, n)),
        _ => Err(format!("{text} is no part; write 1/4 for the first of four")),
    }
}

/// The progress line: rewritten in a terminal, now and then elsewhere.
struct Progress {
    begun: Instant,
    shown: Option<Instant>,
    terminal: bool,
}

impl Progress {
    fn new(begun: Instant) -> Self {
        Self { begun, shown: None, terminal: std::io::stderr().is_terminal() }
    }

    fn show(&mut self, totals: &Totals) {
        let seconds = self.begun.elapsed().as_secs_f64();
        self.say(|| report::progress_line(totals, seconds));
    }

    fn say(&mut self, line: impl FnOnce() -> String) {
        let every = Duration::from_millis(if self.terminal { 200 } else { 10_000 });
        if self.shown.is_some_and(|shown| shown.elapsed() < every) {
            return;
        }
        self.shown = Some(Instant::now());
        let line = line();
        if self.terminal { eprint!("\r\x1b[K{line}") } else { eprintln!("{line}") }
    }

    fn clear(&self) {
        if self.terminal && self.shown.is_some() {
            eprint!("\r\x1b[K");
        }
    }
}
