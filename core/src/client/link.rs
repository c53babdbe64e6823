//! The client's one connection: how far it has come, what flies on it, and when patience ends. Decides nothing
//! about commands.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::ops::Order;
use crate::protocol::native::{ServerDecoder, Welcome};
use crate::time::Micros;
use crate::types::ConnId;

/// How far the connection has come.
#[derive(Clone, Debug)]
pub(super) enum Link {
    /// There is none; the next may be tried from `until` on.
    Down {
        until: Micros,
    },
    /// Asked for.
    Connecting {
        conn: ConnId,
        until: Micros,
    },
    /// There, and the hello was sent.
    Greeting {
        conn: ConnId,
        until: Micros,
        decoder: ServerDecoder,
    },
    Live(Box<Live>),
}

/// A connection that was welcomed.
#[derive(Clone, Debug)]
pub(super) struct Live {
    pub(super) conn: ConnId,
    pub(super) decoder: ServerDecoder,
    pub(super) welcome: Welcome,
    pub(super) flights: Flights,
    /// How many answers said that an outcome is unknown; the server counts the same.
    pub(super) unknowns: u32,
    /// Nothing more is sent; once nothing flies, or at this time, the connection is left.
    pub(super) leaving: Option<Micros>,
}

impl Link {
    pub(super) fn conn(&self) -> Option<ConnId> {
        match self {
            Self::Down { .. } => None,
            Self::Connecting { conn, .. } | Self::Greeting { conn, .. } => Some(*conn),
            Self::Live(live) => Some(live.conn),
        }
    }

    /// When patience with the connection ends.
    pub(super) fn patience(&self) -> Option<Micros> {
        match self {
            Self::Down { .. } => None,
            Self::Connecting { until, .. } | Self::Greeting { until, .. } => Some(*until),
            Self::Live(live) => [live.leaving, live.flights.patience()].into_iter().flatten().min(),
        }
    }

    pub(super) fn live(&mut self) -> Option<&mut Live> {
        match self {
            Self::Live(live) => Some(live),
            _ => None,
        }
    }

    pub(super) fn decoder(&mut self) -> Option<&mut ServerDecoder> {
        match self {
            Self::Down { .. } | Self::Connecting { .. } => None,
            Self::Greeting { decoder, .. } => Some(decoder),
            Self::Live(live) => Some(&mut live.decoder),
        }
    }
}

/// What an attempt is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Purpose {
    /// A command; it may be done already, if its deadline came first.
    Op(Order),
    /// Opens the client's session.
    SessionOpen,
    /// Ends it.
    SessionEnd,
}

/// An attempt without an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flight {
    pub(super) purpose: Purpose,
    /// Bytes of its frame.
    pub(super) bytes: usize,
    /// The unknown outcomes that it was sent in knowledge of.
    pub(super) unknowns: u32,
    pub(super) until: Micros,
}

/// The attempts without an answer on one connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Flights {
    table: BTreeMap<Uuid, Flight>,
    ends: BTreeSet<(Micros, Uuid)>,
    bytes: usize,
}

impl Flights {
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Bytes of frames.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn start(&mut self, id: Uuid, flight: Flight) {
        self.bytes += flight.bytes;
        self.ends.insert((flight.until, id));
        let doubled = self.table.insert(id, flight);
        assert!(doubled.is_none(), "the identity of an attempt is fresh");
    }

    pub(super) fn end(&mut self, id: Uuid) -> Option<Flight> {
        let flight = self.table.remove(&id)?;
        self.bytes -= flight.bytes;
        self.ends.remove(&(flight.until, id));
        Some(flight)
    }

    /// When the first of them should have had its answer.
    pub(super) fn patience(&self) -> Option<Micros> {
        self.ends.first().map(|&(until, _)| until)
    }

    pub(super) fn purposes(&self) -> Vec<Purpose> {
        self.table.values().map(|flight| flight.purpose).collect()
    }
}
