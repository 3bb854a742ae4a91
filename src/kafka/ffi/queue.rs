//! librdkafka's queues, and the events that come through them.
//!
//! A queue can wake a thread: librdkafka calls back, from whichever of its threads it is on and under the queue's lock,
//! when something comes into an empty queue, and the callback unparks the thread. So a thread may look through several
//! queues without waiting and park when all are empty. Nothing is missed in between: an unpark before the park makes
//! the park return at once.

use std::ffi::c_void;
use std::ptr::{NonNull, null_mut};
use std::thread::Thread;
use std::time::Duration;

use rdkafka::bindings as rd;
use rdkafka::client::{Client, ClientContext};
use rdkafka::error::RDKafkaErrorCode;

/// A queue of a client's, to be dropped before it; what is still in a queue of one's own goes with it.
pub(super) struct Queue {
    handle: NonNull<rd::rd_kafka_queue_t>,
    /// The thread that the queue unparks. librdkafka holds its address as long as the callback is enabled.
    sleeper: Option<Box<Thread>>,
}

// SAFETY: librdkafka's queues may be used from any thread, and from several.
unsafe impl Send for Queue {}
// SAFETY: as above.
unsafe impl Sync for Queue {}

impl Queue {
    /// A queue of one's own.
    pub(super) fn new<C: ClientContext>(client: &Client<C>) -> Queue {
        // SAFETY: the handle is alive, since `client` is borrowed.
        let queue = unsafe { rd::rd_kafka_queue_new(client.native_ptr()) };
        Queue::from_raw(queue).expect("librdkafka aborts rather than return no queue")
    }

    /// The queue for all that a client has to say and nobody asked for. A consumer's is forwarded to its group's.
    pub(super) fn main<C: ClientContext>(client: &Client<C>) -> Queue {
        // SAFETY: the handle is alive; the reference is given back when the value is dropped.
        let queue = unsafe { rd::rd_kafka_queue_get_main(client.native_ptr()) };
        Queue::from_raw(queue).expect("every client has a main queue")
    }

    /// The queue of a consumer's group: rebalances, and what comes through the main queue.
    pub(super) fn group<C: ClientContext>(client: &Client<C>) -> Queue {
        // SAFETY: the handle is alive; the reference is given back when the value is dropped.
        let queue = unsafe { rd::rd_kafka_queue_get_consumer(client.native_ptr()) };
        Queue::from_raw(queue).expect("every consumer of weir has a group")
    }

    fn from_raw(queue: *mut rd::rd_kafka_queue_t) -> Option<Queue> {
        Some(Queue { handle: NonNull::new(queue)?, sleeper: None })
    }

    /// The same queue, which unparks this thread from now on whenever something comes and it was empty. A queue that is
    /// forwarded to another wakes nobody: the other one must.
    pub(super) fn waking(mut self, thread: Thread) -> Queue {
        let thread = self.sleeper.insert(Box::new(thread));
        let address: *mut Thread = &raw mut **thread;
        // SAFETY: the queue is alive, and the thread's handle until the callback is disabled in `drop`.
        unsafe { rd::rd_kafka_queue_cb_event_enable(self.handle.as_ptr(), Some(unpark), address.cast()) };
        self
    }

    /// The next event, if one comes in time.
    pub(super) fn poll(&self, timeout: Duration) -> Option<Event> {
        // SAFETY: the queue is alive.
        NonNull::new(unsafe { rd::rd_kafka_queue_poll(self.as_ptr(), millis(timeout)) }).map(Event)
    }

    /// Whether nothing is in it.
    pub(super) fn is_empty(&self) -> bool {
        // SAFETY: the queue is alive.
        unsafe { rd::rd_kafka_queue_length(self.as_ptr()) == 0 }
    }

    /// The handle, alive as long as this value.
    pub(super) fn as_ptr(&self) -> *mut rd::rd_kafka_queue_t {
        self.handle.as_ptr()
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: the callback is disabled under the queue's lock, under which it is called: afterwards nobody has the
        // address of the thread's handle. The reference that this value holds is given back once.
        unsafe {
            if self.sleeper.is_some() {
                rd::rd_kafka_queue_cb_event_enable(self.as_ptr(), None, null_mut());
            }
            rd::rd_kafka_queue_destroy(self.as_ptr());
        }
    }
}

/// # Safety
/// `thread` is the address of a `Thread` that lives.
unsafe extern "C" fn unpark(_: *mut rd::rd_kafka_t, thread: *mut c_void) {
    // SAFETY: as the caller promises.
    unsafe { &*thread.cast::<Thread>() }.unpark();
}

/// What came through a queue.
pub(super) struct Event(NonNull<rd::rd_kafka_event_t>);

impl Event {
    /// The error that it is, or reports.
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
