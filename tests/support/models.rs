//! Models of real flights, trained within a second or two.

use std::fs::File;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use flate2::read::GzDecoder;
use weir::demo::flights::{self, Departure};
use weir::model::store::Store;
use weir::train::dataset::Table;
use weir::train::preparation::Preparation;
use weir::train::recipe::Solver;
use weir::train::{Recipe, fit};

use super::kafka::Record;
use super::weir::Setup;

/// Topics on these brokers, with this many partitions for input and output, and version 1 of `flights` in production.
pub(crate) fn setup_with_model(brokers: &str, partitions: i32) -> Setup {
    let setup = Setup::named(brokers);
    setup.create_topics(partitions);
    publish_first(&setup.store());
    setup
}

/// Publishes version 1 of `flights` and promotes it to production.
pub(crate) fn publish_first(store: &Path) {
    promote(store, "production", publish(store, 1, Preparation::default()));
}

/// Publishes a version of `flights`, trained on a part of the sample. The seed makes versions that differ.
pub(crate) fn publish(store: &Path, seed: u64, preparation: Preparation) -> u64 {
    static TABLE: OnceLock<Table> = OnceLock::new();
    let table = TABLE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let table = flights::table(folder.path()).unwrap();
        table.select(&(0..table.len()).step_by(8).collect::<Vec<_>>())
    });
    let recipe = Recipe {
        preparation,
        hidden_layer_sizes: vec![32, 16],
        solver: Solver::Adam,
        max_iter: 3,
        random_state: seed,
        ..Recipe::default()
    };
    let nothing = table.select(&[]);
    let trained = fit(table, &nothing, &recipe, &mut |_| ControlFlow::Continue(())).unwrap();
    open(store).publish(&trained.into_draft("flights", [])).unwrap()
}

/// Points an alias of `flights` to a version.
pub(crate) fn promote(store: &Path, alias: &str, version: u64) {
    open(store).promote("flights", alias, version).unwrap();
}

/// The whole year of flights, as records: `scripts/setup test` makes the file.
pub(crate) fn year() -> Vec<Departure> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache"));
    let path = cache.join("weir/flights.csv.gz");
    let file = File::open(&path).unwrap_or_else(|error| panic!("{}: {error}; run scripts/setup test", path.display()));
    flights::read(GzDecoder::new(file)).unwrap()
}

/// Records of one flight for partition 0, with the keys `NAME 0`, `NAME 1` and so on.
pub(crate) fn keyed(name: &str, count: usize) -> Vec<Record> {
    static FLIGHT: OnceLock<Vec<u8>> = OnceLock::new();
    let flight = FLIGHT.get_or_init(|| year().swap_remove(0).json.into());
    let record = |number| Record {
        key: Some(format!("{name} {number}").into()),
        value: Some(flight.clone()),
        ..Record::default()
    };
    (0..count).map(record).collect()
}

fn open(store: &Path) -> Store {
    Store::open(&format!("file:{}", store.display())).unwrap()
}
