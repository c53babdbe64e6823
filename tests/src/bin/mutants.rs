//! Hunts planted bugs: applies each patch of `corpus/mutants/` to a scratch copy of the workspace, builds the
//! simulator there, and lets it look for a failure within a budget of processor time.
//!
//! A bug counts as killed only if a judge failed a run, or an assertion of the core panicked, and if the same seed
//! passes with the unchanged code. Probes that did not fire and runs that are inconclusive count for nothing. It
//! never changes the workspace itself.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use serde_json::{Value, json};

const USAGE: &str =
    "usage: mutants [--all | --sample I/N | NAME...] [--budget 120s] [--jobs N] [--list] [--json] [--server]
  --all          every patch of corpus/mutants
  --sample I/N   the Ith of N parts of them, counted from 1
  --budget T     processor time for each hunt: 90s or 2m; 120s if not given
  --jobs N       threads of a hunt; as many as the machine has if not given
  --list         only name the patches and what they plant
  --json         print one JSON document instead of text
  --server       hunt nothing: build the whole-system tests' server with each bug, and name it for STEADFAST_BIN";

/// Seeds that one process of the simulator takes up before the budget is looked at again.
const CHUNK: u64 = 48;

/// What a hunt needs.
const SIMULATOR: &[&str] = &["-p", "steadfast-sim"];
/// What whole-system tests need.
const SERVER: &[&str] = &["-p", "steadfast-tests", "--bin", "steadfast-under-test"];

/// A process that takes this much longer than its budget hangs.
const PATIENCE: f64 = 30.0;

fn main() -> ExitCode {
    match Options::parse(env::args().skip(1)).and_then(|options| run(&options)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("mutants: {message}");
            ExitCode::from(2)
        }
    }
}

/// Judges every chosen patch, and says whether all came out as they must.
fn run(options: &Options) -> Result<bool, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("the crate has no workspace")?;
    let mutants = options.choose(load(&root.join("corpus/mutants"))?)?;
    if options.list {
        for mutant in &mutants {
            println!("{:<44} {:<8} {}", mutant.name, mutant.expect.word(), mutant.title);
        }
        return Ok(true);
    }
    let bench = Bench::new(root)?;
    if options.server {
        for mutant in &mutants {
            println!("{}", bench.server(mutant)?.display());
        }
        return Ok(true);
    }
    bench.build_unchanged()?;
    let mut outcomes = Vec::new();
    for mutant in mutants {
        let outcome = bench.judge(&mutant, options)?;
        if !options.json {
            println!("{}", outcome.line(&mutant));
        }
        outcomes.push((mutant, outcome));
    }
    let wrong = outcomes.iter().filter(|(mutant, outcome)| !outcome.is_right(mutant)).count();
    let cpu: f64 = outcomes.iter().map(|(_, outcome)| outcome.cpu).sum();
    if options.json {
        let list: Vec<Value> = outcomes.iter().map(|(mutant, outcome)| outcome.json(mutant)).collect();
        let document = json!({"mutants": list, "wrong": wrong, "cpu_seconds": cpu});
        println!("{document:#}");
    } else {
        println!(
            "mutants={} as_expected={} wrong={wrong} cpu_seconds={cpu:.1}",
            outcomes.len(),
            outcomes.len() - wrong
        );
    }
    Ok(wrong == 0)
}

/// What the command line asks for.
#[derive(Default)]
struct Options {
    all: bool,
    sample: Option<(usize, usize)>,
    names: BTreeSet<String>,
    budget: Option<f64>,
    jobs: Option<u64>,
    list: bool,
    json: bool,
    server: bool,
}

