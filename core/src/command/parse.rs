//! From a client's words to a [`Command`]. Checks everything that can be said without the state: the
//! command's name, the number of words, sizes, options, numbers. What it accepts, it accepts whole: no word
//! is ignored. Never looks at users or keys.

use std::fmt;

use super::catalogue::{self, Spec, shown};
use super::help::Question;
use super::values::keyspace::KeyCommand;
use super::{Command, SetCondition, SetExpiry, SetTies, TTL_MS_MAX};
use crate::access::user::Pattern;
use crate::error::{ErrorCode, Failure};
use crate::limits::Limits;
use crate::types::{Blob, Index, SessionId};

/// What a client's words come to.
#[derive(Clone, PartialEq, Eq)]
pub enum Parsed {
    /// For evaluation.
    Command(Command),
    /// Answered by any node at once, from the catalogue.
    Help(Question),
    /// A login: needs the user's record, then a verification.
    Auth {
        /// Who.
        user: Blob,
        /// As typed.
        password: String,
    },
    /// Needs a hash, then is [`Command::UserAdd`].
    UserAdd {
        /// Whom.
        name: Blob,
        /// As typed.
        password: String,
    },
    /// Needs a hash, then is [`Command::UserPassword`].
    UserPassword {
        /// Whose.
        name: Blob,
        /// As typed.
        password: String,
    },
}

/// Shows no password.
impl fmt::Debug for Parsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command(command) => write!(f, "{command:?}"),
            Self::Help(question) => write!(f, "{question:?}"),
            Self::Auth { user, .. } => write!(f, "AUTH {user} ***"),
            Self::UserAdd { name, .. } => write!(f, "USER ADD {name} ***"),
            Self::UserPassword { name, .. } => write!(f, "USER PASSWORD {name} ***"),
        }
    }
}

/// Parses a command.
///
/// # Errors
/// `UNKNOWN_COMMAND`, `ARITY`, `ARGUMENT` or `TOO_LARGE`, each with the offending word and the way out.
pub fn parse(args: &[Blob], limits: &Limits) -> Result<Parsed, Failure> {
    if args.len() > limits.arguments {
        return Err(too_large("words in one command", args.len(), limits.arguments));
    }
    let spec = catalogue::resolve(args)?;
    for position in spec.keys.positions(args.len()) {
        if let Some(key) = args.get(position) {
            check_size("bytes in a key", key, limits.key_bytes)?;
        }
    }
    let rest = &args[spec.name.split(' ').count()..];
    Words { spec, limits, rest }.command()
}

/// How long the answer to a command given in words may have to wait for others, in milliseconds.
#[must_use]
pub fn wait_of(args: &[Blob]) -> u64 {
    const FAMILIES: [&[u8]; 4] = [b"LOCK", b"SEMAPHORE", b"ELECTION", b"CHANGES"];
    let waits = |name: &&Blob| FAMILIES.iter().any(|family| name.eq_ignore_ascii_case(family));
    match args.first().filter(waits).map(|_| parse(args, &Limits::default())) {
        Some(Ok(Parsed::Command(command))) => command.wait_ms(),
        _ => 0,
    }
}

/// The words after a command's name, and what they are measured against.
pub(super) struct Words<'a> {
    spec: &'static Spec,
    limits: &'a Limits,
    rest: &'a [Blob],
}

