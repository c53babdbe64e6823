//! Connections through this process: as long as between two zones, cut when a machine dies, and noticing the answer upon which a
//! leader is to die.
//!
//! When a process dies, the kernel still delivers what it has sent. When a machine dies, what has not left it is gone. A link that is cut
//! drops what is under way, for all databases alike.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

/// How much is read at once.
const CHUNK: usize = 64 << 10;

/// What kills a leader, once.
pub struct Trap {
    is_heard: bool,
    kill: Box<dyn Fn() + Send + Sync>,
    sprung: AtomicBool,
    killed: AtomicBool,
}

impl fmt::Debug for Trap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trap").field("is_heard", &self.is_heard).field("sprung", &self.sprung).finish()
    }
}

impl Trap {
    /// Kills upon an answer, which still arrives or does not.
    #[must_use]
    pub fn new(is_heard: bool, kill: Box<dyn Fn() + Send + Sync>) -> Self {
        Self { is_heard, kill, sprung: AtomicBool::new(false), killed: AtomicBool::new(false) }
    }

    /// Whether it has killed.
    pub fn has_killed(&self) -> bool {
        self.killed.load(Ordering::Acquire)
    }

    /// Kills, if this is the first answer to spring it.
    fn spring(&self) -> bool {
        let first = !self.sprung.swap(true, Ordering::AcqRel);
        if first {
            (self.kill)();
            self.killed.store(true, Ordering::Release);
        }
        first
    }
}

#[derive(Debug, Default)]
struct Shared {
    /// Both ends of each connection that is open.
    connections: Mutex<BTreeMap<u64, [TcpStream; 2]>>,
    next: AtomicU64,
    /// Counts the cuts: what was read before one is not written after it.
    cuts: AtomicU64,
    /// Nobody gets through.
    is_cut: AtomicBool,
    trap: Mutex<Option<Arc<Trap>>>,
}

/// A way to an address.
#[derive(Clone, Debug)]
pub struct Link {
    address: String,
    shared: Arc<Shared>,
}

impl Link {
    /// To this address, taking so long in either direction.
    ///
    /// # Errors
    /// If there is no port.
    pub fn open(to: &str, length: Duration) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let link = Self { address: listener.local_addr()?.to_string(), shared: Arc::default() };
        let (to, shared) = (to.to_owned(), link.shared.clone());
        // It ends with the process: there are few links, and they are all used to the end.
        std::thread::spawn(move || {
            for inside in listener.incoming().flatten() {
                // Nobody there: whoever asked sees a closed connection.
                if let Ok(outside) = TcpStream::connect(&to)
                    && !shared.is_cut.load(Ordering::Acquire)
                {
                    let _ = join(inside, outside, length, &shared);
                }
            }
        });
        Ok(link)
    }

    /// Where it begins.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Ends all connections, drops what is under way, and lets nothing through until it is mended.
    pub fn cut(&self) {
        self.shared.is_cut.store(true, Ordering::Release);
        self.shared.cuts.fetch_add(1, Ordering::AcqRel);
        let numbers: Vec<u64> = lock(&self.shared.connections).keys().copied().collect();
        numbers.iter().for_each(|number| self.shared.close(*number));
    }

    /// New connections can be made.
    pub fn mend(&self) {
        self.shared.is_cut.store(false, Ordering::Release);
    }

    /// The next answer on this link springs this trap; or none does.
    pub fn set_trap(&self, trap: Option<&Arc<Trap>>) {
        *lock(&self.shared.trap) = trap.cloned();
    }
}

