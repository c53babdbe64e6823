//! etcd, a single node, spoken to over its JSON gateway: HTTP on a connection that is kept, keys and values in base64.
//! That costs it more time than its own protocol would, and no more bytes on the disk.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use super::daemon::Daemon;
use super::system::{Client, Pair, System};
use crate::scratch;

/// The program.
pub const PROGRAM: &str = "etcd";
/// Puts of one transaction; etcd takes 128 unless told otherwise.
const PUTS: usize = 125;

/// The node.
#[derive(Clone, Debug)]
pub struct Etcd {
    dir: PathBuf,
    address: String,
    peers: String,
}

impl Etcd {
    /// With its data here.
    #[must_use]
    pub fn new(dir: PathBuf) -> Self {
        let mut addresses = scratch::free_addresses(2);
        let peers = addresses.remove(1);
        Self { dir, address: addresses.remove(0), peers }
    }
}

impl System for Etcd {
    fn name(&self) -> &'static str {
        "etcd"
    }

    fn launch(&self) -> io::Result<Daemon> {
        let (client, peer) = (format!("http://{}", self.address), format!("http://{}", self.peers));
        let mut command = Command::new(PROGRAM);
        command.arg("--data-dir").arg(&self.dir).args(["--listen-client-urls", &client]);
        command.args(["--advertise-client-urls", &client, "--listen-peer-urls", &peer]);
        command.args(["--initial-advertise-peer-urls", &peer]);
        command.args(["--initial-cluster", &format!("default={peer}"), "--logger", "zap"]);
        command.args(["--log-level", "error"]);
        Daemon::spawn(&mut command, &self.dir.with_extension("log"))
    }

    fn connect(&self) -> io::Result<Box<dyn Client>> {
        let stream = TcpStream::connect(&self.address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        Ok(Box::new(Connection { reader: BufReader::new(stream) }))
    }
}

/// A connection.
#[derive(Debug)]
struct Connection {
    reader: BufReader<TcpStream>,
}

impl Connection {
    fn post(&mut self, path: &str, body: &Value) -> io::Result<Value> {
        let body = body.to_string();
        let head = format!("POST {path} HTTP/1.1\r\nHost: etcd\r\nContent-Length: {}\r\n\r\n", body.len());
        self.reader.get_mut().write_all((head + &body).as_bytes())?;
        let status = self.line()?;
        let (mut length, mut chunked) = (0, false);
        loop {
            let line = self.line()?.to_ascii_lowercase();
            match line.split_once(": ") {
                Some(("content-length", value)) => length = value.parse().map_err(io::Error::other)?,
                Some(("transfer-encoding", "chunked")) => chunked = true,
                Some(_) => {}
                None => break,
            }
        }
        let body = if chunked { self.chunks()? } else { self.exactly(length)? };
        if !status.contains(" 200 ") {
            return Err(io::Error::other(format!("{status}: {}", String::from_utf8_lossy(&body))));
        }
        serde_json::from_slice(&body).map_err(io::Error::other)
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        match self.reader.read_line(&mut line)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(line.trim_end().to_owned()),
        }
    }

    fn exactly(&mut self, length: usize) -> io::Result<Vec<u8>> {
        let mut body = vec![0; length];
        self.reader.read_exact(&mut body)?;
        Ok(body)
    }

    fn chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let length = usize::from_str_radix(&self.line()?, 16).map_err(io::Error::other)?;
            body.extend(self.exactly(length)?);
            self.line()?;
            if length == 0 {
                return Ok(body);
            }
        }
    }
}

impl Client for Connection {
    fn set(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        self.post("/v3/kv/put", &json!({"key": encode(key), "value": encode(value)})).map(drop)
    }

    fn set_all(&mut self, pairs: &[Pair]) -> io::Result<()> {
        for puts in pairs.chunks(PUTS) {
            let put =
                |(key, value): &Pair| json!({"requestPut": {"key": encode(key), "value": encode(value)}});
            let puts: Vec<Value> = puts.iter().map(put).collect();
            self.post("/v3/kv/txn", &json!({"success": puts}))?;
        }
        Ok(())
    }

    fn get(&mut self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let answer = self.post("/v3/kv/range", &json!({"key": encode(key)}))?;
        Ok(answer["kvs"][0]["value"].as_str().map(decode))
    }
}

const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Base64 (RFC 4648).
fn encode(bytes: &[u8]) -> String {
    let mut out = String::new();
    for group in bytes.chunks(3) {
        let all = group.iter().fold(0, |all, byte| all << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for at in 0..4 {
            match at <= group.len() {
                true => out.push(LETTERS[(all >> (18 - 6 * at) & 63) as usize] as char),
                false => out.push('='),
            }
        }
    }
    out
}

/// Its inverse, for what etcd sends.
fn decode(text: &str) -> Vec<u8> {
    let (mut bytes, mut all, mut bits) = (Vec::new(), 0_u32, 0);
    for letter in text.bytes().filter_map(|byte| LETTERS.iter().position(|letter| *letter == byte)) {
        all = all << 6 | letter as u32;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((all >> bits) as u8);
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_as_the_rfc_has_it() {
        for (plain, coded) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(encode(plain.as_bytes()), coded);
            assert_eq!(decode(coded), plain.as_bytes());
        }
    }
}