impl<'a> Words<'a> {
    fn command(mut self) -> Result<Parsed, Failure> {
        let command = match self.spec.name {
            "AUTH" => {
                let (user, password) = (self.login_name()?, self.password()?);
                return Ok(Parsed::Auth { user, password });
            }
            "USER ADD" => {
                let (name, password) = (self.new_name()?, self.new_password()?);
                return Ok(Parsed::UserAdd { name, password });
            }
            "USER PASSWORD" => {
                let (name, password) = (self.login_name()?, self.new_password()?);
                return Ok(Parsed::UserPassword { name, password });
            }
            "HELP" if self.rest.is_empty() => return Ok(Parsed::Help(Question::Overview)),
            "HELP" => return Ok(Parsed::Help(Question::About(self.topic()?))),
            "COMMAND" => return Ok(Parsed::Help(Question::List)),
            "COMMAND DOCS" => return Ok(Parsed::Help(self.docs())),
            "PING" | "ECHO" => self.ping()?,
            "GET" => Command::Get { key: self.next()? },
            "GETV" => Command::GetV { key: self.next()? },
            "SET" => self.set()?,
            "DEL" | "UNLINK" => Command::Del { keys: self.rest.to_vec() },
            "EXISTS" | "TOUCH" => Command::Exists { keys: self.rest.to_vec() },
            "MGET" => Command::MGet { keys: self.rest.to_vec() },
            "MSET" => Command::MSet { pairs: self.pairs()? },
            "INCRBY" => Command::IncrBy { key: self.next()?, delta: self.whole("the number to add")? },
            "PTTL" => Command::PTtl { key: self.next()? },
            "PERSIST" => Command::Persist { key: self.next()? },
            "SCAN" => self.scan()?,
            "CHANGES" => self.changes()?,
            "DROP PREPARE" | "DROP CONFIRM" => self.drop_command()?,
            "CLUSTER ADD" | "CLUSTER DEMOTE" | "CLUSTER MEMBERS" | "CLUSTER PROMOTE" | "CLUSTER REMOVE"
            | "CLUSTER PREFER" | "CLUSTER REPLACE" | "CLUSTER TRANSFER" => self.cluster()?,
            "DURABILITY ASYNC" | "DURABILITY SYNC" | "DURABILITY LIST" => self.durability()?,
            "INFO" => Command::Info,
            "WHOAMI" => Command::WhoAmI,
            "USER LIST" => Command::UserList,
            "USER REMOVE" => Command::UserRemove { name: self.login_name()? },
            "USER SHOW" => Command::UserShow { name: self.login_name()? },
            "GRANT" | "REVOKE" | "DENY" | "UNDENY" | "CHECK" => self.role_command()?,
            name if name.starts_with("ROLE ") => self.role_command()?,
            "SESSION OPEN" => Command::SessionOpen,
            "SESSION END" => Command::SessionEnd { id: SessionId(self.unsigned("the session's id")?) },
            "TXN" => self.transaction()?,
            name if name.starts_with("ONCE ") => self.once_command()?,
            name if name.starts_with("LIMIT ") => self.limit_command()?,
            name if name.starts_with("LEASE ") => self.lease_command()?,
            name if ["LOCK ", "SEMAPHORE ", "ELECTION "].iter().any(|family| name.starts_with(family)) => {
                self.claim_command()?
            }
            _ => self.string_command()?,
        };
        Ok(Parsed::Command(command))
    }

