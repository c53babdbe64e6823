//! Watches the bytes of one connection on the node's side of the wire: a connection's commands take effect in the
//! order in which they were asked, and after one of unknown outcome the later ones do not take effect at all.
//!
//! Histories can't tell this, for to them requests that are under way together are concurrent. This judge reads
//! frames and nothing else; it never asks a node.

use std::collections::BTreeMap;

use steadfast_core::error::ErrorCode;
use steadfast_core::protocol::native::{
    ClientDecoder, ClientFrame, Request, Response, ServerDecoder, ServerFrame,
};
use steadfast_core::reply::{Reply, Value};
use steadfast_core::types::Index;
use uuid::Uuid;

/// This judge's name.
pub const JUDGE: &str = "pipeline";

/// Larger than any frame of a simulation, in bytes.
const MAX_FRAME: usize = 64 << 20;

/// Commands that may change something.
const WRITES: [&str; 7] = ["SET", "DEL", "INCRBY", "EXPIRE", "PEXPIRE", "PERSIST", "MSET"];

/// What was seen of one connection.
#[derive(Clone, Debug)]
pub struct Pipeline {
    requests: ClientDecoder,
    answers: ServerDecoder,
    /// Requests that were not answered.
    open: BTreeMap<Uuid, Asked>,
    next: u64,
    /// The requests whose outcome the client was told to be unknown, in the order in which it was told.
    unknown: Vec<(u64, bool)>,
    /// Where the writes took effect that have an entry of their own, by their place among the requests.
    effects: BTreeMap<u64, Index>,
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    place: u64,
    writes: bool,
    /// Of how many unknown outcomes the client knew.
    unknowns: u32,
    /// Whether a success means an entry of this very request: not for a retry, and not for one that may find
    /// nothing to do.
    logged: bool,
}

impl Default for Pipeline {
    fn default() -> Self {
        Self {
            requests: ClientDecoder::new(MAX_FRAME),
            answers: ServerDecoder::new(MAX_FRAME),
            open: BTreeMap::new(),
            next: 0,
            unknown: Vec::new(),
            effects: BTreeMap::new(),
        }
    }
}

impl Pipeline {
    /// Bytes reached the node.
    pub fn asked(&mut self, data: &[u8]) {
        self.requests.push(data);
        // Frames that nobody can read are answered by nobody.
        while let Ok(Some(frame)) = self.requests.next() {
            if let ClientFrame::Request(request) = frame {
                self.request(&request);
            }
        }
    }

    /// The node sends bytes.
    ///
    /// # Errors
    /// What the node broke.
    pub fn answered(&mut self, data: &[u8]) -> Result<(), String> {
        self.answers.push(data);
        loop {
            match self.answers.next() {
                Ok(Some(ServerFrame::Response(response))) => self.response(&response)?,
                Ok(Some(_)) => {}
                Ok(None) => return Ok(()),
                Err(error) => return Err(format!("a node sends what is no frame: {error}")),
            }
        }
    }

    fn request(&mut self, request: &Request) {
        let word =
            |at: usize| request.args.get(at).map(|word| word.to_string().to_uppercase()).unwrap_or_default();
        let writes = WRITES.contains(&word(0).as_str());
        let always =
            matches!(word(0).as_str(), "INCRBY" | "MSET") || (word(0) == "SET" && request.args.len() == 3);
        let asked = Asked {
            place: self.next,
            writes,
            unknowns: request.unknowns,
            logged: always && request.once.is_none(),
        };
        self.next += 1;
        self.open.insert(request.id, asked);
    }

