//! Questions about the commands themselves, which any node answers from the catalogue, without the state.

use super::catalogue::{self, Spec};
use crate::reply::Value;

/// What HELP, COMMAND and COMMAND DOCS ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// Which commands there are, for people.
    Overview,
    /// All about one command, for people.
    About(&'static Spec),
    /// Which commands there are, for programs.
    List,
    /// All about these commands, for programs.
    Docs(Vec<&'static Spec>),
}

impl Question {
    /// The answer.
    #[must_use]
    pub fn answer(&self) -> Value {
        match self {
            Self::Overview => Value::Map(
                catalogue::all()
                    .into_iter()
                    .map(|spec| (spec.syntax.to_owned(), text(spec.summary)))
                    .collect(),
            ),
            Self::About(spec) => about(spec),
            Self::List => Value::List(catalogue::all().into_iter().map(entry).collect()),
            Self::Docs(specs) => {
                Value::Map(specs.iter().map(|spec| (program_name(spec), docs(spec))).collect())
            }
        }
    }
}

fn about(spec: &Spec) -> Value {
    map(&[
        ("syntax", spec.syntax),
        ("summary", spec.summary),
        ("answers", spec.answer),
        ("needs", spec.needs.text()),
        ("group", spec.group.name()),
        ("since", spec.since),
    ])
}

/// A command as Redis' COMMAND lists it.
fn entry(spec: &'static Spec) -> Value {
    let mut flags = vec![if spec.write { "write" } else { "readonly" }];
    flags.extend(
        spec.needs.permissions().contains(&crate::access::user::Permission::Admin).then_some("admin"),
    );
    flags.extend((spec.needs == catalogue::Needed::Nothing).then_some("no_auth"));
    flags.extend(spec.dangerous.then_some("dangerous"));
    let [first, last, step] =
        [spec.keys.first, spec.keys.last, spec.keys.step].map(|at| Value::Int(at.into()));
    let flags = flags.into_iter().map(|flag| Value::Status(flag.to_owned())).collect();
    let name = Value::Bytes(program_name(spec).into());
    Value::List(vec![name, Value::Int(spec.arity.into()), Value::List(flags), first, last, step])
}

fn docs(spec: &Spec) -> Value {
    map(&[
        ("summary", spec.summary),
        ("since", spec.since),
        ("group", spec.group.name()),
        ("syntax", spec.syntax),
        ("answers", spec.answer),
        ("needs", spec.needs.text()),
    ])
}

/// In small letters, and with a bar where a command has two words, as Redis writes them for programs.
fn program_name(spec: &Spec) -> String {
    spec.name.to_lowercase().replace(' ', "|")
}

fn map(pairs: &[(&str, &str)]) -> Value {
    Value::Map(pairs.iter().map(|(name, value)| ((*name).to_owned(), text(value))).collect())
}

fn text(words: &str) -> Value {
    Value::Bytes(words.into())
}