    /// The name in the catalogue.
    pub(super) fn name(&self) -> &'static str {
        self.spec.name
    }

    /// The next word, which stays; nothing if there is none.
    pub(super) fn peek(&self) -> Blob {
        self.rest.first().cloned().unwrap_or_default()
    }

    pub(super) fn limits(&self) -> &Limits {
        self.limits
    }

    /// The next word, a key.
    pub(super) fn key(&mut self) -> Result<Blob, Failure> {
        let key = self.next()?;
        check_size("bytes in a key", &key, self.limits.key_bytes)?;
        Ok(key)
    }

    /// All words that are left.
    pub(super) fn rest(&mut self) -> Vec<Blob> {
        std::mem::take(&mut self.rest).to_vec()
    }

    /// The next word. Arity was checked, so that a missing one belongs to an option.
    pub(super) fn next(&mut self) -> Result<Blob, Failure> {
        let (first, rest) =
            self.rest.split_first().ok_or_else(|| self.syntax("something is missing at the end"))?;
        self.rest = rest;
        Ok(first.clone())
    }

    /// Takes the next word if it is this keyword, in any case.
    pub(super) fn keyword(&mut self, keyword: &str) -> bool {
        let found = self.rest.first().is_some_and(|word| word.eq_ignore_ascii_case(keyword.as_bytes()));
        if found {
            self.rest = &self.rest[1..];
        }
        found
    }

    pub(super) fn value(&mut self) -> Result<Blob, Failure> {
        let value = self.next()?;
        check_size("bytes in a value", &value, self.limits.value_bytes)?;
        Ok(value)
    }

    pub(super) fn whole(&mut self, what: &str) -> Result<i64, Failure> {
        let word = self.next()?;
        integer(&word)
            .ok_or_else(|| argument(format!("{what} is not a whole number in 64 bits: '{}'", shown(&word))))
    }

    pub(super) fn unsigned(&mut self, what: &str) -> Result<u64, Failure> {
        let word = self.next()?;
        std::str::from_utf8(&word)
            .ok()
            .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| {
                argument(format!("{what} is not a whole number from 0 to 2^64-1: '{}'", shown(&word)))
            })
    }

    /// A number within bounds.
    pub(super) fn between(&mut self, what: &str, least: u64, most: u64) -> Result<u64, Failure> {
        let number = self.unsigned(what)?;
        if (least..=most).contains(&number) {
            return Ok(number);
        }
        Err(argument(format!("{what} is {number}, not {least} to {most}")))
    }

    /// A time to live in milliseconds, given in units of this many; may be zero or less.
    pub(super) fn ttl(&mut self, unit: i64) -> Result<i64, Failure> {
        let ttl = self.whole("the time to live")?.saturating_mul(unit);
        if u64::try_from(ttl).is_ok_and(|ttl| ttl > TTL_MS_MAX) {
            return Err(argument(format!(
                "the time to live is longer than {TTL_MS_MAX} ms (63 years): use PERSIST for a key that stays"
            )));
        }
        Ok(ttl)
    }

    fn ping(&mut self) -> Result<Command, Failure> {
        let message = if self.rest.is_empty() { None } else { Some(self.value()?) };
        self.end()?;
        Ok(Command::Ping { message })
    }

    fn set(&mut self) -> Result<Command, Failure> {
        let (key, value) = (self.next()?, self.value()?);
        let (mut expiry, mut condition, mut return_old) = (SetExpiry::Clear, SetCondition::Always, false);
        let mut ties = SetTies::default();
        while !self.rest.is_empty() {
            if let Some(new) = self.expiry(&["EX", "PX", "EXAT", "PXAT", "KEEPTTL"])? {
                self.once(expiry == SetExpiry::Clear, "EX, PX, EXAT, PXAT and KEEPTTL")?;
                expiry = new;
                continue;
            }
            let new = if self.keyword("NX") {
                SetCondition::Missing
            } else if self.keyword("XX") {
                SetCondition::Exists
            } else if self.keyword("IFVERSION") {
                SetCondition::Version(Index(self.unsigned("the revision")?))
            } else if self.keyword("GET") {
                self.once(!return_old, "GET")?;
                return_old = true;
                continue;
            } else if self.keyword("LEASE") {
                self.once(ties.lease.is_none(), "LEASE")?;
                ties.lease = Some(self.lease()?);
                continue;
            } else if self.keyword("FENCE") {
                self.once(ties.fence.is_none(), "FENCE")?;
                ties.fence = Some((self.key()?, self.token()?));
                continue;
            } else {
                return Err(self.syntax(&format!("'{}' is no option", shown(&self.rest[0]))));
            };
            self.once(condition == SetCondition::Always, "NX, XX and IFVERSION")?;
            condition = new;
        }
        if return_old && matches!(condition, SetCondition::Version(_)) {
            return Err(self.syntax(
                "GET and IFVERSION exclude each other, for the value before would not tell whether it was replaced",
            ));
        }
        Ok(Command::Set { key, value, expiry, condition, return_old, ties })
    }

    /// Takes an option about the deadline, if one of these comes next.
    pub(super) fn expiry(&mut self, options: &[&str]) -> Result<Option<SetExpiry>, Failure> {
        let Some(option) = options.iter().find(|option| self.keyword(option)) else { return Ok(None) };
        Ok(Some(match *option {
            "EX" => SetExpiry::After(self.positive_ttl(1000)?),
            "PX" => SetExpiry::After(self.positive_ttl(1)?),
            "EXAT" => SetExpiry::At(self.moment(1000)?),
            "PXAT" => SetExpiry::At(self.moment(1)?),
            "KEEPTTL" => SetExpiry::Keep,
            _ => SetExpiry::Clear,
        }))
    }

    /// A time to live in milliseconds, given in units of this many.
    pub(super) fn positive_ttl(&mut self, unit: i64) -> Result<u64, Failure> {
        match u64::try_from(self.ttl(unit)?) {
            Ok(ttl) if ttl > 0 => Ok(ttl),
            _ => Err(argument("the time to live is not above zero: use DEL to delete a key".into())),
        }
    }

    /// A moment in milliseconds since 1970, given in units of this many.
    fn moment(&mut self, unit: i64) -> Result<u64, Failure> {
        let at = self.whole("the time")?.saturating_mul(unit);
        u64::try_from(at).ok().filter(|at| *at > 0).ok_or_else(|| {
            argument(format!("the time is {at}: count it from 1970, or use DEL to delete a key"))
        })
    }

    pub(super) fn check_name(&self, what: &str, name: &[u8]) -> Result<(), Failure> {
        check_size(what, name, self.limits.name_bytes)
    }

    pub(super) fn check_field(&self, field: &[u8]) -> Result<(), Failure> {
        check_size("bytes in a field's name", field, self.limits.key_bytes)
    }

    /// Refuses the second of options of which there can be one.
    pub(super) fn once(&self, first: bool, options: &str) -> Result<(), Failure> {
        if first { Ok(()) } else { Err(self.syntax(&format!("of {options} there can be one, once"))) }
    }

    /// Names with values.
    pub(super) fn pairs(&mut self) -> Result<Vec<(Blob, Blob)>, Failure> {
        if !self.rest.len().is_multiple_of(2) {
            let message = format!("the last name has no value: write {}", self.spec.syntax);
            return Err(Failure::new(ErrorCode::Arity, message));
        }
        let mut pairs = Vec::with_capacity(self.rest.len() / 2);
        while !self.rest.is_empty() {
            pairs.push((self.next()?, self.value()?));
        }
        Ok(pairs)
    }

    fn scan(&mut self) -> Result<Command, Failure> {
        let prefix = self.next()?;
        check_size("bytes in a prefix", &prefix, self.limits.key_bytes)?;
        let (mut after, mut count, mut pattern, mut kind) = (None, None, None, None);
        while !self.rest.is_empty() {
            if self.keyword("AFTER") {
                self.once(after.is_none(), "AFTER")?;
                let cursor = self.next()?;
                check_size("bytes in a cursor", &cursor, self.limits.key_bytes)?;
                after = Some(cursor);
            } else if self.keyword("COUNT") {
                self.once(count.is_none(), "COUNT")?;
                count = Some(self.page()?);
            } else if self.keyword("MATCH") {
                self.once(pattern.is_none(), "MATCH")?;
                pattern = Some(self.next()?);
            } else if self.keyword("TYPE") {
                self.once(kind.is_none(), "TYPE")?;
                kind = Some(self.kind()?);
            } else {
                return Err(self.syntax(&format!("'{}' is no option", shown(&self.rest[0]))));
            }
        }
        let count = count.unwrap_or((self.limits.scan_keys / 10).max(1));
        if pattern.is_none() && kind.is_none() {
            return Ok(Command::Scan { prefix, after, count });
        }
        if let Some(pattern) = &pattern {
            self.check_name("bytes in a pattern", pattern)?;
        }
        Ok(Command::Keyspace(KeyCommand::Find { prefix, after, count, pattern, kind }))
    }

    pub(super) fn page(&mut self) -> Result<usize, Failure> {
        let most = self.limits.scan_keys;
        let count = self.unsigned("COUNT")?;
        usize::try_from(count)
            .ok()
            .filter(|count| (1..=most).contains(count))
            .ok_or_else(|| argument(format!("COUNT is {count}, not 1 to {most}: ask for more pages instead")))
    }

    pub(super) fn pattern(&mut self) -> Result<Pattern, Failure> {
        let word = self.next()?;
        check_size("bytes in a pattern", &word, self.limits.name_bytes)?;
        Pattern::parse(&word).map_err(|error| argument(error.to_string()))
    }

    /// How many words are left.
    pub(super) fn left(&self) -> usize {
        self.rest.len()
    }

    /// The name of a user, who may exist or not.
    pub(super) fn login_name(&mut self) -> Result<Blob, Failure> {
        let name = self.next()?;
        check_size("bytes in a user's name", &name, self.limits.name_bytes)?;
        Ok(name)
    }

    /// The name of a user to create: printable, so that messages and logs show it as it is.
    pub(super) fn new_name(&mut self) -> Result<Blob, Failure> {
        let name = self.login_name()?;
        if name.is_empty() || !name.iter().all(u8::is_ascii_graphic) {
            let name = shown(&name);
            return Err(argument(format!(
                "'{name}' is no user name: use printable ASCII characters, no spaces"
            )));
        }
        Ok(name)
    }

    fn password(&mut self) -> Result<String, Failure> {
        let word = self.next()?;
        check_size("bytes in a password", &word, self.limits.name_bytes)?;
        // The message must not repeat the word.
        String::from_utf8(word.to_vec()).map_err(|_| argument("the password is not UTF-8".into()))
    }

    fn new_password(&mut self) -> Result<String, Failure> {
        let password = self.password()?;
        if password.is_empty() {
            return Err(argument("the password is empty".into()));
        }
        Ok(password)
    }

    fn topic(&mut self) -> Result<&'static Spec, Failure> {
        let spec = catalogue::lookup(self.rest)?;
        self.rest = self.rest.get(spec.name.split(' ').count()..).unwrap_or_default();
        self.end()?;
        Ok(spec)
    }

    fn docs(&mut self) -> Question {
        // Programs name a command of two words with a bar between them, as Redis does.
        let dotted = |word: &Blob| {
            word.iter().map(|&byte| if byte == b'|' { b' ' } else { byte }).collect::<Vec<u8>>()
        };
        let named = self.rest.iter().filter_map(|word| catalogue::find(&dotted(word)));
        let specs = if self.rest.is_empty() { catalogue::all() } else { named.collect() };
        Question::Docs(specs)
    }

    pub(super) fn end(&self) -> Result<(), Failure> {
        match self.rest.first() {
            None => Ok(()),
            Some(word) => Err(self.syntax(&format!("'{}' is one word too many", shown(word)))),
        }
    }

    pub(super) fn syntax(&self, what: &str) -> Failure {
        argument(format!("{what}: write {}", self.spec.syntax))
    }
}

/// A whole number as Redis writes it: no plus sign, no leading zero, no space, no `-0`. Values that INCRBY
/// counts and numbers in commands are read alike.
pub(super) fn integer(word: &[u8]) -> Option<i64> {
    let digits = word.strip_prefix(b"-").unwrap_or(word);
    let canonical = match digits {
        [b'0'] => word.len() == 1,
        [b'1'..=b'9', rest @ ..] => word.len() <= 20 && rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    if canonical { std::str::from_utf8(word).ok()?.parse().ok() } else { None }
}

pub(super) fn argument(message: String) -> Failure {
    Failure::new(ErrorCode::Argument, message)
}

fn check_size(what: &str, word: &[u8], most: usize) -> Result<(), Failure> {
    if word.len() > most { Err(too_large(what, word.len(), most)) } else { Ok(()) }
}

fn too_large(what: &str, size: usize, most: usize) -> Failure {
    Failure::new(ErrorCode::TooLarge, format!("{size} {what}: the limit is {most}"))
}
