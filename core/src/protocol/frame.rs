//! Client frames: the sixteen bytes before every message, and the decoder that finds frames in a stream.
//!
//! A frame is refused by its header alone if it is too long, so that nobody makes us buffer by their word. After
//! any [`FrameError`] the stream has no defined place to go on from: the connection must be closed. What is
//! inside a body is the business of `native.rs`.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 4 | magic, `SFC1` |
//! | 4 | 1 | kind |
//! | 5 | 1 | flags, 0 |
//! | 6 | 2 | reserved, 0 |
//! | 8 | 4 | length of the body in bytes, u32 little-endian |
//! | 12 | 4 | CRC-32 (IEEE) of the twelve bytes before and of the body, u32 little-endian |
//! | 16 | | body |

use std::fmt;
use std::marker::PhantomData;

use bytes::Bytes;

use super::wire::BodyError;
use crate::error::{ErrorCode, Failure};

/// The first four bytes of every client frame.
pub const MAGIC: [u8; 4] = *b"SFC1";
/// Bytes before the body.
pub const HEADER_BYTES: usize = 16;
/// A buffer that grew beyond this is given back once it is empty, so that ten thousand idle connections
/// hold no memory.
const KEPT_BYTES: usize = 16 << 10;

/// Messages of one direction.
pub trait Message: Sized {
    /// Whether this direction has such a kind of frame.
    fn is_kind(kind: u8) -> bool;
    /// The kind of this message.
    fn kind(&self) -> u8;
    /// Appends the body.
    ///
    /// # Errors
    /// [`EncodeError`] if the message has no encoding; `out` may then hold a part of it.
    fn write(&self, out: &mut Vec<u8>) -> Result<(), EncodeError>;
    /// Reads a body of a known kind.
    ///
    /// # Errors
    /// [`BodyError`] if the bytes are not such a body.
    fn read(kind: u8, body: &[u8]) -> Result<Self, BodyError>;

    /// The whole frame, at most `maximum` bytes long.
    ///
    /// # Errors
    /// [`EncodeError`] if it would be longer or can't be written.
    fn encode(&self, maximum: usize) -> Result<Bytes, EncodeError> {
        let mut out = Vec::with_capacity(128);
        self.append(maximum, &mut out)?;
        Ok(Bytes::from(out))
    }

    /// Adds the frame, of at most so many bytes, to others; nothing of it if there is an error.
    ///
    /// # Errors
    /// As for [`Message::encode`].
    fn append(&self, maximum: usize, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let start = out.len();
        let appended = append_whole(self, maximum, out);
        if appended.is_err() {
            out.truncate(start);
        }
        appended
    }
}

fn append_whole(message: &impl Message, maximum: usize, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let start = out.len();
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[message.kind(), 0, 0, 0]);
    out.extend_from_slice(&[0; 8]);
    message.write(out)?;
    let frame = &mut out[start..];
    if frame.len() > maximum {
        return Err(EncodeError::TooLarge { length: frame.len(), maximum });
    }
    let Ok(length) = u32::try_from(frame.len() - HEADER_BYTES) else {
        return Err(EncodeError::TooLarge { length: frame.len(), maximum: u32::MAX as usize });
    };
    frame[8..12].copy_from_slice(&length.to_le_bytes());
    let crc = checksum(&frame[..12], &frame[HEADER_BYTES..]);
    frame[12..16].copy_from_slice(&crc.to_le_bytes());
    Ok(())
}

/// Why a message can't be sent. The connection is fine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EncodeError {
    /// The frame would be longer than the other side accepts.
    TooLarge {
        /// Bytes, header included.
        length: usize,
        /// What is accepted.
        maximum: usize,
    },
    /// The reply nests values deeper than [`super::value::MAX_DEPTH`].
    TooDeep,
    /// There are more arguments or values than a frame may hold.
    TooMany {
        /// How many.
        count: usize,
        /// How many may be.
        maximum: usize,
    },
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { length, maximum } => write!(
                f,
                "the frame would have {length} bytes and the other side accepts {maximum}: ask for less at a time"
            ),
            Self::TooDeep => f.write_str("the reply nests too deeply for a frame"),
            Self::TooMany { count, maximum } => {
                write!(f, "{count} elements, and a frame holds at most {maximum}: ask for less at a time")
            }
        }
    }
}

