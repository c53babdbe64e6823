//! The scratch copy of the workspace, in which patches are applied and built.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

use crate::hunt::{hunt, search};
use crate::options::Options;
use crate::outcome::{Outcome, Verdict};
use crate::patch::Mutant;

/// What a hunt needs.
const SIMULATOR: &[&str] = &["-p", "steadfast-sim"];
/// What whole-system tests need.
const SERVER: &[&str] = &["-p", "steadfast-tests", "--bin", "steadfast-under-test"];

/// The scratch copy and the two builds of the simulator. One copy serves all patches, so that builds are
/// incremental.
pub struct Bench {
    tree: PathBuf,
    target: PathBuf,
    /// The simulator of the unchanged workspace.
    pub unchanged: PathBuf,
    /// The workspace as it was at the start, so that whoever works in it meanwhile changes no result.
    files: Vec<(String, Vec<u8>)>,
    /// Held until the end: two runners would change one copy.
    _lock: fs::File,
}

impl Bench {
    /// Copies the workspace.
    pub fn new(root: &Path) -> Result<Self, String> {
        let home = root.join("target/mutants");
        let words = |error: io::Error| format!("{}: {error}", home.display());
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
        bench.remove_others(&bench.tree).map_err(words)?;
        bench.restore()?;
        bench.borrow_dependencies(&root.join("target/release"));
        Ok(bench)
    }

    /// Begins with a copy of what the workspace's own release build has: where it was built with the same settings, the
    /// dependencies need not be built again. Never that directory itself: a bug must not get into what people run. That it
    /// could not be copied costs only time, and cargo uses nothing that does not fit.
    fn borrow_dependencies(&self, built: &Path) {
        let to = self.target.join("release");
        if to.exists() || fs::create_dir_all(&to).is_err() {
            return;
        }
        let parts = ["deps", "build", ".fingerprint"].map(|part| built.join(part));
        // With their times, by which cargo judges what is fresh.
        let _ = Command::new("cp").arg("-a").args(parts).arg(&to).output();
    }

    /// Removes what an earlier state of the workspace left in the copy: cargo would build it.
    fn remove_others(&self, directory: &Path) -> io::Result<()> {
        if !directory.exists() {
            return Ok(());
        }
        for file in fs::read_dir(directory)? {
            let path = file?.path();
            let name = path.strip_prefix(&self.tree).unwrap_or(&path).to_string_lossy().into_owned();
            if path.is_dir() {
                self.remove_others(&path)?;
            } else if !self.files.iter().any(|(known, _)| *known == name) {
                fs::remove_file(&path)?;
            }
        }
        Ok(())
    }

    pub fn build_unchanged(&self) -> Result<(), String> {
        self.build(SIMULATOR).map_err(|said| format!("the unchanged workspace does not build\n{said}"))?;
        let copied = fs::copy(self.changed(), &self.unchanged);
        copied.map(drop).map_err(|error| format!("{}: {error}", self.unchanged.display()))
    }

    /// The server of the whole-system tests with a bug planted.
    pub fn server(&self, mutant: &Mutant) -> Result<PathBuf, String> {
        self.restore()?;
        self.apply(mutant)?;
        let built = self.build(SERVER);
        self.restore()?;
        built?;
        let (from, to) = (self.target.join("release/steadfast-under-test"), self.target.join(&mutant.name));
        fs::copy(from, &to).map_err(|error| format!("{}: {error}", to.display()))?;
        Ok(to)
    }

    /// The simulator of the copy as it was last built.
    pub fn changed(&self) -> PathBuf {
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
    pub fn judge(&self, mutant: &Mutant, options: &Options) -> Result<Outcome, String> {
        self.restore()?;
        let outcome = if let Err(said) = self.apply(mutant) {
            Outcome::without_hunt(Verdict::NoLongerApplies(said))
        } else if let Err(said) = self.build(SIMULATOR) {
            Outcome::without_hunt(Verdict::DoesNotBuild(said))
        } else {
            match options.bounded {
                Some(depth) => search(self, depth, options)?,
                None => hunt(self, mutant, options)?,
            }
        };
        self.restore()?;
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
