//! Watches, as the judges understand them: a chronicle of what every entry has changed, and what a request for changes must be
//! told of it.
//!
//! The chronicle is made from the model's rows before and after an entry, and shares no code with the core's history. So each
//! answer is compared with exactly what it must hold: nothing left out, nothing twice, nothing that may not be seen. What it
//! can't know: whether a history had to be so short that it was gone, and how many bytes go into an answer.

use std::collections::{BTreeMap, BTreeSet};

use steadfast_core::reply::Value;
use steadfast_core::state::effect::{DeleteCause, Effect};
use steadfast_core::types::{Blob, Index};

use super::asked::{Right, Unread, bad, unsigned, word};
use super::grants::{Need, People};
use super::log::LogEntry;
use super::model::Model;
use super::rows::{Held, Row};

/// How many events a request gets about, if it does not say, under the default limits.
const COUNT: u64 = 1000;

/// Answers with fewer bytes of keys and values than this have room for them under all limits.
const ROOM: usize = 64 << 10;

/// A request for changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnChanges {
    /// After this position.
    pub from: Index,
    /// Of these keys: each is one, or all that begin so (true).
    pub selectors: Vec<(Blob, bool)>,
    /// Of these types; none means all.
    pub only: BTreeSet<String>,
    /// With what was there before.
    pub previous: bool,
    /// After so many events the answer ends.
    pub count: u64,
}

impl OnChanges {
    pub(super) fn read(rest: &[Blob]) -> Result<Self, Unread> {
        let [from, rest @ ..] = rest else { return Err(bad("CHANGES without a position")) };
        let mut rest: &[Blob] = rest;
        let mut asked = Self {
            from: Index(unsigned(from)?),
            selectors: Vec::new(),
            only: BTreeSet::new(),
            previous: false,
            count: COUNT,
        };
        while let [option, tail @ ..] = rest {
            rest = match (word(Some(option)).as_str(), tail) {
                ("PREVIOUS", tail) => {
                    asked.previous = true;
                    tail
                }
                (name, [argument, tail @ ..]) => {
                    match name {
                        "KEY" => asked.selectors.push((argument.clone(), false)),
                        "PREFIX" => asked.selectors.push((argument.clone(), true)),
                        "ONLY" => _ = asked.only.insert(word(Some(argument)).to_ascii_lowercase()),
                        "COUNT" => asked.count = unsigned(argument)?,
                        "WAIT" => _ = unsigned(argument)?,
                        other => return Err(bad(format!("CHANGES with {other}"))),
                    }
                    tail
                }
                (name, []) => return Err(bad(format!("CHANGES with {name} at the end"))),
            };
        }
        if asked.selectors.is_empty() || asked.count == 0 {
            return Err(bad("CHANGES of nothing"));
        }
        Ok(asked)
    }

    pub(super) fn needs(&self) -> Vec<Need> {
        let need = |(name, open): &(Blob, bool)| match open {
            true => vec![Need::Watch(name.clone())],
            false => vec![Need::Key(Right::Read, name.clone()), Need::Key(Right::Watch, name.clone())],
        };
        self.selectors.iter().flat_map(need).collect()
    }

    fn wants(&self, event: &Event) -> bool {
        let selects = |(name, open): &(Blob, bool)| {
            if *open { event.key.starts_with(name) } else { event.key == *name }
        };
        let kind = self.only.is_empty() || self.only.contains(event.kind());
        kind && self.selectors.iter().any(selects)
    }
}

/// A change of a key.
#[derive(Clone, Debug)]
struct Event {
    position: Index,
    time: u64,
    key: Blob,
    before: Option<Row>,
    after: Option<Row>,
    /// Whether it went by itself.
    by_itself: bool,
}

