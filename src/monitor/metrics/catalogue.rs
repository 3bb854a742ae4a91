//! The metrics' names: a public contract, kept in one table.
//!
//! The table declares each metric once. Registration, the fields that the code counts into, [`CATALOGUE`] and so the
//! table in docs/reference/metrics.md all come from it.

use prometheus::{CounterVec, GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry};

/// One metric: what a scraper sees of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name, `weir_` and the unit or `_total` included.
    pub name: &'static str,
    /// What kind of metric it is.
    pub kind: Kind,
    /// The names of the labels.
    pub labels: &'static [&'static str],
    /// What it means.
    pub help: &'static str,
}

/// The kinds of metrics, as Prometheus calls them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Observations in buckets.
    Histogram,
}

impl Kind {
    /// The name in the text format.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

/// Declares the table: a line is `field: Type = "name" {labels} "help" [buckets];`.
macro_rules! catalogue {
    ($($field:ident: $family:ty = $name:literal {$($label:literal),*} $help:literal $([$buckets:expr])?;)*) => {
        /// Every metric, in the order of the documentation.
        pub const CATALOGUE: &[Entry] = &[
            $(Entry { name: $name, kind: <$family as Family>::KIND, labels: &[$($label),*], help: $help },)*
        ];

        /// Every metric, registered.
        #[derive(Debug)]
        pub(super) struct Families {
            $(pub(super) $field: $family,)*
        }

        impl Families {
            /// Fails only if the table above names a metric or a label that can't be.
            pub(super) fn register(registry: &Registry) -> Result<Families, prometheus::Error> {
                Ok(Families {
                    $($field: {
                        let buckets: &[f64] = catalogue!(@buckets $($buckets)?);
                        let family = <$family as Family>::new($name, $help, &[$($label),*], buckets)?;
                        registry.register(Box::new(family.clone()))?;
                        family
                    },)*
                })
            }
        }
    };
    (@buckets) => { &[] };
    (@buckets $buckets:expr) => { &$buckets };
}

catalogue! {
    consumed: IntCounterVec = "weir_records_consumed_total" {"route"}
        "Records taken from the input topics. What is read again counts again.";
    produced: IntCounterVec = "weir_records_produced_total" {"route", "model", "version"}
        "Predictions handed to the producer, which delivers each of them; with exactly-once those that were committed.";
    rejected: IntCounterVec = "weir_records_rejected_total" {"route", "reason"}
        "Records that could not be scored and went to the dead-letter topic.";
    timestamps_replaced: IntCounterVec = "weir_timestamps_replaced_total" {"route"}
        "Records that went out with the present time, since their topic refuses a timestamp so far from it.";
    paused: IntGaugeVec = "weir_route_paused" {"route"}
        "1 while a route's records wait: too many were rejected, or somebody paused it.";
    waiting: IntGaugeVec = "weir_route_waiting" {"route", "reason"}
        "1 while a route, or a partition of it, takes no records in some worker, by reason: ratio, by_hand, refused, room, model, input, transaction.";
    stages: HistogramVec = "weir_stage_seconds" {"route", "stage"}
        "Time that a batch spends in a stage: decode, batch, score, encode, deliver." [STAGE_SECONDS];
    end_to_end: HistogramVec = "weir_end_to_end_seconds" {"route"}
        "From a record's timestamp to the broker's acknowledgement of its prediction; with exactly-once the commit follows." [END_TO_END_SECONDS];
    timestamps_out_of_range: IntCounterVec = "weir_timestamps_out_of_range_total" {"route", "fault"}
        "Delivered records without an end-to-end time: future (the timestamp is after weir's clock) or old (by more than a day).";
    batch_rows: HistogramVec = "weir_batch_rows" {"route"}
        "Rows of the batches that were scored." [BATCH_ROWS];
    lag: IntGaugeVec = "weir_consumer_lag" {"route", "topic", "partition"}
        "Offsets of an assigned partition that are still to be read. Markers of transactions and aborted records at its end count.";
    position: IntGaugeVec = "weir_consumer_position" {"route", "topic", "partition"}
        "Offset from which an assigned partition is read on.";
    rebalances: IntCounterVec = "weir_rebalances_total" {"kind"}
        "Changes of the assignment: assign, revoke, lost.";
    commits: IntCounterVec = "weir_commits_total" {"outcome"}
        "Commits of offsets, with exactly-once of transactions: ok, failed, aborted.";
    commit_age: GaugeVec = "weir_commit_age_seconds" {}
        "Age of the oldest record that is delivered and not committed, over all workers; 0 without one.";
    consumer_errors: IntCounterVec = "weir_consumer_errors_total" {"topic"}
        "Errors that the brokers returned in place of a partition's records.";
    offset_resets: IntCounterVec = "weir_offset_resets_total" {"topic"}
        "Partitions whose committed offset the broker no longer had.";
    in_flight: IntGaugeVec = "weir_in_flight_records" {}
        "Records read whose outcome the broker has not acknowledged yet.";
    poll_age: GaugeVec = "weir_poll_age_seconds" {}
        "Time since the worker that has waited longest polled its group.";
    worker_restarts: IntCounterVec = "weir_worker_restarts_total" {}
        "Workers that failed and were started again.";
    model_info: IntGaugeVec = "weir_model_info" {"route", "model", "version", "alias", "digest"}
        "1 for the model version that a route is scoring with.";
    model_loads: IntCounterVec = "weir_model_loads_total" {"model", "outcome"}
        "Model versions that were loaded, or refused because a check failed.";
    refused_version: IntGaugeVec = "weir_model_refused_version" {"route", "model"}
        "Version that a route asks for and that failed a check; 0 if there is none.";
    model_load_seconds: HistogramVec = "weir_model_load_seconds" {}
        "Time to read, check and warm up a model version." [LOAD_SECONDS];
    http_requests: IntCounterVec = "weir_http_requests_total" {"code"}
        "HTTP requests answered, by status code.";
    http_rows: IntCounterVec = "weir_http_rows_total" {"route"}
        "Rows scored for inference requests over HTTP. They don't count as records or as drift.";
    http_inference: HistogramVec = "weir_http_inference_seconds" {"route"}
        "From the last byte of an inference request to its answer." [HTTP_SECONDS];
    http_connections_closed: IntCounterVec = "weir_http_connections_closed_total" {"reason"}
        "HTTP connections that weir closed: timeout (the client was too slow) or limit (too many were open).";
    build_info: IntGaugeVec = "weir_build_info" {"version", "os", "arch"}
        "1 for the weir that is running.";
    start_time: GaugeVec = "weir_start_time_seconds" {}
        "Unix time at which the process started.";
    predictions: IntCounterVec = "weir_predictions_total" {"route", "model", "version", "class"}
        "Predictions per class.";
    feature_bin: IntCounterVec = "weir_feature_bin_total" {"route", "model", "version", "feature", "bin", "created"}
        "Scored rows per bin of a feature, or of the prediction, since the Unix time `created` in milliseconds.";
    feature_expected: CounterVec = "weir_feature_expected_total" {"route", "model", "version", "feature", "bin", "created"}
        "Rows expected per bin, from the training rows of the same hours or weekdays, for a model of --baseline-by.";
    period_rows: IntCounterVec = "weir_period_rows_total" {"route", "model", "version", "period", "created"}
        "Scored rows per hour or weekday, for a model of --baseline-by.";
    baseline_period: GaugeVec = "weir_baseline_period_ratio" {"route", "model", "version", "period"}
        "Share of the training rows in an hour or weekday; 1 for rows that are compared with all of training (`other`).";
    baseline_bin: GaugeVec = "weir_baseline_bin_ratio" {"route", "model", "version", "feature", "bin"}
        "Share of the training rows in the same bin; of the test rows for a prediction.";
    baseline_rows: IntGaugeVec = "weir_baseline_rows" {"route", "model", "version", "feature"}
        "Training rows that the shares are of.";
    baseline_bins: IntGaugeVec = "weir_baseline_bins" {"route", "model", "version", "feature"}
        "Bins of a feature.";
    drift_threshold: GaugeVec = "weir_drift_threshold" {"route", "model", "version", "feature", "window"}
        "Index that counts as drift, unless chance alone may exceed it.";
    feature_missing: IntCounterVec = "weir_feature_missing_total" {"route", "model", "version", "feature"}
        "Scored rows without a value of the feature.";
    feature_unseen: IntCounterVec = "weir_feature_unseen_total" {"route", "model", "version", "feature"}
        "Scored rows with a category that training did not see.";
    feature_out_of_range: IntCounterVec = "weir_feature_out_of_range_total" {"route", "model", "version", "feature"}
        "Scored rows with a number below or above what training saw.";
    drift: GaugeVec = "weir_drift" {"route", "model", "version", "feature", "window", "statistic"}
        "Distance of the live data of the window from the training data.";
    drift_rows: IntGaugeVec = "weir_drift_rows" {"route", "model", "version", "feature", "window", "status"}
        "Rows in the window, and whether they are compared: compared, drifted (compared, and above the threshold), few_rows, few_training_rows, no_baseline, excluded.";
}

/// 10 µs to an hour: scoring a batch takes tens of microseconds, delivering it with a slow broker seconds, and with one that is
/// away minutes.
const STAGE_SECONDS: [f64; 17] =
    [1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 600.0, 3600.0];

/// 1 ms, the step of Kafka's timestamps, to an hour, which is a backlog.
const END_TO_END_SECONDS: [f64; 24] = [
    0.001, 0.002, 0.003, 0.005, 0.007, 0.01, 0.015, 0.02, 0.03, 0.05, 0.07, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0,
    60.0, 120.0, 300.0, 1200.0, 3600.0,
];

/// 100 µs, a row of a small model, to an hour.
const HTTP_SECONDS: [f64; 15] =
    [1e-4, 3e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 600.0, 3600.0];

/// A single record to more than any sensible `batch.max_rows`.
const BATCH_ROWS: [f64; 13] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0];

