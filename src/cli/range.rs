//! The options that say which part of a topic is meant.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, ensure};

use crate::kafka::reader::{Bound, Extent};
use crate::report::count;
use crate::train::time::Scale;

/// Partitions whose range is listed one by one.
const MAX_LISTED: usize = 8;

/// Which part of a topic is meant.
#[derive(Debug, clap::Args)]
pub(super) struct RangeArgs {
    /// Where to begin: an offset, PARTITION:OFFSET,… for those partitions alone, or a time (RFC 3339).
    #[arg(long, value_name = "OFFSET|TIME", value_parser = parse)]
    pub(super) from: Option<Bound>,

    /// Where to end, in the same forms; what is there isn't read any more [default: the end as it is now].
    #[arg(long, value_name = "OFFSET|TIME", value_parser = parse)]
    pub(super) to: Option<Bound>,
}

/// The ranges of a topic, for a person.
pub(super) fn describe(extents: &[Extent]) -> String {
    let range = |extent: &Extent| format!("{} from {} to {}", extent.partition, extent.from, extent.to);
    let mut parts: Vec<String> = extents.iter().take(MAX_LISTED).map(range).collect();
    if extents.len() > MAX_LISTED {
        let rest: i64 = extents[MAX_LISTED..].iter().map(|extent| extent.to - extent.from).sum();
        parts.push(format!("and {} offsets in {} more", count(rest.unsigned_abs()), extents.len() - MAX_LISTED));
    }
    match extents.len() {
        0 => "no partition".into(),
        1 => format!("partition {}", parts[0]),
        _ => format!("partitions {}", parts.join(", ")),
    }
}

/// A time in milliseconds since 1970, for a person.
pub(super) fn time(millis: i64) -> String {
    match u64::try_from(millis) {
        Ok(millis) => humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(millis)).to_string(),
        Err(_) => format!("{millis} ms"),
    }
}

fn parse(text: &str) -> anyhow::Result<Bound> {
    let is_offset = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let named: Option<Vec<_>> = text.split(',').map(|part| part.split_once(':')).collect();
    match named.filter(|named| named.iter().all(|(partition, offset)| is_offset(partition) && is_offset(offset))) {
        Some(named) => {
            let mut offsets = BTreeMap::new();
            for (partition, offset) in named {
                let too_large = || format!("{partition}:{offset} isn't a partition and an offset");
                let partition: i32 = partition.parse().with_context(too_large)?;
                let before = offsets.insert(partition, offset.parse().with_context(too_large)?);
                ensure!(before.is_none(), "partition {partition} is there twice");
            }
            Ok(Bound::Offsets(offsets))
        }
        None if is_offset(text) => Ok(Bound::Offset(text.parse()?)),
        None => {
            let seconds = Scale::Iso8601.parse(text);
            let seconds = seconds.context("write an offset, PARTITION:OFFSET,…, or a time as 2026-11-24T15:30:00Z")?;
            Ok(Bound::Time((seconds * 1_000.0).round() as i64))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_an_offset_some_offsets_or_a_time() {
        let parse = |text| parse(text).unwrap();
        assert_eq!(parse("0"), Bound::Offset(0));
        assert_eq!(parse("9223372036854775807"), Bound::Offset(i64::MAX));
        assert_eq!(parse("0:17"), Bound::Offsets([(0, 17)].into()));
        assert_eq!(parse("3:1,0:2"), Bound::Offsets([(3, 1), (0, 2)].into()));
        assert_eq!(parse("1970-01-02"), Bound::Time(86_400_000));
        assert_eq!(parse("2013-07-01T06:15:00.250Z"), Bound::Time(1_372_659_300_250));
        assert_eq!(parse("2013-07-01T06:15:00+02:00"), Bound::Time(1_372_652_100_000));
    }

    #[test]
    fn what_is_none_of_these_is_refused() {
        for text in [
            "",
            "-1",
            "now",
            "1:",
            ":1",
            "0:1,",
            "0:1,0:2",
            "0:-1",
            "9223372036854775808",
            "99999999999:1",
            "2013-13-01",
        ] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn many_partitions_are_described_shortly() {
        let extents: Vec<_> = (0..10).map(|partition| Extent { partition, from: 1, to: 1_001 }).collect();
        assert_eq!(describe(&extents[..1]), "partition 0 from 1 to 1001");
        assert_eq!(describe(&extents[..2]), "partitions 0 from 1 to 1001, 1 from 1 to 1001");
        assert!(
            describe(&extents).ends_with("7 from 1 to 1001, and 2,000 offsets in 2 more"),
            "{}",
            describe(&extents)
        );
    }
}
