//! One client that writes keys, each once, and keeps book of what it was told; then looks whether that is so: what was
//! acknowledged is there, byte for byte, and what was refused is not. Of an unknown outcome nothing is demanded.

use steadfast::client::{Failure, Value};
use steadfast_core::protocol::native::{ClientFrame, Request, ServerFrame};
use steadfast_core::types::Blob;
use uuid::Uuid;

use crate::raw::RawClient;
use crate::scratch::wait_for;

/// How long a command may take before its outcome is unknown.
const DEADLINE_MS: u32 = 5000;

/// What a client was told of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// It happened.
    Acknowledged(Value),
    /// It did not happen and never will.
    Refused(Failure),
    /// It may have happened, and the connection is of no more use.
    Unknown,
}

impl Told {
    /// Whether it happened.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        matches!(self, Self::Acknowledged(_))
    }
}

/// What must be found of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    There,
    Missing,
    Either,
}

/// The book: of each key, counted from zero, the length of its value and what must be found.
#[derive(Clone, Debug, Default)]
pub struct Ledger(Vec<(usize, Wanted)>);

impl Ledger {
    /// How many keys must be there.
    #[must_use]
    pub fn acknowledged(&self) -> usize {
        self.0.iter().filter(|(_, wanted)| *wanted == Wanted::There).count()
    }

    /// Writes one more key with a value of so many bytes.
    pub fn write(&mut self, client: &mut RawClient, bytes: usize) -> Told {
        let number = self.0.len();
        let told = tell(client, &["SET", &key(number), &value(number, bytes)]);
        let wanted = match told {
            Told::Acknowledged(_) => Wanted::There,
            Told::Refused(_) => Wanted::Missing,
            Told::Unknown => Wanted::Either,
        };
        self.0.push((bytes, wanted));
        told
    }

    /// Writes keys that must all be acknowledged.
    ///
    /// # Panics
    /// If one is not.
    pub fn write_all(&mut self, client: &mut RawClient, count: usize, bytes: usize) {
        for _ in 0..count {
            let told = self.write(client, bytes);
            assert!(told.is_ok(), "{told:?}");
        }
    }

    /// Deletes the newest key that is there.
    ///
    /// # Panics
    /// If there is none.
    pub fn delete(&mut self, client: &mut RawClient) -> Told {
        let number = self.0.iter().rposition(|(_, wanted)| *wanted == Wanted::There).expect("a key is there");
        let told = tell(client, &["DEL", &key(number)]);
        match told {
            Told::Acknowledged(_) => self.0[number].1 = Wanted::Missing,
            Told::Refused(_) => {}
            Told::Unknown => self.0[number].1 = Wanted::Either,
        }
        told
    }

    /// Everything that is not as the client was told, key by key.
    ///
    /// # Panics
    /// If reads are not answered.
    #[must_use]
    pub fn wrong(&self, client: &mut RawClient) -> Vec<String> {
        let mut wrong = Vec::new();
        for (number, (bytes, wanted)) in self.0.iter().enumerate() {
            let there = get(client, &key(number));
            let as_written = there == Some(Blob::from(value(number, *bytes).as_str()));
            let right = match wanted {
                Wanted::There => as_written,
                Wanted::Missing => there.is_none(),
                Wanted::Either => as_written || there.is_none(),
            };
            if !right {
                let found = there.map(|value| value.to_string().chars().take(40).collect::<String>());
                wrong.push(format!("{} is wanted {wanted:?} and is {found:?}", key(number)));
            }
        }
        wrong
    }
}

/// What one command is told, at the latest at its deadline.
pub fn tell(client: &mut RawClient, args: &[&str]) -> Told {
    let args = args.iter().map(|arg| Blob::from(*arg)).collect();
    let request = Request {
        id: Uuid::from_u128(1),
        once: None,
        deadline_ms: DEADLINE_MS,
        trace: None,
        unknowns: 0,
        args,
    };
    if client.send(&ClientFrame::Request(request)).is_err() {
        return Told::Unknown;
    }
    match client.receive() {
        Ok(Some(ServerFrame::Response(response))) => match response.reply.outcome {
            Ok(value) => Told::Acknowledged(value),
            Err(failure) if failure.is_definite() => Told::Refused(failure),
            Err(_) => Told::Unknown,
        },
        _ => Told::Unknown,
    }
}

/// What a key holds; asks again while the cluster has no leader.
fn get(client: &mut RawClient, key: &str) -> Option<Blob> {
    wait_for("a read to be answered", || match tell(client, &["GET", key]) {
        Told::Acknowledged(Value::Nil) => Some(None),
        Told::Acknowledged(Value::Bytes(value)) => Some(Some(value)),
        Told::Refused(_) => None,
        other => panic!("a read is answered with a value or refused: {other:?}"),
    })
}

/// Where a value is in its file is found by it: no other file has it.
#[must_use]
pub fn value(number: usize, bytes: usize) -> String {
    let mut value = format!("value-{number:08}-").repeat(bytes / 15 + 1);
    value.truncate(bytes);
    value
}

fn key(number: usize) -> String {
    format!("key-{number:08}")
}
