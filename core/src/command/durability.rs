//! The commands that say for which keys a write may be answered before it is durable.

use serde::{Deserialize, Serialize};

use super::Command;
use super::admin::limit_reached;
use super::evaluate::Evaluation;
use super::info::number as figure;
use super::needs::Needs;
use super::parse::Words;
use super::words::{Word, number, option};
use crate::access::user::{Area, Pattern};
use crate::durability::{LAG_BYTES_MAX, LAG_MS_MAX, Leeway, PATTERNS_MAX};
use crate::error::Failure;
use crate::reply::{Outcome, Value};
use crate::state::effect::Effect;

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DurabilityCommand {
    /// Writes of these keys may be answered so much ahead; without a leeway, no longer.
    Set {
        /// Which.
        pattern: Pattern,
        /// How much.
        leeway: Option<Leeway>,
    },
    /// All patterns with their leeways.
    List,
}

impl DurabilityCommand {
    /// The name in the catalogue.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Set { leeway: Some(_), .. } => "DURABILITY ASYNC",
            Self::Set { leeway: None, .. } => "DURABILITY SYNC",
            Self::List => "DURABILITY LIST",
        }
    }

    pub(super) const fn is_write(&self) -> bool {
        matches!(self, Self::Set { .. })
    }

    pub(super) const fn grows(&self) -> bool {
        matches!(self, Self::Set { leeway: Some(_), .. })
    }

    pub(super) fn needs(&self) -> Needs<'_> {
        Needs::Admin(Area::Configuration)
    }

    pub(super) fn words(&self, each: &mut dyn FnMut(Word<'_>)) {
        let Self::Set { pattern, leeway } = self else { return };
        each(Word::Plain(&pattern.text()));
        if let Some(Leeway { ms, bytes }) = leeway {
            option("MS", Some(&number(ms)), each);
            option("BYTES", Some(&number(bytes)), each);
        }
    }
}

impl Words<'_> {
    /// Nothing, `pattern`, or `pattern MS milliseconds BYTES bytes`.
    pub(super) fn durability(&mut self) -> Result<Command, Failure> {
        if self.name() == "DURABILITY LIST" {
            return Ok(Command::Durability(DurabilityCommand::List));
        }
        let pattern = self.pattern()?;
        if self.name() == "DURABILITY SYNC" {
            return Ok(Command::Durability(DurabilityCommand::Set { pattern, leeway: None }));
        }
        let (mut ms, mut bytes) = (None, None);
        while self.left() > 0 {
            if self.keyword("MS") {
                self.once(ms.is_none(), "MS")?;
                ms = Some(self.between("MS", 1, LAG_MS_MAX)?);
            } else if self.keyword("BYTES") {
                self.once(bytes.is_none(), "BYTES")?;
                bytes = Some(self.between("BYTES", 1, LAG_BYTES_MAX)?);
            } else {
                return Err(self.syntax("how far answers may run ahead is given as MS and BYTES"));
            }
        }
        let leeway = ms.zip(bytes).map(|(ms, bytes)| Leeway { ms, bytes });
        let leeway = leeway.ok_or_else(|| self.syntax("MS and BYTES are both needed"))?;
        Ok(Command::Durability(DurabilityCommand::Set { pattern, leeway: Some(leeway) }))
    }
}

impl Evaluation<'_> {
    pub(super) fn durability(&mut self, command: &DurabilityCommand) -> Outcome {
        let configured = self.view.leeways();
        match command {
            DurabilityCommand::List => Ok(Value::List(
                configured
                    .into_iter()
                    .map(|(pattern, leeway)| {
                        Value::Map(vec![
                            ("pattern".into(), Value::Bytes(pattern.text())),
                            ("ms".into(), figure(leeway.ms)),
                            ("bytes".into(), figure(leeway.bytes)),
                        ])
                    })
                    .collect(),
            )),
            DurabilityCommand::Set { pattern, leeway } => {
                let there = configured.iter().find(|(known, _)| known == pattern).map(|(_, leeway)| *leeway);
                if there == *leeway {
                    return Ok(Value::Int(0));
                }
                if there.is_none() && configured.len() >= PATTERNS_MAX {
                    let way_out = "make one that is not needed durable again";
                    return Err(limit_reached("asynchronous patterns", PATTERNS_MAX, way_out));
                }
                self.view.effect(Effect::Loosened { pattern: pattern.clone(), leeway: *leeway });
                Ok(Value::Int(1))
            }
        }
    }
}
