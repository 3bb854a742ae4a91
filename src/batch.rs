//! Records on their way to the model together, and when they go.
//!
//! A batch fires when it is full, when the topics have nothing more to give right now, or when its first record has
//! waited long enough. Under lag batches fill by themselves; on an idle topic nothing waits, unless `max_delay_us`
//! asks for it; and a trickle on one route doesn't wait for another route's backlog. Time is passed in.

use std::time::{Duration, Instant};

use serde::Deserialize;

/// The `[batch]` section.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct BatchConfig {
    /// Rows after which a batch fires at once.
    pub max_rows: usize,
    /// Microseconds that the first record may wait for others.
    pub max_delay_us: u64,
}

impl BatchConfig {
    /// Adds what is wrong with this section to `mistakes`.
    pub fn check(&self, mistakes: &mut Vec<String>) {
        if !(1..=65_536).contains(&self.max_rows) {
            mistakes.push(format!("batch.max_rows is {}: it can be 1 to 65536", self.max_rows));
        }
        if self.max_delay_us > 10_000_000 {
            mistakes.push(format!("batch.max_delay_us is {}: it can be 0 to 10000000 (10 s)", self.max_delay_us));
        }
    }
}

/// The bytes of records that a batch holds at most, so that memory is bounded whatever the records are.
const MAX_BYTES: usize = 8 << 20;

/// How long a record waits at most while other topics have more to give.
const BUSY_DELAY: Duration = Duration::from_millis(5);

/// A batch that is being filled.
#[derive(Debug)]
pub struct Batch<R> {
    records: Vec<R>,
    bytes: usize,
    first_at: Option<Instant>,
    max_rows: usize,
    max_delay: Duration,
}

impl<R> Batch<R> {
    /// An empty batch.
    pub fn new(config: &BatchConfig) -> Batch<R> {
        Batch {
            records: Vec::new(),
            bytes: 0,
            first_at: None,
            max_rows: config.max_rows,
            max_delay: Duration::from_micros(config.max_delay_us),
        }
    }

    /// Adds a record of so many bytes. `now` is asked for only by the first one.
    pub fn push(&mut self, record: R, bytes: usize, now: impl FnOnce() -> Instant) {
        self.bytes += bytes;
        if self.first_at.is_none() {
            self.first_at = Some(now());
        }
        self.records.push(record);
    }

    /// How many records it has.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// How many bytes they have.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether it has all that it may have.
    pub fn is_full(&self) -> bool {
        self.records.len() >= self.max_rows || self.bytes >= MAX_BYTES
    }

    /// Whether it fires now; `idle` says that the topics have nothing more to give.
    pub fn is_due(&self, now: Instant, idle: bool) -> bool {
        let Some(first_at) = self.first_at else { return false };
        let patience = if idle { self.max_delay } else { self.max_delay.max(BUSY_DELAY) };
        self.is_full() || now.saturating_duration_since(first_at) >= patience
    }

    /// How long it would still wait on an idle topic; `None` when it is empty.
    pub fn patience(&self, now: Instant) -> Option<Duration> {
        let first_at = self.first_at?;
        Some(self.max_delay.saturating_sub(now.saturating_duration_since(first_at)))
    }

    /// Takes the records out, with the instant at which the first one came.
    pub fn take(&mut self) -> Option<(Vec<R>, Instant)> {
        let first_at = self.first_at.take()?;
        self.bytes = 0;
        Some((std::mem::take(&mut self.records), first_at))
    }

    /// Gives the emptied buffer of an earlier [`Batch::take`] back.
    pub fn reuse(&mut self, mut buffer: Vec<R>) {
        if self.records.is_empty() {
            buffer.clear();
            self.records = buffer;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(max_delay_us: u64) -> Batch<u32> {
        Batch::new(&BatchConfig { max_rows: 3, max_delay_us })
    }

    #[test]
    fn a_full_batch_fires_while_more_is_coming() {
        let now = Instant::now();
        let mut batch = batch(1_000);
        for record in 0..3 {
            assert!(!batch.is_due(now, false));
            batch.push(record, 1, || now);
        }
        assert!(batch.is_due(now, false));
        assert_eq!(batch.take(), Some((vec![0, 1, 2], now)));
        assert!(!batch.is_due(now, true), "an empty batch has nothing to fire");
    }

    #[test]
    fn an_idle_topic_fires_at_once_without_a_delay() {
        let now = Instant::now();
        let mut batch = batch(0);
        batch.push(1, 1, || now);
        assert!(!batch.is_due(now, false));
        assert!(batch.is_due(now, true));
        assert!(batch.is_due(now + BUSY_DELAY, false), "another topic's backlog doesn't hold it up");
    }

    #[test]
    fn large_records_fill_a_batch_by_their_bytes() {
        let mut batch = batch(0);
        batch.push(1, MAX_BYTES - 1, Instant::now);
        assert!(!batch.is_full());
        batch.push(2, 1, Instant::now);
        assert!(batch.is_full());
        batch.take();
        batch.push(3, 1, Instant::now);
        assert!(!batch.is_full());
    }

    #[test]
    fn the_delay_counts_from_the_first_record() {
        let now = Instant::now();
        let mut batch = batch(1_000);
        batch.push(1, 1, || now);
        batch.push(2, 1, || now + Duration::from_micros(900));
        assert!(!batch.is_due(now + Duration::from_micros(999), true));
        assert_eq!(batch.patience(now + Duration::from_micros(400)), Some(Duration::from_micros(600)));
        assert!(batch.is_due(now + Duration::from_micros(1_000), true));
    }
}
