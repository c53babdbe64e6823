//! What all clients' connections hold together: parts of frames, requests under way, and answers that were not read. Each
//! connection has its own bounds (`connections.rs`); ten thousand that keep to theirs could still take all memory. What
//! goes beyond a sum costs those who hold the most of it, or is refused. Only bytes are counted here.

use super::connections::{Connection, Connections};
use crate::error::Failure;
use crate::io::Outbox;
use crate::limits::Limits;
use crate::time::Micros;
use crate::types::ConnId;

/// Bytes that one connection holds, or all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Held {
    /// Of frames that are not whole.
    pub partial: u64,
    /// Of requests that wait for an answer.
    pub requests: u64,
    /// Of answers that the operating system has not taken.
    pub unsent: u64,
}

impl Held {
    /// This, where `before` is what was held so far and `now` what took its place.
    fn moved(self, before: Self, now: Self) -> Self {
        let moved = |sum: u64, before: u64, now: u64| {
            sum.checked_sub(before).expect("what a connection holds is part of the sum").saturating_add(now)
        };
        Self {
            partial: moved(self.partial, before.partial, now.partial),
            requests: moved(self.requests, before.requests, now.requests),
            unsent: moved(self.unsent, before.unsent, now.unsent),
        }
    }
}

/// The sums.
#[derive(Clone, Debug, Default)]
pub(super) struct Budget {
    pub sum: Held,
}

impl Budget {
    /// Counts anew what a connection holds.
    pub fn count(&mut self, connection: &mut Connection) {
        let now = connection.holds();
        self.sum = self.sum.moved(connection.counted, now);
        connection.counted = now;
    }

    /// A connection is gone, with all that it held.
    pub fn release(&mut self, connection: &Connection) {
        self.sum = self.sum.moved(connection.counted, Held::default());
    }

    /// Why there is no room for so many more bytes of requests, if so. Whoever has less than its share of all room is not asked this: so a
    /// few that take much keep out only themselves, and there are at most twice as many bytes.
    pub fn refusal(&self, bytes: usize, limits: &Limits) -> Option<Failure> {
        (self.sum.requests.saturating_add(bytes as u64) > limits.requests_bytes).then(|| {
            let text = format!(
                "{} bytes of requests of all connections are under way at this node: try again later, or another node",
                self.sum.requests
            );
            // How fast they go is known for none of them here; where they go, each is refused by what is known there.
            Failure::overloaded(text, Micros::from_millis(500))
        })
    }
}

impl Connections {
    /// Something has changed for a connection: counts it, and if all hold too much together, closes those who hold the most.
    pub fn mind_budget(&mut self, conn: ConnId, out: &mut Outbox) {
        if let Some(connection) = self.table.get_mut(&conn) {
            self.budget.count(connection);
        }
        let limits = &self.config.limits;
        let (partial, unsent) = (limits.partial_bytes, limits.all_unsent_bytes);
        while self.budget.sum.partial > partial {
            let text = "this node holds too many bytes of frames that are not whole, and this connection the most of them: \
                        try again later, or another node";
            let Some(conn) = self.most(|held| held.partial) else { break };
            self.goodbye(conn, Failure::overloaded(text, Micros::from_millis(500)), out);
        }
        while self.budget.sum.unsent > unsent {
            // It does not read: there is no way to tell it why.
            let Some(conn) = self.most(|held| held.unsent) else { break };
            self.close(conn, true, out);
        }
    }

    /// Who holds the most.
    fn most(&self, what: impl Fn(&Held) -> u64) -> Option<ConnId> {
        let held = self.table.iter().map(|(conn, connection)| (what(&connection.counted), *conn));
        held.max().filter(|(bytes, _)| *bytes > 0).map(|(_, conn)| conn)
    }
}
