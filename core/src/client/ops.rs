//! The commands that are not done: where each stands, in which order they go out, and when time is up.
//! Knows no connection and no answer.

use std::collections::{BTreeMap, BTreeSet};

use super::interface::OpId;
use crate::command::catalogue;
use crate::command::parse::wait_of;
use crate::time::Micros;
use crate::types::{Blob, SessionId};

/// The place of a command in the order in which commands were submitted.
pub(super) type Order = u64;

/// What a lost answer means for a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Changes nothing: can always be sent again.
    Read,
    /// Changes something, under a number of a session: can be sent again under the same number.
    Numbered,
    /// Changes something, under a number that the caller gave: can be sent again, and may have been before.
    Again,
    /// Changes something, under no number: never sent again once an answer is missing.
    Bare,
}

/// Where a command stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stand {
    /// Can be sent.
    Ready,
    /// Was sent and has no answer.
    Flying,
    /// Can be sent from then on.
    Resting(Micros),
}

/// A command that is not done.
#[derive(Clone, Debug)]
pub(super) struct Op {
    pub(super) id: OpId,
    pub(super) args: Vec<Blob>,
    pub(super) kind: Kind,
    pub(super) deadline: Micros,
    /// How long its answer may have to wait for others.
    pub(super) wait: Micros,
    /// Changed through [`Ops::number`] and [`Ops::unnumber`] alone: the order of sending depends on it.
    pub(super) once: Option<(SessionId, u64)>,
    pub(super) attempts: u32,
    /// Definite refusals so far.
    pub(super) refusals: u32,
    /// An earlier attempt may have been executed, or may yet.
    pub(super) in_doubt: bool,
    stand: Stand,
}

impl Op {
    /// Whether the command may have taken effect, or may yet, as far as is known.
    pub(super) fn may_take_effect(&self) -> bool {
        self.kind != Kind::Read && (self.in_doubt || self.stand == Stand::Flying)
    }

    pub(super) fn stand(&self) -> Stand {
        self.stand
    }

    fn bytes(&self) -> usize {
        self.args.iter().map(|arg| arg.len()).sum()
    }
}

/// All commands that are not done.
#[derive(Clone, Debug, Default)]
pub(super) struct Ops {
    table: BTreeMap<Order, Op>,
    ids: BTreeSet<OpId>,
    next: Order,
    bytes: usize,
    /// What can be sent under a number: retries first, in the order of their numbers, then the rest as submitted.
    numbered: BTreeSet<(u64, Order)>,
    /// What can be sent without one.
    free: BTreeSet<Order>,
    resting: BTreeSet<(Micros, Order)>,
    deadlines: BTreeSet<(Micros, Order)>,
}

impl Ops {
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Bytes of arguments.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn has(&self, id: OpId) -> bool {
        self.ids.contains(&id)
    }

    pub(super) fn get(&self, order: Order) -> Option<&Op> {
        self.table.get(&order)
    }

    /// For everything but `once`.
    pub(super) fn get_mut(&mut self, order: Order) -> Option<&mut Op> {
        self.table.get_mut(&order)
    }

    pub(super) fn orders(&self) -> Vec<Order> {
        self.table.keys().copied().collect()
    }

    pub(super) fn add(
        &mut self,
        id: OpId,
        args: Vec<Blob>,
        kind: Kind,
        once: Option<(SessionId, u64)>,
        deadline: Micros,
    ) {
        let order = self.next;
        self.next += 1;
        let wait = Micros::from_millis(wait_of(&args));
        let deadline = deadline.after(wait);
        let op = Op {
            id,
            args,
            kind,
            deadline,
            wait,
            once,
            attempts: 0,
            refusals: 0,
            in_doubt: kind == Kind::Again,
            stand: Stand::Flying,
        };
        self.bytes += op.bytes();
        self.ids.insert(id);
        self.deadlines.insert((deadline, order));
        self.table.insert(order, op);
        self.stand(order, Stand::Ready);
    }

