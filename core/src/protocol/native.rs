//! The native protocol's messages, and their bodies byte by byte.
//!
//! A client says hello, the server welcomes it or says goodbye; then the client sends requests as it likes and
//! gets one response for each, in any order, told apart by UUID. `frame.rs` wraps the bodies; nothing here knows
//! a command or keeps a connection's state.

use std::fmt;

use uuid::Uuid;

use super::frame::{EncodeError, Message};
use super::value::{read_failure, read_reply, write_failure, write_reply};
use super::wire::{BodyError, Reader, put_bytes, put_count};
pub use crate::command::evaluate::Once;
use crate::error::{ErrorCode, Failure};
use crate::reply::Reply;
use crate::types::{Blob, NodeId, SessionId};

/// The lowest protocol version that this build speaks.
pub const VERSION_MIN: u8 = 1;
/// The highest protocol version that this build speaks.
pub const VERSION_MAX: u8 = 1;
/// The longest frame that either side accepts before the welcome unless configured otherwise, header included.
pub const GREETING_BYTES: usize = 4096;
/// How many arguments a request may have on the wire. A node's own limit may be lower, and then has an answer; a
/// frame beyond this one closes the connection.
pub const MAX_ARGUMENTS: usize = 1 << 16;

/// Bytes of a request's frame without its arguments, each of which takes four more than its length; at most.
pub const REQUEST_BYTES: usize = super::frame::HEADER_BYTES + 69;

/// The kinds of frames.
mod kind {
    pub const HELLO: u8 = 0x01;
    pub const REQUEST: u8 = 0x02;
    pub const WELCOME: u8 = 0x81;
    pub const RESPONSE: u8 = 0x82;
    pub const GOODBYE: u8 = 0x83;
}

/// Bits of a request's options byte.
mod option {
    pub const ONCE: u8 = 1;
    pub const TRACE: u8 = 2;
    pub const UNKNOWNS: u8 = 4;
}

/// The first frame of a connection: who the client is, and what it can do.
#[derive(Clone, PartialEq, Eq)]
pub struct Hello {
    /// The lowest and the highest protocol version that the client speaks.
    pub versions: (u8, u8),
    /// The longest frame that the client accepts, in bytes, header included.
    pub max_frame: u32,
    /// The client's name, for the operator.
    pub client: String,
    /// The client's release, for the operator.
    pub client_version: String,
    /// The cluster that the client means; a server of another one refuses. `None` means any.
    pub cluster: Option<String>,
    /// User name and password. The server then answers the hello only when both were checked.
    pub auth: Option<(Blob, String)>,
}

/// Hides the password.
impl fmt::Debug for Hello {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hello")
            .field("versions", &self.versions)
            .field("max_frame", &self.max_frame)
            .field("client", &self.client)
            .field("client_version", &self.client_version)
            .field("cluster", &self.cluster)
            .field("user", &self.auth.as_ref().map(|(user, _)| user))
            .finish_non_exhaustive()
    }
}

/// The answer to a hello that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// The version that both speak from now on.
    pub version: u8,
    /// The longest frame that the server accepts from now on, in bytes, header included. The server sends none
    /// longer than the hello allowed.
    pub max_frame: u32,
    /// The node that the client talks to.
    pub node: NodeId,
    /// The cluster's name.
    pub cluster: String,
    /// The leader's number and address, if known. Any node takes any command; the leader is the shortest way.
    pub leader: Option<(NodeId, String)>,
    /// Whether commands other than AUTH will be executed: false if the hello had no credentials and the server
    /// checks access.
    pub authenticated: bool,
    /// Most requests of this connection that may wait for an answer.
    pub inflight_requests: u32,
    /// Most bytes of requests of this connection that may wait for an answer, frame headers included.
    pub inflight_bytes: u64,
    /// How far a session's sequence may run ahead of its acknowledged floor.
    pub session_window: u64,
    /// The longest deadline that a request may ask for, in milliseconds; also what 0 asks for.
    pub deadline_ms: u32,
}

/// A command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Comes back in the response. Fresh for every attempt.
    pub id: Uuid,
    /// What makes a retry execute once, if the command is in a session.
    pub once: Option<Once>,
    /// Milliseconds from arrival after which the client has no use for an answer; 0 is the server's default.
    pub deadline_ms: u32,
    /// Travels along for whoever follows a request through logs.
    pub trace: Option<Uuid>,
    /// How many answers TIMED_OUT or LEADER_LOST the client has read on this connection. If there were more, the request is not
    /// executed: it would come after a command of unknown outcome, and the client does not know that yet.
    pub unknowns: u32,
    /// The command's name and arguments, at least one.
    pub args: Vec<Blob>,
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The request's.
    pub id: Uuid,
    /// The answer.
    pub reply: Reply,
    /// The node that the client is connected to.
    pub node: NodeId,
}

