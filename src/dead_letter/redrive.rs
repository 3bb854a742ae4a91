//! Sends dead letters again: as the records that they were, with one more attempt in a header.
//!
//! What was sent is remembered after each thousand letters that the brokers have acknowledged. So no letter is passed over,
//! whatever happens, and at most a thousand of them are sent a second time.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Duration;

use super::progress::{LetterSelection, RedriveProgress};
use super::{ATTEMPT, Letter, REDRIVEN_FROM, added_headers};
use crate::kafka::admin::Topic;
use crate::kafka::consumer::Record;
use crate::kafka::delivery::{Delivery, UndeliveredError};
use crate::kafka::producer::{Outgoing, Producer, Ticket};
use crate::kafka::reader::{Bound, Extent, Next, Pass, ReadError, Reader};

/// Letters that are sent between two commits.
const LETTERS_PER_COMMIT: u64 = 1_000;

/// One step of waiting for records.
const STEP: Duration = Duration::from_millis(50);

/// What the headers with the attempt and the letter add to a record, at most: a topic has up to 249 characters.
const ATTEMPT_BYTES: usize = 384;

/// What is to be sent again, and where to.
#[derive(Clone, Debug)]
pub struct RedrivePlan {
    /// The dead-letter topic.
    pub topic: String,
    /// The routes whose letters may go out, and their input topics.
    pub routes: BTreeMap<String, Vec<String>>,
    /// The letters that are meant.
    pub selections: Vec<LetterSelection>,
    /// Where to begin, whatever is remembered.
    pub from: Option<Bound>,
    /// Where to end; `None`: at the end as it is now.
    pub to: Option<Bound>,
    /// Where all of them go; `None`: where each came from.
    pub output: Option<String>,
    /// Letters that have been tried so often stay where they are.
    pub max_attempts: u32,
    /// What the topics are like to which letters may go.
    pub targets: BTreeMap<String, Topic>,
}

/// Why a redrive begins where it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beginning {
    /// It was asked to; nothing is remembered.
    Given,
    /// There the last one ended.
    Remembered,
    /// Nothing is remembered: this is the first run, or Kafka has forgotten.
    Fresh,
}

impl Beginning {
    /// The name in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Beginning::Given => "given",
            Beginning::Remembered => "remembered",
            Beginning::Fresh => "fresh",
        }
    }
}

/// What keeps a record in the dead-letter topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeepReason {
    /// It has been sent by a run before.
    SentBefore,
    /// It has been tried too often.
    TriedTooOften,
    /// The dead-letter topic was too small for its value.
    Incomplete,
    /// Its topic takes less than it did.
    TooLarge,
    /// It came from a topic that the route doesn't read.
    OtherTopic,
    /// Its reason isn't one that is meant.
    OtherReason,
    /// Its route isn't one that is meant.
    OtherRoute,
    /// It isn't a dead letter of weir's.
    Foreign,
}

impl KeepReason {
    /// The name in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            KeepReason::SentBefore => "sent_before",
            KeepReason::TriedTooOften => "tried_too_often",
            KeepReason::Incomplete => "incomplete",
            KeepReason::TooLarge => "too_large",
            KeepReason::OtherTopic => "other_topic",
            KeepReason::OtherReason => "other_reason",
            KeepReason::OtherRoute => "other_route",
            KeepReason::Foreign => "foreign",
        }
    }
}

/// What became of the records of a dead-letter topic.
#[derive(Clone, Debug, Default)]
pub struct RedriveCounts {
    /// Records that were read.
    pub read: u64,
    /// Records sent, by the topic that they went to and the reason.
    pub sent: BTreeMap<(String, String), u64>,
    /// Records that weren't, by what kept them.
    pub kept: BTreeMap<KeepReason, u64>,
    /// Whether somebody asked to stop before the end.
    pub interrupted: bool,
}

/// Why a redrive failed. What was acknowledged until then is remembered, but for the letters since the last commit.
#[derive(Debug, thiserror::Error)]
pub enum RedriveError {
    /// The dead letters can't be read, or what was done can't be remembered.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Letters weren't delivered.
    #[error(transparent)]
    Undelivered(#[from] UndeliveredError),
    /// The selection can't be remembered.
    #[error(
        "what was redriven by route and reason is more than group offsets can remember for topic {topic:?}: redrive all \
         reasons, or say --from"
    )]
    Forgetful {
        /// The dead-letter topic.
        topic: String,
    },
}