impl Options {
    fn parse(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self::default();
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value\n{USAGE}"));
            match arg.as_str() {
                "--all" => options.all = true,
                "--list" => options.list = true,
                "--json" => options.json = true,
                "--server" => options.server = true,
                "--sample" => options.sample = Some(part(&value()?)?),
                "--budget" => options.budget = Some(seconds(&value()?)?),
                "--jobs" => options.jobs = Some(number(&value()?)?),
                "--help" | "-h" => return Err(USAGE.into()),
                _ if arg.starts_with('-') => return Err(format!("{arg} is no option\n{USAGE}")),
                _ => _ = options.names.insert(arg),
            }
        }
        let ways = usize::from(options.all)
            + usize::from(options.sample.is_some())
            + usize::from(!options.names.is_empty());
        match ways {
            1 => Ok(options),
            0 if options.list => Ok(Self { all: true, ..options }),
            _ => Err(format!("say which patches: --all, --sample or names\n{USAGE}")),
        }
    }

    fn choose(&self, mutants: Vec<Mutant>) -> Result<Vec<Mutant>, String> {
        let known: BTreeSet<&String> = mutants.iter().map(|mutant| &mutant.name).collect();
        if let Some(unknown) = self.names.iter().find(|name| !known.contains(name)) {
            return Err(format!("there is no corpus/mutants/{unknown}.patch"));
        }
        let (part, parts) = self.sample.unwrap_or((0, 1));
        let chosen = mutants.into_iter().enumerate();
        let chosen = chosen.filter(|(at, mutant)| {
            at % parts == part && (self.names.is_empty() || self.names.contains(&mutant.name))
        });
        Ok(chosen.map(|(_, mutant)| mutant).collect())
    }

    fn budget(&self) -> f64 {
        self.budget.unwrap_or(120.0)
    }
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{text} is no number"))
}

fn part(text: &str) -> Result<(usize, usize), String> {
    let parts =
        text.split_once('/').and_then(|(i, n)| Some((i.parse::<usize>().ok()?, n.parse::<usize>().ok()?)));
    match parts {
        Some((i, n)) if (1..=n).contains(&i) => Ok((i - 1, n)),
        _ => Err(format!("{text} is no part; write 1/4 for the first of four")),
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    let (digits, scale) = match text.strip_suffix('m') {
        Some(minutes) => (minutes, 60.0),
        None => (text.strip_suffix('s').unwrap_or(text), 1.0),
    };
    match digits.parse::<u32>() {
        Ok(count) if count > 0 => Ok(f64::from(count) * scale),
        _ => Err(format!("{text} is no duration; write 90s or 2m")),
    }
}

/// What must become of a patch.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expect {
    /// It plants a bug.
    Killed,
    /// It changes nothing that anybody could notice: a kill is a judge's false alarm.
    Survives,
}

impl Expect {
    fn word(self) -> &'static str {
        match self {
            Self::Killed => "killed",
            Self::Survives => "survives",
        }
    }
}

/// A patch with what its header says.
struct Mutant {
    name: String,
    path: PathBuf,
    title: String,
    breaks: String,
    expect: Expect,
    seeds: Range<u64>,
}

/// All patches, in the order of their names.
fn load(directory: &Path) -> Result<Vec<Mutant>, String> {
    let complain = |error| format!("{}: {error}", directory.display());
    let mut mutants = Vec::new();
    for file in fs::read_dir(directory).map_err(complain)? {
        let path = file.map_err(complain)?.path();
        if path.extension().is_some_and(|extension| extension == "patch") {
            let mutant = Mutant::load(&path).map_err(|error| format!("{}: {error}", path.display()))?;
            mutants.push(mutant);
        }
    }
    mutants.sort_by(|a, b| a.name.cmp(&b.name));
    if mutants.is_empty() { Err(format!("{} holds no patch", directory.display())) } else { Ok(mutants) }
}

