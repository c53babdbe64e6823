//! The form of a script: commands, a line `---`, and what they print, up to an empty line.
//!
//! What a script prints must be exactly what stands in it. With `UPDATE_SCRIPTS=1` in the environment the file is
//! written anew instead; whoever does that reads every line of the difference, for the text is the specification.

use super::commands::Story;

/// Runs one script of `corpus/scripts`.
pub fn run(name: &str) {
    let path = format!("{}/../corpus/scripts/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    check_title(name, &text);
    let actual = play(name, &text);
    if actual == text {
        return;
    }
    // A test's own switch; what the core decides does not depend on it.
    #[allow(clippy::disallowed_methods)]
    let update = std::env::var("UPDATE_SCRIPTS").is_ok_and(|value| value == "1");
    assert!(update, "{}", difference(name, &text, &actual));
    // The scripts are the test's data, not the database's.
    #[allow(clippy::disallowed_methods)]
    std::fs::write(&path, actual).unwrap_or_else(|error| panic!("{path}: {error}"));
}

/// The script as it would be with what its commands really print.
pub fn play(name: &str, text: &str) -> String {
    let mut story = Story::default();
    let mut actual = String::new();
    let (mut printed, mut expected) = (Vec::new(), false);
    for (at, line) in text.lines().enumerate() {
        if expected {
            // What was expected is replaced by what was printed.
            if line.is_empty() {
                (expected, actual) = (false, actual + "\n");
            }
            continue;
        }
        actual = actual + line + "\n";
        if line == "---" {
            expected = true;
            let lines = std::mem::take(&mut printed);
            actual += &if lines.is_empty() { "ok\n".to_owned() } else { lines.join("\n") + "\n" };
        } else if !line.is_empty() && !line.starts_with('#') {
            let place = Place(format!("{name}.txt:{}: {line}", at + 1));
            printed.append(&mut story.execute(line));
            place.passed();
        }
    }
    assert!(printed.is_empty(), "{name}.txt: the last commands have no `---` after them");
    actual
}

/// Says where a script was when it panicked.
struct Place(String);

impl Place {
    fn passed(mut self) {
        self.0.clear();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // The harness shows this beside the panic of a failing test.
        #[allow(clippy::disallowed_macros)]
        if !self.0.is_empty() {
            eprintln!("at {}", self.0);
        }
    }
}

/// A script opens with what it shows, in a sentence, and where that is explained.
fn check_title(name: &str, text: &str) {
    let title: Vec<&str> = text.lines().take_while(|line| line.starts_with("# ")).collect();
    let sentence = title.first().is_some_and(|line| line.len() > 20);
    let source = title.iter().any(|line| line.starts_with("# See "));
    assert!(sentence && source, "{name}.txt opens with `# one sentence` and a line `# See ...`");
}

fn difference(name: &str, expected: &str, actual: &str) -> String {
    let at = expected.lines().zip(actual.lines()).take_while(|(left, right)| left == right).count();
    let part = |text: &str| {
        let lines: Vec<&str> = text.lines().skip(at).take_while(|line| !line.is_empty()).collect();
        lines.join("\n")
    };
    let before: Vec<&str> = expected.lines().take(at).collect();
    let block = before.iter().rposition(|line| line.is_empty()).map_or(0, |empty| empty + 1);
    format!(
        "corpus/scripts/{name}.txt:{}: not what was expected\n\n{}\n\nexpected from here:\n{}\n\nprinted:\n{}\n",
        at + 1,
        before[block..].join("\n"),
        part(expected),
        part(actual),
    )
}
