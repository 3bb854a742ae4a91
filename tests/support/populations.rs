//! Populations of feature values with known distributions, to measure how often drift detection is wrong about them.
//!
//! A trial draws training rows from one population and a window of live rows from the same one (any drift that is found
//! is a false alarm) or from another one (drift that isn't found is missed). All is drawn from a seed.

use ndarray::Array2;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use weir::model::signature::{Feature, Kind, Missing, Signature, Target, Unknown};
use weir::monitor::drift::{Baseline, Counts, DriftComparison, Plan};
use weir::record::Gap;

/// Where values of a feature come from.
pub(crate) enum Population {
    /// Numbers; NaN is a missing one.
    Numbers(fn(&mut ChaCha8Rng) -> f64),
    /// Numbers that are float32 in the training data and decimals in the live data.
    Float32(fn(&mut ChaCha8Rng) -> f64),
    /// Categories by their number, each with its cumulative share.
    Categories(Vec<f64>),
}

impl Population {
    /// Categories that are equally frequent.
    pub(crate) fn equal(categories: usize) -> Population {
        Population::shares((0..categories).map(|_| 1.0))
    }

    /// Categories of which the n-th has a share in proportion to 1/n (Zipf's law).
    pub(crate) fn zipf(categories: usize) -> Population {
        Population::shares((1..=categories).map(|rank| 1.0 / rank as f64))
    }

    /// Categories with shares in proportion to these.
    pub(crate) fn shares(weights: impl Iterator<Item = f64>) -> Population {
        let weights: Vec<f64> = weights.collect();
        let total: f64 = weights.iter().sum();
        let cumulative = weights.iter().scan(0.0, |sum, weight| {
            *sum += weight / total;
            Some(*sum)
        });
        Population::Categories(cumulative.collect())
    }

    fn draw(&self, rng: &mut ChaCha8Rng) -> f64 {
        match self {
            Population::Numbers(draw) | Population::Float32(draw) => draw(rng),
            Population::Categories(cumulative) => {
                let at: f64 = rng.random();
                cumulative.partition_point(|&share| share <= at).min(cumulative.len() - 1) as f64
            }
        }
    }
}

/// The kinds of features that the table of false alarms has.
pub(crate) fn kinds() -> Vec<(&'static str, Population)> {
    use Population::{Float32, Numbers};
    vec![
        ("normal", Numbers(normal)),
        ("lognormal", Numbers(|rng| (1.5 * normal(rng)).exp())),
        ("Cauchy", Numbers(|rng| normal(rng) / normal(rng))),
        ("bimodal", Numbers(|rng| normal(rng) + if rng.random() { 4.0 } else { -4.0 })),
        ("a million integers", Numbers(|rng| f64::from(rng.random_range(0..1_000_000)))),
        ("300 prices with a decimal", Float32(|rng| f64::from(rng.random_range(0..300)) / 10.0)),
        ("0.1 to 0.9 as float32", Float32(|rng| f64::from(rng.random_range(1..10)) / 10.0)),
        ("Poisson of mean 1.2", Numbers(poisson)),
        ("97 % zeros", Numbers(|rng| zeros(rng, 0.97, 20.0))),
        ("60 % at 5, 15 % below", Numbers(|rng| tie(rng, 5.0))),
        ("constant", Numbers(|_| 7.0)),
        ("two values", Numbers(|rng| f64::from(u8::from(rng.random::<bool>())))),
        ("flag of 0.5 %", Numbers(|rng| flag(rng, 0.005))),
        ("missing in 1 %", Numbers(|rng| with_missing(rng, 0.01))),
        ("1 category", Population::equal(1)),
        ("2 categories, 1 and 99 %", Population::shares([99.0, 1.0].into_iter())),
        ("30 categories, equal", Population::equal(30)),
        ("30 categories, Zipf", Population::zipf(30)),
        ("900 categories, equal", Population::equal(900)),
        ("900 categories, Zipf", Population::zipf(900)),
    ]
}

/// Changes that must be found: from one population to another.
pub(crate) fn changes() -> Vec<(&'static str, Population, Population)> {
    use Population::Numbers;
    let kept = |kept: usize, of: usize| Population::shares((0..of).map(move |at| if at < kept { 1.0 } else { 0.0 }));
    vec![
        ("mean, by half a standard deviation", Numbers(normal), Numbers(|rng| normal(rng) + 0.5)),
        ("standard deviation, by half", Numbers(normal), Numbers(|rng| 1.5 * normal(rng))),
        ("flag, 0.5 to 5 %", Numbers(|rng| flag(rng, 0.005)), Numbers(|rng| flag(rng, 0.05))),
        ("missing, 1 to 10 %", Numbers(|rng| with_missing(rng, 0.01)), Numbers(|rng| with_missing(rng, 0.1))),
        ("majority, from 5 to 4", Numbers(|rng| tie(rng, 5.0)), Numbers(|rng| tie(rng, 4.0))),
        ("97 % zeros, the others × 0.1", Numbers(|rng| zeros(rng, 0.97, 20.0)), Numbers(|rng| zeros(rng, 0.97, 2.0))),
        ("zeros, 97 to 80 %", Numbers(|rng| zeros(rng, 0.97, 20.0)), Numbers(|rng| zeros(rng, 0.8, 20.0))),
        ("constant, 7 to 8", Numbers(|_| 7.0), Numbers(|_| 8.0)),
        ("5 % at a sentinel of -1", Numbers(|rng| normal(rng).exp()), Numbers(sentinel)),
        (
            "new category, 2 %",
            Population::equal(5),
            Population::shares([19.6, 19.6, 19.6, 19.6, 19.6, 2.0].into_iter()),
        ),
        (
            "category, 0.5 to 5 %",
            Population::shares([99.5, 0.5].into_iter()),
            Population::shares([95.0, 5.0].into_iter()),
        ),
        ("600 of 900 categories vanish", Population::equal(900), kept(300, 900)),
    ]
}