impl std::error::Error for EncodeError {}

impl From<EncodeError> for Failure {
    fn from(error: EncodeError) -> Self {
        Self::new(ErrorCode::TooLarge, error.to_string())
    }
}

/// What is wrong with a stream of frames. The connection must be closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// These are not the first bytes of a frame.
    Magic {
        /// Up to four bytes that came.
        found: Vec<u8>,
    },
    /// This direction has no such frame.
    Kind {
        /// What came.
        found: u8,
    },
    /// A flag that does not exist in this version.
    Flags {
        /// What came.
        found: u8,
    },
    /// The reserved bytes are not zero.
    Reserved {
        /// What came.
        found: u16,
    },
    /// The frame is longer than is accepted at this point of the connection.
    TooLong {
        /// Its length in bytes, header included.
        length: u64,
        /// What is accepted.
        maximum: usize,
    },
    /// The bytes were damaged on their way.
    Checksum {
        /// What the header says.
        found: u32,
        /// What the bytes have.
        computed: u32,
    },
    /// The bytes are whole, and are not what their kind should be.
    Body {
        /// The frame's kind.
        kind: u8,
        /// What is wrong.
        error: BodyError,
    },
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Magic { found } => write!(
                f,
                "a frame begins with SFC1, and this with \"{}\": is the other side a Steadfast of this version?",
                found.escape_ascii()
            ),
            Self::Kind { found } => write!(f, "no frame in this direction has the kind {found:#04x}"),
            Self::Flags { found } => write!(f, "the frame's flags are {found:#04x} and must be 0"),
            Self::Reserved { found } => {
                write!(f, "the frame's reserved bytes are {found:#06x} and must be 0")
            }
            Self::TooLong { length, maximum } => {
                write!(f, "the frame has {length} bytes, and at most {maximum} are accepted here")
            }
            Self::Checksum { found, computed } => write!(
                f,
                "the frame's checksum is {found:#010x} and its bytes have {computed:#010x}: damaged on the way"
            ),
            Self::Body { kind, error } => {
                write!(f, "the body of a frame of kind {kind:#04x} is wrong: {error}")
            }
        }
    }
}

impl std::error::Error for FrameError {}

impl From<&FrameError> for Failure {
    /// What to say in the goodbye.
    fn from(error: &FrameError) -> Self {
        let code = match error {
            FrameError::TooLong { .. } => ErrorCode::TooLarge,
            _ => ErrorCode::Protocol,
        };
        Self::new(code, error.to_string())
    }
}

/// Finds the frames of one direction in a stream that is split anywhere.
///
/// Call [`Decoder::next`] until it gives `None` after every [`Decoder::push`]; then never more than one
/// incomplete frame, of at most the accepted length, is held.
#[derive(Clone, Debug)]
pub struct Decoder<M> {
    buffer: Vec<u8>,
    /// Bytes at the front of the buffer that were given out already.
    consumed: usize,
    maximum: usize,
    failed: Option<FrameError>,
    messages: PhantomData<M>,
}

impl<M: Message> Decoder<M> {
    /// A decoder for a new connection that accepts frames of at most `maximum` bytes, header included.
    #[must_use]
    pub fn new(maximum: usize) -> Self {
        Self { buffer: Vec::new(), consumed: 0, maximum, failed: None, messages: PhantomData }
    }

    /// Accepts frames of at most `maximum` bytes from the next frame on.
    pub fn set_maximum(&mut self, maximum: usize) {
        self.maximum = maximum;
    }

