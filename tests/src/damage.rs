//! Data directories of stopped nodes: kept byte by byte, damaged, and put back.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// All files of a directory as they were, but for the lock.
#[derive(Clone, Debug)]
pub struct Kept {
    directory: PathBuf,
    files: BTreeMap<String, Vec<u8>>,
}

impl Kept {
    /// What a directory holds now. Its node must not run.
    ///
    /// # Panics
    /// If it can't be read.
    #[must_use]
    pub fn of(directory: &Path) -> Self {
        let listed = fs::read_dir(directory).expect("a data directory can be listed");
        let files = listed.map(|file| file.expect("a data directory can be listed").path());
        let files = files.filter(|path| !path.ends_with("steadfast.lock")).map(|path| {
            let name = path.file_name().expect("a file has a name").to_string_lossy().into_owned();
            (name, fs::read(&path).expect("a file can be read"))
        });
        Self { directory: directory.to_owned(), files: files.collect() }
    }

    /// Makes the directory what it was.
    ///
    /// # Panics
    /// If it can't be written.
    pub fn put_back(&self) {
        for name in Self::of(&self.directory).files.keys().filter(|name| !self.files.contains_key(*name)) {
            fs::remove_file(self.directory.join(name)).expect("a file can be removed");
        }
        for (name, bytes) in &self.files {
            fs::write(self.directory.join(name), bytes).expect("a file can be written");
        }
    }

    /// The files that are not the same, or on one side only.
    #[must_use]
    pub fn changed(&self, other: &Self) -> Vec<String> {
        let names: BTreeSet<&String> = self.files.keys().chain(other.files.keys()).collect();
        names.into_iter().filter(|name| self.files.get(*name) != other.files.get(*name)).cloned().collect()
    }

    /// The names of the files that begin so, with their lengths, in order.
    #[must_use]
    pub fn files(&self, beginning: &str) -> Vec<(&str, u64)> {
        let files = self.files.iter().filter(|(name, _)| name.starts_with(beginning));
        files.map(|(name, bytes)| (name.as_str(), bytes.len() as u64)).collect()
    }

    /// The file in which this text stands last, and where in it.
    ///
    /// # Panics
    /// If it stands in none.
    #[must_use]
    pub fn find(&self, beginning: &str, text: &str) -> Flip {
        let files = self.files.iter().rev().filter(|(name, _)| name.starts_with(beginning));
        let mut found = files.filter_map(|(name, bytes)| {
            let at = bytes.windows(text.len()).rposition(|window| window == text.as_bytes())?;
            Some(Flip { file: name.clone(), offset: at as u64, bits: 0x10 })
        });
        found.next().unwrap_or_else(|| panic!("{text} stands in no {beginning} file"))
    }
}

/// A byte that changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flip {
    /// In which file.
    pub file: String,
    /// Where in it.
    pub offset: u64,
    /// Which bits of it.
    pub bits: u8,
}

impl Flip {
    /// Changes the byte.
    ///
    /// # Panics
    /// If it is not there.
    pub fn strike(&self, directory: &Path) {
        let path = directory.join(&self.file);
        let mut bytes = fs::read(&path).expect("a file can be read");
        let byte = bytes.get_mut(self.offset as usize).expect("the file has the byte");
        *byte ^= self.bits;
        fs::write(path, bytes).expect("a file can be written");
    }
}
