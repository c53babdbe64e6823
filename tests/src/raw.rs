//! A client that says byte by byte what it likes, over a blocking connection; for tests of what no proper client does.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use steadfast_core::protocol::frame::{Decoder, Message};
use steadfast_core::protocol::native::{
    ClientFrame, Hello, Request, Response, ServerFrame, VERSION_MAX, VERSION_MIN,
};
use steadfast_core::types::Blob;
use uuid::Uuid;

use crate::scratch::{PATIENCE, wait_for};

/// The longest frame that this client sends or takes.
const MAX_FRAME: usize = 8 << 20;

/// A connection.
#[derive(Debug)]
pub struct RawClient {
    /// For bytes of any kind.
    pub stream: TcpStream,
    decoder: Decoder<ServerFrame>,
    /// How many answers of unknown outcome whoever uses it has counted, to say so in requests.
    pub unknowns: u32,
}

impl RawClient {
    /// Connects and says nothing.
    ///
    /// # Panics
    /// If nobody listens.
    #[must_use]
    pub fn connect(address: &str) -> Self {
        Self::over(TcpStream::connect(address).expect("the server listens"))
    }

    fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket has time-outs");
        stream.set_write_timeout(Some(PATIENCE)).expect("a socket has time-outs");
        stream.set_nodelay(true).expect("a socket has this option");
        Self { stream, decoder: Decoder::new(MAX_FRAME), unknowns: 0 }
    }

    /// Connects and logs in; tries again while the server is not ready to check a password.
    ///
    /// # Panics
    /// If it is never accepted.
    #[must_use]
    pub fn login(address: &str, user: &str, password: &str) -> Self {
        wait_for("a login", || Self::connect(address).greet(user, password))
    }

    /// Tries once to connect and to log in.
    #[must_use]
    pub fn try_login(address: &str, user: &str, password: &str) -> Option<Self> {
        Self::over(TcpStream::connect(address).ok()?).greet(user, password)
    }

    fn greet(mut self, user: &str, password: &str) -> Option<Self> {
        self.send(&hello(Some((user, password)))).ok()?;
        match self.receive().ok()?? {
            ServerFrame::Welcome(welcome) if welcome.authenticated => Some(self),
            _ => None,
        }
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// If the connection is gone.
    pub fn send(&mut self, frame: &ClientFrame) -> io::Result<()> {
        self.stream.write_all(&encode(frame))
    }

    /// Sends a request without a session.
    ///
    /// # Errors
    /// If the connection is gone.
    pub fn request<T: Into<Blob>>(&mut self, id: Uuid, args: impl IntoIterator<Item = T>) -> io::Result<()> {
        self.send(&request(id, args))
    }

    /// The next frame; `None` once the server has closed the connection.
    ///
    /// # Errors
    /// If the server sends what is no frame, or nothing for too long.
    pub fn receive(&mut self) -> io::Result<Option<ServerFrame>> {
        let mut buffer = [0; 1 << 16];
        loop {
            if let Some(frame) = self.decoder.next().map_err(io::Error::other)? {
                return Ok(Some(frame));
            }
            match self.stream.read(&mut buffer) {
                Ok(0) => return Ok(None),
                Ok(count) => self.decoder.push(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    /// The next response.
    ///
    /// # Panics
    /// If something else comes.
    pub fn response(&mut self) -> Response {
        match self.receive() {
            Ok(Some(ServerFrame::Response(response))) => response,
            other => panic!("a response was due, and not {other:?}"),
        }
    }

    /// Reads until the server closes the connection; gives what came before.
    ///
    /// # Panics
    /// If it does not close it in time.
    pub fn until_closed(&mut self, within: Duration) -> Vec<ServerFrame> {
        self.stream.set_read_timeout(Some(within)).expect("a socket has time-outs");
        let mut frames = Vec::new();
        loop {
            match self.receive() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => return frames,
                Err(error) => panic!("the server did not close the connection: {error}; before: {frames:?}"),
            }
        }
    }
}

/// A hello as this build's clients say it.
#[must_use]
pub fn hello(auth: Option<(&str, &str)>) -> ClientFrame {
    ClientFrame::Hello(Hello {
        versions: (VERSION_MIN, VERSION_MAX),
        max_frame: MAX_FRAME as u32,
        client: "raw".into(),
        client_version: "0".into(),
        cluster: None,
        auth: auth.map(|(user, password)| (Blob::from(user), password.to_owned())),
    })
}

/// A request without a session.
pub fn request<T: Into<Blob>>(id: Uuid, args: impl IntoIterator<Item = T>) -> ClientFrame {
    let args = args.into_iter().map(Into::into).collect();
    ClientFrame::Request(Request { id, once: None, deadline_ms: 0, trace: None, unknowns: 0, args })
}

/// A frame's bytes.
///
/// # Panics
/// If it is longer than any frame.
#[must_use]
pub fn encode(frame: &ClientFrame) -> Vec<u8> {
    frame.encode(MAX_FRAME).expect("the frame is short").to_vec()
}