/// What a client sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientFrame {
    /// Kind 0x01.
    Hello(Hello),
    /// Kind 0x02.
    Request(Request),
}

/// What a server sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerFrame {
    /// Kind 0x81.
    Welcome(Welcome),
    /// Kind 0x82.
    Response(Response),
    /// Kind 0x83: the last frame; the server closes the connection. Says nothing about requests under way.
    Goodbye(Failure),
}

/// What a server reads.
pub type ClientDecoder = super::frame::Decoder<ClientFrame>;
/// What a client reads.
pub type ServerDecoder = super::frame::Decoder<ServerFrame>;

/// The highest version that we and the other side speak.
///
/// # Errors
/// A failure with both ranges, for the goodbye, if there is none.
pub fn negotiate(theirs: (u8, u8)) -> Result<u8, Failure> {
    let highest = VERSION_MAX.min(theirs.1);
    if highest >= VERSION_MIN.max(theirs.0) {
        return Ok(highest);
    }
    Err(Failure::new(
        ErrorCode::Version,
        format!(
            "the client speaks protocol versions {} to {}, this server {VERSION_MIN} to {VERSION_MAX}: \
             use a client or a server of another release",
            theirs.0, theirs.1
        ),
    ))
}

impl Message for ClientFrame {
    fn is_kind(kind: u8) -> bool {
        matches!(kind, kind::HELLO | kind::REQUEST)
    }

    fn kind(&self) -> u8 {
        match self {
            Self::Hello(_) => kind::HELLO,
            Self::Request(_) => kind::REQUEST,
        }
    }

    fn write(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        match self {
            Self::Hello(hello) => write_hello(out, hello),
            Self::Request(request) => return write_request(out, request),
        }
        Ok(())
    }

    fn read(kind: u8, body: &[u8]) -> Result<Self, BodyError> {
        let mut reader = Reader::new(body);
        if kind == kind::HELLO {
            // What follows the known fields belongs to versions that are yet to be agreed on.
            return read_hello(&mut reader).map(Self::Hello);
        }
        let request = read_request(&mut reader)?;
        reader.finish()?;
        Ok(Self::Request(request))
    }
}

impl Message for ServerFrame {
    fn is_kind(kind: u8) -> bool {
        matches!(kind, kind::WELCOME | kind::RESPONSE | kind::GOODBYE)
    }

    fn kind(&self) -> u8 {
        match self {
            Self::Welcome(_) => kind::WELCOME,
            Self::Response(_) => kind::RESPONSE,
            Self::Goodbye(_) => kind::GOODBYE,
        }
    }

    fn write(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        match self {
            Self::Welcome(welcome) => write_welcome(out, welcome),
            Self::Response(response) => {
                out.extend_from_slice(response.id.as_bytes());
                out.extend_from_slice(&response.node.0.to_le_bytes());
                return write_reply(out, &response.reply);
            }
            Self::Goodbye(failure) => write_failure(out, failure),
        }
        Ok(())
    }

    fn read(kind: u8, body: &[u8]) -> Result<Self, BodyError> {
        let mut reader = Reader::new(body);
        let message = match kind {
            kind::WELCOME => Self::Welcome(read_welcome(&mut reader)?),
            kind::RESPONSE => {
                let id = reader.uuid("id")?;
                let node = NodeId(reader.u16("node")?);
                Self::Response(Response { id, reply: read_reply(&mut reader)?, node })
            }
            // May come from a server with which no version could be agreed on.
            _ => return read_failure(&mut reader).map(Self::Goodbye),
        };
        reader.finish()?;
        Ok(message)
    }
}

fn write_hello(out: &mut Vec<u8>, hello: &Hello) {
    out.extend_from_slice(&[hello.versions.0, hello.versions.1]);
    out.extend_from_slice(&hello.max_frame.to_le_bytes());
    put_bytes(out, hello.client.as_bytes());
    put_bytes(out, hello.client_version.as_bytes());
    out.push(u8::from(hello.cluster.is_some()));
    if let Some(cluster) = &hello.cluster {
        put_bytes(out, cluster.as_bytes());
    }
    out.push(u8::from(hello.auth.is_some()));
    if let Some((user, password)) = &hello.auth {
        put_bytes(out, user);
        put_bytes(out, password.as_bytes());
    }
}

fn read_hello(reader: &mut Reader<'_>) -> Result<Hello, BodyError> {
    let lowest = reader.u8("lowest version")?;
    let highest = reader.u8("highest version")?;
    if lowest > highest {
        return Err(BodyError::Invalid { field: "highest version", value: u64::from(highest) });
    }
    Ok(Hello {
        versions: (lowest, highest),
        max_frame: reader.u32("maximum frame")?,
        client: reader.text("client")?,
        client_version: reader.text("client version")?,
        cluster: if reader.flag("cluster")? { Some(reader.text("cluster")?) } else { None },
        auth: if reader.flag("credentials")? {
            Some((reader.blob("user")?, reader.text("password")?))
        } else {
            None
        },
    })
}

