//! A small pool of threads for the core's compute jobs. The core bounds how many jobs there are at a time;
//! the pool bounds how many processors they take from everybody else.

use std::collections::BTreeSet;
use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use steadfast_core::access::password;
use steadfast_core::io::Token;
use steadfast_core::job::{Job, JobResult};

/// How the node's loop gives work to the pool. The pool ends when this is dropped.
#[derive(Debug)]
pub struct Pool {
    sender: Sender<(Token, Job)>,
    wanted: Wanted,
}

/// The jobs that were not begun and that somebody waits for.
type Wanted = Arc<Mutex<BTreeSet<Token>>>;

impl Pool {
    /// Gives a job to the next thread that is free.
    pub fn compute(&self, token: Token, job: Job) {
        lock(&self.wanted).insert(token);
        // A send fails only when its receiver is gone, which happens while the process ends.
        let _ = self.sender.send((token, job));
    }

    /// Nobody waits for a job any more: if it was not begun, it is reported as failed when its turn comes.
    pub fn forget(&self, token: Token) {
        lock(&self.wanted).remove(&token);
    }
}

fn lock(wanted: &Wanted) -> MutexGuard<'_, BTreeSet<Token>> {
    wanted.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts the pool.
///
/// # Errors
/// If a thread can't be started.
pub fn start(report: impl Fn(Token, JobResult) + Clone + Send + 'static) -> io::Result<Pool> {
    let (sender, receiver) = channel();
    let (jobs, wanted) = (Arc::new(Mutex::new(receiver)), Wanted::default());
    for number in 0..threads() {
        let (jobs, wanted, report) = (jobs.clone(), wanted.clone(), report.clone());
        thread::Builder::new()
            .name(format!("compute-{number}"))
            .spawn(move || work(&jobs, &wanted, report))?;
    }
    Ok(Pool { sender, wanted })
}

/// Half the processors, so that a rush of logins leaves room for those who are logged in.
fn threads() -> usize {
    thread::available_parallelism().map_or(1, |count| (count.get() / 2).clamp(1, 4))
}

fn work(jobs: &Mutex<Receiver<(Token, Job)>>, wanted: &Wanted, report: impl Fn(Token, JobResult)) {
    loop {
        // The lock is held while waiting: one thread waits in the channel, the others for their turn.
        let next = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((token, job)) = next else { return };
        let wanted = lock(wanted).remove(&token);
        match job {
            Job::Password(_) if !wanted => report(token, JobResult::Password(password::JobResult::Failed)),
            job => report(token, job.run()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use steadfast_core::access::password::Cost;
    use steadfast_core::io::Owner;

    #[test]
    fn every_job_is_reported_once_under_its_token() {
        let (reports, results) = channel();
        let pool = start(move |token, result| {
            let _ = reports.send((token, result));
        })
        .expect("threads can be started");
        let cost = Cost { memory_kib: 8, passes: 1 };
        for seq in 0..8 {
            let job = password::Job::Hash { password: format!("secret {seq}"), salt: [7; 16], cost };
            let job = Job::Password(job);
            pool.compute(Token { owner: Owner::Password, seq }, job);
        }
        drop(pool);
        let mut seen: Vec<u64> = results.iter().map(|(token, _)| token.seq).collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..8).collect::<Vec<_>>());
    }

    #[test]
    fn a_job_for_nobody_is_reported_and_not_computed() {
        let (reports, results) = channel();
        let pool = start(move |token, result| {
            let _ = reports.send((token, result));
        })
        .expect("threads can be started");
        let cost = Cost { memory_kib: 1 << 14, passes: 8 };
        let (most, token) = (64, |seq| Token { owner: Owner::Password, seq });
        for seq in 0..most {
            let job = password::Job::Hash { password: format!("secret {seq}"), salt: [7; 16], cost };
            pool.compute(token(seq), Job::Password(job));
        }
        for seq in 32..most {
            pool.forget(token(seq));
        }
        drop(pool);
        let failed = JobResult::Password(password::JobResult::Failed);
        let skipped: Vec<u64> =
            results.iter().filter(|(_, result)| *result == failed).map(|(token, _)| token.seq).collect();
        assert_eq!(skipped, (32..most).collect::<Vec<_>>());
    }
}
