//! The newest records of a route, decoded as its model would: names that none of them has are mistakes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::CheckReport;
use crate::config::Config;
use crate::kafka::reader::{Extent, Next, ReadError, Reader};
use crate::logging::chain;
use crate::model::Model;
use crate::record::Rejection;
use crate::route::RouteConfig;
use crate::score::Scorer;

/// How many records are looked at.
const NEWEST: i64 = 1_000;

/// How long reading them may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// One step of waiting for records.
const STEP: Duration = Duration::from_millis(100);

/// Warns if all of a route's newest records lack the same feature or field, or would all be rejected.
pub(super) fn check_records(config: &Config, route: &RouteConfig, model: &Arc<Model>, report: &mut CheckReport) {
    let subject = format!("route {}, its records", route.name);
    // Where it fails, `check_models` has reported it.
    let Ok(scorer) = Scorer::new(model.clone(), &route.score_options()) else { return };
    let mut newest = Newest { scorer, read: 0, refused: 0, first: None };
    if let Err(error) = newest.read(config, route) {
        return report.warning(subject, format!("not looked at: {}", chain(&error)));
    }
    if let Some(lacking) = newest.scorer.lacking() {
        report.warning(subject.clone(), lacking.to_string());
    }
    if let Some(rejection) = newest.first.filter(|_| newest.read == newest.refused) {
        report.warning(subject, format!("each of the newest {} would be rejected; {rejection}", newest.read));
    }
}

struct Newest {
    scorer: Scorer,
    read: u64,
    refused: u64,
    first: Option<Rejection>,
}

impl Newest {
    fn read(&mut self, config: &Config, route: &RouteConfig) -> Result<(), ReadError> {
        let reader = Reader::new(&config.kafka, &config.kafka.group_id)?;
        let deadline = Instant::now() + PATIENCE;
        let mut left = NEWEST;
        for topic in &route.input.topics {
            let mut extents = reader.extents(topic, None, None)?;
            newest(&mut extents, left);
            let mut pass = reader.read(topic, &extents)?;
            while Instant::now() < deadline {
                match pass.next(STEP)? {
                    Next::Record(record) => {
                        self.decode(record.payload());
                        left -= 1;
                    }
                    Next::Nothing => {}
                    Next::End => break,
                }
            }
        }
        Ok(())
    }

    fn decode(&mut self, payload: Option<&[u8]>) {
        self.scorer.decode([payload]);
        self.read += 1;
        if let Some(rejection) = self.scorer.rejections().next() {
            self.refused += 1;
            self.first.get_or_insert_with(|| rejection.clone());
        }
    }
}

/// Leaves the last offsets of each range, `most` in all.
fn newest(extents: &mut [Extent], most: i64) {
    let each = most / i64::try_from(extents.len().max(1)).unwrap_or(i64::MAX);
    for extent in extents {
        extent.from = extent.from.max(extent.to - each);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_records_are_those_before_the_end() {
        let extent = |partition, from, to| Extent { partition, from, to };
        let mut extents = [extent(0, 0, 10_000), extent(1, 9_900, 10_000), extent(2, 7, 7), extent(3, 0, 400)];
        newest(&mut extents, 1_000);
        assert_eq!(extents.map(|extent| extent.from), [9_750, 9_900, 7, 150]);
    }
}
