//! A small pool of threads for the core's compute jobs. The core bounds how many jobs there are at a time;
//! the pool bounds how many processors they take from everybody else.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use steadfast_core::io::Token;
use steadfast_core::job::{Job, JobResult};

/// Starts the pool; it ends when the sender is dropped.
///
/// # Errors
/// If a thread can't be started.
pub fn start(report: impl Fn(Token, JobResult) + Clone + Send + 'static) -> io::Result<Sender<(Token, Job)>> {
    let (sender, receiver) = channel();
    let jobs = Arc::new(Mutex::new(receiver));
    for number in 0..threads() {
        let (jobs, report) = (jobs.clone(), report.clone());
        thread::Builder::new().name(format!("compute-{number}")).spawn(move || work(&jobs, report))?;
    }
    Ok(sender)
}

/// Half the processors, so that a rush of logins leaves room for those who are logged in.
fn threads() -> usize {
    thread::available_parallelism().map_or(1, |count| (count.get() / 2).clamp(1, 4))
}

fn work(jobs: &Mutex<Receiver<(Token, Job)>>, report: impl Fn(Token, JobResult)) {
    loop {
        // The lock is held while waiting: one thread waits in the channel, the others for their turn.
        let next = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((token, job)) = next else { return };
        report(token, job.run());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use steadfast_core::access::password::{self, Cost};
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
            pool.send((Token { owner: Owner::Password, seq }, job)).expect("the pool runs");
        }
        drop(pool);
        let mut seen: Vec<u64> = results.iter().map(|(token, _)| token.seq).collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..8).collect::<Vec<_>>());
    }
}
