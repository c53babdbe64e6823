//! Clients of the recorded cluster: the real client library over connections that keep every byte in order.
//!
//! A caller knows its connections' two directions as queues; the cluster moves their heads. Nothing here looks into
//! a node.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use steadfast_core::client::{Client, ClientConfig, ClientInput, ClientOutput, Credentials, OpId, OpOutcome};
use steadfast_core::protocol::native::{ServerDecoder, ServerFrame};
use steadfast_core::time::Micros;
use steadfast_core::types::{Blob, ConnId, Index, SessionId};

use crate::rng::Stream;
use crate::schedule::ROOT_PASSWORD;

/// Larger than any frame of a script, in bytes.
const MAX_FRAME: usize = 1 << 20;

/// What is on its way.
#[derive(Clone, Debug)]
pub enum Item {
    /// The connection is wanted, or made.
    Open,
    /// Bytes.
    Data(Bytes),
    /// The end.
    Closed,
}

/// A connection.
#[derive(Clone, Debug)]
pub struct Wire {
    /// The caller's place among the callers.
    pub caller: usize,
    /// The caller's name for it.
    pub theirs: ConnId,
    /// The node's place.
    pub node: usize,
    /// Towards the node.
    pub to_node: VecDeque<Item>,
    /// Towards the caller.
    pub to_caller: VecDeque<Item>,
    /// Whether the node listens.
    pub open: bool,
    /// Whether the caller does.
    pub wanted: bool,
    /// Reads what the node sends.
    answers: ServerDecoder,
}

/// A client process.
#[derive(Debug)]
pub struct Caller {
    client: Client,
    /// The cluster's numbers of its connections, by the client's.
    pub wires: BTreeMap<ConnId, u64>,
    /// The nodes behind the client's addresses.
    pub nodes: Vec<usize>,
    /// When the client wants to be woken.
    pub wake: Option<u64>,
    next_op: u64,
    open: usize,
    /// How often it got what it asked for.
    pub succeeded: u64,
    /// The number under which the newest command was executed.
    pub once: Option<(SessionId, u64)>,
}

impl Caller {
    /// A client that knows these nodes, the first of them best.
    #[must_use]
    pub fn new(nodes: Vec<usize>, seed: u64, number: u64) -> Self {
        let addresses = nodes.iter().map(|node| super::machine::address(*node as u16 + 1)).collect();
        let credentials = Credentials { user: Blob::from("root"), password: ROOT_PASSWORD.into() };
        let config = ClientConfig {
            credentials: Some(credentials),
            backoff_max_ms: 100,
            deadline_ms: 20_000,
            attempt_ms: 2_000,
            ..ClientConfig::new(addresses)
        };
        let client = Client::new(config, Stream::numbered(seed, "explore client", number).seed());
        let (wires, wake, once) = (BTreeMap::new(), None, None);
        Self { client, wires, nodes, wake, next_op: 1, open: 0, succeeded: 0, once }
    }

    /// How many commands were submitted and are not done.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open
    }

    /// The input that submits a command.
    pub fn submit(&mut self, words: &[&str], again: Option<(SessionId, u64)>) -> ClientInput {
        let op = OpId(self.next_op);
        self.next_op += 1;
        self.open += 1;
        let args = words.iter().map(|word| Blob::from(*word)).collect();
        ClientInput::Submit { op, args, deadline_ms: 0, again }
    }

    /// Gives the client an input. What concerns the network comes back.
    pub fn step(&mut self, now: u64, input: ClientInput) -> Vec<ClientOutput> {
        let mut out = Vec::new();
        self.client.step(Micros(now), input, &mut out);
        out.retain(|output| match output {
            ClientOutput::WakeAt(at) => {
                self.wake = Some(at.0);
                false
            }
            ClientOutput::Done { outcome, once, .. } => {
                self.open -= 1;
                self.succeeded += u64::from(matches!(outcome, OpOutcome::Ok(_)));
                self.once = *once;
                false
            }
            ClientOutput::Stopped => false,
            ClientOutput::Connect { .. } | ClientOutput::Send { .. } | ClientOutput::Close { .. } => true,
        });
        out
    }
}

impl Wire {
    /// A connection that a caller wants.
    #[must_use]
    pub fn new(caller: usize, theirs: ConnId, node: usize) -> Self {
        Self {
            caller,
            theirs,
            node,
            to_node: VecDeque::from([Item::Open]),
            to_caller: VecDeque::new(),
            open: false,
            wanted: true,
            answers: ServerDecoder::new(MAX_FRAME),
        }
    }

    /// The positions that bytes to the caller tell.
    ///
    /// # Errors
    /// Bytes that are no frames.
    pub fn positions(&mut self, data: &[u8]) -> Result<Vec<Index>, String> {
        self.answers.push(data);
        let mut positions = Vec::new();
        while let Some(frame) =
            self.answers.next().map_err(|error| format!("it sends what is no frame: {error}"))?
        {
            if let ServerFrame::Response(response) = frame
                && let Some(receipt) = response.reply.receipt
            {
                positions.push(receipt.position);
            }
        }
        Ok(positions)
    }
}
