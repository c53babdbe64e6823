//! The catalogue: what is known about every command without executing it. Parsing looks commands up here,
//! arity errors come from here, and HELP, COMMAND and `docs/commands.md` print it. It decides nothing about
//! what a command does; the table itself is in `table.rs`.

use std::fmt::Write as _;

use super::table::TABLES;
use crate::access::user::Permission;
use crate::error::{ErrorCode, Failure};
use crate::types::Blob;

/// What is known about a command.
#[derive(Debug, PartialEq, Eq)]
pub struct Spec {
    /// One word, or two of which the first names a family, in capitals.
    pub name: &'static str,
    /// How many words the command has, its name included: exactly, or, if negative, at least that many
    /// (the convention of Redis).
    pub arity: i16,
    /// Which words are keys.
    pub keys: Keys,
    /// What the user needs on each of the keys.
    pub needs: Needed,
    /// For lists.
    pub group: Group,
    /// Whether it can change something.
    pub write: bool,
    /// Whether it can lock people out or remove what can't be brought back.
    pub dangerous: bool,
    /// One sentence without a full stop.
    pub summary: &'static str,
    /// How it is written.
    pub syntax: &'static str,
    /// What it answers.
    pub answer: &'static str,
    /// The release that brought it.
    pub since: &'static str,
}

/// Which words of a command are keys, counted from the command's name as 0 (the convention of Redis).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keys {
    /// The first; 0 if there are none.
    pub first: i16,
    /// The last; counted from the end if negative.
    pub last: i16,
    /// From one to the next.
    pub step: i16,
}

impl Keys {
    /// No keys.
    pub const NONE: Keys = Keys { first: 0, last: 0, step: 0 };
    /// The word after the name.
    pub const ONE: Keys = Keys { first: 1, last: 1, step: 1 };
    /// The two words after the name.
    pub const TWO: Keys = Keys { first: 1, last: 2, step: 1 };
    /// The word after a name of two words.
    pub const BEHIND_TWO: Keys = Keys { first: 2, last: 2, step: 1 };
    /// All words after the name.
    pub const ALL: Keys = Keys { first: 1, last: -1, step: 1 };
    /// Every other word after the name.
    pub const PAIRS: Keys = Keys { first: 1, last: -1, step: 2 };

    /// The positions of the keys among this many words.
    pub fn positions(self, words: usize) -> impl Iterator<Item = usize> {
        let words = i64::try_from(words).unwrap_or(i64::MAX);
        let last = if self.last < 0 { words + i64::from(self.last) } else { i64::from(self.last) };
        let (first, step) = (i64::from(self.first), usize::try_from(self.step).unwrap_or(0).max(1));
        let range = if self.first == 0 { 0..0 } else { first..(last + 1).min(words) };
        range.step_by(step).filter_map(|position| usize::try_from(position).ok())
    }
}

/// What a user needs for a command; `needs.rs` derives it for a parsed command, a test compares the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needed {
    /// Answered before the login.
    Nothing,
    /// A login, and no grant.
    Login,
    /// READ on the keys.
    Read,
    /// WRITE on the keys, and READ as well where an option or the answer tells something about them.
    Write,
    /// READ and WRITE on the keys.
    ReadWrite,
    /// READ and DELETE on the keys.
    ReadDelete,
    /// DROP, READ and DELETE on all keys with the prefix.
    Drop,
    /// READ on some of the keys; shows no others.
    ReadSome,
    /// READ on every key.
    ReadAll,
    /// What its parts need.
    AsParts,
    /// LIMIT on the name.
    Limit,
    /// LIMIT and WRITE on the name.
    LimitWrite,
    /// LOCK on the name.
    Lock,
    /// READ and WATCH on the keys, and on some of those with the prefixes; shows no others.
    Watch,
    /// ADMIN on users.
    Admin,
    /// ADMIN on the configuration.
    Configuration,
    /// ADMIN on the cluster.
    Cluster,
    /// ADMIN on users, but for one's own password.
    AdminOrSelf,
}

impl Needed {
    /// The permissions that the command may ask for.
    #[must_use]
    pub const fn permissions(self) -> &'static [Permission] {
        match self {
            Self::Nothing | Self::Login | Self::AsParts => &[],
            Self::Read | Self::ReadSome | Self::ReadAll => &[Permission::Read],
            Self::Write => &[Permission::Write],
            Self::ReadWrite => &[Permission::Read, Permission::Write],
            Self::ReadDelete => super::needs::READ_DELETE,
            Self::Drop => super::needs::DROP,
            Self::Limit => &[Permission::Limit],
            Self::LimitWrite => &[Permission::Limit, Permission::Write],
            Self::Lock => &[Permission::Lock],
            Self::Watch => &crate::watch::history::NEEDED,
            Self::Admin | Self::AdminOrSelf | Self::Configuration | Self::Cluster => &[Permission::Admin],
        }
    }

    /// For people.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Login => "a login",
            Self::Read => "READ on the keys",
            Self::Write => "WRITE on the keys; READ too if an option tells something about them",
            Self::ReadWrite => "READ and WRITE on the keys",
            Self::ReadDelete => {
                "READ and DELETE on the keys; who may WRITE may delete, unless that is denied"
            }
            Self::Drop => {
                "DROP, READ and DELETE on all keys with the prefix; nobody has DROP who was not granted it, administrators neither"
            }
            Self::ReadSome => "READ on some key with the prefix; no other key is shown",
            Self::ReadAll => "READ ON *",
            Self::AsParts => {
                "what each command in it needs; of a transaction those of both lists, and READ on the keys of its conditions"
            }
            Self::Limit => "LIMIT on the name",
            Self::LimitWrite => "LIMIT and WRITE on the name",
            Self::Lock => "LOCK on the name",
            Self::Watch => {
                "READ and WATCH on the keys, and on some key with each prefix; no other key is shown"
            }
            Self::Admin => "ADMIN ON users",
            Self::Configuration => "ADMIN ON configuration",
            Self::Cluster => "ADMIN ON cluster",
            Self::AdminOrSelf => "ADMIN ON users, or a login as that user",
        }
    }
}

