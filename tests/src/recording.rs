//! What real clients do and see becomes a history, in the simulator's format, on one monotonic clock.
//!
//! Moments are taken under the recorder's lock, so records are in the order of their times. An invocation is
//! recorded before the command can be sent and a completion after its answer came: the true interval lies inside
//! the recorded one, so no judge is told of an order that was none.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use steadfast::client::{Observation, Observed, OpOutcome};
use steadfast_core::reply::Reply;
use steadfast_core::types::Blob;
use steadfast_sim::history::json::{self, ReadError};
use steadfast_sim::history::{Record, Recorder};

/// A recording under way, of any number of clients.
#[derive(Clone, Debug)]
pub struct Recording(Arc<Mutex<Taken>>);

#[derive(Debug)]
struct Taken {
    origin: Instant,
    recorder: Recorder,
    /// The records' numbers of the operations under way, by client and the client's own number.
    open: BTreeMap<(u64, u64), u64>,
}

impl Default for Recording {
    fn default() -> Self {
        let origin = Instant::now();
        Self(Arc::new(Mutex::new(Taken { origin, recorder: Recorder::default(), open: BTreeMap::new() })))
    }
}

impl Recording {
    /// What to hand to a client's configuration: it records the client as this process, logged in as this user.
    pub fn observer(&self, process: u64, user: &str) -> impl Fn(&Observation<'_>) + Send + Sync + 'static {
        let (taken, user) = (self.clone(), Blob::from(user));
        move |observation| taken.lock().take(process, &user, observation)
    }

    /// Records by hand that a client is about to ask this, on a connection of its own; gives the question's number.
    #[must_use]
    pub fn asks(&self, process: u64, user: &str, args: &[&str]) -> u64 {
        let mut taken = self.lock();
        let now = taken.now();
        let args = args.iter().map(|arg| Blob::from(*arg)).collect();
        taken.recorder.invoke(now, process, Some(Blob::from(user)), args, None)
    }

    /// Records by hand what it was told.
    pub fn told(&self, process: u64, number: u64, reply: &Reply) {
        let mut taken = self.lock();
        let now = taken.now();
        taken.recorder.complete(now, process, number, reply, None, None);
    }

    /// Everything recorded so far.
    #[must_use]
    pub fn records(&self) -> Vec<Record> {
        self.lock().recorder.records().to_vec()
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    fn now(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn take(&mut self, process: u64, user: &Blob, observation: &Observation<'_>) {
        let now = self.now();
        let name = (process, observation.op);
        match &observation.event {
            Observed::Invoke { args } => {
                let number = self.recorder.invoke(now, process, Some(user.clone()), args.to_vec(), None);
                self.open.insert(name, number);
            }
            Observed::Done { outcome, receipt, node, once, .. } => {
                let number = self.open.remove(&name).expect("a client ends what it began, once");
                let reply = match outcome {
                    OpOutcome::Ok(value) => Reply { outcome: Ok((*value).clone()), receipt: *receipt },
                    // A failure of one attempt is no failure of the command if another attempt may have succeeded.
                    OpOutcome::Unknown(failure) if failure.is_definite() => {
                        return self.recorder.give_up(now, process, number, *once);
                    }
                    OpOutcome::Failed(failure) | OpOutcome::Unknown(failure) => {
                        Reply { outcome: Err((*failure).clone()), receipt: *receipt }
                    }
                };
                self.recorder.complete(now, process, number, &reply, *node, *once);
            }
        }
    }
}

/// Writes a history as JSON lines.
///
/// # Errors
/// If the file can't be written.
pub fn save(records: &[Record], path: &Path) -> io::Result<()> {
    let mut out = BufWriter::new(File::create(path)?);
    json::write(records, &mut out)?;
    out.flush()
}

/// Reads a history back.
///
/// # Errors
/// The first line that is wrong.
pub fn load(path: &Path) -> Result<Vec<Record>, ReadError> {
    json::read(&mut BufReader::new(File::open(path).map_err(ReadError::Io)?))
}
