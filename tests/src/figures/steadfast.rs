//! Steadfast: a single node without access control, spoken to in its own protocol, without sessions.

use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use steadfast_core::error::ErrorCode;
use steadfast_core::protocol::frame::Decoder;
use steadfast_core::protocol::native::{ClientFrame, Response, ServerFrame};
use steadfast_core::reply::{Outcome, Value};
use steadfast_core::types::Blob;
use uuid::Uuid;

use super::daemon::Daemon;
use super::system::{self, Client, Pair, System};
use crate::{binary, raw, scratch};

/// The longest frame that a client takes.
const MAX_FRAME: usize = 1 << 20;
/// How long a client rests that was refused.
const REST: Duration = Duration::from_millis(20);
/// How long a snapshot may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The node.
#[derive(Clone, Debug)]
pub struct Steadfast {
    dir: PathBuf,
    address: String,
    /// How much is logged between two snapshots, in bytes; the default if `None`.
    interval: Option<u64>,
    keys: u64,
    tail: u64,
}

impl Steadfast {
    /// With its data here. Settled it has at least `tail` entries behind its snapshot, writes over some of `keys`.
    #[must_use]
    pub fn new(dir: PathBuf, keys: u64, tail: u64) -> Self {
        let address = scratch::free_addresses(1).remove(0);
        Self { dir, address, interval: None, keys, tail }
    }

    /// A node that runs already.
    #[must_use]
    pub fn reached_at(address: &str) -> Self {
        Self { dir: PathBuf::new(), address: address.to_owned(), interval: None, keys: 0, tail: 0 }
    }

    /// The same with more or less logged between two snapshots.
    #[must_use]
    pub fn interval(mut self, bytes: u64) -> Self {
        self.interval = Some(bytes);
        self
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The snapshots that lie there, with their entries and lengths, and whether one is being written.
    ///
    /// # Errors
    /// If the directory can't be read.
    pub fn snapshots(&self) -> io::Result<Snapshots> {
        let mut found = Snapshots::default();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let Some(rest) = name.strip_prefix("snapshot-") else { continue };
            match u64::from_str_radix(rest, 16) {
                // It may just have gone.
                Ok(index) => found.whole.push((index, entry.metadata().map_or(0, |file| file.len()))),
                Err(_) => found.writing = true,
            }
        }
        found.whole.sort_unstable();
        Ok(found)
    }

    /// The last committed entry.
    fn committed(&self) -> io::Result<u64> {
        self.connect_as_it_is()?.info("commit")
    }

    fn connect_as_it_is(&self) -> io::Result<Connection> {
        Connection::open(&self.address, PATIENCE)
    }
}

/// What lies in a data directory.
#[derive(Clone, Debug, Default)]
pub struct Snapshots {
    /// Index of the last entry, and length in bytes; oldest first.
    pub whole: Vec<(u64, u64)>,
    /// One is being written.
    pub writing: bool,
}

impl Snapshots {
    /// Whether one is being written, or an old one being removed.
    #[must_use]
    pub fn busy(&self) -> bool {
        self.writing || self.whole.len() > 1
    }
}

impl System for Steadfast {
    fn name(&self) -> &'static str {
        "steadfast"
    }

    fn launch(&self) -> io::Result<Daemon> {
        // This program is the server too, so that it is never of another build; STEADFAST_BIN names another one.
        let program =
            std::env::var_os("STEADFAST_BIN").map_or_else(std::env::current_exe, |it| Ok(it.into()))?;
        let mut command = Command::new(program);
        binary::clean(&mut command);
        command.args(["serve", "--insecure-no-auth", "--listen", &self.address, "--data"]).arg(&self.dir);
        if let Some(interval) = self.interval {
            command.env(binary::SNAPSHOT_BYTES, interval.to_string());
        }
        Daemon::spawn(&mut command, &self.dir.with_extension("log"))
    }

    fn connect(&self) -> io::Result<Box<dyn Client>> {
        Ok(Box::new(self.connect_as_it_is()?))
    }

    /// A load as fast as this one leaves a long log behind the newest snapshot, because what is due while one is being
    /// written is left out. More is written, in portions, until the log behind it is as long as was asked for.
    fn settle(&self) -> io::Result<Option<String>> {
        let (begun, mut at_first) = (Instant::now(), None);
        while begun.elapsed() < PATIENCE {
            let snapshots = self.snapshots()?;
            if snapshots.busy() {
                std::thread::sleep(Duration::from_millis(20));
                continue;
            }
            let (index, bytes) = snapshots.whole.last().copied().unwrap_or_default();
            let tail = self.committed()?.saturating_sub(index);
            let at_first = *at_first.get_or_insert(tail);
            if (self.tail..self.tail + self.tail / 2).contains(&tail) {
                let (at, mib) = (tail as f64 * 100.0 / self.keys as f64, bytes as f64 / f64::from(1 << 20));
                return Ok(Some(format!(
                    "steadfast: a snapshot of {mib:.0} MiB, and {tail} entries ({at:.1} % of the keys) behind it; \
                     {at_first} right after the load"
                )));
            }
            let more = if tail < self.tail { self.tail - tail } else { self.tail / 4 };
            system::load(self, self.keys, more.max(100), 0)?;
        }
        Err(io::Error::other("there is no such log behind a snapshot: ask for another --tail"))
    }
}

