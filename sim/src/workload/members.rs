//! Draws changes of the members: administrators ask for steps, among everything else that they do.
//!
//! Where members come and go at will, disks lose nothing: how many copies may be lost would change with every step, and a schedule declares
//! that before. Elsewhere a node whose disk was wiped may be promoted, which takes no copy from anybody.

use crate::fault::FaultKind;
use crate::rng::Stream;
use crate::schedule::{ClientSpec, Cluster, Op, address};

/// How often members come and go in a run of several nodes, in a million.
const COME_AND_GO_PPM: u32 = 150_000;

/// Whether members come and go at will in a run.
pub fn come_and_go(stream: &mut Stream, cluster: &Cluster) -> bool {
    cluster.nodes > 1 && stream.chance(COME_AND_GO_PPM)
}

/// Adds steps to what administrators do. The first client always is one.
pub fn steps(stream: &mut Stream, cluster: &Cluster, at_will: bool, clients: &mut [ClientSpec]) {
    let mut askers: Vec<&mut ClientSpec> =
        clients.iter_mut().filter(|client| client.user == "root").collect();
    for _ in 0..stream.between(20, 120) {
        let who = stream.below(askers.len() as u64) as usize;
        let asker = &mut *askers[who];
        let think_us = asker.ops.first().map_or(0, |op| op.think_us);
        let (one, other) = (node(stream, cluster), node(stream, cluster));
        let step = match stream.below(24) {
            _ if !at_will => format!("CLUSTER PROMOTE {one}"),
            0..2 => format!("CLUSTER DEMOTE {one}"),
            2..5 => format!("CLUSTER REMOVE {one}"),
            // Where one is that the others were not started with, somebody has to say.
            5..7 if one <= u64::from(cluster.founders()) => format!("CLUSTER ADD {one}"),
            5..9 => added(one as u16),
            9..13 => format!("CLUSTER PROMOTE {one}"),
            13..15 => format!("CLUSTER REPLACE {one} {other}"),
            // Founders are voters as a rule, and a transfer to others is refused.
            15..21 => format!("CLUSTER TRANSFER {}", one % u64::from(cluster.founders()) + 1),
            21..23 => format!("CLUSTER PREFER {one} {}", stream.below(3)),
            _ => "CLUSTER MEMBERS".into(),
        };
        let words: Vec<&str> = step.split(' ').collect();
        let place = stream.below(asker.ops.len() as u64 + 1) as usize;
        asker.ops.insert(place, Op::new(think_us, &words));
    }
}

fn added(node: u16) -> String {
    format!("CLUSTER ADD {node} {}", address(node))
}

/// How many nodes come from elsewhere in a run in which members come and go.
pub fn newcomers(stream: &mut Stream, cluster: &Cluster) -> u16 {
    if stream.chance(500_000) { stream.between(1, u64::from(cluster.nodes) - 1) as u16 } else { 0 }
}

/// Whether a fault loses a disk. (What damages one is not drawn where members come and go.)
pub fn destroys(what: &FaultKind) -> bool {
    matches!(what, FaultKind::Wipe { .. })
}

/// What makes all nodes voters again, if nobody removes one meanwhile.
pub fn restore(cluster: &Cluster) -> Vec<Op> {
    // The administrator may have been denied to.
    let denials = ["cluster FROM root", "cluster FROM ROLE ops", "* FROM root", "* FROM ROLE ops"];
    let denials = denials.map(|denial| format!("UNDENY ADMIN ON {denial}"));
    let of = |node: u16| [added(node), format!("CLUSTER PROMOTE {node}")];
    let denials = denials.into_iter().filter(|_| cluster.access);
    let lines = denials.chain((1..=cluster.nodes).flat_map(of));
    lines.map(|line| Op::new(0, &line.split(' ').collect::<Vec<_>>())).collect()
}

fn node(stream: &mut Stream, cluster: &Cluster) -> u64 {
    stream.between(1, u64::from(cluster.nodes))
}
