//! The flights that the demo trains on and streams: the sample in `examples/flights`, embedded in the binary.

use std::io::Read;
use std::path::Path;

use anyhow::Context;
use flate2::read::GzDecoder;

use crate::train::dataset::{Columns, Table};

/// Every tenth departure of 2013 from New York, with the weather at its origin.
const SAMPLE: &[u8] = include_bytes!("../../examples/flights/sample.csv.gz");

/// The columns that are text; the others are numbers.
const TEXT: [&str; 5] = ["id", "time", "carrier", "origin", "dest"];

/// The label.
const TARGET: &str = "late";

/// A departure as a record.
#[derive(Clone, Debug, PartialEq)]
pub struct Departure {
    /// When it was to be: ISO 8601, New York time.
    pub time: String,
    /// The record's value.
    pub json: String,
    /// `late` or `on_time`; `None` for a flight that was diverted.
    pub label: Option<String>,
}

/// The sample as a table for training. `folder` gets the file that it is read from.
pub fn table(folder: &Path) -> anyhow::Result<Table> {
    let path = folder.join("flights.csv.gz");
    std::fs::write(&path, SAMPLE).with_context(|| format!("writing {}", path.display()))?;
    let columns =
        Columns { target: TARGET.into(), id: Some("id".into()), time: Some("time".into()), ..Columns::default() };
    Ok(Table::read(&[path], &columns)?)
}

/// The sample as records, in order of time.
pub fn departures() -> anyhow::Result<Vec<Departure>> {
    read(GzDecoder::new(SAMPLE))
}

/// The rows of a CSV file of flights as records. A missing value is left out of its record.
pub fn read(csv: impl Read) -> anyhow::Result<Vec<Departure>> {
    let mut reader = csv::Reader::from_reader(csv);
    let header = reader.headers()?.clone();
    let mut departures = Vec::new();
    for row in reader.records() {
        let row = row?;
        let mut departure = Departure { time: String::new(), json: String::from("{"), label: None };
        for (name, value) in header.iter().zip(&row).filter(|(_, value)| !value.is_empty()) {
            match name {
                TARGET => departure.label = Some(value.into()),
                name => {
                    if departure.json.len() > 1 {
                        departure.json.push(',');
                    }
                    // No name and no value of the sample needs escaping.
                    let quote = if TEXT.contains(&name) { "\"" } else { "" };
                    departure.json.push_str(&format!("\"{name}\":{quote}{value}{quote}"));
                }
            }
            if name == "time" {
                departure.time = value.into();
            }
        }
        departure.json.push('}');
        departures.push(departure);
    }
    Ok(departures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_becomes_a_record_and_a_label() {
        let csv = "id,time,month,carrier,temp,late\na1,2013-07-01T05:00:00-04:00,7,UA,,on_time\na2,2013-07-01T06:00:00-04:00,7,B6,70.5,\n";
        let departures = read(csv.as_bytes()).unwrap();
        assert_eq!(departures[0].json, r#"{"id":"a1","time":"2013-07-01T05:00:00-04:00","month":7,"carrier":"UA"}"#);
        assert_eq!(departures[0].label.as_deref(), Some("on_time"));
        assert_eq!(departures[1].label, None);
        assert!(departures[1].json.contains(r#""temp":70.5"#));
    }

    #[test]
    fn the_whole_sample_is_json() {
        let departures = departures().unwrap();
        assert_eq!(departures.len(), 32_853);
        assert!(departures.iter().all(|departure| serde_json::from_str::<serde_json::Value>(&departure.json).is_ok()));
    }
}