/// What a command is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// Keys and their values.
    Keys,
    /// How long keys live.
    Expiry,
    /// Sessions, in which a retry executes once.
    Sessions,
    /// Users and what they may do.
    Access,
    /// Fields with values under one key.
    Hashes,
    /// Rate limiters.
    Limits,
    /// Idempotency ids.
    Once,
    /// Leases.
    Leases,
    /// Locks and semaphores.
    Locks,
    /// Elections.
    Elections,
    /// What has changed.
    Watches,
    /// What may be answered before it is durable.
    Durability,
    /// Who belongs to the cluster.
    Cluster,
    /// The server itself.
    Server,
}

impl Group {
    /// All groups, in the order in which they are listed.
    pub const ALL: [Group; 14] = [
        Self::Keys,
        Self::Expiry,
        Self::Hashes,
        Self::Leases,
        Self::Locks,
        Self::Elections,
        Self::Watches,
        Self::Limits,
        Self::Once,
        Self::Sessions,
        Self::Access,
        Self::Durability,
        Self::Cluster,
        Self::Server,
    ];

    /// One word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Keys => "keys",
            Self::Expiry => "expiry",
            Self::Sessions => "sessions",
            Self::Access => "access",
            Self::Hashes => "hashes",
            Self::Limits => "limits",
            Self::Once => "once",
            Self::Leases => "leases",
            Self::Locks => "locks",
            Self::Elections => "elections",
            Self::Watches => "watches",
            Self::Durability => "durability",
            Self::Cluster => "cluster",
            Self::Server => "server",
        }
    }
}

/// All commands, in the order of their names.
#[must_use]
pub fn all() -> Vec<&'static Spec> {
    let mut all: Vec<&Spec> = TABLES.iter().copied().flatten().collect();
    all.sort_by_key(|spec| spec.name);
    all
}

/// The command with this full name (`GET`, `USER ADD`), in any case.
#[must_use]
pub fn find(name: &[u8]) -> Option<&'static Spec> {
    // Upper case on the stack: this is on every request's way.
    let mut upper = [0_u8; NAME_BYTES_MAX];
    let upper = upper.get_mut(..name.len())?;
    upper.copy_from_slice(name);
    upper.make_ascii_uppercase();
    TABLES.iter().find_map(|table| {
        let found = table.binary_search_by(|spec| spec.name.as_bytes().cmp(upper)).ok()?;
        Some(&table[found])
    })
}

/// The command that these words begin with, if their number fits it.
///
/// # Errors
/// `UNKNOWN_COMMAND` and `ARITY`, with the way out.
pub fn resolve(args: &[Blob]) -> Result<&'static Spec, Failure> {
    let spec = lookup(args)?;
    let (words, arity) = (args.len(), usize::from(spec.arity.unsigned_abs()));
    let fits = if spec.arity < 0 { words >= arity } else { words == arity };
    if fits {
        return Ok(spec);
    }
    let message = format!("wrong number of arguments for {}: write {}", spec.name, spec.syntax);
    Err(Failure::new(ErrorCode::Arity, message))
}

/// Like [`resolve`], whatever the number of words.
///
/// # Errors
/// `UNKNOWN_COMMAND`.
pub fn lookup(args: &[Blob]) -> Result<&'static Spec, Failure> {
    let unknown = |what: String| Failure::new(ErrorCode::UnknownCommand, what);
    let Some(first) = args.first() else {
        return Err(unknown("no command: HELP lists the commands".into()));
    };
    if let (true, Some(second)) = (is_family(first), args.get(1)) {
        let (first, second) = (shown(first), shown(second));
        // A name that was cut short in `shown` is longer than any command's.
        return find(format!("{first} {second}").as_bytes())
            .ok_or_else(|| unknown(format!("unknown command '{first} {second}': HELP lists the commands")));
    }
    if let Some(spec) = find(first) {
        return Ok(spec);
    }
    let first_shown = shown(first);
    Err(unknown(if is_family(first) {
        format!("'{first_shown}' needs a second word: HELP lists the commands")
    } else {
        format!("unknown command '{first_shown}': HELP lists the commands")
    }))
}

