//! The trace of a run: a hash over everything that enters and leaves every node, and, when somebody
//! listens, one readable line per event.
//!
//! Two runs of one schedule must have the same hash. The hash is fast and not secure: it must notice a
//! difference that nobody planted there.

use std::fmt;

use bytes::Bytes;
use steadfast_core::inspect::Inspection;
use steadfast_core::io::{DiskOp, DiskReply, FileName, Input, Output, PeerAddress, Token};
use steadfast_core::job::{Job, JobResult};

/// A running hash of words and byte strings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceHash(u64);

impl Default for TraceHash {
    fn default() -> Self {
        Self(0x5374_6561_6466_6173)
    }
}

impl fmt::Display for TraceHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl TraceHash {
    /// Takes in a number.
    pub fn word(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    /// Takes in a byte string and its length.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.word(bytes.len() as u64);
        self.word(u64::from(crc32fast::hash(bytes)));
    }

    /// Takes in something rare, by its debug form.
    fn debug(&mut self, value: &impl fmt::Debug) {
        self.bytes(format!("{value:?}").as_bytes());
    }

    fn token(&mut self, token: Token) {
        self.word((token.owner as u64) << 56 | token.seq);
    }

    fn file(&mut self, file: FileName) {
        self.word(match file {
            FileName::Hard(copy) => u64::from(copy),
            FileName::Wal(seq) => 1 << 60 | seq,
            FileName::RootCredentials => 2 << 60,
            FileName::RootCredentialsTmp => 3 << 60,
            FileName::Snapshot(index) => 4 << 60 | index,
            FileName::SnapshotTmp(index) => 5 << 60 | index,
            FileName::SnapshotPart(index) => 6 << 60 | index,
        });
    }

    /// Takes in an input of a node.
    pub fn input(&mut self, input: &Input) {
        match input {
            Input::Tick => self.word(1),
            Input::Connected { conn, .. } => {
                self.word(2);
                self.word(conn.0);
            }
            Input::Bytes { conn, data, waited } => {
                self.word(3);
                self.word(conn.0);
                if waited.0 > 0 {
                    self.word(waited.0);
                }
                self.bytes(data);
            }
            Input::Drained { conn, bytes } => {
                self.word(4);
                self.word(conn.0);
                self.word(*bytes);
            }
            Input::Disconnected { conn } => {
                self.word(5);
                self.word(conn.0);
            }
            Input::Peer { frame } => {
                self.word(6);
                self.bytes(frame);
            }
            Input::DiskDone { token, result: Ok(DiskReply::Done) } => {
                self.word(7);
                self.token(*token);
            }
            Input::DiskDone { token, result: Ok(DiskReply::Data(data)) } => {
                self.word(8);
                self.token(*token);
                self.bytes(data);
            }
            Input::DiskDone { token, result } => {
                self.word(9);
                self.token(*token);
                self.debug(result);
            }
            Input::Computed { token, result: JobResult::Snapshot(encoded) } => {
                self.word(12);
                self.token(*token);
                self.bytes(&encoded.blocks);
                self.bytes(&encoded.carry);
            }
            Input::Computed { token, result } => {
                self.word(10);
                self.token(*token);
                self.debug(result);
            }
            Input::Shutdown => self.word(11),
        }
    }

    /// Takes in an output of a node.
    pub fn output(&mut self, output: &Output) {
        match output {
            Output::Disk { token, op: DiskOp::WriteAt { file, offset, data } } => {
                self.word(21);
                self.token(*token);
                self.file(*file);
                self.word(*offset);
                self.bytes(data);
            }
            Output::Disk { token, op: DiskOp::Sync { file } } => {
                self.word(22);
                self.token(*token);
                self.file(*file);
            }
            Output::Disk { token, op } => {
                self.word(23);
                self.token(*token);
                self.debug(op);
            }
            Output::Send { conn, data } => {
                self.word(24);
                self.word(conn.0);
                self.bytes(data);
            }
            Output::SendPeer { to, frame, .. } => {
                self.word(25);
                self.word(u64::from(to.0));
                self.bytes(frame);
            }
            Output::Peers(peers) => {
                self.word(32);
                self.debug(peers);
            }
            Output::Close { conn, .. } => {
                self.word(26);
                self.word(conn.0);
            }
            Output::Compute { token, job: Job::Snapshot(job) } => {
                self.word(31);
                self.token(*token);
                self.word(u64::from(job.first));
                self.word(job.rows.len() as u64);
            }
            Output::Compute { token, job } => {
                self.word(27);
                self.token(*token);
                self.debug(job);
            }
            Output::Forget { token } => {
                self.word(33);
                self.token(*token);
            }
            Output::WakeAt(at) => {
                self.word(28);
                self.word(at.0);
            }
            Output::Trace(event) => {
                self.word(29);
                self.debug(event);
            }
            Output::Halt(reason) => {
                self.word(30);
                self.debug(reason);
            }
        }
    }

