//! Names, values, a random order that is the same in every run, the clock and the memory taken.

use std::hint::black_box;
use std::time::{Duration, Instant};

use steadfast_core::types::Blob;

/// Into how many slices a pass is cut.
const SLICES: usize = 8;

/// One candidate's measurements.
pub struct Bench {
    name: &'static str,
    /// How many keys.
    pub keys: usize,
    resident: usize,
}

impl Bench {
    pub fn new(name: &'static str, keys: usize) -> Self {
        Self { name, keys, resident: resident_bytes() }
    }

    /// Prints the time per operation: the median of the pass's slices, for other programs disturb some.
    pub fn time(&self, what: &str, count: usize, operation: impl FnMut(usize)) {
        let nanos = median(slices(count, operation));
        println!("{:<16} {what:<44} {nanos:>10.0} ns", self.name);
    }

    /// As above, with the longest single operation. What reading the clock takes is subtracted.
    pub fn time_each(&self, what: &str, count: usize, mut operation: impl FnMut(usize)) {
        let mut longest = Duration::ZERO;
        let mut last = Instant::now();
        let nanos = median(slices(count, |at| {
            operation(at);
            let now = Instant::now();
            longest = longest.max(now - last);
            last = now;
        }));
        let clock = median(slices(100_000, |_| used(Instant::now())));
        let nanos = nanos - clock;
        println!("{:<16} {what:<44} {nanos:>10.0} ns   longest {longest:>8.0?}", self.name);
    }

    /// Prints the memory taken since the beginning, per key.
    pub fn memory(&self) {
        let bytes = (resident_bytes() - self.resident) as f64 / self.keys as f64;
        println!("{:<16} {:<44} {bytes:>10.1} bytes", self.name, "memory per key");
    }
}

/// The `n`th name, 16 bytes.
pub fn name(n: usize) -> [u8; 16] {
    let mut name = *b"key:............";
    for (at, byte) in name[4..].iter_mut().enumerate() {
        *byte = b"0123456789abcdef"[n >> (4 * (11 - at)) & 15];
    }
    name
}

/// A fresh value of 100 bytes.
pub fn value(n: usize) -> Blob {
    let mut value = [b'v'; 100];
    value[..16].copy_from_slice(&name(n));
    Blob::from(value.as_slice())
}

/// A permutation of the numbers below `count`, another one for each seed: keys that were created one after
/// the other, and lie side by side, must not be read so.
pub fn shuffled(count: usize, seed: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64 ^ seed;
    for at in (1..count).rev() {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        order.swap(at, (random >> 33) as usize % (at + 1));
    }
    order
}

/// Keeps the compiler from seeing that a result is not used.
pub fn used<T>(value: T) {
    black_box(value);
}

/// The times per operation of the slices of a pass.
fn slices(count: usize, mut operation: impl FnMut(usize)) -> Vec<f64> {
    let slice = count.div_ceil(SLICES);
    let starts = (0..count).step_by(slice);
    let run = |start: usize| {
        let end = count.min(start + slice);
        let begin = on_cpu();
        (start..end).for_each(&mut operation);
        (on_cpu() - begin).as_nanos() as f64 / (end - start) as f64
    };
    starts.map(run).collect()
}

/// How long this thread has run: other programs on the machine take time away, but not from this.
fn on_cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux counts a thread's time");
    Duration::from_nanos(text.split(' ').next().and_then(|nanos| nanos.parse().ok()).expect("nanoseconds"))
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn resident_bytes() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").expect("Linux tells a process its memory");
    let pages: usize =
        pages.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("a number of pages");
    pages * 4096
}