impl Event {
    fn kind(&self) -> &'static str {
        match (&self.before, &self.after) {
            (None, _) => "created",
            (Some(_), Some(_)) => "modified",
            (Some(_), None) if self.by_itself => "expired",
            (Some(_), None) => "deleted",
        }
    }

    fn bytes(&self) -> usize {
        let row = |row: &Option<Row>| match row.as_ref().map(|row| &row.held) {
            Some(Held::Text(text)) => text.len(),
            Some(Held::Fields(fields)) => fields.iter().map(|(name, value)| name.len() + value.len()).sum(),
            None => 0,
        };
        row(&self.before) + row(&self.after) + self.key.len()
    }
}

/// Everything that was changed so far.
#[derive(Debug, Default)]
pub(super) struct Chronicle {
    events: Vec<Event>,
    /// Users and roles from each position on at which any of them was changed.
    people: Vec<(Index, People)>,
}

/// What an entry is about to change.
pub(super) struct Before {
    rows: BTreeMap<Blob, Option<Row>>,
    by_themselves: BTreeSet<Blob>,
}

impl Before {
    /// The rows of these keys, and which of them the entry says to go by themselves.
    pub(super) fn new<'a>(entry: &LogEntry, keys: impl Iterator<Item = &'a Blob>, model: &Model) -> Self {
        let by_itself = |effect: &Effect| match effect {
            Effect::Delete { key, cause: DeleteCause::Expired } => Some(key.clone()),
            _ => None,
        };
        Self {
            rows: keys.map(|key| (key.clone(), model.rows.get(key).cloned())).collect(),
            by_themselves: entry.entry.effects.iter().filter_map(by_itself).collect(),
        }
    }
}

impl Chronicle {
    /// Takes down what an entry has changed, now that it has.
    pub(super) fn write(&mut self, entry: &LogEntry, was: Before, model: &Model) {
        let (position, time) = (entry.index, entry.entry.time.0);
        for (key, before) in was.rows {
            let after = model.rows.get(&key).cloned();
            let by_itself = was.by_themselves.contains(&key) && before.is_some();
            let event = |before: Option<Row>, after: Option<Row>| {
                let key = key.clone();
                Event { position, time, key, before, after, by_itself }
            };
            match (before, after) {
                (None, None) => {}
                // It went, and another came.
                (before, Some(after)) if by_itself => {
                    self.events.extend([event(before, None), event(None, Some(after))]);
                }
                (before, after) => self.events.push(event(before, after)),
            }
        }
        let known = self.people.last().map(|(_, people)| people);
        if known != Some(&model.people) {
            self.people.push((position, model.people.clone()));
        }
    }

    /// Whether somebody saw this key change at a position, and may be told of it at another.
    fn may_see(&self, user: Option<&Blob>, event: &Event, told_at: Index) -> bool {
        let Some(user) = user else { return true };
        let newest = self.people.partition_point(|(index, _)| *index <= told_at);
        let at_event = self.people.partition_point(|(index, _)| *index <= event.position);
        let there = |people: &People| people.users.contains_key(user);
        let may = |people: &People| {
            let person = people.users.get(user);
            let both = |right| person.is_some_and(|person| person.may(people, right, &event.key));
            both(Right::Read) && both(Right::Watch)
        };
        let (Some(first), Some(last)) = (at_event.checked_sub(1), newest.checked_sub(1)) else {
            return false;
        };
        // Whoever was removed in between is another one now.
        self.people[first..=last].iter().all(|(_, people)| there(people))
            && may(&self.people[first].1)
            && may(&self.people[last].1)
    }

