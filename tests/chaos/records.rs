//! What goes in: the record of a partition and a sequence number, made from these two alone.
//!
//! So neither the feeder nor the verifier keeps records: five million of them are a function. The bodies are rows of a
//! pool of real flights, chosen by a hash of the seed, the partition and the sequence number; the same hash makes one
//! record in some hundred a poison of one kind or another.

use weir::demo::flights::Departure;
use weir::record::Reason;

/// How many different rows of features there are.
const POOL: usize = 4_000;

/// One record in so many can't be scored.
const POISON_IN: u64 = 150;

/// One record in so many has a timestamp that its output doesn't take.
const UNTIMELY_IN: u64 = 210;

/// The timestamps that outputs and dead letters take: of the last day, and of the next hour.
pub(crate) const TIMELY: [(&str, &str); 2] =
    [("message.timestamp.before.max.ms", "86400000"), ("message.timestamp.after.max.ms", "3600000")];

/// The timestamps that the input takes: all.
pub(crate) const ANY_TIME: [(&str, &str); 1] = [("message.timestamp.after.max.ms", "9223372036854775807")];

/// The route's `input.max_bytes`: well above what a flight takes.
pub(crate) const MAX_BYTES: usize = 4_096;

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// A row of the pool.
    Good(usize),
    /// A row of the pool that was spoilt.
    Poison(Poison, usize),
}

/// How a row is spoilt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Poison {
    /// JSON that ends in the middle.
    Cut,
    /// A feature that the model needs is absent.
    Missing,
    /// Text where a number is expected.
    WrongType,
    /// More bytes than the route takes.
    TooLarge,
}

impl Poison {
    const ALL: [Poison; 4] = [Poison::Cut, Poison::Missing, Poison::WrongType, Poison::TooLarge];

    /// What weir must say of it.
    pub(crate) fn reason(self) -> Reason {
        match self {
            Poison::Cut => Reason::Malformed,
            Poison::Missing => Reason::MissingFeature,
            Poison::WrongType => Reason::WrongType,
            Poison::TooLarge => Reason::TooLarge,
        }
    }
}

/// All records of a run.
#[derive(Clone)]
pub(crate) struct Records {
    seed: u64,
    /// Rows without their `{"id":"…",`.
    pool: Vec<String>,
}

impl Records {
    /// Records of flights that lack nothing.
    pub(crate) fn new(seed: u64, departures: &[Departure]) -> Records {
        let members = departures.iter().map(|departure| departure.json.matches("\":").count());
        let most = members.clone().max().expect("flights");
        let complete = departures.iter().zip(members).filter(|&(_, members)| members == most);
        // From all over the year.
        let step = departures.len() / POOL / 2;
        let pool = complete.step_by(step.max(1)).take(POOL);
        let pool: Vec<_> = pool.map(|(departure, _)| without_id(&departure.json).to_owned()).collect();
        assert!(pool.len() == POOL, "{} complete flights, {POOL} are needed", pool.len());
        Records { seed, pool }
    }

    /// The pool as records whose id is their number.
    pub(crate) fn pool(&self) -> impl Iterator<Item = String> {
        self.pool.iter().enumerate().map(|(number, row)| format!("{{\"id\":\"{number}\",{row}"))
    }

    /// What this record is.
    pub(crate) fn what(&self, partition: usize, sequence: usize) -> What {
        let hash = mix(self.seed ^ mix(((partition as u64) << 40) | sequence as u64));
        let row = (hash >> 32) as usize % self.pool.len();
        if hash.is_multiple_of(POISON_IN) {
            What::Poison(Poison::ALL[(hash / POISON_IN) as usize % Poison::ALL.len()], row)
        } else {
            What::Good(row)
        }
    }

    /// How far the timestamp of this record is from the present, in milliseconds: days, or not at all.
    pub(crate) fn time_shift(&self, partition: usize, sequence: usize) -> i64 {
        const DAYS: i64 = 3 * 86_400_000;
        let hash = mix(mix(self.seed ^ (((partition as u64) << 40) | sequence as u64)));
        match hash % UNTIMELY_IN {
            0 => -DAYS,
            1 => DAYS,
            _ => 0,
        }
    }

    /// The value of this record.
    pub(crate) fn value(&self, partition: usize, sequence: usize) -> Vec<u8> {
        let id = key(partition, sequence);
        let good = |row: usize| format!("{{\"id\":\"{id}\",{}", self.pool[row]);
        let value = match self.what(partition, sequence) {
            What::Good(row) => good(row),
            What::Poison(poison, row) => {
                let mut value = good(row);
                let temp = member(&value, "temp");
                match poison {
                    Poison::Cut => value.truncate(value.len() / 2),
                    Poison::Missing => value.replace_range(temp, ""),
                    Poison::WrongType => value.replace_range(temp, ",\"temp\":\"warm\""),
                    Poison::TooLarge => {
                        value.insert_str(temp.start, &format!(",\"note\":\"{}\"", "x".repeat(MAX_BYTES)))
                    }
                }
                value
            }
        };
        value.into_bytes()
    }
}

/// The key of a record, which is also its id.
pub(crate) fn key(partition: usize, sequence: usize) -> String {
    format!("{partition}-{sequence}")
}

/// Partition and sequence of a key.
pub(crate) fn of_key(key: &[u8]) -> Option<(usize, usize)> {
    let (partition, sequence) = std::str::from_utf8(key).ok()?.split_once('-')?;
    Some((partition.parse().ok()?, sequence.parse().ok()?))
}

fn without_id(json: &str) -> &str {
    let rest = json.strip_prefix("{\"id\":\"").and_then(|rest| rest.split_once("\","));
    rest.expect("the id comes first").1
}

/// Where a member with a number is, from the comma before it.
fn member(json: &str, name: &str) -> std::ops::Range<usize> {
    let start = json.find(&format!(",\"{name}\":")).expect("a complete flight has it");
    let end = json[start + 1..].find([',', '}']).expect("JSON goes on") + start + 1;
    start..end
}

/// splitmix64: every bit of the result depends on every bit of `x`.
fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
