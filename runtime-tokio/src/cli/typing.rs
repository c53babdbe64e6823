//! Lines that somebody types at a terminal: editing, history, completion and hints. What is completed comes from the catalogue
//! of commands, so it can't go stale. Passwords are not remembered.

use std::collections::VecDeque;
use std::env;
use std::io;
use std::path::PathBuf;

use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::Validator;
use rustyline::{Config, Context, Editor, Helper};
use steadfast_core::command::catalogue::{self, Spec};

/// Most lines that are remembered.
const REMEMBERED: usize = 1_000;

/// A terminal.
pub struct Terminal {
    editor: Editor<Catalogue, FileHistory>,
    history: Option<PathBuf>,
    prompt: String,
    /// What was pasted behind the line that was given last.
    pasted: VecDeque<Vec<u8>>,
}

impl Terminal {
    /// # Errors
    /// If the terminal can't be used.
    pub fn new(prompt: String) -> io::Result<Self> {
        let config =
            Config::builder().max_history_size(REMEMBERED).and_then(|it| it.history_ignore_dups(true));
        let config = config.map_err(other)?.history_ignore_space(true).build();
        let mut editor = Editor::with_config(config).map_err(other)?;
        editor.set_helper(Some(Catalogue));
        let history = history_file();
        if let Some(file) = &history {
            // There is none the first time, and one that can't be read is not worth a word.
            let _ = editor.load_history(file);
        }
        Ok(Self { editor, history, prompt, pasted: VecDeque::new() })
    }

    /// The next line; `None` at the end of the input.
    ///
    /// # Errors
    /// If the terminal fails.
    pub fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        if let Some(line) = self.pasted.pop_front() {
            return Ok(Some(line));
        }
        match self.editor.readline(&self.prompt) {
            Ok(line) => {
                let added = !holds_a_password(&line) && self.editor.add_history_entry(&line).unwrap_or(false);
                if let Some(file) = self.history.as_ref().filter(|_| added) {
                    // Lines that can't be kept are still executed.
                    let _ = self.editor.append_history(file);
                }
                let mut lines = line.lines().map(|line| line.as_bytes().to_vec());
                let first = lines.next().unwrap_or_default();
                self.pasted.extend(lines);
                Ok(Some(first))
            }
            // What was typed is thrown away, as in a shell.
            Err(ReadlineError::Interrupted) => Ok(Some(Vec::new())),
            Err(ReadlineError::Eof) => Ok(None),
            Err(ReadlineError::Io(error)) => Err(error),
            Err(error) => Err(other(error)),
        }
    }
}

fn other(error: ReadlineError) -> io::Error {
    io::Error::other(error.to_string())
}

/// `STEADFAST_HISTORY`, else a file in the home directory; empty: nowhere.
fn history_file() -> Option<PathBuf> {
    match env::var_os("STEADFAST_HISTORY") {
        Some(file) if file.is_empty() => None,
        Some(file) => Some(file.into()),
        None => Some(PathBuf::from(env::var_os("HOME")?).join(".steadfast_history")),
    }
}

/// Whether a text has a password in it, as far as the first words of its lines tell.
fn holds_a_password(text: &str) -> bool {
    text.lines().any(line_holds_a_password)
}

fn line_holds_a_password(line: &str) -> bool {
    let mut words = line.split_whitespace().map(str::to_ascii_uppercase);
    match words.next().as_deref() {
        Some("AUTH") => true,
        Some("USER") => matches!(words.next().as_deref(), Some("ADD" | "PASSWORD")),
        _ => false,
    }
}

/// What is known of commands.
struct Catalogue;

impl Catalogue {
    /// The names that begin as the line does, from its start.
    fn names(line: &str) -> Vec<String> {
        let typed = line.to_ascii_uppercase();
        let about_help = typed.strip_prefix("HELP ");
        let (before, wanted) = about_help.map_or(("", &*typed), |topic| ("HELP ", topic));
        let names =
            catalogue::all().into_iter().map(|spec| spec.name).filter(|name| name.starts_with(wanted));
        names.map(|name| format!("{before}{name} ")).collect()
    }

    /// The command that a line begins with.
    fn spec(line: &str) -> Option<&'static Spec> {
        let mut words = line.split_ascii_whitespace();
        let first = words.next()?;
        let both = words.next().map(|second| format!("{first} {second}"));
        let found = both.and_then(|both| catalogue::find(both.as_bytes()));
        found.or_else(|| catalogue::find(first.as_bytes()))
    }

    /// What of a command's form is not typed yet.
    fn rest(line: &str) -> Option<String> {
        if !line.ends_with(' ') {
            return None;
        }
        let spec = Self::spec(line)?;
        let typed = line.split_ascii_whitespace().count();
        let rest: Vec<&str> = spec.syntax.split(' ').skip(typed).collect();
        (!rest.is_empty()).then(|| rest.join(" "))
    }
}

impl Completer for Catalogue {
    type Candidate = String;

    fn complete(&self, line: &str, pos: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        Ok((0, Self::names(line.get(..pos).unwrap_or_default())))
    }
}

impl Hinter for Catalogue {
    type Hint = String;

    fn hint(&self, line: &str, pos: usize, _: &Context<'_>) -> Option<String> {
        if pos < line.len() { None } else { Self::rest(line) }
    }
}

impl Highlighter for Catalogue {
    fn highlight_hint<'h>(&self, hint: &'h str) -> std::borrow::Cow<'h, str> {
        format!("\x1b[2m{hint}\x1b[0m").into()
    }
}

impl Validator for Catalogue {}

impl Helper for Catalogue {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_completed_from_the_catalogue_in_any_case() {
        assert_eq!(Catalogue::names("getr"), ["GETRANGE "]);
        assert_eq!(Catalogue::names("lock a"), ["LOCK ACQUIRE "]);
        assert_eq!(Catalogue::names("help persi"), ["HELP PERSIST "]);
        assert!(Catalogue::names("S").contains(&"SET ".to_owned()));
        assert!(Catalogue::names("SET key").is_empty(), "keys are nobody's to guess");
    }

    #[test]
    fn a_hint_shows_what_is_still_to_be_typed() {
        assert_eq!(Catalogue::rest("get "), Some("key".into()));
        assert_eq!(Catalogue::rest("LOCK RELEASE name "), Some("token".into()));
        assert_eq!(Catalogue::rest("GET"), None, "the word may go on");
        assert_eq!(Catalogue::rest("GET a "), None);
        assert_eq!(Catalogue::rest("FLY "), None);
    }

    #[test]
    fn passwords_are_not_remembered() {
        for line in [
            "GET a\nauth ann secret",
            "auth ann secret",
            "USER ADD ann secret",
            "  user  password ann secret",
        ] {
            assert!(holds_a_password(line), "{line}");
        }
        assert!(!holds_a_password("USER SHOW ann") && !holds_a_password("SET auth 1"));
    }
}
