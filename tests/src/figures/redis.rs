//! Redis, in one of its ways to be durable, spoken to in its own protocol.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use super::daemon::Daemon;
use super::system::{Client, Pair, System};
use crate::scratch;

/// The program.
pub const PROGRAM: &str = "redis-server";
/// How long a rewrite of the log may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// How it keeps its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeping {
    /// An append-only log, synced every second, which begins with a snapshot whenever it is rewritten: its default
    /// where an append-only log is asked for.
    Log,
    /// The same, and never rewritten: commands alone.
    PureLog,
    /// An append-only log that is synced before every answer.
    SyncedLog,
    /// A snapshot, written before it is stopped.
    Snapshot,
}

/// The server.
#[derive(Clone, Debug)]
pub struct Redis {
    keeping: Keeping,
    dir: PathBuf,
    address: String,
}

impl Redis {
    /// With its data here.
    ///
    /// # Errors
    /// If the directory can't be created.
    pub fn new(keeping: Keeping, dir: PathBuf) -> io::Result<Self> {
        std::fs::create_dir_all(&dir)?;
        Ok(Self { keeping, dir, address: scratch::free_addresses(1).remove(0) })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// A connection to it.
    ///
    /// # Errors
    /// If it is not there.
    pub fn open(&self) -> io::Result<Connection> {
        Connection::open(&self.address)
    }

    /// A field of INFO.
    fn info(&self, name: &str) -> io::Result<String> {
        let text = self.open()?.ask(&[b"INFO"])?.unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let field = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        field.map(str::to_owned).ok_or_else(|| io::Error::other(format!("INFO names no {name}")))
    }
}

impl System for Redis {
    fn name(&self) -> &'static str {
        match self.keeping {
            Keeping::Log => "redis, AOF",
            Keeping::PureLog => "redis, AOF without RDB",
            Keeping::SyncedLog => "redis, AOF always",
            Keeping::Snapshot => "redis, RDB",
        }
    }

    fn launch(&self) -> io::Result<Daemon> {
        let port = self.address.rsplit(':').next().unwrap_or_default();
        let mut command = Command::new(PROGRAM);
        command.args(["--bind", "127.0.0.1", "--port", port, "--save", ""]).arg("--dir").arg(&self.dir);
        command.args(match self.keeping {
            Keeping::Log => ["--appendonly", "yes", "--appendfsync", "everysec"].as_slice(),
            Keeping::PureLog => &["--appendonly", "yes", "--auto-aof-rewrite-percentage", "0"],
            Keeping::SyncedLog => &["--appendonly", "yes", "--appendfsync", "always"],
            Keeping::Snapshot => &["--appendonly", "no"],
        });
        Daemon::spawn(&mut command, &self.dir.with_extension("log"))
    }

    fn connect(&self) -> io::Result<Box<dyn Client>> {
        Ok(Box::new(self.open()?))
    }

    fn settle(&self) -> io::Result<Option<String>> {
        if self.keeping == Keeping::Snapshot {
            self.open()?.ask(&[b"SAVE"])?;
            return Ok(None);
        }
        let begun = Instant::now();
        while self.info("aof_rewrite_in_progress")? != "0" || self.info("aof_rewrite_scheduled")? != "0" {
            if begun.elapsed() > PATIENCE {
                return Err(io::Error::other("redis does not finish the rewrite of its log"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        // Whatever the second's sync has not reached yet.
        std::thread::sleep(Duration::from_millis(1500));
        Ok(None)
    }

    fn own_account(&self) -> io::Result<Option<u64>> {
        Ok(self.info("used_memory")?.parse().ok())
    }
}

/// A connection.
#[derive(Debug)]
pub struct Connection {
    reader: BufReader<TcpStream>,
}

impl Connection {
    /// To this address.
    ///
    /// # Errors
    /// If nobody listens there.
    pub fn open(address: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { reader: BufReader::new(stream) })
    }

    /// Asks in words, and takes the answer for text.
    ///
    /// # Errors
    /// If it is one, or the connection ends.
    pub fn say(&mut self, words: &[&str]) -> io::Result<Option<String>> {
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        self.ask(&words).map(|answer| answer.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    fn ask(&mut self, args: &[&[u8]]) -> io::Result<Option<Vec<u8>>> {
        let mut bytes = Vec::new();
        command(&mut bytes, args);
        self.reader.get_mut().write_all(&bytes)?;
        self.answer()
    }

    fn answer(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut line = String::new();
        self.reader.read_line(&mut line)?;
        let line = line.trim_end();
        match line.split_at_checked(1) {
            Some(("+" | ":", rest)) => Ok(Some(rest.as_bytes().to_vec())),
            Some(("$", "-1")) => Ok(None),
            Some(("$", len)) => {
                let len: usize = len.parse().map_err(io::Error::other)?;
                let mut bytes = vec![0; len + 2];
                self.reader.read_exact(&mut bytes)?;
                bytes.truncate(len);
                Ok(Some(bytes))
            }
            Some(_) => Err(io::Error::other(format!("redis answers {line}"))),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

fn command(out: &mut Vec<u8>, args: &[&[u8]]) {
    out.extend_from_slice(format!("*{}\r\n", args.len()).as_bytes());
    for arg in args {
        out.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
}

impl Client for Connection {
    fn set(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        self.ask(&[b"SET", key, value]).map(drop)
    }

    fn set_all(&mut self, pairs: &[Pair]) -> io::Result<()> {
        let mut bytes = Vec::new();
        for (key, value) in pairs {
            command(&mut bytes, &[b"SET", key, value]);
        }
        self.reader.get_mut().write_all(&bytes)?;
        pairs.iter().try_for_each(|_| self.answer().map(drop))
    }

    fn get(&mut self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        self.ask(&[b"GET", key])
    }
}
