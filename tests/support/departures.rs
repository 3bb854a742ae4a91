//! Departures as records, and whether each of them came out once and in order.

use std::collections::{BTreeMap, HashMap};

use weir::demo::flights::Departure;

use super::kafka::Record;

/// Partitions of the input and the output.
pub(crate) const PARTITIONS: i32 = 4;

/// Departures as records, spread over the partitions in turn; the key is the id.
pub(crate) fn records(departures: &[Departure]) -> Vec<Record> {
    let record = |(number, departure): (usize, &Departure)| Record {
        partition: number as i32 % PARTITIONS,
        key: Some(id(&departure.json).into()),
        value: Some(departure.json.clone().into()),
        ..Record::default()
    };
    departures.iter().enumerate().map(record).collect()
}

/// The id that a record starts with: `{"id":"…",…`, the input's and the output's alike.
pub(crate) fn id(json: &str) -> &str {
    json.strip_prefix("{\"id\":\"").and_then(|rest| rest.split('"').next()).expect("the id comes first")
}

/// A record's value as text.
pub(crate) fn value(record: &Record) -> &str {
    std::str::from_utf8(record.value.as_ref().expect("a value")).expect("UTF-8")
}

/// Every output once, and each partition's in the order of its input.
pub(crate) fn assert_once_and_in_order(inputs: &[Record], outputs: &[Record]) {
    let by_partition = |records: &[Record]| {
        let mut partitions: BTreeMap<i32, Vec<Vec<u8>>> = BTreeMap::new();
        for record in records {
            partitions.entry(record.partition).or_default().push(record.key.clone().expect("a key"));
        }
        partitions
    };
    let (inputs, outputs) = (by_partition(inputs), by_partition(outputs));
    for (partition, sent) in &inputs {
        let came = outputs.get(partition).map_or(0, Vec::len);
        assert_eq!(came, sent.len(), "records out of partition {partition}");
        let differs = outputs[partition].iter().zip(sent).position(|(came, sent)| came != sent);
        assert!(
            differs.is_none(),
            "partition {partition}: {}",
            difference(sent, &outputs[partition], differs.unwrap())
        );
    }
    assert_eq!(outputs.len(), inputs.len());
}

/// What distinguishes the keys that came from those that were sent, which differ at this place first.
fn difference(sent: &[Vec<u8>], came: &[Vec<u8>], at: usize) -> String {
    let text = |keys: &[Vec<u8>]| {
        keys.iter().skip(at).take(5).map(|key| String::from_utf8_lossy(key).into_owned()).collect::<Vec<_>>()
    };
    let mut counts: HashMap<&[u8], i32> = HashMap::new();
    sent.iter().for_each(|key| *counts.entry(key).or_default() -= 1);
    came.iter().for_each(|key| *counts.entry(key).or_default() += 1);
    let (missing, doubled) = (counts.values().filter(|&&n| n < 0).count(), counts.values().filter(|&&n| n > 0).count());
    format!(
        "{missing} are missing and {doubled} came too often; from {at} on {:?} came in place of {:?}",
        text(came),
        text(sent)
    )
}
