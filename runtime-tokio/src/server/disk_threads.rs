//! Who executes disk operations: a thread for snapshots, so that no write waits behind a large file, and one for all others,
//! each in the order in which they were issued. The latter has a stand-in: the node's loop may execute a batch of the log itself,
//! because to wake a thread and to be woken by it takes a good part of the time of a quick sync.
//!
//! While the loop does that, it hears nobody; the router says when that keeps no one waiting. Beyond that, here: it takes nothing but a
//! short batch, only while the thread has nothing to do, and after a slow operation none before a sync was quick again. So each
//! time that a disk begins to stall, the loop waits for one operation, however long that takes.
//!
//! Which operation depends on which, and what is durable when, is decided by the core, which issues none before all
//! that it depends on was reported done, but for a sync, which may follow its write at once.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use steadfast_core::io::{DiskError, DiskOp, DiskReply, FileName, Input, Owner, Token};
use tokio::sync::oneshot;

use super::disk::{Disk, describe};
use super::spawn;

/// An operation slower than this is worth a line in the log: everybody waits for the disk.
const SLOW: Duration = Duration::from_secs(1);
/// After an operation slower than this, the next ones are the thread's: what there is to win is some fifty microseconds.
const QUICK: Duration = Duration::from_millis(1);
/// Most bytes of a batch that the loop writes itself.
const SHORT: usize = 64 << 10;

/// What became of an operation.
type Done = Result<DiskReply, DiskError>;

/// The two threads, as the node's loop sees them.
#[derive(Debug)]
pub struct DiskThreads {
    log: DiskThread,
    snapshots: DiskThread,
    /// Operations that are not the snapshots', and that nobody executes yet; in order.
    gathered: Vec<(Token, DiskOp)>,
}

/// A disk thread.
#[derive(Debug)]
pub struct DiskThread {
    operations: Sender<(Token, DiskOp)>,
    shared: Arc<Shared>,
}

/// What a disk thread does, on that thread.
#[derive(Debug)]
pub struct Work {
    operations: Receiver<(Token, DiskOp)>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    disk: Mutex<Disk>,
    /// Operations that the thread was given and has not reported.
    under_way: AtomicUsize,
    /// No operation was slow since the last sync that was not.
    quick: AtomicBool,
}

impl DiskThreads {
    /// With nothing to do.
    #[must_use]
    pub fn new(log: DiskThread, snapshots: DiskThread) -> Self {
        Self { log, snapshots, gathered: Vec::new() }
    }

    /// Takes an operation: one on a snapshot for its thread, any other until it is said who executes it.
    pub fn take(&mut self, token: Token, op: DiskOp) {
        let of_snapshot = |file: FileName| {
            matches!(file, FileName::Snapshot(_) | FileName::SnapshotTmp(_) | FileName::SnapshotPart(_))
        };
        // A file is always the same thread's, which holds it open.
        match describe(&op).1 {
            Some(file) if of_snapshot(file) => self.snapshots.send(token, op),
            None if token.owner == Owner::Snapshot => self.snapshots.send(token, op),
            _ => self.gathered.push((token, op)),
        }
    }

    /// Lets the thread execute what was taken. False if that is nothing.
    pub fn hand_over(&mut self) -> bool {
        let any = !self.gathered.is_empty();
        self.gathered.drain(..).for_each(|(token, op)| self.log.send(token, op));
        any
    }

    /// Whether what was taken may be executed by whoever asks, here and now. If so, all that the thread has executed was reported.
    #[must_use]
    pub fn may_execute_here(&self) -> bool {
        let [(_, DiskOp::WriteAt { file, data, .. }), (_, DiskOp::Sync { file: synced })] =
            &self.gathered[..]
        else {
            return false;
        };
        matches!(file, FileName::Wal(_))
            && file == synced
            && data.len() <= SHORT
            && self.log.shared.has_stand_in()
    }

    /// Executes it, and says what became of it. What is left after a slow operation is the thread's.
    ///
    /// # Panics
    /// Unless it may be.
    pub fn execute_here(&mut self) -> Vec<Input> {
        assert!(self.may_execute_here(), "an operation is executed behind those that were issued before it");
        let shared = &self.log.shared;
        let mut disk = shared.disk.lock().expect("no operation panics");
        let mut done = Vec::with_capacity(self.gathered.len());
        for (token, op) in &self.gathered {
            done.push(Input::DiskDone { token: *token, result: shared.execute(&mut disk, op.clone()) });
            if !shared.has_stand_in() {
                break;
            }
        }
        self.gathered.drain(..done.len());
        done
    }
}

