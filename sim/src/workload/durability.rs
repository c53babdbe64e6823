//! Draws which keys' writes may be answered ahead of their durability, before a run and amid it.

use crate::rng::Stream;
use crate::schedule::Op;

/// What is configured before a run: in half of them, nothing.
pub(super) fn setup(stream: &mut Stream) -> Vec<Op> {
    let patterns = if stream.chance(500_000) { stream.between(1, 3) } else { 0 };
    (0..patterns)
        .map(|_| {
            let line = asynchronous(stream);
            Op { think_us: 0, args: line.split(' ').map(str::to_owned).collect() }
        })
        .collect()
}

/// Where many keys are due together, reads come upon them, and log that. They are answered when that is durable, whatever the
/// leeway of the keys is.
pub(super) fn whatever_is_due() -> Op {
    Op::new(0, &["DURABILITY", "ASYNC", "*", "MS", "5000", "BYTES", "100000"])
}

/// A change of what is configured.
pub(super) fn change(stream: &mut Stream) -> String {
    match stream.below(10) {
        0..5 => asynchronous(stream),
        5..8 => format!("DURABILITY SYNC {}", pattern(stream)),
        _ => "DURABILITY LIST".into(),
    }
}

fn asynchronous(stream: &mut Stream) -> String {
    let pattern = pattern(stream);
    // Some are so narrow that they are met, in one way or the other, some so wide that whatever is under way at a crash is lost.
    let (short, long) = (stream.between(2, 40), stream.between(1_000, 10_000));
    let (few, many) = (stream.between(12, 60), stream.magnitude(1_000, 1_000_000));
    let (ms, bytes) = match stream.below(10) {
        0..4 => (short, many),
        4..7 => (long, few),
        _ => (long, many),
    };
    format!("DURABILITY ASYNC {pattern} MS {ms} BYTES {bytes}")
}

fn pattern(stream: &mut Stream) -> &'static str {
    stream.pick::<&str>(&[
        "*", "*", "*", "c*", "r*", "r*", "r0", "u*", "m*", "s*", "h*", "l*", "t*", "x*", "?0",
    ])
}
