//! Idempotency ids, as the judges understand them. Written from the documentation; shares no code with the core's.

use std::collections::BTreeMap;

use steadfast_core::coordination::once::{Work, WorkState};
use steadfast_core::error::ErrorCode;
use steadfast_core::reply::Value;
use steadfast_core::types::{Blob, Index};

use super::asked::{Asked, Unread, bad, unsigned, word};
use super::grants::{Need, needs};
use super::model::{At, Model, Plan};

/// How long answers are kept under the default limits, in milliseconds.
const DAY: u64 = 24 * 3_600_000;

/// A command under an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OnOnce {
    /// `ONCE RUN id BORN ms command…`: the id, its birth, the command's words and what they ask.
    Run(Blob, u64, Vec<Blob>, Box<Asked>),
    /// `ONCE BEGIN id fingerprint ms`
    Begin(Blob, Blob, u64),
    /// `ONCE FINISH id token answer`
    Finish(Blob, Index, Blob),
    /// `ONCE FAIL id token`
    Fail(Blob, Index),
    /// `ONCE SHOW id`
    Show(Blob),
}

/// The answer to a command under an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// Where in the log it was executed.
    pub at: Index,
    /// The command's words and the id's birth.
    pub said: (Vec<Blob>, u64),
    /// What was answered.
    pub came: Result<Value, ErrorCode>,
    /// Until when that is kept.
    pub until: u64,
}

/// Work under an id: what it is, whose token, until when somebody has it or what came of it, until when that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deed {
    fingerprint: Blob,
    token: Index,
    state: Result<Blob, u64>,
    /// Until when it is kept.
    pub until: u64,
}

impl Deed {
    /// As the log has it.
    #[must_use]
    pub fn from_log(work: &Work) -> Self {
        let state = match &work.state {
            WorkState::Running { until } => Err(until.0),
            WorkState::Done { answer } => Ok(answer.clone()),
        };
        Self { fingerprint: work.fingerprint.clone(), token: work.token, state, until: work.until.0 }
    }
}

impl OnOnce {
    pub(super) fn read(rest: &[Blob]) -> Result<Self, Unread> {
        match (word(rest.first()).as_str(), rest.get(1..).unwrap_or_default()) {
            ("RUN", [id, born, ms, words @ ..]) if word(Some(born)) == "BORN" && !words.is_empty() => {
                Ok(Self::Run(id.clone(), unsigned(ms)?, words.to_vec(), Box::new(Asked::read(words)?)))
            }
            ("RUN", _) => Err(Unread::Unfamiliar("ONCE RUN without BORN".into())),
            ("BEGIN", [id, print, ms]) => Ok(Self::Begin(id.clone(), print.clone(), unsigned(ms)?)),
            ("FINISH", [id, token, answer]) => {
                Ok(Self::Finish(id.clone(), Index(unsigned(token)?), answer.clone()))
            }
            ("FAIL", [id, token]) => Ok(Self::Fail(id.clone(), Index(unsigned(token)?))),
            ("SHOW", [id]) => Ok(Self::Show(id.clone())),
            _ => Err(bad("ONCE with a wrong number of arguments")),
        }
    }

    pub(super) const fn is_write(&self) -> bool {
        !matches!(self, Self::Show(_))
    }

    /// The keys of the command that is run, and the ids.
    pub(super) fn keys(&self) -> Vec<&Blob> {
        match self {
            Self::Run(id, _, _, asked) => asked.keys().into_iter().chain([id]).collect(),
            Self::Begin(id, ..) | Self::Finish(id, ..) | Self::Fail(id, _) | Self::Show(id) => vec![id],
        }
    }

    pub(super) fn needs(&self) -> Vec<Need> {
        match self {
            Self::Run(_, _, _, asked) => needs(asked),
            Self::Show(id) => vec![Need::read(id)],
            Self::Begin(id, ..) | Self::Finish(id, ..) | Self::Fail(id, _) => {
                vec![Need::read(id), Need::write(id)]
            }
        }
    }
}

/// Whether this is a RUN.
#[must_use]
pub fn asked_once(asked: Option<&Asked>) -> bool {
    matches!(asked, Some(Asked::Once(OnOnce::Run(..))))
}