impl DiskThread {
    /// A thread's two ends. Nothing is executed before its work runs.
    #[must_use]
    pub fn new(disk: Disk) -> (Self, Work) {
        let shared =
            Shared { disk: Mutex::new(disk), under_way: AtomicUsize::new(0), quick: AtomicBool::new(true) };
        let (shared, (sender, operations)) = (Arc::new(shared), channel());
        (Self { operations: sender, shared: Arc::clone(&shared) }, Work { operations, shared })
    }

    /// Starts a thread for a directory. It ends, and tells so, once it has executed everything and nobody can give it more.
    ///
    /// # Errors
    /// If the directory can't be opened, or the system refuses a thread.
    pub fn start(
        name: &str,
        dir: &Path,
        report: impl Fn(Token, Done) + Send + 'static,
    ) -> io::Result<(Self, oneshot::Receiver<()>)> {
        let (thread, work) = Self::new(Disk::new(dir)?);
        let (ended, disk_ended) = oneshot::channel();
        spawn(name, move || {
            work.run(report);
            let _ = ended.send(());
        })?;
        Ok((thread, disk_ended))
    }

    /// It fails only while the process ends, and then nobody waits.
    fn send(&self, token: Token, op: DiskOp) {
        self.shared.under_way.fetch_add(1, Ordering::Relaxed);
        let _ = self.operations.send((token, op));
    }
}

impl Work {
    /// Executes what comes and reports each result, in this order, until nobody can send operations any more.
    pub fn run(self, mut report: impl FnMut(Token, Done)) {
        let Self { operations, shared } = self;
        let mut report = |token, result| {
            report(token, result);
            // Whoever sees that nothing is under way has all reports.
            shared.under_way.fetch_sub(1, Ordering::Release);
        };
        let (mut next, mut written) = (None, None);
        while let Some((token, op)) = next.take().or_else(|| operations.recv().ok()) {
            let writes = matches!(op, DiskOp::WriteAt { .. }).then_some(describe(&op).1);
            let result = shared.execute(&mut shared.disk.lock().expect("no operation panics"), op);
            if let Some(file) = writes.filter(|_| result.is_ok()) {
                next = operations.try_recv().ok();
                if matches!(&next, Some((_, DiskOp::Sync { file: synced })) if Some(*synced) == file) {
                    // The log waits for both, so it is told of both together.
                    written = Some((token, result));
                    continue;
                }
            }
            if let Some((token, result)) = written.take() {
                report(token, result);
            }
            report(token, result);
        }
    }
}

impl Shared {
    /// Whether others may do the thread's work.
    fn has_stand_in(&self) -> bool {
        self.under_way.load(Ordering::Acquire) == 0 && self.quick.load(Ordering::Relaxed)
    }

    fn execute(&self, disk: &mut Disk, op: DiskOp) -> Done {
        let (words, is_sync) = (describe(&op), matches!(op, DiskOp::Sync { .. }));
        let begun = Instant::now();
        let result = disk.execute(op);
        let took = begun.elapsed();
        self.note(took, is_sync);
        if took >= SLOW {
            tracing::warn!(millis = took.as_millis() as u64, "the disk is slow: {words}");
        }
        if let Err(error) = &result {
            tracing::debug!(kind = ?error.kind, "disk: {words}: {error}");
        }
        result
    }

