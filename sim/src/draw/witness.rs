//! Draws clusters of two nodes with data and a witness, and what goes wrong there: the nodes with data are away in turn, so that one is
//! older than what was answered meanwhile.
//!
//! Beside a witness one disk may hold what no other does. So only the witness's own is damaged here; when the disk of a node with data may
//! be lost, the world sees (`world/faults.rs`).

use crate::fault::{Fault, FaultKind, Who};
use crate::rng::Stream;
use crate::schedule::{ClientSpec, Cluster};

/// How often one of three nodes is a witness, in a million.
const WITNESS_PPM: u32 = 200_000;

/// Which node is the witness of a run, if one is.
pub(super) fn choose(stream: &mut Stream, cluster: &mut Cluster) {
    let (chosen, node) = (stream.chance(WITNESS_PPM), stream.between(1, 3) as u16);
    cluster.witness = Some(node).filter(|_| chosen && cluster.nodes == 3);
}

/// What damages a disk strikes the witness.
pub(super) fn spare(cluster: &Cluster, faults: &mut [Fault]) {
    let Some(witness) = cluster.witness else { return };
    for fault in faults {
        match &mut fault.what {
            FaultKind::Rot { who, .. }
            | FaultKind::ReadError { who, .. }
            | FaultKind::RollBack { who, .. }
            | FaultKind::LoseWrite { who, .. }
            | FaultKind::MisdirectWrite { who, .. }
            | FaultKind::OldImage { who, .. }
            | FaultKind::LyingSync { who, .. } => *who = Who::Node(witness),
            _ => {}
        }
    }
}

/// One node with data is away, and comes back when the other one has just gone. And the witness may be away for long.
pub(super) fn alone(stream: &mut Stream, cluster: &Cluster, faults: &mut Vec<Fault>, safety_us: u64) {
    let Some(witness) = cluster.witness else { return };
    let mut with_data: Vec<u16> = (1..=3).filter(|node| *node != witness).collect();
    for _ in 0..stream.between(1, 4) {
        if stream.chance(500_000) {
            with_data.reverse();
        }
        let at_us = stream.between(safety_us / 20, safety_us - safety_us / 10);
        let down_us = cluster.election_us * stream.between(3, 20);
        let power = stream.chance(500_000);
        let mut crash = |at_us, node, down_us| {
            let what = FaultKind::Crash { who: Who::Node(node), power, down_us };
            faults.push(Fault { at_us, what });
        };
        crash(at_us, with_data[0], down_us);
        // Gone a little before the first is back, so that nobody brings that one up to date.
        let before = stream.magnitude(1_000, down_us / 4);
        crash(at_us + down_us - before, with_data[1], cluster.election_us * stream.between(4, 16));
    }
    if stream.chance(600_000) {
        // So long that it lacks what only a snapshot still has.
        let (at_us, down_us) = (stream.between(safety_us / 20, safety_us / 3), safety_us / 2);
        let what = FaultKind::Crash { who: Who::Node(witness), power: stream.chance(500_000), down_us };
        faults.push(Fault { at_us, what });
    }
    faults.retain(|fault| fault.at_us < safety_us);
}

/// Nobody's first choice is a node without data; whom a client tries next may be.
pub(super) fn homes(cluster: &Cluster, clients: &mut [ClientSpec]) {
    for client in clients.iter_mut().filter(|client| Some(client.home) == cluster.witness) {
        client.home = client.home % 3 + 1;
    }
}
