//! Classifiers of noise, for benchmarks: what they answer doesn't matter, what they cost does.

use std::ops::ControlFlow;
use std::path::Path;

use ndarray::Array2;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use weir::model::store::Store;
use weir::train::dataset::{Column, Table, Target, TargetValues};
use weir::train::{Recipe, fit};

/// Trains a network on noise and publishes it as `NAME@production`. Its features are `f0`, `f1` and so on.
pub(crate) fn publish_noise(store: &Path, name: &str, features: usize, hidden: &[usize], classes: &[String]) {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let rows = Array2::from_shape_simple_fn((2_000, features), || rng.random_range(-3.0..3.0));
    let of_rows = (0..rows.nrows()).map(|row| row % classes.len()).collect();
    let table = Table {
        features: (0..features).map(|n| Column { name: format!("f{n}"), categories: None }).collect(),
        rows,
        target: Target { name: "y".into(), values: TargetValues::Classes { names: classes.to_vec(), rows: of_rows } },
        times: None,
        without_target: 0,
    };
    let recipe = Recipe { hidden_layer_sizes: hidden.to_vec(), max_iter: 2, ..Recipe::default() };
    let trained = fit(&table, &table.select(&[]), &recipe, &mut |_| ControlFlow::Continue(())).unwrap();
    let store = Store::open(&format!("file:{}", store.display())).unwrap();
    let version = store.publish(&trained.into_draft(name, [])).unwrap();
    store.promote(name, "production", version).unwrap();
}
