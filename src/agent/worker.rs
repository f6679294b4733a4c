//! The one thread on which the state is worked at: what blocks (files, firewalls, parsing) never holds up the loop.
//!
//! One job at a time, in the order in which they were given. The thread owns the [`Operator`], and so the lock of the state
//! folder; it ends, and gives the lock back, when the [`Worker`] is dropped or stopped.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use super::AgentError;
use crate::operate::Operator;

/// Jobs that may wait. The loop gives one at a time; requests of people are the rest.
const WAITING: usize = 32;

type Job = Box<dyn FnOnce(&mut Operator) + Send>;

/// The thread, as the loop sees it.
#[derive(Debug)]
pub(super) struct Worker {
    jobs: Option<SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
}

/// Why a job was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotDone {
    /// Too many wait already.
    Busy,
    /// The thread has ended: a fault of this program.
    Ended,
}

impl Worker {
    /// Starts the thread.
    pub(super) fn start(operator: Operator) -> Result<Self, AgentError> {
        let (jobs, given) = sync_channel::<Job>(WAITING);
        let thread = std::thread::Builder::new()
            .name("tagwall-operator".to_owned())
            .spawn(move || work(operator, &given))
            .map_err(AgentError::Thread)?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Gives a job; its result comes through the receiver, whose sender is dropped when the thread ends in the middle of it.
    pub(super) fn give<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Operator) -> T + Send + 'static,
    ) -> Result<oneshot::Receiver<T>, NotDone> {
        let (sender, receiver) = oneshot::channel();
        let job: Job = Box::new(move |operator| {
            // Nobody waits any more after a second signal: the job was done all the same.
            _ = sender.send(job(operator));
        });
        match self.jobs.as_ref().map(|jobs| jobs.try_send(job)) {
            Some(Ok(())) => Ok(receiver),
            Some(Err(TrySendError::Full(_))) => Err(NotDone::Busy),
            Some(Err(TrySendError::Disconnected(_))) | None => Err(NotDone::Ended),
        }
    }

    /// Lets the jobs that were given end, and gives the lock back. Blocks until then.
    pub(super) fn stop(mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so already.
            _ = thread.join();
        }
    }
}

fn work(mut operator: Operator, given: &Receiver<Job>) {
    while let Ok(job) = given.recv() {
        job(&mut operator);
    }
    operator.close();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_done_in_order_and_the_lock_is_given_back() {
        let folder = tempfile::tempdir().unwrap();
        let worker = Worker::start(Operator::open(folder.path(), "test").unwrap()).unwrap();
        let first = worker.give(|operator| operator.memory().clone()).unwrap();
        let second = worker.give(|_| 2).unwrap();
        assert_eq!(second.blocking_recv().unwrap(), 2);
        assert!(first.blocking_recv().unwrap().pin.is_none());
        assert!(Operator::open(folder.path(), "another").is_err(), "the thread holds the lock");
        worker.stop();
        Operator::open(folder.path(), "another").unwrap().close();
    }

    #[test]
    #[expect(clippy::panic, reason = "the fault that is noticed")]
    fn a_job_that_panics_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let worker = Worker::start(Operator::open(folder.path(), "test").unwrap()).unwrap();
        let lost = worker.give(|_| -> u8 { panic!("a fault") }).unwrap();
        assert!(lost.blocking_recv().is_err());
        let ended = (0..1000).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(5));
            worker.give(|_| ()).err() == Some(NotDone::Ended)
        });
        assert!(ended);
    }
}
