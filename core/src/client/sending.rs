//! What the client sends: its session's opening and end, and commands, as far as the server's limits, the
//! session's window and its own settings allow.

use bytes::Bytes;
use uuid::Uuid;

use crate::error::{ErrorCode, Failure};
use crate::protocol::frame::{EncodeError, Message};
use crate::protocol::native::{ClientFrame, Once, REQUEST_BYTES, Request};
use crate::time::Micros;
use crate::types::Blob;

use super::link::{Flight, Link, Live, Purpose};
use super::ops::{Kind, Order, Stand};
use super::{Client, ClientOutput, Opening};

impl Client {
    /// Sends all that can be sent now.
    pub(super) fn send_ready(&mut self, out: &mut Vec<ClientOutput>) {
        self.open_session(out);
        while let Some(order) = self.next_to_send() {
            self.send(order, out);
        }
    }

    /// Asks for a session once a write wants one.
    fn open_session(&mut self, out: &mut Vec<ClientOutput>) {
        let Opening::None { after, refusals } = self.session else { return };
        let args = vec![Blob::from("SESSION"), Blob::from("OPEN")];
        if after > self.now || self.ops.first_numbered().is_none() || !self.has_room(request_bytes(&args)) {
            return;
        }
        let attempt = self.config.attempt_ms;
        match self.request(args, None, attempt) {
            Ok((id, data)) => {
                self.session = Opening::Asked { refusals };
                self.fly(id, data, Purpose::SessionOpen, Micros(0), out);
            }
            Err(error) => self.refuse_session(&Failure::from(error), out),
        }
    }

    /// Tells the server that the session is no longer needed, if there is one and a connection to say it on.
    pub(super) fn end_session(&mut self, out: &mut Vec<ClientOutput>) -> bool {
        let Opening::Open(numbering) = &self.session else { return false };
        let id = numbering.session().to_string();
        if !matches!(&self.link, Link::Live(live) if live.leaving.is_none()) {
            return false;
        }
        let args = vec![Blob::from("SESSION"), Blob::from("END"), Blob::from(id)];
        let Ok((id, data)) = self.request(args, None, self.config.drain_ms) else { return false };
        self.fly(id, data, Purpose::SessionEnd, Micros(0), out);
        true
    }

    /// The commands that wait for a session will not get one.
    pub(super) fn refuse_session(&mut self, failure: &Failure, out: &mut Vec<ClientOutput>) {
        self.session = Opening::None { after: self.now, refusals: 0 };
        while let Some(order) = self.ops.first_numbered() {
            self.fail(order, failure.clone(), out);
        }
    }

    /// The next command in line, if it fits. Retries go first, in the order of their numbers, so that a server
    /// sees them as it saw them before; then everything as it was submitted, except that reads pass writes which
    /// wait for a session or for room in its window.
    fn next_to_send(&self) -> Option<Order> {
        let Link::Live(live) = &self.link else { return None };
        let numbered = self.ops.first_numbered().filter(|&order| match &self.session {
            Opening::Open(numbering) => {
                let retry = self.ops.get(order).is_some_and(|op| op.once.is_some());
                retry || numbering.has_room(window(live))
            }
            _ => false,
        });
        let retry = numbered.filter(|&order| self.ops.get(order).is_some_and(|op| op.once.is_some()));
        let order = retry.or_else(|| numbered.into_iter().chain(self.ops.first_free()).min())?;
        let bytes = request_bytes(&self.ops.get(order)?.args);
        self.has_room(bytes).then_some(order)
    }

    /// Whether another request of at most so many bytes may fly. One may always, however large.
    fn has_room(&self, bytes: usize) -> bool {
        let Link::Live(live) = &self.link else { return false };
        if live.leaving.is_some() {
            return false;
        }
        let most = self.config.in_flight.min(live.welcome.inflight_requests as usize);
        let most_bytes = usize::try_from(live.welcome.inflight_bytes).unwrap_or(usize::MAX);
        live.flights.is_empty()
            || (live.flights.len() < most && live.flights.bytes().saturating_add(bytes) <= most_bytes)
    }

    fn send(&mut self, order: Order, out: &mut Vec<ClientOutput>) {
        let once = self.number(order);
        let Some(op) = self.ops.get_mut(order) else { return };
        // The server adds the time for which it may have to wait for others by itself.
        let wait = op.wait;
        let remaining = op.deadline.since(self.now).0.div_ceil(1000);
        let deadline_ms = u32::try_from(remaining).unwrap_or(u32::MAX).min(self.config.attempt_ms);
        let args = op.args.clone();
        match self.request(args, once, deadline_ms) {
            Ok((id, data)) => {
                if let Some(op) = self.ops.get_mut(order) {
                    op.attempts += 1;
                }
                self.ops.stand(order, Stand::Flying);
                self.fly(id, data, Purpose::Op(order), wait, out);
            }
            Err(error) => self.fail(order, Failure::new(ErrorCode::TooLarge, error.to_string()), out),
        }
    }

    /// The command's number: the one that it has, or the session's next.
    fn number(&mut self, order: Order) -> Option<Once> {
        let Link::Live(live) = &self.link else { return None };
        let op = self.ops.get(order)?;
        if op.kind == Kind::Again {
            // What else was answered in that session is not for this client to say.
            return op.once.map(|(session, seq)| Once { session, seq, floor: 0 });
        }
        let Opening::Open(numbering) = &mut self.session else { return None };
        if op.kind != Kind::Numbered {
            return None;
        }
        let seq = match op.once {
            Some((session, seq)) => {
                assert_eq!(session, numbering.session(), "a number is never used in another session");
                seq
            }
            None => {
                let seq = numbering.take(window(live))?;
                self.ops.number(order, (numbering.session(), seq));
                seq
            }
        };
        Some(numbering.once(seq))
    }

    /// A request under a fresh identity.
    fn request(
        &mut self,
        args: Vec<Blob>,
        once: Option<Once>,
        deadline_ms: u32,
    ) -> Result<(Uuid, Bytes), EncodeError> {
        let (most, longest, unknowns) = match &self.link {
            Link::Live(live) => {
                (live.welcome.max_frame as usize, live.welcome.deadline_ms.max(1), live.unknowns)
            }
            _ => (0, 1, 0),
        };
        let id = self.pace.id();
        let deadline_ms = deadline_ms.clamp(1, longest);
        let frame = ClientFrame::Request(Request { id, once, deadline_ms, trace: None, unknowns, args });
        Ok((id, frame.encode(most)?))
    }

    fn fly(&mut self, id: Uuid, data: Bytes, purpose: Purpose, wait: Micros, out: &mut Vec<ClientOutput>) {
        let attempt = Micros::from_millis(u64::from(self.config.attempt_ms));
        // The server says itself when an attempt's time is up; that answer is worth waiting for.
        let until = self.now.after(attempt).after(Micros(attempt.0 / 4)).after(wait);
        if let Some(live) = self.link.live() {
            let flight = Flight { purpose, bytes: data.len(), unknowns: live.unknowns, until };
            live.flights.start(id, flight);
            out.push(ClientOutput::Send { conn: live.conn, data });
        }
    }
}

/// How far numbers may run ahead, by the server's word.
fn window(live: &Live) -> u64 {
    live.welcome.session_window.max(1)
}

/// Bytes of a request's frame, at most.
fn request_bytes(args: &[Blob]) -> usize {
    REQUEST_BYTES + args.iter().map(|arg| 4 + arg.len()).sum::<usize>()
}
