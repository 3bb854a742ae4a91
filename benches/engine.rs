//! How fast the engine is, beside ONNX Runtime, and how far that is from what a core can do.
//!
//! `cargo bench --bench engine` prints tables of medians over rounds in which all that is compared takes turns, since
//! clocks move. The first one has weir and ONNX Runtime on the same networks and batches, called by one thread, and by
//! two at once that each have their own memory. GFLOP/s count the network's own multiplications and additions (padding
//! doesn't count), and the share of the peak is that of a loop of nothing but independent FMAs. A second table has
//! weights of fewer bits beside f32. Criterion times the activations.

#![allow(clippy::print_stdout)] // its table is what it is for

#[path = "engine/onnxruntime.rs"]
mod onnxruntime;
#[path = "engine/peak.rs"]
mod peak;

use std::hint::black_box;
use std::sync::{Arc, Barrier};
use std::time::Instant;

use criterion::{Criterion, Throughput};
use ndarray::Array2;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use weir::engine::{Activation, Dtype, Layer, Mlp, Output, Scratch};
use weir::model::shrink::{bytes, quantize};

use onnxruntime::OnnxRuntime;

/// Widths from the inputs to the outputs, and rows of a batch, for the first table.
const NETWORKS: [&[usize]; 5] =
    [&[30, 100, 100, 2], &[54, 100, 100, 7], &[784, 32, 10], &[784, 512, 256, 10], &[256, 1024, 1024, 16]];
const ROWS: [usize; 5] = [1, 8, 32, 256, 1024];

/// Rounds of turns, and about how long a turn is: short, so that whatever else the machine does meets all alike.
const ROUNDS: usize = 41;
const TURN_SECONDS: f64 = 0.002;

/// Networks whose weights are tried in fewer bits, by 1 row and by 256.
const NARROW_CASES: [&[usize]; 4] =
    [&[784, 512, 256, 10], &[512, 512, 512, 10], &[30, 100, 100, 2], &[256, 1024, 1024, 16]];

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("activation");
    for activation in Activation::ALL {
        let values: Vec<f32> = (0..4096).map(|i| (i as f32 - 2048.0) / 256.0).collect();
        let mut buffer = values.clone();
        group.throughput(Throughput::Elements(values.len() as u64));
        group.bench_function(activation.as_str(), |bencher| {
            bencher.iter(|| {
                buffer.copy_from_slice(&values);
                activation.apply(black_box(&mut buffer));
            });
        });
    }
    group.finish();

    criterion.final_summary();
    beside_onnxruntime();
    narrow_beside_f32();
}

/// A network with random weights, and a batch for it.
struct Case {
    widths: Vec<usize>,
    bytes: usize,
    mlp: Arc<Mlp>,
    scratch: Scratch,
    x: Array2<f32>,
    out: Array2<f32>,
}

impl Case {
    fn new(widths: &[usize], rows: usize, dtype: Dtype) -> Case {
        let (layers, x) = network(widths, rows);
        let layers = quantize(&layers, dtype, None).expect("the weights are small");
        let bytes = bytes(&layers);
        let mlp = Arc::new(Mlp::new(layers, Output::Softmax).expect("the widths fit"));
        let out = Array2::zeros((rows, mlp.outputs()));
        Case { widths: widths.to_vec(), bytes, scratch: mlp.scratch(), mlp, x, out }
    }

    /// The same network and batch for another caller, with memory of its own.
    fn another(&self) -> Case {
        let (mlp, x, out) = (Arc::clone(&self.mlp), self.x.clone(), self.out.clone());
        Case { widths: self.widths.clone(), bytes: self.bytes, scratch: mlp.scratch(), mlp, x, out }
    }

    fn name(&self) -> String {
        let widths: Vec<String> = self.widths.iter().map(usize::to_string).collect();
        format!("{} x{}", widths.join("-"), self.x.nrows())
    }

    /// Multiplications and additions of a forward pass, without padding, bias, activations and softmax.
    fn flops(&self) -> u64 {
        self.widths.windows(2).map(|pair| 2 * pair[0] * pair[1] * self.x.nrows()).sum::<usize>() as u64
    }

    fn forward(&mut self) {
        self.mlp.forward(black_box(self.x.view()), self.out.view_mut(), &mut self.scratch);
        black_box(&self.out);
    }
}

/// Layers of random weights, and a batch for them.
fn network(widths: &[usize], rows: usize) -> (Vec<Layer>, Array2<f32>) {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut random = |rows, columns| Array2::from_shape_simple_fn((rows, columns), || rng.random_range(-0.1..0.1f32));
    let layer = |pair: &[usize]| {
        let bias = random(1, pair[1]).remove_axis(ndarray::Axis(0));
        Layer::new(random(pair[0], pair[1]), bias, Activation::Relu)
    };
    let mut layers: Vec<Layer> = widths.windows(2).map(layer).collect();
    if let Some(last) = layers.last_mut() {
        last.activation = Activation::Identity;
    }
    let x = random(rows, widths[0]);
    (layers, x)
}