    /// Whether an answer at a position holds exactly what it must.
    ///
    /// # Errors
    /// Says what it lacks, or has too much.
    pub(super) fn judge(
        &self,
        user: Option<&Blob>,
        asked: &OnChanges,
        answer: &Value,
        told_at: Index,
    ) -> Result<(), String> {
        let Some((events, through)) = read(answer) else { return Err("is told of no changes".into()) };
        if through < asked.from || through > told_at {
            return Err(format!("is told of everything up to {through}, at {told_at}"));
        }
        let due: Vec<&Event> = self.events[self.after(asked.from)..self.after(through)]
            .iter()
            .filter(|event| asked.wants(event) && self.may_see(user, event, told_at))
            .collect();
        for (event, told) in due.iter().zip(events) {
            same(event, told, asked.previous).map_err(|what| {
                format!("is told of a change of {} at {} wrongly: {what}", event.key, event.position)
            })?;
        }
        if due.len() != events.len() {
            return Err(format!(
                "is told of {} changes up to {through}, and there are {}",
                events.len(),
                due.len()
            ));
        }
        let bytes: usize = due.iter().map(|event| event.bytes() + 256).sum();
        let last = due.last().map_or(Index(0), |event| event.position);
        let without_last = due.iter().filter(|event| event.position < last).count() as u64;
        if without_last >= asked.count {
            return Err(format!("is told of {} changes, and wanted {}", due.len(), asked.count));
        }
        if through < told_at && (due.len() as u64) < asked.count && bytes < ROOM {
            return Err(format!("is told of changes up to {through} only, at {told_at}"));
        }
        let left_out = events.iter().any(|event| field(event, "left_out").is_some());
        if left_out && bytes < ROOM {
            return Err("is told no values, and there was room".into());
        }
        Ok(())
    }

    /// Where the events after a position begin.
    fn after(&self, position: Index) -> usize {
        self.events.partition_point(|event| event.position <= position)
    }
}

/// The keys of which an answer tells.
pub(super) fn keys(answer: &Value) -> BTreeSet<Blob> {
    let events = read(answer).map_or(&[][..], |(events, _)| events);
    let key = |event: &Value| match field(event, "key") {
        Some(Value::Bytes(key)) => Some(key.clone()),
        _ => None,
    };
    events.iter().filter_map(key).collect()
}

/// The events and the position of an answer.
fn read(answer: &Value) -> Option<(&[Value], Index)> {
    let Value::Map(pairs) = answer else { return None };
    match &pairs[..] {
        [(events, Value::List(list)), (position, Value::Int(through))]
            if events == "events" && position == "position" =>
        {
            Some((list, Index(u64::try_from(*through).ok()?)))
        }
        _ => None,
    }
}

fn field<'a>(event: &'a Value, wanted: &str) -> Option<&'a Value> {
    let Value::Map(pairs) = event else { return None };
    pairs.iter().find(|(name, _)| name == wanted).map(|(_, value)| value)
}

/// Whether what was told is this change.
fn same(event: &Event, told: &Value, previous: bool) -> Result<(), String> {
    let Value::Map(pairs) = told else { return Err("it is no map".into()) };
    let left_out = field(told, "left_out") == Some(&Value::Int(1));
    let mut expected: BTreeMap<&str, Value> = BTreeMap::new();
    let number = |number: u64| Value::Int(number as i64);
    expected.insert("type", Value::Bytes(event.kind().into()));
    expected.insert("key", Value::Bytes(event.key.clone()));
    expected.insert("revision", number(event.position.0));
    expected.insert("time", number(event.time));
    let row = event.after.as_ref().or(event.before.as_ref()).ok_or("it never was there")?;
    expected.insert("kind", Value::Bytes(if row.held.text().is_some() { "string" } else { "hash" }.into()));
    if let Some(ends) = event.after.as_ref().and_then(|row| row.ends) {
        expected.insert("expires_at", number(ends.at));
    }
    if let Some(before) = &event.before {
        expected.insert("previous_revision", number(before.revision.0));
    }
    if left_out {
        expected.insert("left_out", Value::Int(1));
    }
    let mut told: BTreeMap<&str, &Value> = pairs.iter().map(|(name, value)| (&**name, value)).collect();
    if told.len() != pairs.len() {
        return Err("something is said twice".into());
    }
    let partial = told.remove("partial").is_some();
    let fields = |row: &Option<Row>| row.as_ref().is_some_and(|row| row.held.text().is_none());
    if partial && !(fields(&event.before) && fields(&event.after)) {
        return Err("only some fields of what was no hash".into());
    }
    let shown = event.after.as_ref().filter(|_| !left_out);
    whole_or_part(event, shown, &mut told, ("value", "fields"), partial)?;
    let shown = event.before.as_ref().filter(|_| previous && !left_out);
    whole_or_part(event, shown, &mut told, ("previous", "previous_fields"), partial)?;
    let expected: BTreeMap<&str, &Value> = expected.iter().map(|(name, value)| (*name, value)).collect();
    if told == expected { Ok(()) } else { Err(format!("{told:?} and not {expected:?}")) }
}