impl Mutant {
    fn load(path: &Path) -> Result<Self, String> {
        let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
        let header: Vec<&str> =
            text.lines().map_while(|line| line.strip_prefix('#')).map(str::trim).collect();
        let field = |name: &str| header.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        let missing = |name: &str| format!("its header has no line '# {name}: ...'");
        let expect = match field("expect").ok_or_else(|| missing("expect"))? {
            "killed" => Expect::Killed,
            "survives" => Expect::Survives,
            other => return Err(format!("it expects '{other}'; write killed or survives")),
        };
        let seeds = match field("seeds") {
            None => 0..u64::MAX / 2,
            Some(range) => {
                let (from, to) = range.split_once("..").ok_or("seeds are written FROM..TO")?;
                number(from)?..number(to)?
            }
        };
        Ok(Self {
            name: path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
            path: path.to_owned(),
            title: header.first().ok_or("it has no header")?.to_string(),
            breaks: field("breaks").ok_or_else(|| missing("breaks"))?.to_string(),
            expect,
            seeds,
        })
    }
}

/// What became of a patch.
enum Verdict {
    Killed {
        seed: u64,
        judge: String,
        saw: String,
    },
    Survived,
    NoLongerApplies(String),
    DoesNotBuild(String),
    /// The unchanged code fails this seed as well, so the failure says nothing about the patch.
    FailsUnchanged {
        seed: u64,
        judge: String,
    },
    Hangs,
}

/// A verdict and what it cost.
struct Outcome {
    verdict: Verdict,
    seeds: u64,
    /// Processor seconds of the hunt, those of all threads together; building is not counted.
    cpu: f64,
}

impl Outcome {
    fn without_hunt(verdict: Verdict) -> Self {
        Self { verdict, seeds: 0, cpu: 0.0 }
    }

    fn is_right(&self, mutant: &Mutant) -> bool {
        matches!(
            (&self.verdict, mutant.expect),
            (Verdict::Killed { .. }, Expect::Killed) | (Verdict::Survived, Expect::Survives)
        )
    }

    fn word(&self) -> &'static str {
        match self.verdict {
            Verdict::Killed { .. } => "killed",
            Verdict::Survived => "survived",
            Verdict::NoLongerApplies(_) => "no longer applies",
            Verdict::DoesNotBuild(_) => "does not build",
            Verdict::FailsUnchanged { .. } => "fails unchanged",
            Verdict::Hangs => "hangs",
        }
    }

    /// Seed, judge and what the judge or a tool said, as far as there are any.
    fn details(&self) -> (Option<u64>, &str, &str) {
        match &self.verdict {
            Verdict::Killed { seed, judge, saw } => (Some(*seed), judge, saw),
            Verdict::FailsUnchanged { seed, judge } => {
                (Some(*seed), judge, "the unchanged code fails it, too")
            }
            Verdict::NoLongerApplies(said) | Verdict::DoesNotBuild(said) => (None, "", said),
            Verdict::Survived | Verdict::Hangs => (None, "", ""),
        }
    }

    fn line(&self, mutant: &Mutant) -> String {
        let sign = if self.is_right(mutant) { "ok   " } else { "WRONG" };
        let (seed, judge, saw) = self.details();
        let mut line = format!(
            "{sign} {:<44} {:<9} {:>6.1} s {:>5} seeds",
            mutant.name,
            self.word(),
            self.cpu,
            self.seeds
        );
        if let Some(seed) = seed {
            line.push_str(&format!("  seed {seed}, {judge}: {}", saw.lines().next().unwrap_or_default()));
        } else if !saw.is_empty() {
            line.push_str(&format!("\n{saw}"));
        }
        line
    }

    fn json(&self, mutant: &Mutant) -> Value {
        let (seed, judge, saw) = self.details();
        json!({
            "name": mutant.name, "title": mutant.title, "breaks": mutant.breaks, "expect": mutant.expect.word(),
            "verdict": self.word(), "as_expected": self.is_right(mutant), "seed": seed, "judge": judge, "saw": saw,
            "seeds": self.seeds, "cpu_seconds": self.cpu,
        })
    }
}