    pub(super) fn remove(&mut self, order: Order) -> Option<Op> {
        self.unlist(order);
        let op = self.table.remove(&order)?;
        self.bytes -= op.bytes();
        self.ids.remove(&op.id);
        self.deadlines.remove(&(op.deadline, order));
        Some(op)
    }

    /// Puts a command where it stands now.
    pub(super) fn stand(&mut self, order: Order, stand: Stand) {
        self.unlist(order);
        let Some(op) = self.table.get_mut(&order) else { return };
        op.stand = stand;
        match stand {
            Stand::Flying => {}
            Stand::Resting(until) => {
                self.resting.insert((until, order));
            }
            Stand::Ready if op.kind == Kind::Numbered => {
                self.numbered.insert((op.once.map_or(u64::MAX, |(_, seq)| seq), order));
            }
            Stand::Ready => {
                self.free.insert(order);
            }
        }
    }

    /// Gives a command its number.
    pub(super) fn number(&mut self, order: Order, once: (SessionId, u64)) {
        self.renumber(order, Some(once));
    }

    /// Takes a command's number away, because the session is gone.
    pub(super) fn unnumber(&mut self, order: Order) {
        self.renumber(order, None);
    }

    /// The next command to send under a number.
    pub(super) fn first_numbered(&self) -> Option<Order> {
        self.numbered.first().map(|&(_, order)| order)
    }

    /// The next command to send without one.
    pub(super) fn first_free(&self) -> Option<Order> {
        self.free.first().copied()
    }

    /// A command whose time is up.
    pub(super) fn overdue(&self, now: Micros) -> Option<Order> {
        self.deadlines.first().filter(|(deadline, _)| *deadline <= now).map(|&(_, order)| order)
    }

    /// Readies what has rested long enough.
    pub(super) fn wake(&mut self, now: Micros) {
        while let Some(&(until, order)) = self.resting.first()
            && until <= now
        {
            self.stand(order, Stand::Ready);
        }
    }

    /// When something here is due.
    pub(super) fn next_due(&self) -> Option<Micros> {
        let first = |set: &BTreeSet<(Micros, Order)>| set.first().map(|&(time, _)| time);
        [first(&self.deadlines), first(&self.resting)].into_iter().flatten().min()
    }

    fn renumber(&mut self, order: Order, once: Option<(SessionId, u64)>) {
        self.unlist(order);
        let Some(op) = self.table.get_mut(&order) else { return };
        op.once = once;
        let stand = op.stand;
        self.stand(order, stand);
    }

    /// Takes a command off the list on which its stand put it.
    fn unlist(&mut self, order: Order) {
        let Some(op) = self.table.get(&order) else { return };
        match op.stand {
            Stand::Flying => {}
            Stand::Resting(until) => {
                self.resting.remove(&(until, order));
            }
            Stand::Ready => {
                self.numbered.remove(&(op.once.map_or(u64::MAX, |(_, seq)| seq), order));
                self.free.remove(&order);
            }
        }
    }
}

/// What a lost answer would mean for the command with these words. One that the catalogue does not have counts
/// as a write: a later release may know it.
pub(super) fn kind_of(args: &[Blob], use_session: bool) -> Kind {
    let spec = catalogue::lookup(args).ok();
    if spec.is_some_and(|spec| !spec.write) {
        Kind::Read
    } else if use_session && spec.is_none_or(|spec| !spec.name.starts_with("SESSION ")) {
        Kind::Numbered
    } else {
        Kind::Bare
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_lost_answer_means_comes_from_the_catalogue() {
        let kind = |line: &str, use_session| {
            kind_of(&line.split(' ').map(Blob::from).collect::<Vec<_>>(), use_session)
        };
        assert_eq!([kind("get k", true), kind("USER list", false)], [Kind::Read; 2]);
        assert_eq!([kind("set k v", true), kind("USER ADD", true), kind("NEW", true)], [Kind::Numbered; 3]);
        assert_eq!([kind("SET k v", false), kind("session open", true)], [Kind::Bare; 2]);
    }
}
