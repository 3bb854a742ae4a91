//! Sends what a producer holds back for a fuller batch, on a thread of its own.
//!
//! librdkafka sends a batch when it is full or when `linger.ms` is over, and its only other occasion is `rd_kafka_flush`.
//! The threads that talk to the brokers look whether somebody is within that call when they wake up. A call that doesn't
//! wait has returned by then, and nothing is sent. So a thread stays in the call while the worker goes on.

use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, Producer, ProducerContext};

use super::ffi::produce::flush;

/// How long a flush may last. While it does, librdkafka sends each record at once, so it is short; a thread that talks to
/// a broker has to wake up within it. It ends earlier if everything is delivered.
const FLUSH_TIME: Duration = Duration::from_millis(2);

/// A thread that flushes a producer when it is asked to. To be dropped before the client's other handles.
pub(super) struct Flusher {
    /// `None` only while the value is dropped, which ends the thread.
    requests: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Flusher {
    /// Starts the thread.
    pub(super) fn start<C: ProducerContext + 'static>(client: &Arc<BaseProducer<C>>) -> Result<Flusher, KafkaError> {
        // One request that waits stands for all of them: the flush that it leads to comes after whatever was sent.
        let (requests, requested) = sync_channel(1);
        let client = client.clone();
        let run = move || {
            while requested.recv().is_ok() {
                flush(client.client(), FLUSH_TIME);
            }
        };
        let thread = thread::Builder::new().name("weir-flush".into()).spawn(run).map_err(|error| {
            KafkaError::ClientCreation(format!("no thread can be started to flush the producer: {error}"))
        })?;
        Ok(Flusher { requests: Some(requests), thread: Some(thread) })
    }

    /// Has everything sent that librdkafka holds back. Returns at once.
    pub(super) fn request(&self) {
        if let Some(requests) = &self.requests {
            // Full: a flush is due already.
            let _ = requests.try_send(());
        }
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        drop(self.requests.take());
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported by the hook.
            let _ = thread.join();
        }
    }
}
