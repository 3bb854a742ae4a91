//! All integration tests in one binary: one link, one Kafka.
//!
//! | module | what belongs there |
//! | --- | --- |
//! | `demo` | the demo as a person runs it, and its account |
//! | `delivery` | records through `weir serve` on a real Kafka: each once, in order, over swaps, stops and rebalances |
//! | `exactly_once` | the same in transactions, over kills, zombies and rebalances |
//! | `offsets` | where weir continues: after denied reads, in topics that were created again, before batches it can't read |
//! | `refusals` | records that an output refuses: each becomes a dead letter, or its route waits, and others don't |
//! | `isolation` | routes that don't suffer from others: large, paused, idle, without an output |
//! | `readiness` | input topics that are absent or deleted |
//! | `clients` | weir's own consumer and producer: wake-ups, positions with epochs, starts, reports |
//! | `rebalance` | partitions that move between processes, under each group protocol |
//! | `formats` | records of other formats, each predicted as the same record in JSON |
//! | `rejection` | records that can't be scored: each becomes a dead letter with its reason |
//! | `dead_letters` | `weir dead-letter`: what was rejected is counted, and sent again once and not twice |
//! | `console` | what the verbs say, and to whom: readers that go away, names that a terminal would obey |
//! | `headers` | headers and keys of all kinds, which come through byte for byte |
//! | `replay` | `weir replay`: a range of the input through other versions, beside `weir predict` |
//! | `outage` | brokers that are absent at the start, and later |
//! | `security` | TLS, SASL and rights on a real Kafka: what works, what is said where it doesn't, and what is never said |
//! | `fuzz` | what comes from outside, changed at random |
//! | `start` | docs/start.md and the guides, typed as they stand |
//! | `commands` | the verbs of the command line |
//! | `bad_data` | data that can't be trained on: each is one line that says what to do |
//! | `preprocessing` | features beside scikit-learn's, of the same rows; and that test rows leave no trace |
//! | `parity` | training beside scikit-learn's |
//! | `training` | `weir train`: its options, interruptions, and continuing |
//! | `tables` | a table with a rare class and columns that are no features, from its warnings to `weir serve` |
//! | `distributed` | training on several ranks, with the feature `mpi` |
//! | `evaluation` | metrics beside scikit-learn's, of the same predictions |
//! | `export` | models as files for other runtimes, which must answer as weir does |
//! | `safetensors` | models from tensors and a TOML that names the layers |
//! | `shrinking` | `weir model quantize` and `prune`, on a model of the flights |
//! | `import` | models of scikit-learn and PyTorch, beside onnxruntime |
//! | `pipelines` | pipelines of scikit-learn, drawn at random and imported, beside scikit-learn itself |
//! | `topics` | topics that are deleted, grow or get another configuration while weir runs |
//! | `drift` | drift detection: how often it is wrong, and that all that computes it agrees |
//! | `gate` | a route that pauses when too much is rejected |
//! | `http` | clients that take what they can: memory, connections, and what is answered meanwhile |
//! | `ops` | chart, dashboard and alert rules, judged by their own tools |
//! | `tidy` | rules about the source and the pages |
//! | `support` | starting things, feeding and reading topics |

#![allow(clippy::unwrap_used, reason = "a test that can't go on panics")]

mod bad_data;
mod clients;
mod commands;
mod console;
mod dead_letters;
mod delivery;
mod demo;
#[cfg(feature = "mpi")]
mod distributed;
mod drift;
mod evaluation;
mod exactly_once;
mod export;
mod formats;
mod fuzz;
mod gate;
mod headers;
mod http;
mod import;
mod isolation;
mod offsets;
mod ops;
mod outage;
mod parity;
mod pipelines;
mod preprocessing;
mod readiness;
mod rebalance;
mod refusals;
mod rejection;
mod replay;
mod safetensors;
mod security;
mod shrinking;
mod start;
mod support;
mod tables;
mod tidy;
mod topics;
mod training;
