//! The task that runs the core's client: hands it what happens, does what it says. It decides nothing.

use std::collections::HashMap;
use std::time::Duration;

use steadfast_core::client::{Client as Core, ClientConfig, ClientInput, ClientOutput, OpId, OpOutcome};
use steadfast_core::error::{Certainty, Failure};
use steadfast_core::time::Micros;
use steadfast_core::types::{Blob, ConnId};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::Instant;

use super::observe::{Observation, Observed, Observer};
use super::{Answer, Error, stream};
use crate::net::writer::Outgoing;

/// Most inputs from connections that wait for the driver; beyond, connections are not read.
const INPUTS: usize = 64;

/// What a client's handles ask of the driver.
pub enum Order {
    /// Execute a command.
    Submit {
        /// Its number.
        op: OpId,
        /// Its name and arguments.
        args: Vec<Blob>,
        /// Milliseconds; 0 for the default.
        deadline_ms: u32,
        /// Who waits.
        done: Done,
    },
    /// Finish what is under way, then end.
    Close {
        /// Resolved at the end.
        closed: oneshot::Sender<()>,
    },
}

/// Who waits for a command.
pub struct Done {
    /// Takes the outcome.
    pub answer: oneshot::Sender<Result<Answer, Error>>,
    /// Given back when the command is done.
    pub slot: OwnedSemaphorePermit,
    /// It only asks for changes, and ends with the client.
    pub is_watch: bool,
}

/// The driver.
pub struct Driver {
    core: Core,
    addresses: Vec<String>,
    observer: Option<Observer>,
    origin: Instant,
    wake: Option<Micros>,
    connections: HashMap<ConnId, mpsc::UnboundedSender<Outgoing>>,
    inputs: (mpsc::Sender<ClientInput>, mpsc::Receiver<ClientInput>),
    waiting: HashMap<OpId, Done>,
    closing: Vec<oneshot::Sender<()>>,
    stopped: bool,
}

impl Driver {
    /// A driver that has nothing to do yet.
    pub fn new(config: ClientConfig, seed: [u8; 32], observer: Option<Observer>) -> Self {
        Self {
            addresses: config.addresses.clone(),
            core: Core::new(config, seed),
            observer,
            origin: Instant::now(),
            wake: None,
            connections: HashMap::new(),
            inputs: mpsc::channel(INPUTS),
            waiting: HashMap::new(),
            closing: Vec::new(),
            stopped: false,
        }
    }

    /// Runs until it is closed or nobody is left to order anything, and what was under way is done.
    pub async fn run(mut self, mut orders: mpsc::UnboundedReceiver<Order>) {
        let mut open = true;
        while !self.stopped {
            if !open && self.waiting.values().all(|done| done.is_watch) {
                self.step(ClientInput::Shutdown);
                if self.stopped {
                    break;
                }
            }
            tokio::select! {
                order = orders.recv(), if open => match order {
                    Some(Order::Submit { op, args, deadline_ms, done }) => {
                        self.waiting.insert(op, done);
                        self.step(ClientInput::Submit { op, args, deadline_ms, again: None });
                    }
                    Some(Order::Close { closed }) => {
                        self.closing.push(closed);
                        // Orders sent before are still taken; those after are refused by the channel.
                        orders.close();
                    }
                    None => open = false,
                },
                Some(input) = self.inputs.1.recv() => self.step(input),
                () = sleep_until(self.origin, self.wake) => {
                    self.wake = None;
                    self.step(ClientInput::Tick);
                }
            }
        }
        // Connections end on their own once their senders are gone.
        self.connections.clear();
        for closed in self.closing {
            let _ = closed.send(());
        }
    }

    fn step(&mut self, input: ClientInput) {
        if let ClientInput::Disconnected { conn } | ClientInput::ConnectFailed { conn } = &input {
            self.connections.remove(conn);
        }
        let mut out = Vec::new();
        let now = Micros(u64::try_from(self.origin.elapsed().as_micros()).unwrap_or(u64::MAX));
        self.core.step(now, input, &mut out);
        for output in out {
            self.execute(output);
        }
    }

    fn execute(&mut self, output: ClientOutput) {
        match output {
            ClientOutput::Connect { conn, address } => {
                let Some(address) = self.addresses.get(address).cloned() else { return };
                let (sender, outgoing) = mpsc::unbounded_channel();
                self.connections.insert(conn, sender);
                tokio::spawn(stream::run(conn, address, self.inputs.0.clone(), outgoing));
            }
            ClientOutput::Send { conn, data } => {
                if let Some(connection) = self.connections.get(&conn) {
                    let _ = connection.send(Outgoing { chunks: vec![data], ..Outgoing::default() });
                }
            }
            ClientOutput::Close { conn } => drop(self.connections.remove(&conn)),
            ClientOutput::Done { op, outcome, receipt, node, attempts, once } => {
                if let Some(observer) = &self.observer {
                    let event = Observed::Done { outcome: &outcome, receipt, node, attempts, once };
                    observer(&Observation { op: op.0, at: std::time::Instant::now(), event });
                }
                let error =
                    |failure: Failure, certainty| Error { failure, certainty, receipt, node, attempts };
                let result = match outcome {
                    OpOutcome::Ok(value) => Ok(Answer { value, receipt, node, attempts }),
                    OpOutcome::Failed(failure) => Err(error(failure, Certainty::Definite)),
                    OpOutcome::Unknown(failure) => Err(error(failure, Certainty::Indeterminate)),
                };
                if let Some(Done { answer, slot, .. }) = self.waiting.remove(&op) {
                    drop(slot);
                    // Nobody listens if the caller dropped its future.
                    let _ = answer.send(result);
                }
            }
            ClientOutput::WakeAt(at) => self.wake = Some(at),
            ClientOutput::Stopped => self.stopped = true,
        }
    }
}

async fn sleep_until(origin: Instant, at: Option<Micros>) {
    match at {
        Some(at) => tokio::time::sleep_until(origin + Duration::from_micros(at.0)).await,
        None => std::future::pending().await,
    }
}
