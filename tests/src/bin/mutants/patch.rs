//! The patches: what they plant, and what must become of them.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::options::number;

/// What must become of a patch.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// It plants a bug.
    Killed,
    /// It changes nothing that anybody could notice: a kill is a judge's false alarm.
    Survives,
}

impl Expect {
    pub fn word(self) -> &'static str {
        match self {
            Self::Killed => "killed",
            Self::Survives => "survives",
        }
    }
}

/// A patch with what its header says.
pub struct Mutant {
    pub name: String,
    pub path: PathBuf,
    pub title: String,
    pub breaks: String,
    pub expect: Expect,
    pub seeds: Range<u64>,
    /// The depth at which the bounded search finds it; none if that is not expected to.
    pub bounded: Option<usize>,
}

/// All patches, in the order of their names.
pub fn load(directory: &Path) -> Result<Vec<Mutant>, String> {
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
        let bounded = field("bounded").map(number).transpose()?;
        Ok(Self {
            name: path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
            path: path.to_owned(),
            title: header.first().ok_or("it has no header")?.to_string(),
            breaks: field("breaks").ok_or_else(|| missing("breaks"))?.to_string(),
            expect,
            seeds,
            bounded: bounded.map(|depth| depth as usize),
        })
    }
}