/// Where this RUN was executed, if its answer is remembered: whoever sends it gets that, with its position.
#[must_use]
pub fn executed_at(model: &Model, user: Option<&Blob>, asked: &Asked) -> Option<Index> {
    let Asked::Once(OnOnce::Run(id, born, words, _)) = asked else { return None };
    let known = model.answers.get(&(user.cloned().unwrap_or_default(), id.clone()))?;
    (known.said == (words.clone(), *born)).then_some(known.at)
}

fn state(name: &str, more: (&str, Value)) -> Value {
    Value::Map(vec![("state".into(), Value::Status(name.into())), (more.0.into(), more.1)])
}

impl At<'_> {
    /// What the command must do.
    pub(super) fn once(&self, user: Option<&Blob>, asked: &OnOnce) -> Plan {
        match asked {
            OnOnce::Run(id, born, words, asked) => self.run(user, (id, *born), words, asked),
            OnOnce::Show(id) => Plan::says(self.deed(id).map_or(Value::Nil, |deed| self.told(deed))),
            OnOnce::Begin(id, print, ms) => {
                match self.deed(id) {
                    Some(deed) if deed.fingerprint != *print => return Plan::fails(ErrorCode::OnceConflict),
                    Some(deed) if deed.state.as_ref().err().is_none_or(|until| *until > self.now) => {
                        return Plan::says(self.told(deed));
                    }
                    _ => {}
                }
                let (until, token) = (self.now + ms, self.position);
                let deed = Deed { fingerprint: print.clone(), token, state: Err(until), until: until + DAY };
                let answer = state("first", ("token", Value::Int(token.0 as i64)));
                Plan { works: BTreeMap::from([(id.clone(), Some(deed))]), ..Plan::says(answer) }
            }
            OnOnce::Finish(id, token, answer) => match self.deed(id).filter(|deed| deed.token == *token) {
                Some(deed) if deed.state.is_err() => {
                    let deed = Deed { state: Ok(answer.clone()), until: self.now + DAY, ..deed.clone() };
                    Plan { works: BTreeMap::from([(id.clone(), Some(deed))]), ..Plan::says(Value::ok()) }
                }
                Some(deed) if deed.state.as_ref() == Ok(answer) => Plan::says(Value::ok()),
                _ => Plan::fails(ErrorCode::Fenced),
            },
            OnOnce::Fail(id, token) => {
                match self.deed(id).filter(|deed| deed.token == *token && deed.state.is_err()) {
                    Some(_) => {
                        Plan { works: BTreeMap::from([(id.clone(), None)]), ..Plan::says(Value::ok()) }
                    }
                    None => Plan::fails(ErrorCode::Fenced),
                }
            }
        }
    }

    /// What the command must answer if something was executed under its id.
    pub(super) fn known(&self, user: Option<&Blob>, asked: &Asked) -> Option<Plan> {
        let Asked::Once(OnOnce::Run(id, born, words, _)) = asked else { return None };
        let known = self.model.answers.get(&(user.cloned().unwrap_or_default(), id.clone()))?;
        if known.said == (words.clone(), *born) {
            return Some(Plan { says: Some(known.came.clone()), ..Plan::default() });
        }
        Some(Plan::fails(ErrorCode::OnceConflict))
    }

    fn deed(&self, id: &Blob) -> Option<&Deed> {
        self.model.works.get(id).filter(|deed| deed.until > self.now)
    }

    fn told(&self, deed: &Deed) -> Value {
        match &deed.state {
            Ok(answer) => state("done", ("answer", Value::Bytes(answer.clone()))),
            Err(until) => {
                state("running", ("retry_after_ms", Value::Int(until.saturating_sub(self.now) as i64)))
            }
        }
    }

    fn run(&self, user: Option<&Blob>, (id, born): (&Blob, u64), words: &[Blob], asked: &Asked) -> Plan {
        let (key, said) = ((user.cloned().unwrap_or_default(), id.clone()), (words.to_vec(), born));
        if born + DAY <= self.now {
            return Plan::fails(ErrorCode::OnceExpired);
        }
        if born > self.now + DAY {
            return Plan::fails(ErrorCode::Argument);
        }
        let mut plan = self.model.plan(user, asked, self.position, self.now);
        let came = plan.says.clone().unwrap_or(Ok(Value::Nil));
        plan.answers.insert(key, Some(Remembered { at: self.position, said, came, until: born + DAY }));
        plan
    }
}
