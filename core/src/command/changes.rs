//! The command that tells what has changed. Here it is parsed and permitted; the node that has the client's connection answers
//! it, from its own history, when there is something to tell (`node/watches/`).

use serde::{Deserialize, Serialize};

use super::Command;
use super::catalogue::shown;
use super::claims::WAIT_MS_MAX;
use super::evaluate::Evaluation;
use super::needs::Needs;
use super::parse::Words;
use super::words::{Word, number, option};
use crate::error::{ErrorCode, Failure};
use crate::reply::{Outcome, Value};
use crate::types::Index;
use crate::watch::{Selector, Type, Types, Watch};

/// Most keys and prefixes of one request: each change is held against all of them.
const SELECTORS_MAX: usize = 64;

/// Asks for changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangesCommand {
    /// Which.
    pub watch: Watch,
    /// How long to wait for the first, in milliseconds.
    pub wait_ms: u64,
}

impl ChangesCommand {
    pub(super) fn needs(&self) -> Needs<'_> {
        Needs::Watched(&self.watch.selectors)
    }

    pub(super) fn words(&self, each: &mut dyn FnMut(Word<'_>)) {
        let Watch { from, selectors, types, previous, count } = &self.watch;
        each(Word::Plain(&number(from)));
        for selector in selectors {
            match selector {
                Selector::Key(key) => option("KEY", Some(key), each),
                Selector::Prefix(prefix) => option("PREFIX", Some(prefix), each),
            }
        }
        if *types != Types::ALL {
            for kind in Type::ALL.into_iter().filter(|kind| types.has(*kind)) {
                option("ONLY", Some(&kind.name().into()), each);
            }
        }
        if *previous {
            each(Word::Plain(b"PREVIOUS"));
        }
        option("COUNT", Some(&number(count)), each);
        if self.wait_ms > 0 {
            option("WAIT", Some(&number(self.wait_ms)), each);
        }
    }
}

impl Words<'_> {
    /// `position KEY key|PREFIX prefix … [ONLY type …] [PREVIOUS] [COUNT number] [WAIT milliseconds]`.
    pub(super) fn changes(&mut self) -> Result<Command, Failure> {
        let from = Index(self.unsigned("the position")?);
        let (mut selectors, mut types, mut previous) = (Vec::new(), Types::NONE, false);
        let (mut count, mut wait_ms) = (None, None);
        while self.left() > 0 {
            if self.keyword("KEY") {
                selectors.push(Selector::Key(self.key()?));
            } else if self.keyword("PREFIX") {
                selectors.push(Selector::Prefix(self.key()?));
            } else if self.keyword("ONLY") {
                types = types.with(self.change_type()?);
            } else if self.keyword("PREVIOUS") {
                self.once(!previous, "PREVIOUS")?;
                previous = true;
            } else if self.keyword("COUNT") {
                self.once(count.is_none(), "COUNT")?;
                count = Some(self.page()?);
            } else if self.keyword("WAIT") {
                self.once(wait_ms.is_none(), "WAIT")?;
                wait_ms = Some(self.between("WAIT", 0, WAIT_MS_MAX)?);
            } else {
                return Err(self.syntax(&format!("'{}' is no option", shown(&self.peek()))));
            }
        }
        if selectors.is_empty() {
            return Err(self.syntax("no KEY and no PREFIX is named"));
        }
        if selectors.len() > SELECTORS_MAX {
            let message =
                format!("{} keys and prefixes are more than {SELECTORS_MAX}: ask twice", selectors.len());
            return Err(Failure::new(ErrorCode::TooLarge, message));
        }
        let types = if types == Types::NONE { Types::ALL } else { types };
        let count = count.unwrap_or(self.limits().scan_keys);
        let watch = Watch { from, selectors, types, previous, count };
        Ok(Command::Changes(ChangesCommand { watch, wait_ms: wait_ms.unwrap_or(0) }))
    }

    fn change_type(&mut self) -> Result<Type, Failure> {
        let word = self.next()?;
        let named = |kind: &Type| word.eq_ignore_ascii_case(kind.name().as_bytes());
        Type::ALL.into_iter().find(named).ok_or_else(|| {
            let all = Type::ALL.map(Type::name).join(", ");
            Failure::new(ErrorCode::Argument, format!("'{}' is no type of change ({all})", shown(&word)))
        })
    }
}

impl Evaluation<'_> {
    /// That it may be asked, as of now. The answer itself is for the node that has the connection, once it has come this far.
    pub(super) fn changes(&mut self, command: &ChangesCommand) -> Outcome {
        let (from, newest) = (command.watch.from, self.state.tail());
        if from > newest {
            // Nobody was ever told of such a position, unless by another cluster or before a restore.
            let message = format!(
                "position {from} lies ahead of the newest, {newest}: read the keys anew, and go on from the answer's position"
            );
            return Err(Failure::new(ErrorCode::PositionAhead, message));
        }
        Ok(Value::Nil)
    }
}