    /// Takes in what a node shows of itself.
    pub fn state(&mut self, seen: &Inspection) {
        self.word(seen.term.0 << 8 | seen.role as u64);
        self.word(seen.commit.0 << 32 ^ seen.last.0);
        self.word(seen.state_digest);
    }
}

/// One event of a run, as `replay --trace` prints it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Counts the run's events.
    pub event: u64,
    /// True time in microseconds.
    pub time_us: u64,
    /// Where: a node, a client, or the world.
    pub place: String,
    /// What happens, in a word or two.
    pub what: &'static str,
    /// The rest.
    pub detail: String,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, micros) = (self.time_us / 1_000_000, self.time_us % 1_000_000);
        write!(
            f,
            "{:>8} {seconds:>4}.{micros:06} {:<6} {:<11} {}",
            self.event, self.place, self.what, self.detail
        )
    }
}

/// An input in a word and the rest.
#[must_use]
pub fn describe_input(input: &Input) -> (&'static str, String) {
    match input {
        Input::Tick => ("tick", String::new()),
        Input::Connected { conn, .. } => ("connected", format!("conn {conn}")),
        Input::Bytes { conn, data, .. } => ("bytes", format!("conn {conn}, {} bytes", data.len())),
        Input::Drained { conn, bytes } => ("drained", format!("conn {conn}, {bytes} bytes")),
        Input::Disconnected { conn } => ("hung up", format!("conn {conn}")),
        Input::Peer { frame } => ("frame in", peer_frame(frame)),
        Input::DiskDone { token, result } => {
            ("disk done", format!("{} {}", name(*token), disk_result(result)))
        }
        Input::Computed { token, result } => {
            ("computed", format!("{} {}", name(*token), clip(&format!("{result:?}"))))
        }
        Input::Shutdown => ("shutdown", String::new()),
    }
}

/// An output in a word and the rest.
#[must_use]
pub fn describe_output(output: &Output) -> (&'static str, String) {
    match output {
        Output::Disk { token, op } => ("disk", format!("{} {}", name(*token), disk_op(op))),
        Output::Send { conn, data } => ("send", format!("conn {conn}, {} bytes", data.len())),
        Output::SendPeer { to, frame, .. } => ("frame out", format!("to n{to}, {}", peer_frame(frame))),
        Output::Peers(peers) => {
            let one = |peer: &PeerAddress| format!("n{} at {}", peer.node, peer.addresses.join(" or "));
            ("peers", peers.iter().map(one).collect::<Vec<_>>().join(", "))
        }
        Output::Close { conn, .. } => ("close", format!("conn {conn}")),
        Output::Compute { token, job } => {
            let job = format!("{job:?}");
            ("compute", format!("{} {}", name(*token), job.split(' ').next().unwrap_or_default()))
        }
        Output::Forget { token } => ("forget", name(*token)),
        Output::WakeAt(at) => ("wake at", at.to_string()),
        Output::Trace(event) => ("says", format!("{event:?}")),
        Output::Halt(reason) => ("halt", reason.to_string()),
    }
}

fn name(token: Token) -> String {
    format!("{:?}#{}", token.owner, token.seq)
}

fn peer_frame(frame: &Bytes) -> String {
    crate::glue::peer_frame(frame).unwrap_or_else(|| format!("{} bytes", frame.len()))
}

/// A disk operation in words.
#[must_use]
pub fn disk_op(op: &DiskOp) -> String {
    match op {
        DiskOp::Create { file } => format!("create {file}"),
        DiskOp::WriteAt { file, offset, data } => format!("write {file} at {offset}, {} bytes", data.len()),
        DiskOp::Sync { file } => format!("sync {file}"),
        DiskOp::Truncate { file, len } => format!("truncate {file} to {len}"),
        DiskOp::Rename { from, to } => format!("rename {from} to {to}"),
        DiskOp::Remove { file } => format!("remove {file}"),
        DiskOp::SyncDir => "sync the directory".into(),
        DiskOp::List => "list".into(),
        DiskOp::Read { file, offset, len } => format!("read {file} at {offset}, {len} bytes"),
    }
}

fn disk_result(result: &Result<DiskReply, steadfast_core::io::DiskError>) -> String {
    match result {
        Ok(DiskReply::Done) => String::new(),
        Ok(DiskReply::Data(data)) => format!("{} bytes", data.len()),
        Ok(DiskReply::Listing(files)) => format!("{} files", files.len()),
        Err(error) => error.to_string(),
    }
}

/// The first few dozen characters of a text.
#[must_use]
pub fn clip(text: &str) -> String {
    if text.len() <= 160 {
        return text.into();
    }
    let cut = (0..=157).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    format!("{}...", &text[..cut])
}