/// A connection.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    decoder: Decoder<ServerFrame>,
    next: u128,
}

impl Connection {
    /// To the node at this address, which has so long for each answer.
    pub fn open(address: &str, patience: Duration) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(patience))?;
        let mut connection = Self { stream, decoder: Decoder::new(MAX_FRAME), next: 0 };
        connection.stream.write_all(&raw::encode(&raw::hello(None)))?;
        match connection.frame()? {
            ServerFrame::Welcome(_) => Ok(connection),
            other => Err(io::Error::other(format!("no welcome, but {other:?}"))),
        }
    }

    /// A number that INFO says.
    pub fn info(&mut self, wanted: &str) -> io::Result<u64> {
        let Value::Map(pairs) = self.ask(["INFO"])? else {
            return Err(io::Error::other("INFO gave no map"));
        };
        let number = pairs.iter().find_map(|(name, value)| match value {
            Value::Int(number) if name == wanted => u64::try_from(*number).ok(),
            _ => None,
        });
        number.ok_or_else(|| io::Error::other(format!("INFO names no {wanted}")))
    }

    fn frame(&mut self) -> io::Result<ServerFrame> {
        let mut buffer = [0; 1 << 14];
        loop {
            if let Some(frame) = self.decoder.next().map_err(io::Error::other)? {
                return Ok(frame);
            }
            match self.stream.read(&mut buffer)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => self.decoder.push(&buffer[..count]),
            }
        }
    }

    fn request<T: Into<Blob>>(&mut self, args: impl IntoIterator<Item = T>) -> ClientFrame {
        self.next += 1;
        raw::request(Uuid::from_u128(self.next), args)
    }

    fn outcome(&mut self) -> io::Result<Outcome> {
        match self.frame()? {
            ServerFrame::Response(Response { reply, .. }) => Ok(reply.outcome),
            other => Err(io::Error::other(format!("no response, but {other:?}"))),
        }
    }

    /// Asks for one command; an error is the failure's text.
    pub fn ask<T: Into<Blob>>(&mut self, args: impl IntoIterator<Item = T>) -> io::Result<Value> {
        let frame = self.request(args);
        self.stream.write_all(&raw::encode(&frame))?;
        self.outcome()?.map_err(|failure| io::Error::other(failure.to_string()))
    }
}

impl Client for Connection {
    fn set(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        self.ask([b"SET", key, value]).map(drop)
    }

    /// What is refused because the node is behind, as it may be while it writes a large snapshot, is asked for again.
    fn set_all(&mut self, pairs: &[Pair]) -> io::Result<()> {
        let mut left: Vec<&Pair> = pairs.iter().collect();
        while !left.is_empty() {
            let mut bytes = Vec::new();
            for (key, value) in &left {
                let frame = self.request([b"SET", key.as_slice(), value]);
                bytes.extend_from_slice(&raw::encode(&frame));
            }
            self.stream.write_all(&bytes)?;
            let mut refused = Vec::new();
            for pair in left {
                match self.outcome()? {
                    Ok(_) => {}
                    Err(failure) if failure.code == ErrorCode::Overloaded => refused.push(pair),
                    Err(failure) => return Err(io::Error::other(failure.to_string())),
                }
            }
            if !refused.is_empty() {
                std::thread::sleep(REST);
            }
            left = refused;
        }
        Ok(())
    }

    fn get(&mut self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        match self.ask([b"GET", key])? {
            Value::Nil => Ok(None),
            Value::Bytes(value) => Ok(Some(value.to_vec())),
            other => Err(io::Error::other(format!("GET gave {other:?}"))),
        }
    }
}
