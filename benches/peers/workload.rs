//! What is scored: topics, records, and a network that everybody has in the form it reads.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::ValueEnum;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::contender::python;
use crate::support::kafka::{Kafka, Record, create_topic, produce, unique};
use crate::support::noise::publish_noise;
use crate::support::weir;

/// Records and a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// 30 named features, 30-100-100 and a probability per class of 2.
    Mlp,
    /// 256 named features, 256-1024-1024 and a probability per class of 16, 1.3 million parameters: what a large network
    /// costs.
    Large,
    /// That of the Crayfish study: an array of 28 × 28 features, 784-32-32-32 and a probability per class of 10, 28
    /// thousand parameters.
    Crayfish,
}

impl Kind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Kind::Mlp => "mlp",
            Kind::Large => "large",
            Kind::Crayfish => "crayfish",
        }
    }

    pub(crate) fn describe(self) -> &'static str {
        match self {
            Kind::Mlp => "JSON objects of 30 named features, MLP 30-100-100-2",
            Kind::Large => "JSON objects of 256 named features, MLP 256-1024-1024-16",
            Kind::Crayfish => "JSON arrays of 784 features, MLP 784-32-32-32-10",
        }
    }

    pub(crate) fn features(self) -> usize {
        match self {
            Kind::Mlp => 30,
            Kind::Large => 256,
            Kind::Crayfish => 784,
        }
    }

    pub(crate) fn hidden(self) -> Vec<usize> {
        match self {
            Kind::Mlp => vec![100, 100],
            Kind::Large => vec![1_024, 1_024],
            Kind::Crayfish => vec![32, 32, 32],
        }
    }

    pub(crate) fn classes(self) -> Vec<String> {
        match self {
            Kind::Mlp => vec!["no".into(), "yes".into()],
            Kind::Large => (0..16).map(|class| format!("class {class}")).collect(),
            Kind::Crayfish => (0..10).map(|digit| format!("digit {digit}")).collect(),
        }
    }

    /// The value of a record.
    pub(crate) fn json(self, number: usize, rng: &mut ChaCha8Rng) -> String {
        let mut json = format!("{{\"id\":{number}");
        match self {
            Kind::Mlp | Kind::Large => (0..self.features())
                .for_each(|feature| write!(json, ",\"f{feature}\":{:.6}", rng.random_range(-3.0..3.0)).unwrap()),
            Kind::Crayfish => {
                json.push_str(",\"features\":[");
                (0..self.features()).for_each(|feature| {
                    let separator = if feature == 0 { "" } else { "," };
                    write!(json, "{separator}{:.4}", rng.random_range(0.0..1.0)).unwrap();
                });
                json.push(']');
            }
        }
        json.push('}');
        json
    }
}

/// Where everything is.
pub(crate) struct Workload {
    pub(crate) kind: Kind,
    pub(crate) brokers: String,
    /// The broker's process.
    pub(crate) broker: u32,
    /// How many partitions each topic has.
    pub(crate) partitions: i32,
    /// The topic with the records.
    pub(crate) input: String,
    /// How many it has.
    pub(crate) records: usize,
    /// Where weir sends what it can't score: nothing.
    pub(crate) dead_letter: String,
    folder: tempfile::TempDir,
}

impl Workload {
    /// Trains the network, and fills a topic with records.
    pub(crate) fn new(kafka: &Kafka, kind: Kind, partitions: i32, records: usize) -> Workload {
        let (brokers, input, dead_letter) = (kafka.brokers.clone(), unique("features"), unique("dead-letter"));
        [&input, &dead_letter].iter().for_each(|topic| create_topic(&brokers, topic, partitions, &[]));
        let folder = tempfile::tempdir().unwrap();
        let workload =
            Workload { kind, brokers, broker: kafka.process_id(), partitions, input, records, dead_letter, folder };
        workload.fill(&workload.input);
        publish_noise(&workload.store(), "peers", kind.features(), &kind.hidden(), &kind.classes());
        workload
    }

    /// Gives the network to those who aren't weir.
    pub(crate) fn export_model(&self) {
        let exported = self.folder().join("exported.onnx");
        let mut export = weir::command();
        export.args(["model", "export", "peers@production", "--onnx"]).arg(&exported);
        succeed(export.arg("--store").arg(self.store()));
        succeed(python("matrix.py").arg(exported).arg(self.matrix_onnx()));
    }

    /// A record of MLServer's form: an inference request.
    pub(crate) fn request(&self, number: usize, rng: &mut ChaCha8Rng) -> Record {
        let data: Vec<String> =
            (0..self.kind.features()).map(|_| format!("{:.6}", rng.random_range(-3.0..3.0))).collect();
        let value = format!(
            r#"{{"id":"{number}","inputs":[{{"name":"features","shape":[1,{}],"datatype":"FP32","data":[{}]}}]}}"#,
            data.len(),
            data.join(",")
        );
        Record {
            partition: number as i32 % self.partitions,
            key: Some(number.to_string().into()),
            value: Some(value.into()),
            headers: vec![("mlserver-model".into(), "mlp".into())],
            ..Record::default()
        }
    }

    /// An empty topic like the input's.
    pub(crate) fn create_topic(&self, name: &str) -> String {
        let name = unique(name);
        create_topic(&self.brokers, &name, self.partitions, &[]);
        name
    }

    /// Sends the records to a topic like the input's.
    pub(crate) fn fill(&self, topic: &str) {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let record = |number: usize| Record {
            partition: number as i32 % self.partitions,
            key: Some(number.to_string().into()),
            value: Some(self.kind.json(number, &mut rng).into()),
            ..Record::default()
        };
        produce(&self.brokers, topic, (0..self.records).map(record));
    }

    /// A file that nobody else uses.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(unique(name))
    }

    /// Weir's models.
    pub(crate) fn store(&self) -> PathBuf {
        self.folder.path().join("models")
    }

    /// The same network for everybody else, from one matrix to probabilities.
    pub(crate) fn matrix_onnx(&self) -> PathBuf {
        self.folder.path().join("model.onnx")
    }

    /// For whatever files there are.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }
}

fn succeed(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