fn write_welcome(out: &mut Vec<u8>, welcome: &Welcome) {
    out.push(welcome.version);
    out.extend_from_slice(&welcome.max_frame.to_le_bytes());
    out.extend_from_slice(&welcome.node.0.to_le_bytes());
    put_bytes(out, welcome.cluster.as_bytes());
    out.push(u8::from(welcome.leader.is_some()));
    if let Some((leader, address)) = &welcome.leader {
        out.extend_from_slice(&leader.0.to_le_bytes());
        put_bytes(out, address.as_bytes());
    }
    out.push(u8::from(welcome.authenticated));
    out.extend_from_slice(&welcome.inflight_requests.to_le_bytes());
    out.extend_from_slice(&welcome.inflight_bytes.to_le_bytes());
    out.extend_from_slice(&welcome.session_window.to_le_bytes());
    out.extend_from_slice(&welcome.deadline_ms.to_le_bytes());
}

fn read_welcome(reader: &mut Reader<'_>) -> Result<Welcome, BodyError> {
    Ok(Welcome {
        version: reader.u8("version")?,
        max_frame: reader.u32("maximum frame")?,
        node: NodeId(reader.u16("node")?),
        cluster: reader.text("cluster")?,
        leader: if reader.flag("leader")? {
            Some((NodeId(reader.u16("leader")?), reader.text("leader's address")?))
        } else {
            None
        },
        authenticated: reader.flag("authenticated")?,
        inflight_requests: reader.u32("requests in flight")?,
        inflight_bytes: reader.u64("bytes in flight")?,
        session_window: reader.u64("session window")?,
        deadline_ms: reader.u32("deadline")?,
    })
}

fn write_request(out: &mut Vec<u8>, request: &Request) -> Result<(), EncodeError> {
    if request.args.len() > MAX_ARGUMENTS {
        return Err(EncodeError::TooMany { count: request.args.len(), maximum: MAX_ARGUMENTS });
    }
    out.extend_from_slice(request.id.as_bytes());
    out.extend_from_slice(&request.deadline_ms.to_le_bytes());
    let once = if request.once.is_some() { option::ONCE } else { 0 };
    let trace = if request.trace.is_some() { option::TRACE } else { 0 };
    let unknowns = if request.unknowns > 0 { option::UNKNOWNS } else { 0 };
    out.push(once | trace | unknowns);
    if let Some(Once { session, seq, floor }) = request.once {
        for number in [session.0, seq, floor] {
            out.extend_from_slice(&number.to_le_bytes());
        }
    }
    if let Some(trace) = request.trace {
        out.extend_from_slice(trace.as_bytes());
    }
    if request.unknowns > 0 {
        out.extend_from_slice(&request.unknowns.to_le_bytes());
    }
    out.reserve(request.args.iter().map(|arg| 4 + arg.len()).sum::<usize>() + 4);
    put_count(out, request.args.len());
    for arg in &request.args {
        put_bytes(out, arg);
    }
    Ok(())
}

fn read_request(reader: &mut Reader<'_>) -> Result<Request, BodyError> {
    let id = reader.uuid("id")?;
    let deadline_ms = reader.u32("deadline")?;
    let options = reader.u8("options")?;
    if options & !(option::ONCE | option::TRACE | option::UNKNOWNS) != 0 {
        return Err(BodyError::Invalid { field: "options", value: u64::from(options) });
    }
    let once = if options & option::ONCE != 0 { Some(read_once(reader)?) } else { None };
    let trace = if options & option::TRACE != 0 { Some(reader.uuid("trace")?) } else { None };
    let unknowns = if options & option::UNKNOWNS != 0 { reader.u32("unknown outcomes")? } else { 0 };
    if options & option::UNKNOWNS != 0 && unknowns == 0 {
        return Err(BodyError::Invalid { field: "unknown outcomes", value: 0 });
    }
    let count = reader.count("arguments", MAX_ARGUMENTS, 4)?;
    if count == 0 {
        return Err(BodyError::Invalid { field: "arguments", value: 0 });
    }
    let mut args = Vec::with_capacity(count);
    for _ in 0..count {
        args.push(reader.blob("argument")?);
    }
    Ok(Request { id, once, deadline_ms, trace, unknowns, args })
}

fn read_once(reader: &mut Reader<'_>) -> Result<Once, BodyError> {
    let once = Once {
        session: SessionId(reader.u64("session")?),
        seq: reader.u64("sequence")?,
        floor: reader.u64("floor")?,
    };
    if once.seq == 0 {
        return Err(BodyError::Invalid { field: "sequence", value: 0 });
    }
    Ok(once)
}

#[cfg(test)]
#[path = "native_tests.rs"]
mod tests;
