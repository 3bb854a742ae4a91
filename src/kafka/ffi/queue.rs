//! librdkafka's queues, and the events that come through them.

use std::ptr::NonNull;
use std::time::Duration;

use rdkafka::bindings as rd;
use rdkafka::client::{Client, ClientContext};
use rdkafka::error::RDKafkaErrorCode;

/// A queue of a client's, to be dropped before it; what is still in a queue of one's own goes with it.
pub(super) struct Queue(NonNull<rd::rd_kafka_queue_t>);

// SAFETY: librdkafka's queues may be used from any thread, and from several.
unsafe impl Send for Queue {}
// SAFETY: as above.
unsafe impl Sync for Queue {}

impl Queue {
    /// A queue of one's own.
    pub(super) fn new<C: ClientContext>(client: &Client<C>) -> Queue {
        // SAFETY: the handle is alive, since `client` is borrowed.
        let queue = unsafe { rd::rd_kafka_queue_new(client.native_ptr()) };
        Queue(NonNull::new(queue).expect("librdkafka aborts rather than return no queue"))
    }

    /// The queue for all that a client has to say and nobody asked for.
    pub(super) fn main<C: ClientContext>(client: &Client<C>) -> Queue {
        // SAFETY: the handle is alive; the reference is given back when the value is dropped.
        let queue = unsafe { rd::rd_kafka_queue_get_main(client.native_ptr()) };
        Queue(NonNull::new(queue).expect("every client has a main queue"))
    }

    /// The next event, if one comes in time.
    pub(super) fn poll(&self, timeout: Duration) -> Option<Event> {
        // SAFETY: the queue is alive.
        NonNull::new(unsafe { rd::rd_kafka_queue_poll(self.0.as_ptr(), millis(timeout)) }).map(Event)
    }

    /// The handle, alive as long as this value.
    pub(super) fn as_ptr(&self) -> *mut rd::rd_kafka_queue_t {
        self.0.as_ptr()
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: gives back the reference that this value holds, once.
        unsafe { rd::rd_kafka_queue_destroy(self.0.as_ptr()) }
    }
}

/// What came through a queue.
pub(super) struct Event(NonNull<rd::rd_kafka_event_t>);

impl Event {
    /// The error that it is, or tells of.
    pub(super) fn error(&self) -> Result<(), RDKafkaErrorCode> {
        // SAFETY: the event is alive.
        match RDKafkaErrorCode::from(unsafe { rd::rd_kafka_event_error(self.0.as_ptr()) }) {
            RDKafkaErrorCode::NoError => Ok(()),
            code => Err(code),
        }
    }

    /// The handle, alive as long as this value.
    pub(super) fn as_ptr(&self) -> *mut rd::rd_kafka_event_t {
        self.0.as_ptr()
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: the event was handed over by its queue, and is destroyed once.
        unsafe { rd::rd_kafka_event_destroy(self.0.as_ptr()) }
    }
}

/// librdkafka waits in whole milliseconds.
pub(super) fn millis(timeout: Duration) -> i32 {
    i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX)
}
