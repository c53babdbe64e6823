//! Shrinks a failing schedule: takes away faults, clients and operations, and calms the network and the
//! clocks, as long as the same judge still fails (delta debugging, Zeller and Hildebrandt 2002).

use std::time::{Duration, Instant};

use crate::rng::Delay;
use crate::run;
use crate::schedule::{ClockSpec, Op, Schedule};

/// A shrinking under way.
struct Shrink<'a> {
    best: Schedule,
    judge: String,
    deadline: Instant,
    tried: u64,
    progress: &'a mut dyn FnMut(&str),
}

/// The smallest schedule found within the budget that the same judge fails, and how many were tried.
///
/// # Errors
/// The schedule's verdict, if it does not fail.
pub fn shrink(
    schedule: &Schedule,
    budget: Duration,
    progress: &mut dyn FnMut(&str),
) -> Result<(Schedule, u64), String> {
    let verdict = run::once(schedule).verdict;
    let Some(judge) = verdict.judge().map(ToString::to_string) else {
        return Err(format!("there is nothing to shrink: the run {verdict}"));
    };
    let deadline = Instant::now() + budget;
    let mut shrink = Shrink { best: schedule.clone(), judge, deadline, tried: 1, progress };
    loop {
        let before = shrink.best.clone();
        shrink.cut_short();
        shrink.faults();
        shrink.clients();
        shrink.operations();
        shrink.calm();
        if shrink.best == before || shrink.is_late() {
            return Ok((shrink.best, shrink.tried));
        }
    }
}

impl Shrink<'_> {
    fn is_late(&self) -> bool {
        Instant::now() >= self.deadline
    }

    /// Takes a smaller schedule if it still fails in the same way.
    fn offer(&mut self, smaller: Schedule) -> bool {
        if smaller == self.best || self.is_late() {
            return false;
        }
        self.tried += 1;
        let fails = run::once(&smaller).verdict.judge() == Some(&self.judge);
        if fails {
            self.best = smaller;
            (self.progress)(&size(&self.best));
        }
        fails
    }

    /// Ends the safety phase sooner.
    fn cut_short(&mut self) {
        loop {
            let mut smaller = self.best.clone();
            smaller.safety_us = smaller.safety_us * 3 / 4;
            smaller.faults.retain(|fault| fault.at_us < smaller.safety_us);
            if smaller.safety_us < 200_000 || !self.offer(smaller) {
                return;
            }
        }
    }

    fn faults(&mut self) {
        self.without(
            |schedule| schedule.faults.len(),
            |schedule, from, to| drop(schedule.faults.drain(from..to)),
        );
    }

    /// A client's place is its name in faults and histories: it stays, with nothing to do.
    fn clients(&mut self) {
        self.without(
            |schedule| schedule.clients.len(),
            |schedule, from, to| schedule.clients[from..to].iter_mut().for_each(|client| client.ops.clear()),
        );
    }

    fn operations(&mut self) {
        for client in 0..self.best.clients.len() {
            self.without(
                |schedule| schedule.clients[client].ops.len(),
                |schedule, from, to| remove_ops(&mut schedule.clients[client].ops, from, to),
            );
        }
    }

    /// Tries to do without chunks of a list, large ones first.
    fn without(&mut self, len: impl Fn(&Schedule) -> usize, remove: impl Fn(&mut Schedule, usize, usize)) {
        let mut chunk = len(&self.best).div_ceil(2);
        while chunk > 0 && !self.is_late() {
            let mut from = 0;
            while from < len(&self.best) && !self.is_late() {
                let mut smaller = self.best.clone();
                remove(&mut smaller, from, (from + chunk).min(len(&self.best)));
                let before = len(&self.best);
                if !self.offer(smaller) || len(&self.best) == before {
                    from += chunk;
                }
            }
            chunk /= 2;
        }
    }

    /// Tries calmer habits one by one.
    fn calm(&mut self) {
        let changes: [fn(&mut Schedule); 7] = [
            |schedule| schedule.network.loss_ppm = 0,
            |schedule| schedule.network.duplicate_ppm = 0,
            |schedule| schedule.network.reorder_ppm = 0,
            |schedule| schedule.network.split_ppm = 0,
            |schedule| schedule.cluster.clocks.fill(ClockSpec::default()),
            |schedule| {
                for delay in [&mut schedule.network.peer, &mut schedule.network.client] {
                    *delay = Delay { tail_ppm: 0, tail_us: 0, ..*delay };
                }
            },
            |schedule| {
                let disk = &mut schedule.disk;
                for delay in
                    [&mut disk.queue, &mut disk.write, &mut disk.sync, &mut disk.read, &mut disk.notice]
                {
                    *delay = Delay { tail_ppm: 0, tail_us: 0, ..*delay };
                }
            },
        ];
        for change in changes {
            let mut calmer = self.best.clone();
            change(&mut calmer);
            self.offer(calmer);
        }
    }
}

/// Removes operations; the next one keeps its place in time.
fn remove_ops(ops: &mut Vec<Op>, from: usize, to: usize) {
    let gone: u64 = ops.drain(from..to).map(|op| op.think_us).sum();
    if let Some(next) = ops.get_mut(from) {
        next.think_us += gone;
    }
}

/// A schedule's size in one line.
#[must_use]
pub fn size(schedule: &Schedule) -> String {
    let ops: usize = schedule.clients.iter().map(|client| client.ops.len()).sum();
    let clients = schedule.clients.iter().filter(|client| !client.ops.is_empty()).count();
    let seconds = schedule.safety_us as f64 / 1e6;
    format!("{} faults, {clients} clients, {ops} operations, {seconds:.1} s", schedule.faults.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removing_operations_keeps_the_others_at_their_times() {
        let mut ops: Vec<Op> = [5, 6, 7, 8].map(|think_us| Op { think_us, args: vec!["PING".into()] }).into();
        remove_ops(&mut ops, 1, 3);
        assert_eq!(ops.iter().map(|op| op.think_us).collect::<Vec<_>>(), [5, 21]);
    }
}