impl Shared {
    /// Ends a connection in both directions.
    fn close(&self, number: u64) {
        for end in lock(&self.connections).remove(&number).into_iter().flatten() {
            // The other side may have closed it.
            let _ = end.shutdown(Shutdown::Both);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn join(
    inside: TcpStream,
    outside: TcpStream,
    length: Duration,
    shared: &Arc<Shared>,
) -> std::io::Result<()> {
    inside.set_nodelay(true)?;
    outside.set_nodelay(true)?;
    let there = (inside.try_clone()?, outside.try_clone()?);
    let back = (outside.try_clone()?, inside.try_clone()?);
    let number = shared.next.fetch_add(1, Ordering::Relaxed);
    lock(&shared.connections).insert(number, [inside, outside]);
    if shared.is_cut.load(Ordering::Acquire) {
        // It was cut meanwhile.
        shared.close(number);
    }
    for (ends, answers) in [(there, false), (back, true)] {
        let shared = shared.clone();
        std::thread::spawn(move || {
            match length.is_zero() {
                true => pass(ends, answers, &shared),
                false => pass_slowly(ends, length, &shared),
            }
            shared.close(number);
        });
    }
    Ok(())
}

/// One direction, at once.
fn pass(mut ends: (TcpStream, TcpStream), answers: bool, shared: &Shared) {
    let mut chunk = vec![0; CHUNK];
    while let Ok(len @ 1..) = ends.0.read(&mut chunk) {
        let trap = if answers { lock(&shared.trap).take() } else { None };
        // The death comes first also if the answer is heard: it is on its way by then.
        let sprung = trap.filter(|trap| trap.spring());
        if sprung.is_some_and(|trap| !trap.is_heard) || ends.1.write_all(&chunk[..len]).is_err() {
            break;
        }
    }
}

/// One direction, each byte so long after it was read.
fn pass_slowly(mut ends: (TcpStream, TcpStream), length: Duration, shared: &Shared) {
    let (sender, receiver) = mpsc::channel::<(Instant, u64, Vec<u8>)>();
    let mut to = ends.1;
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for (at, cuts, bytes) in receiver {
                std::thread::sleep(at.saturating_duration_since(Instant::now()));
                if shared.cuts.load(Ordering::Acquire) != cuts || to.write_all(&bytes).is_err() {
                    return;
                }
            }
        });
        let mut chunk = vec![0; CHUNK];
        while let Ok(len @ 1..) = ends.0.read(&mut chunk) {
            let cuts = shared.cuts.load(Ordering::Acquire);
            if sender.send((Instant::now() + length, cuts, chunk[..len].to_vec())).is_err() {
                break;
            }
        }
        drop(sender);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    /// Sends back what it is sent.
    fn echo() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a port");
        let address = listener.local_addr().expect("it has an address").to_string();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                std::thread::spawn(move || {
                    std::io::copy(&mut stream.try_clone().expect("it can be cloned"), &mut &stream)
                });
            }
        });
        address
    }

    fn ask(stream: &mut TcpStream) -> std::io::Result<usize> {
        stream.write_all(b"x")?;
        stream.read(&mut [0; 8])
    }

    #[test]
    fn a_link_has_a_length_and_can_be_cut() {
        let link = Link::open(&echo(), Duration::from_millis(20)).expect("it opens");
        let mut stream = TcpStream::connect(link.address()).expect("it connects");
        let begun = Instant::now();
        assert_eq!(ask(&mut stream).expect("it answers"), 1);
        assert!(begun.elapsed() >= Duration::from_millis(40), "there and back");
        stream.write_all(b"y").expect("it takes it");
        link.cut();
        let mut refused = TcpStream::connect(link.address()).expect("the listener is there");
        assert!(ask(&mut refused).map_or(true, |count| count == 0), "nobody gets through");
        link.mend();
        assert!(!matches!(stream.read(&mut [0; 8]), Ok(1..)), "what was under way is gone");
        let mut stream = TcpStream::connect(link.address()).expect("it connects again");
        assert_eq!(ask(&mut stream).expect("it answers"), 1);
    }

    #[test]
    fn an_answer_springs_a_trap_once_and_is_heard_or_not() {
        for is_heard in [true, false] {
            let killed = Arc::new(AtomicU32::new(0));
            let counts = killed.clone();
            let kill = Box::new(move || {
                counts.fetch_add(1, Ordering::SeqCst);
            });
            let trap = Arc::new(Trap::new(is_heard, kill));
            let link = Link::open(&echo(), Duration::ZERO).expect("it opens");
            let mut stream = TcpStream::connect(link.address()).expect("it connects");
            assert_eq!(ask(&mut stream).expect("it answers"), 1);
            assert!(!trap.has_killed());
            link.set_trap(Some(&trap));
            assert_eq!(ask(&mut stream).unwrap_or(0), usize::from(is_heard));
            link.set_trap(Some(&trap));
            let mut stream = TcpStream::connect(link.address()).expect("it connects");
            assert_eq!(ask(&mut stream).expect("it answers"), 1);
            assert!(trap.has_killed());
            assert_eq!(killed.load(Ordering::SeqCst), 1);
        }
    }
}
