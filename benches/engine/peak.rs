//! What a core can do at most: nothing but fused multiplications and additions of vectors, all in registers.

use std::hint::black_box;
use std::time::Instant;

/// What this core does just now with nothing but FMAs in registers, where this bench has such a loop for it.
pub(crate) fn peak_gflops() -> Option<f64> {
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
