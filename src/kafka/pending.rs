//! Answers that brokers may take seconds for: each is waited for on a thread of its own.

use std::sync::mpsc::{self, TryRecvError};
use std::thread::Thread;

use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;

/// An answer that is on its way.
#[must_use = "the answer comes through `try_take`"]
pub struct Pending<T>(mpsc::Receiver<Result<T, KafkaError>>);

impl<T: Send + 'static> Pending<T> {
    /// Asks on a thread of its own, which unparks `waiting` when the answer is there.
    pub(super) fn ask(waiting: Thread, ask: impl FnOnce() -> Result<T, KafkaError> + Send + 'static) -> Pending<T> {
        let (done, answer) = mpsc::channel();
        let thread = std::thread::Builder::new().name("weir-ask".into()).spawn({
            let done = done.clone();
            move || {
                // Dropped in reverse, so the thread is unparked when the answer is there, and after a panic.
                let _wake = Wake(waiting);
                let done = done;
                let _ = done.send(ask());
            }
        });
        if thread.is_err() {
            let _ = done.send(Err(KafkaError::Global(RDKafkaErrorCode::CriticalSystemResource)));
        }
        Pending(answer)
    }
}

impl<T> Pending<T> {
    /// An answer that whoever has the other end gives.
    #[cfg(test)]
    pub(crate) fn simulated() -> (mpsc::Sender<Result<T, KafkaError>>, Pending<T>) {
        let (done, answer) = mpsc::channel();
        (done, Pending(answer))
    }

    /// The answer, if it is there. Never waits. To be called until it is.
    pub fn try_take(&self) -> Option<Result<T, KafkaError>> {
        match self.0.try_recv() {
            Ok(answer) => Some(answer),
            Err(TryRecvError::Empty) => None,
            // The thread panicked, which the panic hook has logged.
            Err(TryRecvError::Disconnected) => Some(Err(KafkaError::Canceled)),
        }
    }
}

/// Unparks a thread when it is dropped.
pub(super) struct Wake(pub(super) Thread);

impl Drop for Wake {
    fn drop(&mut self) {
        self.0.unpark();
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn the_answer_wakes_the_thread_that_waits_for_it_and_so_does_a_panic() {
        let park = Duration::from_secs(60);
        let take = |pending: Pending<u32>| {
            let asked_at = Instant::now();
            let answer = loop {
                match pending.try_take() {
                    Some(answer) => break answer,
                    None => std::thread::park_timeout(park),
                }
            };
            assert!(asked_at.elapsed() < park / 2, "{:?}", asked_at.elapsed());
            answer
        };
        let (go, wait) = mpsc::channel();
        let slow = Pending::ask(std::thread::current(), move || Ok(wait.recv().unwrap_or(0)));
        assert!(slow.try_take().is_none());
        go.send(7).unwrap();
        assert_eq!(take(slow).unwrap(), 7);
        let panicking = Pending::ask(std::thread::current(), || panic!("on purpose"));
        assert!(matches!(take(panicking), Err(KafkaError::Canceled)));
    }
}
