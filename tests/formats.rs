//! Records of other formats: each has, to the bit, the prediction that the same record has as JSON.

use std::ops::ControlFlow;

use apache_avro::writer::datum::GenericDatumWriter;
use serde_json::{Value, json};
use weir::model::store::Store;
use weir::train::dataset::{Columns, Table};
use weir::train::{Recipe, fit};

use crate::support::kafka::{Reader, Record, create_topic, produce};
use crate::support::models::promote;
use crate::support::weir::{Setup, Weir, command};

const ROWS: usize = 200;

/// A departure. Its numbers are exact as 32-bit floats, too.
struct Departure {
    id: usize,
    month: usize,
    delay: Option<f64>,
    distance: f64,
}

fn departures() -> Vec<Departure> {
    let departure = |id: usize| Departure {
        id,
        month: id % 12 + 1,
        delay: (!id.is_multiple_of(7)).then_some(id as f64 / 4.0 - 10.0),
        distance: (id * id % 997) as f64 + 0.5,
    };
    (0..ROWS).map(departure).collect()
}

impl Departure {
    fn json(&self) -> Vec<u8> {
        let Departure { id, month, delay, distance } = self;
        json!({"id": id, "month": month, "delay": delay, "distance": distance}).to_string().into()
    }

    fn csv(&self) -> String {
        let delay = self.delay.map_or_else(String::new, |delay| delay.to_string());
        format!("{};{};{delay};{}", self.distance, self.month, self.id)
    }

    fn msgpack(&self) -> Vec<u8> {
        let members: [(&str, rmpv::Value); 4] = [
            ("distance", self.distance.into()),
            ("id", self.id.into()),
            ("delay", self.delay.map_or(rmpv::Value::Nil, rmpv::Value::from)),
            ("month", self.month.into()),
        ];
        let map = rmpv::Value::Map(members.map(|(name, value)| (rmpv::Value::from(name), value)).to_vec());
        let mut packed = Vec::new();
        rmpv::encode::write_value(&mut packed, &map).unwrap();
        packed
    }

    fn avro(&self) -> Vec<u8> {
        use apache_avro::types::Value;
        let delay = self.delay.map_or_else(
            || Value::Union(0, Box::new(Value::Null)),
            |delay| Value::Union(1, Box::new(Value::Float(delay as f32))),
        );
        let members = [
            ("distance", Value::Double(self.distance)),
            ("id", Value::Long(self.id as i64)),
            ("minutes", delay),
            ("month", Value::Int(self.month as i32)),
        ];
        let record = Value::Record(members.map(|(name, value)| (name.to_owned(), value)).to_vec());
        let schema = apache_avro::Schema::parse_str(SCHEMA).unwrap();
        GenericDatumWriter::builder(&schema).build().unwrap().write_value_to_vec(record).unwrap()
    }

    fn floats(&self) -> Vec<u8> {
        let delay = self.delay.unwrap_or(f64::NAN);
        [self.month as f64, delay, self.distance].map(|number| (number as f32).to_le_bytes()).concat()
    }
}

/// A schema of these departures, in which a column has another name.
const SCHEMA: &str = r#"{"type": "record", "name": "Departure", "fields": [
    {"name": "distance", "type": "double"},
    {"name": "id", "type": "long"},
    {"name": "minutes", "type": ["null", "float"], "aliases": ["delay"]},
    {"name": "month", "type": "int"}]}"#;

/// Publishes a model of these columns: `month` is a category, `delay` may be missing.
fn publish(setup: &Setup) {
    let late = |departure: &Departure| if departure.delay.unwrap_or(0.0) > 5.0 { "late" } else { "on_time" };
    let row = |departure: &Departure| {
        let delay = departure.delay.map_or_else(String::new, |delay| delay.to_string());
        format!("{},{delay},{},{}\n", departure.month, departure.distance, late(departure))
    };
    let rows: String = departures().iter().map(row).collect();
    let path = setup.folder.path().join("departures.csv");
    std::fs::write(&path, format!("month,delay,distance,late\n{rows}")).unwrap();
    let columns = Columns { target: "late".into(), categorical: vec!["month".into()], ..Columns::default() };
    let table = Table::read(&[path], &columns).unwrap();
    let recipe = Recipe { hidden_layer_sizes: vec![8], learning_rate_init: 0.05, max_iter: 100, ..Recipe::default() };
    let trained = fit(&table, &table.select(&[]), &recipe, &mut |_| ControlFlow::Continue(())).unwrap();
    let store = Store::open(&format!("file:{}", setup.store().display())).unwrap();
    store.publish(&trained.into_draft("flights", [])).unwrap();
    let names: Vec<_> = store.load("flights", 1).unwrap().signature().features.iter().map(|f| f.name.clone()).collect();
    assert_eq!(names, ["month", "delay", "distance"], "the order that Departure::floats has");
    promote(&setup.store(), "production", 1);
}