/// A redrive that knows where it begins and ends.
pub struct Redrive<'r> {
    reader: &'r Reader,
    plan: RedrivePlan,
    extents: Vec<Extent>,
    /// By partition; `None` where a beginning was given.
    memories: Option<BTreeMap<i32, RedriveProgress>>,
    /// Whether the group has no commit at all.
    is_fresh: bool,
}

impl<'r> Redrive<'r> {
    /// Finds out where to begin and end.
    pub fn prepare(reader: &'r Reader, plan: RedrivePlan) -> Result<Redrive<'r>, RedriveError> {
        let mut extents = reader.extents(&plan.topic, plan.from.as_ref(), plan.to.as_ref())?;
        let (mut memories, mut is_fresh) = (None, false);
        if plan.from.is_none() {
            let partitions: Vec<i32> = extents.iter().map(|extent| extent.partition).collect();
            let commits = reader.committed(&plan.topic, &partitions)?;
            is_fresh = commits.is_empty();
            let of = |&partition: &i32| (partition, RedriveProgress::of(commits.get(&partition)));
            let remembered: BTreeMap<i32, RedriveProgress> = partitions.iter().map(of).collect();
            for extent in &mut extents {
                let memory = &remembered[&extent.partition];
                extent.from = memory.start(&plan.selections).clamp(extent.from, extent.to);
                let mut after = memory.clone();
                after.advance(&plan.selections, extent.to);
                if !after.fits() {
                    return Err(RedriveError::Forgetful { topic: plan.topic });
                }
            }
            memories = Some(remembered);
        }
        Ok(Redrive { reader, plan, extents, memories, is_fresh })
    }

    /// Why it begins there.
    pub fn beginning(&self) -> Beginning {
        match &self.memories {
            None => Beginning::Given,
            Some(_) if self.is_fresh => Beginning::Fresh,
            Some(_) => Beginning::Remembered,
        }
    }

    /// What will be read.
    pub fn extents(&self) -> &[Extent] {
        &self.extents
    }

    /// Reads the letters, and sends them if there is a producer. `watch` is called again and again with the way so far,
    /// and may ask to stop.
    pub fn run(
        self,
        producer: Option<&Producer>,
        watch: &mut dyn FnMut(&Pass<'_>) -> ControlFlow<()>,
    ) -> Result<RedriveCounts, RedriveError> {
        let Redrive { reader, plan, extents, mut memories, .. } = self;
        let mut pass = reader.read(&plan.topic, &extents)?;
        let mut delivery = producer.map(Delivery::new);
        if let (Some(_), Some(memories)) = (&delivery, &memories) {
            // What can't be remembered must not go out: this says nothing new, but says whether it can be said. And what is
            // remembered stays so for another 7 days, in partitions without new letters, too.
            commit(reader, &plan, memories)?;
        }
        let mut counts = RedriveCounts::default();
        loop {
            if watch(&pass).is_break() {
                counts.interrupted = true;
                break;
            }
            let record = match pass.next(STEP)? {
                Next::Record(record) => record,
                Next::Nothing => continue,
                Next::End => break,
            };
            counts.read += 1;
            let memory = memories.as_ref().and_then(|of| of.get(&record.partition()));
            let letter = match plan.judge(&record, memory) {
                Ok(letter) => letter,
                Err(kept) => {
                    *counts.kept.entry(kept).or_default() += 1;
                    continue;
                }
            };
            if let Some(delivery) = &mut delivery {
                delivery.send(plan.outgoing(&record, &letter), &mut || watch(&pass))?;
                if delivery.sent() == LETTERS_PER_COMMIT {
                    delivery.settle(&mut || watch(&pass))?;
                    remember(reader, &plan, memories.as_mut(), &pass)?;
                }
            }
            *counts.sent.entry((plan.target(&letter).into(), letter.reason)).or_default() += 1;
        }
        if let Some(delivery) = &mut delivery {
            delivery.settle(&mut || watch(&pass))?;
            remember(reader, &plan, memories.as_mut(), &pass)?;
        }
        Ok(counts)
    }
}

/// Commits that everything up to where the pass is has been done.
fn remember(
    reader: &Reader,
    plan: &RedrivePlan,
    memories: Option<&mut BTreeMap<i32, RedriveProgress>>,
    pass: &Pass<'_>,
) -> Result<(), ReadError> {
    let Some(memories) = memories else { return Ok(()) };
    for (partition, memory) in memories.iter_mut() {
        memory.advance(&plan.selections, pass.positions()[partition]);
    }
    commit(reader, plan, memories)
}

fn commit(reader: &Reader, plan: &RedrivePlan, memories: &BTreeMap<i32, RedriveProgress>) -> Result<(), ReadError> {
    if memories.is_empty() {
        return Ok(());
    }
    reader.commit(&plan.topic, &memories.iter().map(|(&partition, memory)| (partition, memory.commit())).collect())
}

impl RedrivePlan {
    /// The letter that a record is, if it is to be sent.
    fn judge(&self, record: &Record<'_>, memory: Option<&RedriveProgress>) -> Result<Letter, KeepReason> {
        let letter = Letter::of(record).ok_or(KeepReason::Foreign)?;
        let Letter { route, reason, .. } = &letter;
        let inputs = self.routes.get(route).ok_or(KeepReason::OtherRoute)?;
        if !self.selections.iter().any(|selection| selection.has(route, reason)) {
            Err(KeepReason::OtherReason)
        } else if memory.is_some_and(|memory| memory.has(record.offset(), route, reason)) {
            Err(KeepReason::SentBefore)
        } else if letter.omitted.is_some() {
            Err(KeepReason::Incomplete)
        } else if letter.attempt >= self.max_attempts {
            Err(KeepReason::TriedTooOften)
        } else if self.output.is_none() && !inputs.contains(&letter.topic) {
            Err(KeepReason::OtherTopic)
        } else if bytes(record) > self.facts(&letter).record_bytes() {
            Err(KeepReason::TooLarge)
        } else {
            Ok(letter)
        }
    }

    /// Where a letter goes.
    fn target<'p>(&'p self, letter: &'p Letter) -> &'p str {
        self.output.as_deref().unwrap_or(&letter.topic)
    }

    fn facts(&self, letter: &Letter) -> Topic {
        self.targets.get(self.target(letter)).copied().unwrap_or_default()
    }

    /// The record that a letter was, as the next attempt.
    fn outgoing<'a>(&'a self, record: &'a Record<'_>, letter: &'a Letter) -> Outgoing<'a> {
        let headers = record.headers_without(&added_headers(record, &self.topic)).unwrap_or_default();
        let from = format!("{}/{}/{}", self.topic, record.partition(), record.offset());
        let headers = headers.with(ATTEMPT, (letter.attempt + 1).to_string().as_bytes());
        let headers = headers.with(REDRIVEN_FROM, from.as_bytes());
        Outgoing {
            topic: self.target(letter),
            partition: self.partition(letter, record.key().is_some()),
            key: record.key(),
            value: record.payload(),
            timestamp_ms: record.timestamp_ms(),
            headers: Some(headers),
            ticket: Ticket::default(),
        }
    }

    /// The partition for a letter; `None`: by its key, as Java clients choose it.
    ///
    /// Back to its own: whichever client wrote the record may have hashed its key in another way than Java's, and the
    /// records of a key must not be in two partitions. In another topic that can't be known.
    fn partition(&self, letter: &Letter, has_key: bool) -> Option<i32> {
        let partitions = self.facts(letter).partitions;
        if self.output.is_none() && letter.partition < partitions {
            Some(letter.partition)
        } else if has_key {
            None
        } else {
            Some(letter.partition % partitions)
        }
    }
}

/// What a letter takes in its topic, at most.
fn bytes(record: &Record<'_>) -> usize {
    let length = |part: Option<&[u8]>| part.map_or(0, <[u8]>::len);
    length(record.key()) + length(record.payload()) + record.header_bytes() + ATTEMPT_BYTES
}