/// A few kilobytes from a disk to a large model from afar.
const LOAD_SECONDS: [f64; 9] = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 10.0, 60.0];

/// A kind of metric with labels.
trait Family: Sized {
    const KIND: Kind;
    fn new(name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> Result<Self, prometheus::Error>;
}

impl Family for IntCounterVec {
    const KIND: Kind = Kind::Counter;
    fn new(name: &str, help: &str, labels: &[&str], _buckets: &[f64]) -> Result<Self, prometheus::Error> {
        IntCounterVec::new(Opts::new(name, help), labels)
    }
}

impl Family for CounterVec {
    const KIND: Kind = Kind::Counter;
    fn new(name: &str, help: &str, labels: &[&str], _buckets: &[f64]) -> Result<Self, prometheus::Error> {
        CounterVec::new(Opts::new(name, help), labels)
    }
}

impl Family for IntGaugeVec {
    const KIND: Kind = Kind::Gauge;
    fn new(name: &str, help: &str, labels: &[&str], _buckets: &[f64]) -> Result<Self, prometheus::Error> {
        IntGaugeVec::new(Opts::new(name, help), labels)
    }
}

impl Family for GaugeVec {
    const KIND: Kind = Kind::Gauge;
    fn new(name: &str, help: &str, labels: &[&str], _buckets: &[f64]) -> Result<Self, prometheus::Error> {
        GaugeVec::new(Opts::new(name, help), labels)
    }
}

impl Family for HistogramVec {
    const KIND: Kind = Kind::Histogram;
    fn new(name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> Result<Self, prometheus::Error> {
        HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), labels)
    }
}