/// A route of its own for a format.
fn route(format: &str, topics: &Setup, dead_letter: &str, schema: &str) -> String {
    create_topic(&topics.brokers, &topics.input, 1, &[]);
    create_topic(&topics.brokers, &topics.output, 1, &[]);
    let more = match format {
        "csv" => r#", columns = ["distance", "month", "delay", "id"], delimiter = ";""#,
        "f32" => r#", nan = "missing""#,
        "avro" => schema,
        _ => "",
    };
    let (input, output) = (&topics.input, &topics.output);
    format!(
        r#"
        [[route]]
        name = "{format}"
        model = "flights@production"
        input = {{ topics = ["{input}"], format = "{format}"{more} }}
        output = {{ topic = "{output}" }}
        dead_letter = {{ topic = "{dead_letter}" }}
        "#
    )
}

#[test]
fn a_record_has_the_same_prediction_in_each_format() {
    let setup = Setup::on_kafka(1);
    publish(&setup);
    let schema = setup.folder.path().join("departure.avsc");
    std::fs::write(&schema, SCHEMA).unwrap();
    let schema = format!(", schema = \"{}\"", schema.display());
    let formats = ["csv", "msgpack", "f32", "avro"].map(|format| (format, Setup::named(&setup.brokers)));
    let routes: String =
        formats.iter().map(|(format, topics)| route(format, topics, &setup.dead_letter, &schema)).collect();
    let config = setup.config(&routes);
    let weir = Weir::ready(&config);

    let departures = departures();
    let send = |topic: &str, value: &dyn Fn(&Departure) -> Vec<u8>| {
        let record = |departure: &Departure| Record { value: Some(value(departure)), ..Record::default() };
        produce(&setup.brokers, topic, departures.iter().map(record));
    };
    let predictions = |topics: &Setup| -> Vec<Value> {
        Reader::new(&setup.brokers, &topics.output).take(ROWS).iter().map(Record::json).collect()
    };
    send(&setup.input, &Departure::json);
    let expected = predictions(&setup);
    let late = expected.iter().filter(|prediction| prediction["prediction"] == "late").count();
    assert!((1..ROWS).contains(&late), "where all predictions are alike nothing is compared: {late}");
    assert_eq!(expected[7]["id"], 7);
    for (format, topics) in &formats {
        let mut expected = expected.clone();
        match *format {
            "csv" => send(&topics.input, &|departure: &Departure| departure.csv().into()),
            "msgpack" => send(&topics.input, &Departure::msgpack),
            "avro" => send(&topics.input, &Departure::avro),
            _ => {
                send(&topics.input, &Departure::floats);
                // Nothing can be copied.
                expected.iter_mut().for_each(|prediction| drop(prediction.as_object_mut().unwrap().remove("id")));
            }
        }
        assert_eq!(predictions(topics), expected, "{format}");

        let poison = Record { value: Some(departures[0].json()), ..Record::default() };
        produce(&setup.brokers, &topics.input, [poison]);
    }
    for letter in Reader::new(&setup.brokers, &setup.dead_letter).take(formats.len()) {
        let message = letter.header("weir-error-message").unwrap();
        assert!(message.ends_with("it may be JSON, which input.format = \"json\" reads"), "{message}");
    }

    let arguments = ["replay", "--route", "msgpack", "--models", "flights@1", "--output-file", "-", "-c"];
    let replayed = command().args(arguments).arg(&config).output().unwrap();
    let said = String::from_utf8_lossy(&replayed.stderr);
    let lines = String::from_utf8(replayed.stdout).unwrap();
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines, expected, "{said}");
    assert!(weir.stop().success());
}