/// The scratch copy and the two builds of the simulator. One copy serves all patches, so that builds are
/// incremental.
struct Bench {
    tree: PathBuf,
    target: PathBuf,
    unchanged: PathBuf,
    /// The workspace as it was at the start, so that whoever works in it meanwhile changes no result.
    files: Vec<(String, Vec<u8>)>,
    /// Held until the end: two runners would change one copy.
    _lock: fs::File,
}

impl Bench {
    /// Copies the workspace.
    fn new(root: &Path) -> Result<Self, String> {
        let home = root.join("target/mutants");
        let words = |error: std::io::Error| format!("{}: {error}", home.display());
        fs::create_dir_all(&home).map_err(words)?;
        let lock = fs::File::create(home.join("lock")).map_err(words)?;
        lock.try_lock().map_err(|_| "another runner works in target/mutants: wait for its end")?;
        let bench = Self {
            files: workspace(root)?,
            tree: home.join("tree"),
            target: home.join("target"),
            unchanged: home.join("unchanged"),
            _lock: lock,
        };
        bench.restore()?;
        Ok(bench)
    }

    fn build_unchanged(&self) -> Result<(), String> {
        self.build(SIMULATOR).map_err(|said| format!("the unchanged workspace does not build\n{said}"))?;
        let copied = fs::copy(self.changed(), &self.unchanged);
        copied.map(drop).map_err(|error| format!("{}: {error}", self.unchanged.display()))
    }

    /// The server of the whole-system tests with a bug planted.
    fn server(&self, mutant: &Mutant) -> Result<PathBuf, String> {
        self.restore()?;
        self.apply(mutant)?;
        let built = self.build(SERVER);
        self.restore()?;
        built?;
        let (from, to) = (self.target.join("release/steadfast-under-test"), self.target.join(&mutant.name));
        fs::copy(from, &to).map_err(|error| format!("{}: {error}", to.display()))?;
        Ok(to)
    }

    fn changed(&self) -> PathBuf {
        self.target.join("release/steadfast-sim")
    }

    /// Makes the copy equal to what the workspace was at the start. Files that are equal already are left alone, for
    /// cargo looks at their times.
    fn restore(&self) -> Result<(), String> {
        for (name, wanted) in &self.files {
            let to = self.tree.join(name);
            if fs::read(&to).is_ok_and(|there| there == *wanted) {
                continue;
            }
            let complain = |error| format!("{}: {error}", to.display());
            fs::create_dir_all(to.parent().unwrap_or(&self.tree)).map_err(complain)?;
            fs::write(&to, wanted).map_err(complain)?;
        }
        Ok(())
    }

    /// Builds a part of the copy. The error is what the compiler said.
    fn build(&self, part: &[&str]) -> Result<(), String> {
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let built = Command::new(cargo)
            .args(["build", "--release", "--locked", "--quiet"])
            .args(part)
            .current_dir(&self.tree)
            .env("CARGO_TARGET_DIR", &self.target)
            .env("CARGO_INCREMENTAL", "1")
            .env("CARGO_PROFILE_RELEASE_DEBUG", "0")
            .output()
            .map_err(|error| format!("cargo: {error}"))?;
        let said = String::from_utf8_lossy(&built.stderr).into_owned();
        if built.status.success() { Ok(()) } else { Err(said) }
    }

    /// Applies a patch to the copy.
    fn apply(&self, mutant: &Mutant) -> Result<(), String> {
        let applied = Command::new("git")
            .arg("apply")
            .arg(&mutant.path)
            .current_dir(&self.tree)
            // The copy lies inside a repository that ignores it: git must not look for that.
            .env("GIT_CEILING_DIRECTORIES", self.tree.parent().unwrap_or(&self.tree))
            .output()
            .map_err(|error| format!("git: {error}"))?;
        if applied.status.success() {
            Ok(())
        } else {
            Err(String::from_utf8_lossy(&applied.stderr).into_owned())
        }
    }

