//! The protocols on the wire: how bytes become requests and peer messages, and how answers become bytes.
//!
//! `frame.rs` finds frames in a stream, `native.rs` says what is in a client's frames, `value.rs` how a reply
//! is written, `peer.rs` is the envelope of what nodes tell each other, `wire.rs` reads and writes integers
//! and byte strings. Nothing here keeps a session, decides on access or knows a command; `docs/formats.md`
//! describes every byte, and golden files pin them.

pub mod frame;
pub mod native;
pub mod peer;
pub mod value;
pub mod wire;

/// Who is at the other end of a connection, by its first bytes: clients and nodes share one port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// A client, speaking [`native`].
    Client,
    /// Another node, speaking [`peer`].
    Peer,
    /// Neither; close the connection.
    Stranger,
    /// Fewer than four bytes, and so far they could become either.
    Undecided,
}

impl Caller {
    /// Judges by the first bytes of a connection. Four bytes always decide, and a stranger often shows earlier.
    #[must_use]
    pub fn of(first: &[u8]) -> Self {
        let could_be = |magic: &[u8; 4]| first.iter().zip(magic).all(|(found, wanted)| found == wanted);
        match (could_be(&frame::MAGIC), could_be(&peer::MAGIC)) {
            (false, false) => Self::Stranger,
            _ if first.len() < 4 => Self::Undecided,
            (true, _) => Self::Client,
            (false, true) => Self::Peer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Caller;

    #[test]
    fn four_bytes_tell_who_calls_and_a_stranger_shows_at_once() {
        assert_eq!(Caller::of(b""), Caller::Undecided);
        assert_eq!(Caller::of(b"SF"), Caller::Undecided);
        assert_eq!(Caller::of(b"SFC"), Caller::Undecided);
        assert_eq!(Caller::of(b"SFC1\x01"), Caller::Client);
        assert_eq!(Caller::of(b"SFP1"), Caller::Peer);
        assert_eq!(Caller::of(b"SFC2"), Caller::Stranger);
        assert_eq!(Caller::of(b"*3\r\n"), Caller::Stranger);
        assert_eq!(Caller::of(b"G"), Caller::Stranger);
    }
}