/// Takes what is told of a row out, and compares it. Of a change of some fields only those need to be there that differ.
fn whole_or_part(
    event: &Event,
    row: Option<&Row>,
    told: &mut BTreeMap<&str, &Value>,
    (text, fields): (&str, &str),
    partial: bool,
) -> Result<(), String> {
    let (value, members) = (told.remove(text), told.remove(fields));
    let differs = || Err(format!("{text} is {value:?} and {members:?}, of {row:?}"));
    match (row.map(|row| &row.held), value, members) {
        (None, None, None) => Ok(()),
        (Some(Held::Text(held)), Some(Value::Bytes(value)), None) if held == value && !partial => Ok(()),
        (Some(Held::Fields(held)), None, Some(Value::Pairs(pairs))) => {
            let mut left: BTreeSet<&Blob> = if partial { differing(event) } else { held.keys().collect() };
            for (name, value) in pairs {
                let Value::Bytes(name) = name else { return differs() };
                let same = match value {
                    Value::Bytes(value) => held.get(name) == Some(value),
                    Value::Nil => partial && !held.contains_key(name),
                    _ => false,
                };
                left.remove(name);
                if !same {
                    return differs();
                }
            }
            if left.is_empty() { Ok(()) } else { differs() }
        }
        _ => differs(),
    }
}

/// The fields that are not what they were.
fn differing(event: &Event) -> BTreeSet<&Blob> {
    let (Some(Held::Fields(before)), Some(Held::Fields(after))) =
        (event.before.as_ref().map(|row| &row.held), event.after.as_ref().map(|row| &row.held))
    else {
        return BTreeSet::new();
    };
    before.keys().chain(after.keys()).filter(|name| before.get(*name) != after.get(*name)).collect()
}

#[cfg(test)]
mod tests {
    use steadfast_core::state::effect::{Cause, Entry};
    use steadfast_core::time::Millis;
    use steadfast_core::types::Term;

    use super::super::grants::Person;
    use super::super::reach::Reach;
    use super::*;

    /// A chronicle of `a` made at 1, changed at 2, gone by itself at 4; ann may see it from 2 on.
    struct Bench {
        model: Model,
        chronicle: Chronicle,
    }

    impl Bench {
        fn new() -> Self {
            let mut bench = Self { model: Model::default(), chronicle: Chronicle::default() };
            bench.model.people.users.insert("ann".into(), Person::default());
            bench.entry(1, "a", Some("x"));
            let pattern = Reach { literal: "a".into(), open: true, glob: false };
            let grants = [Right::Read, Right::Watch].map(|right| (right, pattern.clone()));
            let ann = Person { grants: BTreeSet::from(grants), ..Person::default() };
            bench.model.people.users.insert("ann".into(), ann);
            bench.entry(2, "a", Some("y"));
            bench.entry(3, "b", Some("z"));
            bench.entry(4, "a", None);
            bench
        }

        fn entry(&mut self, at: u64, key: &str, value: Option<&str>) {
            let (key, revision) = (Blob::from(key), Index(at));
            let gone = Effect::Delete { key: key.clone(), cause: DeleteCause::Expired };
            let effects = if value.is_none() { vec![gone] } else { Vec::new() };
            let entry = Entry { time: Millis(at * 10), cause: Cause::Command, effects };
            let entry = LogEntry { index: Index(at), term: Term(1), entry };
            let before = Before::new(&entry, [&key].into_iter(), &self.model);
            match value {
                Some(value) => {
                    let row = Row { held: Held::Text(value.into()), revision, ends: None };
                    self.model.rows.insert(key, row);
                }
                None => drop(self.model.rows.remove(&key)),
            }
            self.chronicle.write(&entry, before, &self.model);
        }

