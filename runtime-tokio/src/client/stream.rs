//! One TCP connection of the client: made, fed and read until one side ends it. It understands no byte of what
//! it carries.

use std::io;
use std::time::Duration;

use steadfast_core::client::ClientInput;
use steadfast_core::types::ConnId;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::net::writer::{Outgoing, write_all};
use crate::net::{read_some, socket};

/// How long a connection that the client closes may take to send what was given to it before.
const FLUSH: Duration = Duration::from_secs(1);

/// Runs a connection until it ends: by the server, by a failure, or because the sender of `outgoing` was dropped
/// and everything sent before has gone out.
pub async fn run(
    conn: ConnId,
    address: String,
    inputs: mpsc::Sender<ClientInput>,
    mut outgoing: mpsc::UnboundedReceiver<Outgoing>,
) {
    let stream = tokio::select! {
        stream = connect(&address) => stream,
        // Nothing is sent before the connection is there, so this can only be the end.
        _ = outgoing.recv() => return,
    };
    let stream = match stream {
        Ok(stream) => stream,
        Err(error) => {
            tracing::debug!(%address, "can't connect: {error}");
            let _ = inputs.send(ClientInput::ConnectFailed { conn }).await;
            return;
        }
    };
    if inputs.send(ClientInput::Connected { conn }).await.is_err() {
        return;
    }
    let (mut read, mut write) = stream.into_split();
    let reading = async {
        loop {
            match read_some(&mut read).await {
                Ok(data) if !data.is_empty() => {
                    // Waits while the driver is behind, and with it the server.
                    if inputs.send(ClientInput::Bytes { conn, data }).await.is_err() {
                        return;
                    }
                }
                _ => return,
            }
        }
    };
    tokio::select! {
        () = reading => {}
        written = write_all(&mut write, &mut outgoing, FLUSH, |_| {}) => {
            if written.is_ok() {
                // Not needed by anybody if it fails.
                let _ = write.shutdown().await;
            }
        }
    }
    let _ = inputs.send(ClientInput::Disconnected { conn }).await;
}

async fn connect(address: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    socket::prepare_client(&stream)?;
    Ok(stream)
}
