//! The client's connection: made when there is something to do, greeted, moved to the leader, and given up when
//! it breaks, is poisoned, or keeps silent.

use crate::error::{ErrorCode, Failure};
use crate::protocol::frame::{FrameError, Message};
use crate::protocol::native::{
    ClientFrame, GREETING_BYTES, Hello, ServerDecoder, ServerFrame, VERSION_MAX, VERSION_MIN, Welcome,
};
use crate::time::Micros;
use crate::types::ConnId;

use super::link::{Flights, Link, Live, Purpose};
use super::ops::{Kind, Stand};
use super::{Client, ClientOutput, OpOutcome, Opening};

/// A node that failed within this time is not gone to on another node's word: until the others notice, they
/// still name a leader that died.
const SHUNNED: Micros = Micros::from_millis(1000);

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The other side closed it, or it could not be made.
    Gone,
    /// We close it, because the other side is broken or silent.
    Broken,
    /// We close it, and the other side is well.
    Left,
}

impl Client {
    /// Makes a connection if there is work and none is there.
    pub(super) fn connect(&mut self, out: &mut Vec<ClientOutput>) {
        match self.link {
            Link::Down { until } if until <= self.now && !self.ops.is_empty() => {}
            _ => return,
        }
        let conn = self.next_conn;
        self.next_conn = conn.next();
        self.link = Link::Connecting { conn, until: self.later(self.config.connect_ms) };
        out.push(ClientOutput::Connect { conn, address: self.address });
    }

    pub(super) fn connected(&mut self, conn: ConnId, out: &mut Vec<ClientOutput>) {
        if !matches!(self.link, Link::Connecting { conn: expected, .. } if expected == conn) {
            return;
        }
        let hello = ClientFrame::Hello(Hello {
            versions: (VERSION_MIN, VERSION_MAX),
            max_frame: self.config.max_frame,
            client: self.config.name.clone(),
            client_version: env!("CARGO_PKG_VERSION").into(),
            cluster: self.config.cluster.clone(),
            auth: self.config.credentials.as_ref().map(|known| (known.user.clone(), known.password.clone())),
        });
        match hello.encode(GREETING_BYTES) {
            Ok(data) => {
                out.push(ClientOutput::Send { conn, data });
                let decoder = ServerDecoder::new(GREETING_BYTES);
                self.link = Link::Greeting { conn, until: self.later(self.config.greeting_ms), decoder };
            }
            Err(error) => {
                let failure = Failure::new(ErrorCode::TooLarge, format!("the client's hello: {error}"));
                self.refused_for_good(End::Left, failure, out);
            }
        }
    }

    pub(super) fn connect_failed(&mut self, conn: ConnId, out: &mut Vec<ClientOutput>) {
        if self.link.conn() == Some(conn) {
            self.drop_link(End::Gone, "the connection could not be made", out);
        }
    }

    pub(super) fn disconnected(&mut self, conn: ConnId, out: &mut Vec<ClientOutput>) {
        if self.link.conn() == Some(conn) {
            self.drop_link(End::Gone, "the server closed the connection", out);
        }
    }

    /// Bytes of an older connection are ignored: what its attempts came to is told by retries.
    pub(super) fn bytes(&mut self, conn: ConnId, data: &[u8], out: &mut Vec<ClientOutput>) {
        if self.link.conn() != Some(conn) {
            return;
        }
        if let Some(decoder) = self.link.decoder() {
            decoder.push(data);
        }
        // A frame may end the connection, and with it the decoder.
        while self.link.conn() == Some(conn) {
            let Some(decoder) = self.link.decoder() else { return };
            match decoder.next() {
                Ok(Some(frame)) => self.frame(frame, out),
                Ok(None) => return,
                Err(error) => self.malformed(&error, out),
            }
        }
    }

    fn frame(&mut self, frame: ServerFrame, out: &mut Vec<ClientOutput>) {
        match (frame, &self.link) {
            (ServerFrame::Welcome(welcome), Link::Greeting { .. }) => self.welcomed(welcome, out),
            (ServerFrame::Response(response), Link::Live(_)) => self.answered(response, out),
            (ServerFrame::Goodbye(failure), _) => self.dismissed(failure, out),
            (ServerFrame::Welcome(_), _) => {
                self.drop_link(End::Broken, "the server said welcome out of turn", out);
            }
            (ServerFrame::Response(_), _) => {
                self.drop_link(End::Broken, "the server answered before it said welcome", out);
            }
        }
    }

    fn malformed(&mut self, error: &FrameError, out: &mut Vec<ClientOutput>) {
        self.drop_link(End::Broken, &format!("the server's bytes make no sense: {error}"), out);
    }

    fn welcomed(&mut self, welcome: Welcome, out: &mut Vec<ClientOutput>) {
        if !(VERSION_MIN..=VERSION_MAX).contains(&welcome.version) {
            let text =
                format!("the server chose protocol version {}, which was not offered", welcome.version);
            return self.drop_link(End::Broken, &text, out);
        }
        if self.config.credentials.is_some() && !welcome.authenticated {
            return self.drop_link(End::Broken, "the server passed over the credentials", out);
        }
        if let Some(wanted) = &self.config.cluster
            && *wanted != welcome.cluster
        {
            let text = format!("the server belongs to the cluster '{}', not to '{wanted}'", welcome.cluster);
            return self.refused_for_good(End::Left, Failure::new(ErrorCode::WrongCluster, text), out);
        }
        self.known.insert(welcome.node, self.address);
        if let Some(address) = self.better_address(&welcome) {
            return self.hop(address, out);
        }
        let Link::Greeting { conn, decoder, .. } = &mut self.link else { return };
        let mut decoder = std::mem::replace(decoder, ServerDecoder::new(0));
        decoder.set_maximum(self.config.max_frame as usize);
        let flights = Flights::default();
        self.link =
            Link::Live(Box::new(Live { conn: *conn, decoder, welcome, flights, unknowns: 0, leaving: None }));
    }