/// Declares a closed list of label values.
macro_rules! label_values {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$doc])* $variant,)*
        }

        impl $name {
            /// Every value, in the order of the documentation.
            pub const ALL: &[$name] = &[$($name::$variant),*];

            /// The value of the label.
            pub fn as_str(self) -> &'static str {
                match self {
                    $($name::$variant => $text,)*
                }
            }
        }
    };
}

label_values! {
    /// The stages of a batch, the label `stage`.
    Stage {
        /// Payloads to rows.
        Decode = "decode",
        /// From the first row's arrival until the batch fires.
        Batch = "batch",
        /// Rows to predictions.
        Score = "score",
        /// Predictions to payloads, handed to the producer.
        Encode = "encode",
        /// From there to the broker's last acknowledgement.
        Deliver = "deliver",
    }
}

label_values! {
    /// Why a route takes no records, the label `reason` of `weir_route_waiting`.
    WaitReason {
        /// More of its records were rejected than `dead_letter.max_ratio` allows.
        Ratio = "ratio",
        /// Somebody paused it.
        ByHand = "by_hand",
        /// One of its output topics refuses what it produces.
        Refused = "refused",
        /// Too many of its records are in flight.
        Room = "room",
        /// No version of its model is loaded yet.
        Model = "model",
        /// None of its input topics exists, or may be read.
        Input = "input",
        /// A transaction of an input's producer stays open, and what comes after it can't be consumed.
        Transaction = "transaction",
    }
}

label_values! {
    /// Why a record has no end-to-end time, the label `fault`.
    TimestampFault {
        /// Its timestamp is after weir's clock.
        Future = "future",
        /// It is older than a day: it is replayed, or its timestamp is wrong.
        Old = "old",
    }
}

label_values! {
    /// How an assignment changes, the label `kind`.
    Rebalance {
        /// Partitions came.
        Assign = "assign",
        /// Partitions were given back.
        Revoke = "revoke",
        /// Partitions are gone already: the worker had left the group without knowing.
        Lost = "lost",
    }
}

label_values! {
    /// How a commit ended, the label `outcome`.
    CommitOutcome {
        /// The broker has the offsets.
        Ok = "ok",
        /// It has not.
        Failed = "failed",
        /// The transaction was aborted, and its records are consumed again.
        Aborted = "aborted",
    }
}

label_values! {
    /// How loading a model version ended, the label `outcome`.
    LoadOutcome {
        /// It may serve.
        Loaded = "loaded",
        /// It failed a check.
        Refused = "refused",
    }
}

label_values! {
    /// Why weir closed an HTTP connection, the label `reason`.
    ConnectionEnd {
        /// The client was too slow, or idle for too long.
        Timeout = "timeout",
        /// Too many connections were open.
        Limit = "limit",
    }
}