/// Compares a window of `live_rows` from one population with `training_rows` from another.
pub(crate) fn trial(
    (training, live): (&Population, &Population),
    (training_rows, live_rows): (usize, usize),
    seed: u64,
) -> DriftComparison {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let trained: Vec<f64> = (0..training_rows).map(|_| training.draw(&mut rng)).collect();
    let column = Column::of(training, &trained);
    let rows: Vec<f64> = trained.iter().map(|&value| column.trained(value)).collect();
    let no_outputs = Array2::zeros((0, 1));
    let baseline = Baseline::fit(&column.signature, matrix(rows).view(), no_outputs.view());
    baseline.validate(&column.signature).unwrap();
    let plan = Plan::new(&baseline, &column.signature);
    let mut counts = Counts::new(&plan);
    let rows = (0..live_rows).map(|_| column.decoded(live.draw(&mut rng))).collect();
    plan.count_rows(matrix(rows).view(), &mut counts);
    let feature = &plan.features()[0];
    plan.compare(feature, counts.all())
}

/// In how many of `windows` drift is found, each with training rows of its own.
pub(crate) fn alarms(populations: (&Population, &Population), rows: (usize, &[usize]), windows: u64) -> u64 {
    let (training_rows, live_rows) = rows;
    let is_drift = |window: &u64| {
        let live_rows = live_rows[*window as usize % live_rows.len()];
        trial(populations, (training_rows, live_rows), *window).is_drift()
    };
    (0..windows).filter(is_drift).count() as u64
}

/// A signature of one feature, and how its values are decoded.
struct Column {
    signature: Signature,
    /// The index of each category that training saw.
    indices: Vec<Option<usize>>,
    float32: bool,
}

impl Column {
    fn of(training: &Population, values: &[f64]) -> Column {
        let mut indices = Vec::new();
        let mut names = Vec::new();
        if let Population::Categories(cumulative) = training {
            let mut seen = vec![false; cumulative.len()];
            values.iter().for_each(|&value| seen[value as usize] = true);
            for (category, seen) in seen.into_iter().enumerate() {
                indices.push(seen.then_some(names.len()));
                names.extend(seen.then(|| category.to_string()));
            }
        }
        let kind = match training {
            Population::Categories(_) => Kind::Categorical { categories: names, unknown: Unknown::Zeros },
            Population::Numbers(_) | Population::Float32(_) => Kind::Numeric,
        };
        let missing = Missing::Constant { value: 0.0 };
        let missing = if kind == Kind::Numeric { missing } else { Missing::Zeros };
        let signature = Signature {
            features: vec![Feature { name: "x".into(), kind, missing }],
            target: Target::Regression { names: vec!["y".into()] },
        };
        Column { signature, indices, float32: matches!(training, Population::Float32(_)) }
    }

    fn trained(&self, value: f64) -> f64 {
        if self.float32 { f64::from(value as f32) } else { self.decoded(value) }
    }

    fn decoded(&self, value: f64) -> f64 {
        match self.signature.features[0].kind {
            Kind::Numeric if value.is_nan() => Gap::Missing.value(),
            Kind::Numeric | Kind::Time => value,
            Kind::Categorical { .. } => {
                let index = self.indices.get(value as usize).copied().flatten();
                index.map_or(Gap::Unknown.value(), |index| index as f64)
            }
        }
    }
}

fn matrix(rows: Vec<f64>) -> Array2<f64> {
    Array2::from_shape_vec((rows.len(), 1), rows).unwrap()
}

/// The polar form needs no table, and the same numbers come on every machine.
fn normal(rng: &mut ChaCha8Rng) -> f64 {
    let (a, b): (f64, f64) = (1.0 - rng.random::<f64>(), rng.random());
    (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos()
}

fn poisson(rng: &mut ChaCha8Rng) -> f64 {
    let (mut events, mut product) = (0.0, rng.random::<f64>());
    while product > (-1.2_f64).exp() {
        product *= rng.random::<f64>();
        events += 1.0;
    }
    events
}

/// An exponential variable, in hundredths.
fn zeros(rng: &mut ChaCha8Rng, share: f64, mean: f64) -> f64 {
    let amount = -mean * (1.0 - rng.random::<f64>()).ln();
    if rng.random::<f64>() < share { 0.0 } else { (100.0 * amount).round() / 100.0 }
}

/// Integers of which three fifths are the same.
fn tie(rng: &mut ChaCha8Rng, majority: f64) -> f64 {
    match rng.random::<f64>() {
        at if at < 0.15 => (at / 0.03).floor(),
        at if at < 0.75 => majority,
        at => 6.0 + ((at - 0.75) / 0.05).floor(),
    }
}

fn flag(rng: &mut ChaCha8Rng, share: f64) -> f64 {
    f64::from(u8::from(rng.random::<f64>() < share))
}

fn with_missing(rng: &mut ChaCha8Rng, share: f64) -> f64 {
    if rng.random::<f64>() < share { f64::NAN } else { normal(rng) }
}

fn sentinel(rng: &mut ChaCha8Rng) -> f64 {
    if rng.random::<f64>() < 0.05 { -1.0 } else { normal(rng).exp() }
}
