//! One connection of a load, with the requests under way on it. It speaks the protocol itself, without sessions or retries: what is
//! measured is the cluster and not the client library.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream as Blocking;
use std::sync::Arc;
use std::time::{Duration, Instant};

use steadfast_core::protocol::frame::{Decoder, Message};
use steadfast_core::protocol::native::{
    ClientFrame, Hello, Request, Response, ServerFrame, VERSION_MAX, VERSION_MIN,
};
use steadfast_core::reply::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::sleep_until;
use uuid::Uuid;

use super::Load;
use super::mix::{Op, words};
use super::tally::Tally;

/// The longest frame that is sent or taken, in bytes.
const MAX_FRAME: usize = 8 << 20;

/// How long answers are waited for once the time is up.
const LAST_ANSWERS: Duration = Duration::from_secs(10);

/// A connection that is logged in.
pub struct Lane {
    stream: Blocking,
    decoder: Decoder<ServerFrame>,
    draws: Draws,
}

impl Lane {
    /// Connects and logs in.
    pub fn connect(load: &Load, number: u32) -> Result<Self, String> {
        let address = &load.addresses[number as usize % load.addresses.len()];
        let lost = |error: std::io::Error| {
            format!("can't connect to {address}: {error}; name a server's address with --addr")
        };
        let mut stream = Blocking::connect(address).map_err(lost)?;
        stream.set_nodelay(true).map_err(lost)?;
        stream.set_read_timeout(Some(LAST_ANSWERS)).map_err(lost)?;
        stream.write_all(&encode(&hello(load))).map_err(lost)?;
        let mut lane = Self { stream, decoder: Decoder::new(MAX_FRAME), draws: Draws(u64::from(number)) };
        match lane.first_frame().map_err(lost)? {
            ServerFrame::Welcome(welcome) if welcome.authenticated => Ok(lane),
            ServerFrame::Welcome(_) => Err(format!(
                "{address} wants to know who you are: name a user with --user and a file with the password with \
                 --password-file, or the server's data directory with --data"
            )),
            ServerFrame::Goodbye(goodbye) => Err(format!("{address} refused: {}", goodbye)),
            other => Err(format!("{address} greets with what is no welcome: {other:?}")),
        }
    }

    fn first_frame(&mut self) -> std::io::Result<ServerFrame> {
        let mut buffer = [0; 4096];
        loop {
            if let Some(frame) = self.decoder.next().map_err(std::io::Error::other)? {
                return Ok(frame);
            }
            match self.stream.read(&mut buffer)? {
                0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                length => self.decoder.push(&buffer[..length]),
            }
        }
    }

    /// Asks and counts until the time is up.
    pub async fn run(self, load: Arc<Load>, begin: Instant) -> Result<Tally, String> {
        let lost = |error: std::io::Error| format!("a connection was lost: {error}");
        self.stream.set_nonblocking(true).map_err(lost)?;
        let mut stream = TcpStream::from_std(self.stream).map_err(lost)?;
        let (mut read, mut write) = stream.split();
        let measured = begin + load.warmup..begin + load.warmup + load.duration;
        let mut work = Work {
            load: &load,
            draws: self.draws,
            under_way: BTreeMap::new(),
            follow: Vec::new(),
            next: 0,
            out: Vec::new(),
            tally: Tally::new(),
            measured,
            is_over: false,
        };
        let mut decoder = self.decoder;
        let mut buffer = vec![0; 1 << 16];
        // The moment of the next request, which this connection has taken and not yet sent.
        let mut taken: Option<Instant> = None;
        loop {
            let wait = work.fill(begin, &mut taken);
            if work.under_way.is_empty() && work.is_over {
                return Ok(work.tally);
            }
            let wake = wait.unwrap_or_else(|| (Instant::now() + LAST_ANSWERS).max(work.measured.end));
            let read = tokio::select! {
                biased;
                // Answers are read meanwhile: a server that can't send them takes no more requests.
                written = write.write(&work.out), if !work.out.is_empty() => {
                    work.out.drain(..written.map_err(lost)?);
                    continue;
                }
                read = read.read(&mut buffer) => read.map_err(lost)?,
                () = sleep_until(wake.into()) => match wait {
                    Some(_) => continue,
                    None => return Err(format!("no answer within {LAST_ANSWERS:?}")),
                },
            };
            if read == 0 {
                return Err("a node closed a connection".into());
            }
            decoder.push(&buffer[..read]);
            while let Some(frame) =
                decoder.next().map_err(|error| format!("what comes is no frame: {error}"))?
            {
                work.frame(frame)?;
            }
        }
    }
}