    fn response(&mut self, response: &Response) -> Result<(), String> {
        let Some(Asked { place, writes, unknowns, logged }) = self.open.remove(&response.id) else {
            return Err(format!(
                "a node answers {}, which was not asked or was answered before",
                response.id
            ));
        };
        match &response.reply {
            Reply { outcome: Ok(value), receipt: Some(receipt) } => {
                // What was answered ahead may be lost, and a later one then take its place.
                let logged = logged && receipt.ahead.is_none();
                self.success((place, unknowns), logged, value, receipt.position)
            }
            Reply { outcome: Err(failure), .. }
                if matches!(failure.code, ErrorCode::TimedOut | ErrorCode::LeaderLost) =>
            {
                self.unknown.push((place, writes));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn success(
        &mut self,
        (place, known): (u64, u32),
        logged: bool,
        value: &Value,
        position: Index,
    ) -> Result<(), String> {
        let mut news =
            self.unknown.iter().skip(known as usize).filter(|(other, writes)| *writes && *other < place);
        if let Some((unknown, _)) = news.next() {
            return Err(format!(
                "request {place} of a connection is answered {value:?} at {position}, after its request {unknown} was \
                 answered as of unknown outcome"
            ));
        }
        if !logged {
            return Ok(());
        }
        let before = self.effects.range(..place).next_back().filter(|(_, at)| **at >= position);
        let after = self.effects.range(place..).next().filter(|(_, at)| **at <= position);
        if let Some((other, at)) = before.or(after) {
            return Err(format!(
                "request {place} of a connection took effect at {position}, and its request {other} at {at}: not in \
                 the order in which they were asked"
            ));
        }
        self.effects.insert(place, position);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use steadfast_core::error::Failure;
    use steadfast_core::protocol::frame::Message as _;
    use steadfast_core::reply::Receipt;
    use steadfast_core::time::Millis;
    use steadfast_core::types::{Blob, NodeId};

    use super::*;

    fn ask(pipeline: &mut Pipeline, id: u128, words: &str) {
        ask_knowing(pipeline, id, words, 0);
    }

    fn ask_knowing(pipeline: &mut Pipeline, id: u128, words: &str, unknowns: u32) {
        let args = words.split(' ').map(Blob::from).collect();
        let request =
            Request { id: Uuid::from_u128(id), once: None, deadline_ms: 0, trace: None, unknowns, args };
        pipeline.asked(&ClientFrame::Request(request).encode(MAX_FRAME).unwrap());
    }

    fn answer(pipeline: &mut Pipeline, id: u128, position: Option<u64>) -> Result<(), String> {
        let reply = match position {
            Some(position) => {
                let receipt = Some(Receipt::durable(Index(position), Millis(1)));
                Reply { outcome: Ok(Value::ok()), receipt }
            }
            None => Reply::refused(Failure::new(ErrorCode::TimedOut, "?")),
        };
        let response = Response { id: Uuid::from_u128(id), reply, node: NodeId(1) };
        pipeline.answered(&ServerFrame::Response(response).encode(MAX_FRAME).unwrap())
    }

    fn asked(words: [&str; 2]) -> Pipeline {
        let mut pipeline = Pipeline::default();
        ask(&mut pipeline, 1, words[0]);
        ask(&mut pipeline, 2, words[1]);
        pipeline
    }

    #[test]
    fn writes_in_the_order_of_their_requests_pass_in_whatever_order_the_answers_come() {
        let mut pipeline = asked(["SET a 1", "INCRBY b 1"]);
        answer(&mut pipeline, 2, Some(6)).unwrap();
        answer(&mut pipeline, 1, Some(5)).unwrap();
    }

    #[test]
    fn a_write_behind_a_later_one_fails() {
        let mut pipeline = asked(["SET a 1", "INCRBY b 1"]);
        answer(&mut pipeline, 2, Some(5)).unwrap();
        assert!(answer(&mut pipeline, 1, Some(6)).unwrap_err().contains("not in the order"));
    }

    #[test]
    fn a_success_after_an_unknown_outcome_fails_and_one_before_it_passes() {
        let mut pipeline = asked(["SET a 1", "GET b"]);
        answer(&mut pipeline, 1, None).unwrap();
        assert!(answer(&mut pipeline, 2, Some(6)).unwrap_err().contains("unknown outcome"));
        let mut pipeline = asked(["GET b", "SET a 1"]);
        answer(&mut pipeline, 2, None).unwrap();
        answer(&mut pipeline, 1, Some(6)).unwrap();
    }

    #[test]
    fn who_knows_of_an_unknown_outcome_goes_on_and_does_not_know_of_the_next() {
        let mut pipeline = asked(["SET a 1", "SET b 1"]);
        answer(&mut pipeline, 1, None).unwrap();
        ask_knowing(&mut pipeline, 3, "SET c 1", 1);
        answer(&mut pipeline, 3, Some(6)).unwrap();
        answer(&mut pipeline, 2, None).unwrap();
        ask_knowing(&mut pipeline, 4, "SET c 2", 1);
        assert!(answer(&mut pipeline, 4, Some(7)).unwrap_err().contains("unknown outcome"));
    }

    #[test]
    fn a_second_answer_fails() {
        let mut pipeline = asked(["SET a 1", "GET b"]);
        answer(&mut pipeline, 1, Some(5)).unwrap();
        assert!(answer(&mut pipeline, 1, Some(5)).is_err());
    }
}