    /// Where the leader is, if it is elsewhere and worth going to. Every node takes every command, so after a few
    /// hops without an answer any node will do.
    fn better_address(&self, welcome: &Welcome) -> Option<usize> {
        let (leader, name) = welcome.leader.as_ref()?;
        if *leader == welcome.node || self.hops >= self.config.addresses.len() {
            return None;
        }
        let listed = self.config.addresses.iter().position(|address| address == name);
        let address = listed.or_else(|| self.known.get(leader).copied())?;
        let shunned = self.failed_at[address].is_some_and(|at| self.now.since(at) < SHUNNED);
        (address != self.address && !shunned).then_some(address)
    }

    fn hop(&mut self, address: usize, out: &mut Vec<ClientOutput>) {
        if let Some(conn) = self.link.conn() {
            out.push(ClientOutput::Close { conn });
        }
        self.hops += 1;
        self.address = address;
        self.link = Link::Down { until: self.now };
    }

    /// The server said goodbye. It says nothing about attempts under way.
    fn dismissed(&mut self, failure: Failure, out: &mut Vec<ClientOutput>) {
        match failure.code {
            ErrorCode::Version | ErrorCode::WrongCluster | ErrorCode::WrongPassword => {
                self.refused_for_good(End::Left, failure, out);
            }
            _ => self.drop_link(End::Broken, &format!("the server said goodbye: {failure}"), out),
        }
    }

    /// No further attempt would be accepted: ends every command. What is submitted later is tried anew, because
    /// an operator may have set things right.
    fn refused_for_good(&mut self, end: End, failure: Failure, out: &mut Vec<ClientOutput>) {
        self.drop_link(end, &failure.to_string(), out);
        self.fail_all(&failure, out);
    }

    /// Ends the connection, and with it every attempt that flies on it. Without a `trouble` of its own the last
    /// one stands.
    pub(super) fn drop_link(&mut self, end: End, trouble: &str, out: &mut Vec<ClientOutput>) {
        if !trouble.is_empty() {
            self.trouble = format!("{}: {trouble}", self.config.addresses[self.address]);
        }
        self.failures = self.failures.saturating_add(1);
        let until = self.now.after(self.pace.pause(self.failures));
        let link = std::mem::replace(&mut self.link, Link::Down { until });
        if end != End::Gone
            && let Some(conn) = link.conn()
        {
            out.push(ClientOutput::Close { conn });
        }
        if end != End::Left {
            self.failed_at[self.address] = Some(self.now);
        }
        self.address = (self.address + 1) % self.config.addresses.len();
        if let Link::Live(live) = link {
            let mut purposes = live.flights.purposes();
            purposes.sort_unstable();
            for purpose in purposes {
                self.lost(purpose, out);
            }
        }
    }

    /// The answer to an attempt will not come.
    fn lost(&mut self, purpose: Purpose, out: &mut Vec<ClientOutput>) {
        match purpose {
            Purpose::SessionEnd => self.stop(out),
            Purpose::SessionOpen => {
                // If it was opened after all, nobody knows its id, and it expires unused.
                if let Opening::Asked { refusals } = self.session {
                    self.session = Opening::None { after: self.now, refusals };
                }
            }
            Purpose::Op(order) => {
                let Some(op) = self.ops.get_mut(order) else { return };
                match op.kind {
                    Kind::Read => self.ops.stand(order, Stand::Ready),
                    Kind::Numbered | Kind::Again => {
                        op.in_doubt = true;
                        self.requeue(order, Stand::Ready, out);
                    }
                    Kind::Bare => {
                        let text =
                            format!("the connection was lost before the answer came; {}", self.trouble);
                        let failure = Failure::new(ErrorCode::TimedOut, text);
                        self.finish(order, OpOutcome::Unknown(failure), None, None, out);
                    }
                }
            }
        }
    }

    /// Sends nothing more on this connection, waits a little for the answers that are under way, then leaves it.
    pub(super) fn leave(&mut self) {
        let until = self.later(self.config.drain_ms);
        if let Some(live) = self.link.live() {
            live.leaving.get_or_insert(until);
        }
    }

    pub(super) fn leave_if_drained(&mut self, out: &mut Vec<ClientOutput>) {
        if let Some(live) = self.link.live()
            && live.leaving.is_some()
            && live.flights.is_empty()
        {
            self.drop_link(End::Left, "", out);
        }
    }

    /// Gives up a connection that keeps silent.
    pub(super) fn lose_patience(&mut self, out: &mut Vec<ClientOutput>) {
        if self.link.patience().is_none_or(|until| until > self.now) {
            return;
        }
        match &self.link {
            Link::Down { .. } => {}
            Link::Connecting { .. } => self.drop_link(End::Broken, "connecting took too long", out),
            Link::Greeting { .. } => self.drop_link(End::Broken, "the greeting took too long", out),
            Link::Live(live) if live.flights.patience().is_some_and(|until| until <= self.now) => {
                self.drop_link(End::Broken, "an answer took too long", out);
            }
            Link::Live(_) => self.drop_link(End::Left, "", out),
        }
    }

    /// This many milliseconds from now.
    pub(super) fn later(&self, millis: u32) -> Micros {
        self.now.after(Micros::from_millis(u64::from(millis)))
    }
}