        fn judge(
            &self,
            user: Option<&str>,
            line: &str,
            events: &[Value],
            through: i64,
        ) -> Result<(), String> {
            let words: Vec<Blob> = line.split(' ').map(Blob::from).collect();
            let asked = OnChanges::read(&words).expect("well formed");
            let events = Value::List(events.to_vec());
            let answer =
                Value::Map(vec![("events".into(), events), ("position".into(), Value::Int(through))]);
            self.chronicle.judge(user.map(Blob::from).as_ref(), &asked, &answer, Index(4))
        }
    }

    fn event(kind: &str, at: i64, value: Option<&str>, previous: Option<i64>) -> Value {
        let text = |text: &str| Value::Bytes(text.into());
        let mut pairs = vec![
            ("type".into(), text(kind)),
            ("key".into(), text("a")),
            ("revision".into(), Value::Int(at)),
            ("time".into(), Value::Int(at * 10)),
            ("kind".into(), text("string")),
        ];
        pairs.extend(value.map(|value| ("value".into(), text(value))));
        pairs.extend(previous.map(|at| ("previous_revision".into(), Value::Int(at))));
        Value::Map(pairs)
    }

    #[test]
    fn exactly_what_has_changed_passes_and_nothing_else() {
        let bench = Bench::new();
        let created = event("created", 1, Some("x"), None);
        let modified = event("modified", 2, Some("y"), Some(1));
        let expired = event("expired", 4, None, Some(2));
        let all = [created.clone(), modified.clone(), expired.clone()];
        assert_eq!(bench.judge(None, "0 KEY a", &all, 4), Ok(()));
        assert_eq!(bench.judge(None, "1 PREFIX a ONLY expired", &all[2..], 4), Ok(()));
        assert_eq!(bench.judge(None, "0 KEY a COUNT 1", &all[..1], 1), Ok(()));
        let wrong =
            |line: &str, events: &[Value], through: i64| bench.judge(None, line, events, through).is_err();
        assert!(wrong("0 KEY a", &all[1..], 4), "the first is lost");
        assert!(wrong("0 KEY a", &all[..2], 4), "the last is lost");
        assert!(
            wrong("0 KEY a", &[created.clone(), created.clone(), modified.clone(), expired.clone()], 4),
            "twice"
        );
        assert!(
            wrong("0 KEY a", &[modified.clone(), created.clone(), expired.clone()], 4),
            "in another order"
        );
        assert!(wrong("1 KEY a", &all, 4), "it was told of the first before");
        assert!(wrong("0 KEY b", &all, 4), "that is another key");
        assert!(wrong("0 KEY a", &all[..1], 1), "it stops without a reason");
        assert!(wrong("0 KEY a COUNT 1", &all[..2], 2), "it wanted one");
        assert!(wrong("4 KEY a", &[], 3), "it goes back");
        assert!(wrong("0 KEY a", &all, 5), "nothing is known of that position yet");
        assert!(wrong("0 KEY a PREVIOUS", &all, 4), "it lacks what was there before");
        let other = event("modified", 2, Some("z"), Some(1));
        assert!(wrong("0 KEY a", &[created, other, expired], 4), "that was not its value");
    }

    #[test]
    fn nobody_is_told_of_what_could_not_be_seen_then() {
        let bench = Bench::new();
        let created = event("created", 1, Some("x"), None);
        let modified = event("modified", 2, Some("y"), Some(1));
        let expired = event("expired", 4, None, Some(2));
        let since = [modified.clone(), expired.clone()];
        assert_eq!(bench.judge(Some("ann"), "0 PREFIX a", &since, 4), Ok(()));
        assert!(bench.judge(Some("ann"), "0 PREFIX a", &[created, modified, expired], 4).is_err());
        assert!(bench.judge(Some("bob"), "0 PREFIX a", &since, 4).is_err(), "there is no such user");
    }
}