/// Prints weir beside ONNX Runtime.
fn beside_onnxruntime() {
    let loaded = onnxruntime::load();
    if let Err(problem) = &loaded {
        println!("weir without ONNX Runtime beside it: {problem}");
    }
    let kernel = Case::new(&[1, 1], 1, Dtype::F32).mlp.kernel();
    println!(
        "kernel {kernel}; each thread: weir's time, GFLOP/s, share of the FMA peak; times faster than ONNX Runtime"
    );
    println!("{:<26}{:>44}{:>46}", "network, rows", "one thread", "two threads at once");
    for (widths, rows) in NETWORKS.into_iter().flat_map(|widths| ROWS.map(|rows| (widths, rows))) {
        let case = Case::new(widths, rows, Dtype::F32);
        print!("{:<26}", case.name());
        for threads in [1, 2] {
            let barrier = Barrier::new(threads);
            let with_peer = loaded.is_ok();
            let times: Vec<Times> = std::thread::scope(|scope| {
                let caller = || caller(case.another(), with_peer, &barrier);
                let callers: Vec<_> = (0..threads).map(|_| scope.spawn(caller)).collect();
                callers.into_iter().flat_map(|caller| caller.join().expect("a caller that goes on")).collect()
            });
            let median = |of: fn(&Times) -> f64| median(&mut times.iter().map(of).collect::<Vec<_>>());
            let seconds = median(|times| times.weir);
            print!("{:>10.2} µs{:>9.1}", seconds * 1e6, median(|times| times.flops / times.weir / 1e9));
            match median(|times| times.flops / times.weir / 1e9 / times.peak) {
                share if share.is_nan() => print!("{:>7}", ""),
                share => print!("{:>5.0} %", 100.0 * share),
            }
            match median(|times| times.onnxruntime / times.weir) {
                ratio if ratio.is_nan() => print!("{:>16}", ""),
                ratio => print!("{ratio:>14.2} ×"),
            }
        }
        println!();
    }
}

/// A round's turns: seconds of a forward pass, and the peak, which is NaN where it isn't known, as the time of an absent
/// ONNX Runtime is.
struct Times {
    flops: f64,
    weir: f64,
    onnxruntime: f64,
    peak: f64,
}

/// Lets weir and ONNX Runtime take turns, at the same time as the others who wait at the barrier.
fn caller(mut case: Case, with_peer: bool, barrier: &Barrier) -> Vec<Times> {
    let mut peer = with_peer.then(|| {
        let (layers, x) = network(&case.widths, case.x.nrows());
        let x = x.as_slice().expect("a new matrix is in standard layout");
        OnnxRuntime::new(&layers, case.x.nrows(), x).expect("ONNX Runtime takes the graph")
    });
    case.forward();
    if let Some(peer) = &mut peer {
        peer.run();
        let differs = |(a, b): (&f32, &f32)| (a - b).abs() > 1e-4;
        assert!(
            peer.answer().len() == case.out.len() && !case.out.iter().zip(peer.answer()).any(differs),
            "other answers"
        );
    }

    let timed = |run: &mut dyn FnMut(), repeats: usize| {
        barrier.wait();
        run();
        let start = Instant::now();
        (0..repeats).for_each(|_| run());
        start.elapsed().as_secs_f64() / repeats as f64
    };
    let flops = case.flops() as f64;
    // Near the peak a turn takes about as long as it should; where calls cost more than the arithmetic, they count.
    let repeats = (TURN_SECONDS / (flops / 80e9).max(1e-6)).max(1.0) as usize;
    let round = |_| {
        barrier.wait();
        let peak = peak::peak_gflops().unwrap_or(f64::NAN);
        let weir = timed(&mut || case.forward(), repeats);
        let onnxruntime = peer.as_mut().map_or(f64::NAN, |peer| timed(&mut || peer.run(), repeats));
        Times { flops, weir, onnxruntime, peak }
    };
    (0..ROUNDS).map(round).collect()
}

/// Prints what weights of fewer bits gain: medians over rounds in which all types take turns.
fn narrow_beside_f32() {
    println!("weights of fewer bits: times faster than f32, and smaller");
    print!("{:<28}{:>12}", "network, rows", "f32");
    Dtype::ALL.iter().skip(1).for_each(|dtype| print!("{:>18}", dtype.as_str()));
    println!();
    for (widths, rows) in NARROW_CASES.into_iter().flat_map(|widths| [(widths, 1), (widths, 256)]) {
        let mut cases = Dtype::ALL.map(|dtype| Case::new(widths, rows, dtype));
        let mut times: [Vec<f64>; Dtype::ALL.len()] = Default::default();
        let repeats = (10_000_000 / cases[0].flops()).max(1);
        for _ in 0..ROUNDS {
            for (case, times) in cases.iter_mut().zip(&mut times) {
                case.forward();
                let start = Instant::now();
                for _ in 0..repeats {
                    case.forward();
                }
                times.push(start.elapsed().as_secs_f64() / repeats as f64);
            }
        }
        let seconds = times.each_mut().map(|times| median(times));
        print!("{:<28}{:>9.2} µs", cases[0].name(), seconds[0] * 1e6);
        for (case, seconds_of_case) in cases.iter().zip(seconds).skip(1) {
            let smaller = cases[0].bytes as f64 / case.bytes as f64;
            print!("{:>9.2} ×{smaller:>5.2} ×", seconds[0] / seconds_of_case);
        }
        println!();
    }
}

/// The middle one; NaN of none.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
