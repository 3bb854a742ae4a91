//! Where the time of a minibatch goes: each of its pieces alone, on one thread, at the shapes of the flights.

use std::hint::black_box;
use std::time::Instant;

use ndarray::Array2;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use weir::engine::Activation;
use weir::engine::training::{Adam, Matrix, Momentum, Start, Team, add_to_chosen, finish, multiply, sum_chosen};

const NUMBERS: usize = 13;
const CATEGORIES: [usize; 3] = [16, 3, 104];
const HIDDEN: usize = 100;

/// How often each piece is timed.
const TIMES: usize = 2000;

/// Prints them, and their sum beside what a whole minibatch took.
pub(crate) fn print(batch: usize, solver: &str, rows_per_second: f64) {
    let rows = batch;
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut random = |rows: usize, columns: usize| {
        let mut matrix = Matrix::zeros(rows, columns);
        matrix.view_mut(rows).mapv_inplace(|_| rng.random_range(-1.0..1.0));
        matrix
    };
    let (numbers, hidden, weights) = (random(rows, NUMBERS), random(rows, HIDDEN), random(HIDDEN, HIDDEN));
    let (first, last, delta, logits) =
        (random(NUMBERS, HIDDEN), random(HIDDEN, 1), random(rows, HIDDEN), random(rows, 1));
    let (mut sums, mut answers) = (random(rows, HIDDEN), random(rows, 1));
    let width = CATEGORIES.iter().sum::<usize>();
    let table = random(width, HIDDEN).view(width).iter().copied().collect::<Vec<_>>();
    let ones = (0..rows).flat_map(|_| {
        let mut start = 0;
        CATEGORIES.map(|categories| {
            start += categories;
            (start - 1 - rng.random_range(0..categories)) as u32
        })
    });
    let ones: Vec<u32> = ones.collect();
    let bias = vec![0.1; HIDDEN];
    let mut square = Array2::<f32>::zeros((HIDDEN, HIDDEN));
    let mut narrow = Array2::<f32>::zeros((HIDDEN, 1));
    let mut chosen = vec![0.0; width * HIDDEN];
    let parameters = (NUMBERS + width + 1) * HIDDEN + (HIDDEN + 1) * HIDDEN + HIDDEN + 1;
    let (mut values, gradient) = (vec![0.1; parameters], vec![0.01; parameters]);
    let mut memory = [vec![0.0; parameters], vec![0.0; parameters]];
    let team = Team::new(1);

    let mut pieces: Vec<(&str, f64)> = Vec::new();
    let mut time = |name, run: &mut dyn FnMut()| pieces.push((name, microseconds(run)));
    time("the transposed of the hidden weights", &mut || {
        square.assign(&black_box(&weights).view(HIDDEN).reversed_axes());
    });
    time("first layer, one-hot columns", &mut || sum_chosen(&table, &bias, black_box(&ones), 3, &mut sums));
    time("first layer, numbers", &mut || {
        multiply(numbers.view(rows), black_box(&first), Start::There, sums.view_mut(rows));
    });
    time("activations", &mut || {
        Activation::Relu.apply(black_box(sums.flat_mut(rows)));
        Activation::Relu.apply(black_box(sums.flat_mut(rows)));
    });
    time("hidden layer", &mut || {
        multiply(hidden.view(rows), black_box(&weights), Start::Row(&bias), sums.view_mut(rows));
    });
    time("output layer", &mut || {
        multiply(hidden.view(rows), black_box(&last), Start::Zero, answers.view_mut(rows));
    });
    time("back through the hidden layer", &mut || {
        multiply(delta.view(rows), black_box(&weights), Start::Zero, sums.view_mut(rows));
    });
    time("derivatives", &mut || {
        Activation::Relu.derivative(hidden.flat(rows), hidden.flat(rows), black_box(sums.flat_mut(rows)));
        Activation::Relu.derivative(hidden.flat(rows), hidden.flat(rows), black_box(sums.flat_mut(rows)));
    });
    time("gradient of the hidden layer", &mut || {
        multiply(hidden.view(rows).reversed_axes(), black_box(&delta), Start::Zero, square.view_mut());
    });
    time("gradient of the output layer", &mut || {
        multiply(hidden.view(rows).reversed_axes(), black_box(&logits), Start::Zero, narrow.view_mut());
    });
    time("gradient of the first layer, numbers", &mut || {
        let gradient = square.slice_mut(ndarray::s![..NUMBERS, ..]);
        multiply(numbers.view(rows).reversed_axes(), black_box(&delta), Start::Zero, gradient);
    });
    time("gradient of the first layer, one-hot", &mut || {
        chosen.fill(0.0);
        (0..3).for_each(|at| add_to_chosen(&mut chosen, 0..width as u32, black_box(&ones), 3, at, &delta));
    });
    time("penalty and mean", &mut || {
        black_box(finish(&mut chosen, &table, 1e-4, 0.999));
    });
    time("step of the optimizer", &mut || {
        let [first, second] = &mut memory;
        match solver {
            "adam" => {
                let adam = Adam { rate: 1e-3, beta_1: 0.9, beta_2: 0.999, epsilon: 1e-8 };
                adam.step(&team, black_box(&mut values), &gradient, first, second);
            }
            _ => {
                let momentum = Momentum { rate: 1e-3, momentum: 0.9, nesterov: true };
                momentum.step(&team, black_box(&mut values), &gradient, first);
            }
        }
    });

    let whole = batch as f64 / rows_per_second * 1e6;
    let sum: f64 = pieces.iter().map(|(_, time)| time).sum();
    println!("\na minibatch of {batch} on one thread: {whole:.1} µs");
    pieces.push(("what isn't here: gathering the rows, loss, biases", whole - sum));
    for (name, time) in pieces {
        println!("  {name:50}  {time:6.1} µs  {:5.1} %", 100.0 * time / whole);
    }
}

/// The median of many runs.
fn microseconds(run: &mut dyn FnMut()) -> f64 {
    let mut times: Vec<f64> = (0..TIMES)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[TIMES / 2]
}
