//! How fast the engine is, and how far that is from what one core can do.
//!
//! Criterion times `Mlp::forward` for some shapes. Then a table compares them with the FMA peak of the core, measured in
//! turns with them, since clocks move: multiplications and additions per second in the network's own terms (padding does
//! not count), as a share of what a loop of nothing but independent FMAs reaches. A second table has weights of fewer bits
//! beside f32, again in turns. `cargo bench --bench engine`.

#![allow(clippy::print_stdout)] // its table is what it is for

use std::hint::black_box;
use std::time::Instant;

use criterion::{Criterion, Throughput};
use ndarray::Array2;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use weir::engine::{Activation, Dtype, Layer, Mlp, Output, Scratch};
use weir::model::shrink::{bytes, quantize};

/// Widths from the inputs to the outputs, and the rows of a batch.
const CASES: [(&[usize], usize); 5] = [
    (&[30, 100, 100, 2], 256),
    (&[30, 100, 100, 2], 1),
    (&[784, 512, 256, 10], 256),
    (&[784, 512, 256, 10], 1),
    (&[1024, 1024, 1024, 1024], 256),
];

/// Networks whose weights are tried in fewer bits, by 1 row and by 256.
const NARROW_CASES: [&[usize]; 4] =
    [&[784, 512, 256, 10], &[512, 512, 512, 10], &[30, 100, 100, 2], &[256, 1024, 1024, 16]];

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("forward");
    for (widths, rows) in CASES {
        let mut case = Case::new(widths, rows, Dtype::F32);
        group.throughput(Throughput::Elements(case.flops()));
        group.bench_function(case.name(), |bencher| bencher.iter(|| case.forward()));
    }
    group.finish();

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
    shares_of_peak();
    narrow_beside_f32();
}

/// A network with random weights, and a batch for it.
struct Case {
    widths: Vec<usize>,
    bytes: usize,
    mlp: Mlp,
    scratch: Scratch,
    x: Array2<f32>,
    out: Array2<f32>,
}

impl Case {
    fn new(widths: &[usize], rows: usize, dtype: Dtype) -> Case {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut random =
            |rows, columns| Array2::from_shape_simple_fn((rows, columns), || rng.random_range(-0.1..0.1f32));
        let mut layers: Vec<Layer> = widths
            .windows(2)
            .map(|pair| {
                let bias = random(1, pair[1]).remove_axis(ndarray::Axis(0));
                Layer::new(random(pair[0], pair[1]), bias, Activation::Relu)
            })
            .collect();
        if let Some(last) = layers.last_mut() {
            last.activation = Activation::Identity;
        }
        let x = random(rows, widths[0]);
        let layers = quantize(&layers, dtype, None).expect("the weights are small");
        let bytes = bytes(&layers);
        let mlp = Mlp::new(layers, Output::Softmax).expect("the widths fit");
        let out = Array2::zeros((rows, mlp.outputs()));
        Case { widths: widths.to_vec(), bytes, scratch: mlp.scratch(), mlp, x, out }
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

/// Prints every case's share of the FMA peak: medians over rounds in which peak and cases take turns.
fn shares_of_peak() {
    const ROUNDS: usize = 41;
    let mut cases = CASES.map(|(widths, rows)| Case::new(widths, rows, Dtype::F32));
    let mut peaks = Vec::new();
    let mut times: [Vec<f64>; CASES.len()] = Default::default();
    let mut shares: [Vec<f64>; CASES.len()] = Default::default();
    for _ in 0..ROUNDS {
        for (i, case) in cases.iter_mut().enumerate() {
            let peak = peak_gflops();
            let repeats = (40_000_000 / case.flops()).max(1);
            case.forward();
            let start = Instant::now();
            for _ in 0..repeats {
                case.forward();
            }
            let seconds = start.elapsed().as_secs_f64() / repeats as f64;
            times[i].push(seconds);
            if let Some(peak) = peak {
                peaks.push(peak);
                shares[i].push(case.flops() as f64 / seconds / 1e9 / peak);
            }
        }
    }

    println!("kernel {}, FMA peak of one core {:.1} GFLOP/s", cases[0].mlp.kernel(), median(&mut peaks));
    println!("{:<28}{:>12}{:>12}{:>16}", "network, rows", "time", "GFLOP/s", "share of peak");
    for (i, case) in cases.iter().enumerate() {
        let seconds = median(&mut times[i]);
        let gflops = case.flops() as f64 / seconds / 1e9;
        let share = 100.0 * median(&mut shares[i]);
        println!("{:<28}{:>9.2} µs{gflops:>12.1}{share:>14.0} %", case.name(), seconds * 1e6);
    }
}

/// Prints what weights of fewer bits gain: medians over rounds in which all types take turns.
fn narrow_beside_f32() {
    const ROUNDS: usize = 41;
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

/// What this core does just now with nothing but FMAs in registers, where this bench has such a loop for it.
fn peak_gflops() -> Option<f64> {
    const STEPS: u64 = 100_000;
    let start = Instant::now();
    let flops_per_step = fmas(STEPS)?;
    Some((STEPS * flops_per_step) as f64 / start.elapsed().as_secs_f64() / 1e9)
}

/// Does `steps` steps of independent FMAs with the widest vectors that the engine has a kernel for; gives a step's
/// operations.
#[cfg(target_arch = "x86_64")]
fn fmas(steps: u64) -> Option<u64> {
    use std::arch::x86_64::*;

    /// Sums in flight: more than latency (4) times units (2).
    const SUMS: usize = 12;

    #[target_feature(enable = "avx512f")]
    fn avx512(steps: u64) {
        let (a, b) = (black_box(_mm512_set1_ps(0.999)), black_box(_mm512_set1_ps(0.001)));
        let mut sums = [b; SUMS];
        for _ in 0..steps {
            for sum in &mut sums {
                *sum = _mm512_fmadd_ps(*sum, a, b);
            }
        }
        black_box(sums);
    }

    #[target_feature(enable = "avx2,fma")]
    fn avx2(steps: u64) {
        let (a, b) = (black_box(_mm256_set1_ps(0.999)), black_box(_mm256_set1_ps(0.001)));
        let mut sums = [b; SUMS];
        for _ in 0..steps {
            for sum in &mut sums {
                *sum = _mm256_fmadd_ps(*sum, a, b);
            }
        }
        black_box(sums);
    }

    if is_x86_feature_detected!("avx512f") {
        // SAFETY: the CPU has AVX-512F.
        unsafe { avx512(steps) };
        Some((2 * SUMS * 16) as u64)
    } else if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        // SAFETY: the CPU has AVX2 and FMA.
        unsafe { avx2(steps) };
        Some((2 * SUMS * 8) as u64)
    } else {
        None
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn fmas(_: u64) -> Option<u64> {
    None
}
