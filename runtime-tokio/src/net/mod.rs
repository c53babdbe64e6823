//! What the server and the client library share: socket options, reading and writing, and randomness.

pub mod chunks;
pub mod socket;
pub mod writer;

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Poll, ready};
use std::{fs, io};

use bytes::Bytes;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::tcp::OwnedReadHalf;

/// Most bytes of one read.
const READ: usize = 64 << 10;

thread_local! {
    /// What a read goes to before it is known how long it is, so that idle connections hold no buffers.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ].into_boxed_slice());
}

/// The next bytes, at most 64 KiB; none at the end of the stream.
///
/// # Errors
/// If the connection is lost.
pub async fn read_some(read: &mut OwnedReadHalf) -> io::Result<Bytes> {
    // Not `readable` and `try_read`, which would ask the system once more after each read that left room.
    poll_fn(|context| {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            ready!(Pin::new(&mut *read).poll_read(context, &mut buffer))?;
            Poll::Ready(Ok(Bytes::copy_from_slice(buffer.filled())))
        })
    })
    .await
}

/// Randomness of the operating system, from which the core makes all of its draws.
///
/// # Errors
/// If the system has none.
pub fn draw_seed() -> io::Result<[u8; 32]> {
    let mut seed = [0; 32];
    io::Read::read_exact(&mut fs::File::open("/dev/urandom")?, &mut seed)?;
    Ok(seed)
}