    /// An operation took so long.
    fn note(&self, took: Duration, is_sync: bool) {
        if took >= QUICK || is_sync {
            self.quick.store(took < QUICK, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::scratch::Scratch;
    use bytes::Bytes;

    const SEGMENT: FileName = FileName::Wal(7);

    /// Both threads, of which the log's does nothing before it is let.
    fn threads(scratch: &Scratch) -> (DiskThreads, Work) {
        let disk = || Disk::new(scratch.path()).expect("the scratch directory is there");
        let (log, work) = DiskThread::new(disk());
        (DiskThreads::new(log, DiskThread::new(disk()).0), work)
    }

    fn take(threads: &mut DiskThreads, first: u64, ops: impl IntoIterator<Item = DiskOp>) {
        for (seq, op) in (first..).zip(ops) {
            threads.take(Token { owner: Owner::Wal, seq }, op);
        }
    }

    /// A batch as the log asks for it.
    fn batch(file: FileName, len: usize) -> [DiskOp; 2] {
        [DiskOp::WriteAt { file, offset: 0, data: Bytes::from(vec![7; len]) }, DiskOp::Sync { file }]
    }

    /// What the thread reports until it has nothing more to do.
    fn finish(threads: DiskThreads, work: Work) -> Vec<(u64, bool)> {
        drop(threads);
        let mut reports = Vec::new();
        work.run(|token, result| reports.push((token.seq, result.is_ok())));
        reports
    }

    #[test]
    fn results_are_reported_in_the_order_of_the_operations() {
        let scratch = Scratch::new("disk-threads");
        let (mut threads, work) = threads(&scratch);
        let (file, [write, sync]) = (SEGMENT, batch(SEGMENT, 1));
        take(&mut threads, 0, [DiskOp::Create { file }, write, sync.clone(), DiskOp::Remove { file }, sync]);
        threads.hand_over();
        assert_eq!(finish(threads, work), [(0, true), (1, true), (2, true), (3, true), (4, false)]);
    }

    #[test]
    fn a_batch_of_the_log_can_be_executed_here() {
        let scratch = Scratch::new("disk-threads");
        let (mut threads, work) = threads(&scratch);
        std::fs::write(scratch.path().join(SEGMENT.to_string()), b"").expect("the directory is writable");
        take(&mut threads, 0, batch(SEGMENT, 3));
        assert!(threads.may_execute_here(), "the thread has nothing to do");
        let done =
            |seq| Input::DiskDone { token: Token { owner: Owner::Wal, seq }, result: Ok(DiskReply::Done) };
        assert_eq!(threads.execute_here(), [done(0), done(1)]);
        let written = std::fs::read(scratch.path().join(SEGMENT.to_string()));
        assert_eq!(written.expect("the file is there"), [7; 3]);
        threads.hand_over();
        assert_eq!(finish(threads, work), [], "and not once more by the thread");
    }

    #[test]
    fn nothing_but_a_short_batch_of_the_log_is_executed_here() {
        let scratch = Scratch::new("disk-threads");
        let ([write, sync], other) = (batch(SEGMENT, 1), DiskOp::Sync { file: FileName::Wal(8) });
        let others = [
            batch(FileName::Hard(0), 1).to_vec(),
            batch(SEGMENT, SHORT + 1).to_vec(),
            vec![write.clone(), other],
            vec![sync.clone(), write.clone()],
            vec![write.clone()],
            vec![write, sync, DiskOp::SyncDir],
        ];
        for ops in others {
            let (mut threads, _work) = threads(&scratch);
            take(&mut threads, 0, ops.clone());
            assert!(!threads.may_execute_here(), "{ops:?}");
        }
    }

    #[test]
    fn nothing_is_executed_here_while_the_thread_has_work() {
        let scratch = Scratch::new("disk-threads");
        let (mut threads, work) = threads(&scratch);
        let shared = Arc::clone(&threads.log.shared);
        take(&mut threads, 0, [DiskOp::Create { file: SEGMENT }]);
        assert!(threads.hand_over() && !threads.hand_over(), "once");
        take(&mut threads, 1, batch(SEGMENT, 1));
        assert!(!threads.may_execute_here(), "the thread has not executed what came before");
        threads.hand_over();
        assert_eq!(finish(threads, work), [(0, true), (1, true), (2, true)]);
        assert_eq!(shared.under_way.load(Ordering::Acquire), 0, "all was reported");
    }

    #[test]
    fn after_a_slow_operation_the_thread_works_until_a_sync_is_quick() {
        let scratch = Scratch::new("disk-threads");
        let (mut threads, _work) = threads(&scratch);
        let shared = Arc::clone(&threads.log.shared);
        take(&mut threads, 0, batch(SEGMENT, 1));
        let (quick, slow) = (QUICK / 2, QUICK);
        let steps = [(slow, false, false), (quick, false, false), (quick, true, true), (slow, true, false)];
        for (took, is_sync, may) in steps {
            shared.note(took, is_sync);
            assert_eq!(threads.may_execute_here(), may, "{took:?}, a sync: {is_sync}");
        }
    }
}