    /// Bytes held that belong to no message yet.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.buffer.len() - self.consumed
    }

    /// Bytes of memory held, used or not.
    #[cfg(test)]
    pub(super) fn retained(&self) -> usize {
        self.buffer.capacity()
    }

    /// Adds what came. After an error nothing is taken any more.
    pub fn push(&mut self, data: &[u8]) {
        if self.failed.is_some() {
            return;
        }
        if self.consumed > 0 {
            self.buffer.drain(..self.consumed);
            self.consumed = 0;
        }
        self.buffer.extend_from_slice(data);
        // The header is judged here already, so that a body which is refused is never gathered, whatever the
        // caller does between two calls.
        if let Err(error) = self.header() {
            self.fail(error);
        }
    }

    /// The next whole message, or `None` if more bytes are needed.
    ///
    /// # Errors
    /// [`FrameError`], and the same one ever after.
    #[allow(clippy::should_implement_trait)] // An iterator would end at `None`; this one goes on.
    pub fn next(&mut self) -> Result<Option<M>, FrameError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        match self.parse() {
            Ok(message) => {
                if self.consumed == self.buffer.len() {
                    self.consumed = 0;
                    self.buffer.clear();
                    if self.buffer.capacity() > KEPT_BYTES {
                        self.buffer = Vec::new();
                    }
                }
                Ok(message)
            }
            Err(error) => {
                self.fail(error.clone());
                Err(error)
            }
        }
    }

    fn fail(&mut self, error: FrameError) {
        self.failed = Some(error);
        self.buffer = Vec::new();
        self.consumed = 0;
    }

    fn parse(&mut self) -> Result<Option<M>, FrameError> {
        let Some(header) = self.header()? else { return Ok(None) };
        let end = self.consumed + header.length;
        let Some(frame) = self.buffer.get(self.consumed..end) else { return Ok(None) };
        let (head, body) = frame.split_at(HEADER_BYTES);
        let computed = checksum(&head[..12], body);
        if computed != header.crc {
            return Err(FrameError::Checksum { found: header.crc, computed });
        }
        let message =
            M::read(header.kind, body).map_err(|error| FrameError::Body { kind: header.kind, error })?;
        self.consumed = end;
        Ok(Some(message))
    }

    /// Judges the next frame's header, as far as it is here.
    fn header(&self) -> Result<Option<Header>, FrameError> {
        let rest = &self.buffer[self.consumed..];
        let prefix = &rest[..rest.len().min(MAGIC.len())];
        if !MAGIC.starts_with(prefix) {
            return Err(FrameError::Magic { found: prefix.to_vec() });
        }
        let Some((head, _)) = rest.split_first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let [_, _, _, _, kind, flags, reserved_low, reserved_high, l0, l1, l2, l3, c0, c1, c2, c3] = *head;
        if !M::is_kind(kind) {
            return Err(FrameError::Kind { found: kind });
        }
        if flags != 0 {
            return Err(FrameError::Flags { found: flags });
        }
        let reserved = u16::from_le_bytes([reserved_low, reserved_high]);
        if reserved != 0 {
            return Err(FrameError::Reserved { found: reserved });
        }
        let length = HEADER_BYTES as u64 + u64::from(u32::from_le_bytes([l0, l1, l2, l3]));
        match usize::try_from(length) {
            Ok(whole) if whole <= self.maximum => {
                Ok(Some(Header { kind, length: whole, crc: u32::from_le_bytes([c0, c1, c2, c3]) }))
            }
            _ => Err(FrameError::TooLong { length, maximum: self.maximum }),
        }
    }
}

/// What a header says, once it was found acceptable.
struct Header {
    kind: u8,
    /// Of the whole frame.
    length: usize,
    crc: u32,
}

/// The CRC-32 of a frame's header, without the field itself, and its body.
pub(super) fn checksum(header: &[u8], body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(header);
    hasher.update(body);
    hasher.finalize()
}
