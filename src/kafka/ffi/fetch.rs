//! Records as they were fetched, many at a time.
//!
//! rdkafka hands out one record per poll, each as an event of its own: 300 ns. librdkafka can hand out an array from a
//! queue in a third of that; but not from the consumer's own queue, whose rebalances would get lost in it. So the
//! partitions that are consumed are forwarded to a queue that has nothing but records.

use std::ffi::CString;
use std::ptr::NonNull;
use std::time::Duration;

use rdkafka::bindings as rd;
use rdkafka::client::{Client, ClientContext};

use super::queue::{Queue, millis};
use super::record::Record;

/// The most records that one call takes.
const CHUNK: usize = 256;

/// Where the records of a client's partitions come together. To be dropped before the client.
pub(crate) struct FetchQueue(Queue);

impl FetchQueue {
    /// A queue without partitions; it unparks the calling thread.
    pub(crate) fn new<C: ClientContext>(client: &Client<C>) -> FetchQueue {
        FetchQueue(Queue::new(client).waking(std::thread::current()))
    }

    /// Has what is fetched of a partition come here. For each partition, before it is assigned.
    pub(crate) fn attach<C: ClientContext>(&self, client: &Client<C>, topic: &str, partition: i32) {
        let Ok(topic) = CString::new(topic) else { return };
        // SAFETY: all handles are alive; that of the partition's queue is given back at once, which ends no forwarding.
        unsafe {
            let queue = rd::rd_kafka_queue_get_partition(client.native_ptr(), topic.as_ptr(), partition);
            if !queue.is_null() {
                rd::rd_kafka_queue_forward(queue, self.0.as_ptr());
                rd::rd_kafka_queue_destroy(queue);
            }
        }
    }

    /// Hands what has come to `take`, without waiting: up to 256 records and errors. Returns whether the queue is empty now.
    pub(crate) fn take_all<'c>(&'c self, mut take: impl FnMut(Record<'c>)) -> bool {
        self.take(Duration::ZERO, CHUNK, &mut take) < CHUNK
    }

    /// Hands what has come to `take`, waiting up to `timeout` for the first: up to 256 records.
    pub(crate) fn fetch<'c>(&'c self, timeout: Duration, mut take: impl FnMut(Record<'c>)) {
        // librdkafka would wait until there are as many as were asked for.
        if self.take(Duration::ZERO, CHUNK, &mut take) > 0 || timeout.is_zero() {
            return;
        }
        if millis(timeout) == 0 {
            // It waits in whole milliseconds.
            std::thread::sleep(timeout);
        } else if self.take(timeout, 1, &mut take) == 0 {
            return;
        }
        self.take(Duration::ZERO, CHUNK - 1, &mut take);
    }

    fn take<'c>(&'c self, timeout: Duration, most: usize, take: &mut impl FnMut(Record<'c>)) -> usize {
        let mut messages = [std::ptr::null_mut(); CHUNK];
        // SAFETY: the queue is alive, and the array has room for `most`.
        let count = unsafe {
            rd::rd_kafka_consume_batch_queue(self.0.as_ptr(), millis(timeout), messages.as_mut_ptr(), most.min(CHUNK))
        };
        let count = usize::try_from(count).unwrap_or(0);
        for message in messages[..count].iter().copied().filter_map(NonNull::new) {
            // SAFETY: librdkafka has handed the message over; its client outlives this queue, which is borrowed for 'c.
            take(unsafe { Record::from_raw(message) });
        }
        count
    }
}