/// Bytes of a client's in a message: escaped, and not more of them than one wants to read.
#[must_use]
pub fn shown(bytes: &[u8]) -> String {
    const LONGEST: usize = 64;
    let mut text = bytes[..bytes.len().min(LONGEST)].escape_ascii().to_string();
    if bytes.len() > LONGEST {
        let _ = write!(text, "… ({} bytes)", bytes.len());
    }
    text
}

/// The catalogue as the page `docs/commands.md`.
#[must_use]
pub fn document() -> String {
    let mut page = String::from(PAGE_OPENING);
    for group in Group::ALL {
        let _ = write!(page, "\n## {}{}\n", group.name()[..1].to_uppercase(), &group.name()[1..]);
        for spec in all().into_iter().filter(|spec| spec.group == group) {
            let kind = if spec.write { "write" } else { "read" };
            let danger = if spec.dangerous { ", dangerous" } else { "" };
            let _ = write!(
                page,
                "\n### {}\n\n    {}\n\n{}.\n\nAnswers {}. Needs {}. ({kind}{danger}; since {})\n",
                spec.name,
                spec.syntax,
                spec.summary,
                spec.answer,
                spec.needs.text(),
                spec.since
            );
        }
    }
    page
}

const PAGE_OPENING: &str = "\
# Commands

This page is printed from the catalogue that parsing, permissions and HELP use (`core/src/command/table.rs`);
a test compares it. Names and keywords may be written in any case. Errors are in [errors.md](errors.md).

A *write* changes something; under a session it executes once, however often it is sent. DENIED says what the
user lacks, and is the same whether or not the key exists.
";

/// No command's name is longer, in bytes.
const NAME_BYTES_MAX: usize = 32;

/// Whether commands of two words begin with this one.
fn is_family(word: &[u8]) -> bool {
    [
        "CLUSTER",
        "COMMAND",
        "DROP",
        "DURABILITY",
        "ELECTION",
        "LEASE",
        "LIMIT",
        "LOCK",
        "ONCE",
        "ROLE",
        "SEMAPHORE",
        "SESSION",
        "USER",
    ]
    .iter()
    .any(|family| word.eq_ignore_ascii_case(family.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(line: &str) -> Vec<Blob> {
        line.split(' ').map(Blob::from).collect()
    }

    #[test]
    fn every_command_is_found_by_its_name_in_any_case() {
        for spec in all() {
            assert_eq!(find(spec.name.to_lowercase().as_bytes()), Some(spec));
            assert_eq!(lookup(&args(spec.name)), Ok(spec));
        }
    }

    #[test]
    fn the_table_is_sorted_and_consistent() {
        for table in TABLES {
            assert!(table.is_sorted_by(|a, b| a.name < b.name), "find() searches by halves");
        }
        assert!(all().is_sorted_by(|a, b| a.name < b.name), "no name is in two tables");
        for spec in all() {
            let words = spec.name.split(' ').count();
            assert!(spec.name.len() <= NAME_BYTES_MAX, "{}", spec.name);
            assert!(usize::from(spec.arity.unsigned_abs()) >= words, "{}", spec.name);
            assert!(spec.syntax.starts_with(spec.name), "{}", spec.name);
            assert!(!spec.summary.ends_with('.') && !spec.answer.ends_with('.'), "{}", spec.name);
            assert_eq!(
                words == 2,
                is_family(spec.name.split(' ').next().unwrap_or_default().as_bytes())
                    && spec.name != "COMMAND",
                "{}",
                spec.name
            );
        }
    }

    #[test]
    fn unknown_commands_and_wrong_numbers_of_words_say_the_way_out() {
        let text = |line: &str| resolve(&args(line)).expect_err("refused").to_string();
        assert_eq!(text("FLY"), "UNKNOWN_COMMAND unknown command 'FLY': HELP lists the commands");
        assert_eq!(text("user fly x"), "UNKNOWN_COMMAND unknown command 'user fly': HELP lists the commands");
        assert_eq!(text("USER"), "UNKNOWN_COMMAND 'USER' needs a second word: HELP lists the commands");
        assert_eq!(text("get"), "ARITY wrong number of arguments for GET: write GET key");
        assert_eq!(text("GET a b"), "ARITY wrong number of arguments for GET: write GET key");
        assert!(resolve(&[]).is_err());
    }

    #[test]
    fn a_message_shows_only_so_much_of_what_a_client_sent() {
        assert!(shown(&[0xff; 1 << 20]).len() < 300);
        assert!(resolve(&[Blob::from(vec![b'x'; 1 << 20])]).expect_err("refused").message.len() < 400);
    }

    #[test]
    fn key_positions_follow_the_convention() {
        let positions = |keys: Keys, words| keys.positions(words).collect::<Vec<_>>();
        assert_eq!(positions(Keys::NONE, 5), [0; 0]);
        assert_eq!(positions(Keys::ONE, 3), [1]);
        assert_eq!(positions(Keys::ALL, 4), [1, 2, 3]);
        assert_eq!(positions(Keys::PAIRS, 5), [1, 3]);
        assert_eq!(positions(Keys::ONE, 1), [0; 0]);
    }
}
