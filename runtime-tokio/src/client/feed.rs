//! What a task of this library tells, one after the other, to whoever reads it. Knows nothing of what is told.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;
use tokio::sync::mpsc;

use super::Error;

/// A stream of updates. Dropping it ends the asking for them.
///
/// It ends by itself only behind an error: when a right was taken, say. A slow reader is not dropped.
#[derive(Debug)]
pub struct Feed<T> {
    updates: mpsc::Receiver<Result<T, Error>>,
    task: tokio::task::AbortHandle,
}

/// Where a task tells. An error means that nobody listens any more.
pub(super) type Teller<T> = mpsc::Sender<Result<T, Error>>;

impl<T> Feed<T> {
    /// What a task tells. So many are kept for a slow reader; then the task waits until there is room.
    pub(super) fn of<F: Future<Output = ()> + Send + 'static>(
        room: usize,
        task: impl FnOnce(Teller<T>) -> F,
    ) -> Self {
        let (teller, updates) = mpsc::channel(room);
        Self { updates, task: tokio::spawn(task(teller)).abort_handle() }
    }

    /// The next update; `None` behind an error.
    pub async fn next(&mut self) -> Option<Result<T, Error>> {
        self.updates.recv().await
    }
}

impl<T> Stream for Feed<T> {
    type Item = Result<T, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.updates.poll_recv(context)
    }
}

impl<T> Drop for Feed<T> {
    fn drop(&mut self) {
        self.task.abort();
    }
}