/// What one connection is at.
struct Work<'a> {
    load: &'a Load,
    draws: Draws,
    under_way: BTreeMap<u128, UnderWay>,
    /// What follows from an answer: locks are released.
    follow: Vec<UnderWay>,
    next: u128,
    out: Vec<u8>,
    tally: Tally,
    measured: std::ops::Range<Instant>,
    /// Nothing more is to be asked.
    is_over: bool,
}

/// A request that is not answered.
#[derive(Clone, Copy)]
struct UnderWay {
    op: Op,
    key: u64,
    token: i64,
    /// Its moment, from which its latency counts.
    since: Instant,
}

impl Work<'_> {
    /// Makes requests until so many are under way as may be, or the next has to wait for its moment, which is given.
    fn fill(&mut self, begin: Instant, taken: &mut Option<Instant>) -> Option<Instant> {
        while self.under_way.len() < self.load.pipeline {
            if let Some(next) = self.follow.pop() {
                self.ask(UnderWay { since: Instant::now(), ..next });
                continue;
            }
            let (now, end) = (Instant::now(), self.measured.end);
            if taken.is_none() {
                *taken = self.load.next_moment().map(|moment| begin + moment);
            }
            let since = match *taken {
                // What had its moment is asked, however late that is: a stall at the end counts, too.
                Some(moment) if moment >= end => {
                    self.is_over = true;
                    return None;
                }
                Some(moment) if moment > now => return Some(moment),
                Some(moment) if now >= end + LAST_ANSWERS => {
                    self.tally.unsent += u64::from(self.measured.contains(&moment));
                    *taken = None;
                    continue;
                }
                Some(moment) => moment,
                None if now >= end => {
                    self.is_over = true;
                    return None;
                }
                None => now,
            };
            *taken = None;
            let (op, key) = (self.load.mix.pick(self.draws.next()), self.draws.next() % self.load.keys);
            self.ask(UnderWay { op, key, token: 0, since });
        }
        None
    }

    fn ask(&mut self, request: UnderWay) {
        self.next += 1;
        let args = words(request.op, request.key, &self.load.value, request.token);
        let frame = Request {
            id: Uuid::from_u128(self.next),
            once: None,
            deadline_ms: 0,
            trace: None,
            unknowns: 0,
            args,
        };
        self.out.extend_from_slice(&encode(&ClientFrame::Request(frame)));
        self.under_way.insert(self.next, request);
    }

    fn frame(&mut self, frame: ServerFrame) -> Result<(), String> {
        match frame {
            ServerFrame::Response(response) => self.answered(&response),
            ServerFrame::Goodbye(goodbye) => Err(format!("a node ends the connection: {}", goodbye)),
            ServerFrame::Welcome(_) => Ok(()),
        }
    }

    fn answered(&mut self, response: &Response) -> Result<(), String> {
        let request = self.under_way.remove(&response.id.as_u128()).ok_or("an answer to nothing came")?;
        if self.measured.contains(&request.since) {
            let failure = response.reply.outcome.as_ref().err().map(|failure| failure.code);
            self.tally.count(request.op, request.since.elapsed(), failure);
        }
        if let (Op::Lock, Ok(Value::Map(pairs))) = (request.op, &response.reply.outcome)
            && let Some((_, Value::Int(token))) = pairs.iter().find(|(name, _)| name == "token")
        {
            self.follow.push(UnderWay { op: Op::Release, token: *token, ..request });
        }
        Ok(())
    }
}

fn hello(load: &Load) -> ClientFrame {
    let core = &load.config;
    ClientFrame::Hello(Hello {
        versions: (VERSION_MIN, VERSION_MAX),
        max_frame: MAX_FRAME as u32,
        client: "steadfast bench".into(),
        client_version: env!("CARGO_PKG_VERSION").into(),
        cluster: core.cluster.clone(),
        auth: core.credentials.as_ref().map(|it| (it.user.clone(), it.password.clone())),
    })
}

fn encode(frame: &ClientFrame) -> Vec<u8> {
    frame.encode(MAX_FRAME).expect("a request of this program fits into a frame").into()
}

/// A small generator of numbers (splitmix64, Steele et al., OOPSLA 2014).
struct Draws(u64);

impl Draws {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