    /// Everything that is done to one patch.
    fn judge(&self, mutant: &Mutant, options: &Options) -> Result<Outcome, String> {
        self.restore()?;
        let outcome = if let Err(said) = self.apply(mutant) {
            Outcome::without_hunt(Verdict::NoLongerApplies(said))
        } else if let Err(said) = self.build(SIMULATOR) {
            Outcome::without_hunt(Verdict::DoesNotBuild(said))
        } else {
            self.hunt(mutant, options)?
        };
        self.restore()?;
        Ok(outcome)
    }

    /// Runs seeds until one fails or the budget is spent.
    fn hunt(&self, mutant: &Mutant, options: &Options) -> Result<Outcome, String> {
        let (mut from, mut outcome) = (mutant.seeds.start, Outcome::without_hunt(Verdict::Survived));
        while outcome.cpu < options.budget() && from < mutant.seeds.end {
            let to = from.saturating_add(CHUNK).min(mutant.seeds.end);
            let Some(report) = simulate(&self.changed(), from..to, options)? else {
                outcome.verdict = Verdict::Hangs;
                return Ok(outcome);
            };
            outcome.cpu += report["cpu_seconds"].as_f64().unwrap_or(0.0);
            outcome.seeds += report["seeds"].as_u64().unwrap_or(0);
            if let Some((seed, judge, saw)) = first_failure(&report) {
                let unchanged = simulate(&self.unchanged, seed..seed + 1, options)?;
                let alone = unchanged.is_some_and(|report| first_failure(&report).is_none());
                outcome.verdict = match alone {
                    true => Verdict::Killed { seed, judge, saw },
                    false => Verdict::FailsUnchanged { seed, judge },
                };
                return Ok(outcome);
            }
            from = to;
        }
        Ok(outcome)
    }
}

/// All files of the workspace that git does not ignore.
fn workspace(root: &Path) -> Result<Vec<(String, Vec<u8>)>, String> {
    let listed = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output();
    let listed = listed.map_err(|error| format!("git: {error}"))?;
    let names = String::from_utf8_lossy(&listed.stdout).into_owned();
    // A file that is listed and can't be read was removed and not yet committed.
    let read = |name: &str| fs::read(root.join(name)).ok().map(|bytes| (name.to_owned(), bytes));
    Ok(names.split('\0').filter(|name| !name.is_empty()).filter_map(read).collect())
}

/// Seed, judge and words of the failed run with the lowest seed.
fn first_failure(report: &Value) -> Option<(u64, String, String)> {
    let failed = report["runs"].as_array()?.iter().find(|run| run["verdict"] == "failed")?;
    let text = |name: &str| failed[name].as_str().unwrap_or_default().to_owned();
    Some((failed["seed"].as_u64()?, text("judge"), text("saw")))
}

/// Runs a simulator over seeds up to the first failure, and returns its report; none if it hangs.
fn simulate(simulator: &Path, seeds: Range<u64>, options: &Options) -> Result<Option<Value>, String> {
    let complain = |error: std::io::Error| format!("{}: {error}", simulator.display());
    let mut command = Command::new(simulator);
    command.args(["run", "--fail-fast", "--json", "--seeds", &format!("{}..{}", seeds.start, seeds.end)]);
    if let Some(jobs) = options.jobs {
        command.args(["--jobs", &jobs.to_string()]);
    }
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().map_err(complain)?;
    let mut out = child.stdout.take().ok_or("the simulator has no output")?;
    let reader = thread::spawn(move || {
        let mut text = String::new();
        std::io::Read::read_to_string(&mut out, &mut text).map(|_| text)
    });
    let begun = Instant::now();
    while child.try_wait().map_err(complain)?.is_none() {
        if begun.elapsed().as_secs_f64() > PATIENCE * options.budget() {
            child.kill().and_then(|()| child.wait()).map_err(complain)?;
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(20));
    }
    let text = reader.join().map_err(|_| "reading the simulator's report panicked")?.map_err(complain)?;
    serde_json::from_str(&text)
        .map(Some)
        .map_err(|error| format!("the simulator's report can't be read: {error}"))
}
